package modeltest

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// soft is what the registry knows beyond the log, kept the naive way: at every
// tick it looks at everything.
type soft struct {
	leases    map[rollcall.Key]*leased
	positions map[rollcall.Key]rollcall.Position // where instances have moved
	moved     map[rollcall.Key]bool              // and the log does not know
	loads     map[rollcall.Key]rollcall.Load
	opened    time.Time // when this process began to serve
	ticks     int       // since
	foreign   bool      // somebody knew another log
	forgets   forgetting
}

// leased is one instance's lease and reports.
type leased struct {
	incarnation      rollcall.Revision
	ttl, removeAfter time.Duration // ttl 0: none
	deadline         time.Time
	lapsed           time.Time // zero: it is alive
	why              string    // it is to be removed; "" if it is not
	status           rollcall.Finding
	checks           []checked
}

type checked struct {
	check    rollcall.Check
	finding  rollcall.Finding // Status 0: it has not been reported
	deadline time.Time
	failing  time.Time // since when; zero: it is not
}

// forgetting is whether the next entry makes the registry forget.
type forgetting uint8

const (
	notDue forgetting = iota
	maybeDue
	due
)

func newSoft(now time.Time) *soft {
	return &soft{
		leases: map[rollcall.Key]*leased{}, positions: map[rollcall.Key]rollcall.Position{}, moved: map[rollcall.Key]bool{},
		loads: map[rollcall.Key]rollcall.Load{}, opened: now,
	}
}

// open takes in the state with which a process begins: all leases are whole, and
// those that were found to have lapsed are to be removed a TTL later.
func (f *soft) open(s *state) {
	for key, i := range s.items {
		f.put(key, i, f.opened)
		if found, marked := i.finding(rollcall.SlotLease); marked && found.Status == rollcall.Unhealthy {
			l := f.leases[key]
			l.lapsed = f.opened.Add(l.ttl)
		}
	}
}

// put takes in a registration or update that was logged.
func (f *soft) put(key rollcall.Key, i *item, now time.Time) {
	n := &leased{incarnation: i.incarnation, ttl: time.Duration(i.registered.Lease.TTL), removeAfter: time.Duration(i.registered.Lease.RemoveAfter)}
	n.deadline = now.Add(n.ttl)
	old := f.leases[key]
	if old != nil && old.incarnation == n.incarnation {
		n.lapsed, n.why, n.status = old.lapsed, old.why, old.status
		if n.ttl == old.ttl || !old.lapsed.IsZero() {
			n.deadline = old.deadline // no sign of life
		}
		if n.ttl == 0 && n.why == "" {
			n.lapsed = time.Time{}
		}
	}
	for _, c := range i.registered.Checks {
		check := checked{check: c, deadline: now.Add(time.Duration(c.TTL))}
		if old != nil {
			if at := slices.IndexFunc(old.checks, func(o checked) bool { return sameCheck(o.check, c) }); at >= 0 {
				check = old.checks[at]
				check.check = c // under another bound, maybe
			}
		}
		n.checks = append(n.checks, check)
	}
	f.leases[key] = n
}

// follow takes in one change that was logged; before is the state that it
// changed, after the one it led to.
func (f *soft) follow(c *rollcall.Change, before, after *state, now time.Time) {
	switch b := c.Body.(type) {
	case rollcall.InstancePut:
		old, is := before.items[b.Key], after.items[b.Key]
		f.put(b.Key, is, now)
		switch {
		case old == nil || old.incarnation != is.incarnation:
			delete(f.positions, b.Key)
			delete(f.moved, b.Key)
			delete(f.loads, b.Key)
		case c.Via != "position":
			delete(f.positions, b.Key) // it says itself where it is
			delete(f.moved, b.Key)
		case is.registered.Position != nil && f.positions[b.Key] == *is.registered.Position:
			delete(f.positions, b.Key)
			delete(f.moved, b.Key)
		}
	case rollcall.InstanceRemove:
		delete(f.leases, b.Key)
		delete(f.positions, b.Key)
		delete(f.moved, b.Key)
		delete(f.loads, b.Key)
	}
}

func (f *soft) renew(key rollcall.Key, now time.Time) {
	l := f.leases[key]
	l.lapsed, l.deadline = time.Time{}, now.Add(l.ttl)
}

// report takes in what a renewed instance says of itself.
func (f *soft) report(key rollcall.Key, i *item, rep *rollcall.Report, now time.Time) {
	l := f.leases[key]
	if rep.Status != 0 {
		l.status = rollcall.Finding{Slot: rollcall.SlotStatus, Status: rep.Status, Reason: rep.Note}
	}
	for n := range l.checks {
		c := &l.checks[n]
		r, ok := rep.Checks[c.check.Name]
		if !ok {
			continue
		}
		if good := r.Status == rollcall.Healthy || r.Status == rollcall.Degraded; good {
			c.failing = time.Time{}
		} else if c.failing.IsZero() {
			c.failing = now
		}
		c.finding = rollcall.Finding{Slot: rollcall.CheckSlot(c.check.Name), Status: r.Status, Reason: r.Note}
		c.deadline = now.Add(time.Duration(c.check.TTL))
	}
	if rep.Load != nil {
		f.loads[key] = *rep.Load
	}
	if rep.Position != nil {
		if at := f.position(i); at == nil || *at != *rep.Position {
			f.move(key, *rep.Position)
		}
	}
}

func (f *soft) move(key rollcall.Key, p rollcall.Position) {
	f.positions[key] = p
	f.moved[key] = true
}

// position returns where an instance is, as far as that is known.
func (f *soft) position(i *item) *rollcall.Position {
	if p, ok := f.positions[i.key]; ok {
		return &p
	}
	return i.registered.Position
}

// tick moves leases and checks on and reports whether anything became of it.
func (f *soft) tick(now time.Time) (changed bool) {
	f.ticks++
	for _, l := range f.leases {
		if l.ttl > 0 && l.why == "" {
			if l.lapsed.IsZero() && !l.deadline.After(now) {
				l.lapsed, changed = now, true
			} else if !l.lapsed.IsZero() && !l.lapsed.Add(l.removeAfter).After(now) {
				l.why, changed = fmt.Sprintf("no renewal for %v", rollcall.Duration(l.ttl+l.removeAfter)), true
			}
		}
		for n := range l.checks {
			c := &l.checks[n]
			if c.failing.IsZero() && !c.deadline.After(now) {
				c.failing, changed = now, true
				c.finding = rollcall.Finding{
					Slot: rollcall.CheckSlot(c.check.Name), Status: rollcall.Unhealthy, Reason: fmt.Sprintf("not reported within %v", c.check.TTL),
				}
			}
			if after := time.Duration(c.check.DeregisterAfter); after > 0 && !c.failing.IsZero() && !c.failing.Add(after).After(now) && l.why == "" {
				l.why, changed = fmt.Sprintf("check %s failed for %v", c.check.Name, c.check.DeregisterAfter), true
			}
		}
	}
	return changed
}

// housekeeps reports whether the last tick was one at which the registry does
// what nobody waits for, and whether it makes up its mind to forget.
func (f *soft) housekeeps() (does, forgets bool) {
	second := f.ticks / int(time.Second/lease.Tick)
	does = f.ticks%int(time.Second/lease.Tick) == 0
	return does, does && second%601 == 0
}

// overdue returns the changes that the log needs to say what is known of an
// instance.
func (f *soft) overdue(i *item) []string {
	l := f.leases[i.key]
	if l == nil {
		return []string{"a lease of " + i.key.String()}
	}
	if l.why != "" {
		return []string{wantRemoval(i.key, "lease", l.why)}
	}
	kept := rollcall.Finding{Slot: rollcall.SlotLease, Status: rollcall.Healthy}
	if !l.lapsed.IsZero() {
		kept.Status, kept.Reason = rollcall.Unhealthy, fmt.Sprintf("no renewal for %v", rollcall.Duration(l.ttl))
	}
	known := []rollcall.Finding{kept}
	if l.status.Status != 0 {
		known = append(known, l.status)
	}
	for _, c := range l.checks {
		if c.finding.Status != 0 {
			known = append(known, c.finding)
		}
	}
	var wants []string
	for _, k := range known {
		said := rollcall.Healthy
		if logged, ok := i.finding(k.Slot); ok {
			said = logged.Status
		}
		if said != k.Status {
			wants = append(wants, wantHealth(i.key, k))
		}
	}
	return wants
}

func wantRemoval(key rollcall.Key, via, why string) string {
	return fmt.Sprintf("remove %v via %s: %s", key, via, why)
}

func wantHealth(key rollcall.Key, f rollcall.Finding) string {
	return fmt.Sprintf("health %v %s=%v %q", key, f.Slot, f.Status, f.Reason)
}

func wantPut(i rollcall.Instance, incarnation rollcall.Revision, via string) string {
	which := "a new incarnation"
	if incarnation != 0 {
		which = fmt.Sprint("incarnation ", incarnation)
	}
	return fmt.Sprintf("put %s as %s via %s", i.AppendJSON(nil), which, via)
}

func wantOverride(key rollcall.Key, o *rollcall.Override, via string) string {
	return fmt.Sprintf("override %v %s via %s", key, asJSON(o), via)
}

func wantSettings(key rollcall.ServiceKey, s *rollcall.Settings) string {
	return fmt.Sprintf("settings %v %s", key, asJSON(s))
}

// wants returns what one change that was logged does, in the same words; judge
// says that it is a verdict.
func wants(c *rollcall.Change, after *state) (ws []string, judge bool) {
	switch b := c.Body.(type) {
	case rollcall.InstancePut:
		i := after.items[b.Key]
		return []string{wantPut(i.registered, b.Incarnation, c.Via)}, false
	case rollcall.InstanceRemove:
		return []string{wantRemoval(b.Key, c.Via, c.Why)}, c.Via == "lease"
	case rollcall.HealthPut:
		for _, id := range b.IDs {
			ws = append(ws, wantHealth(rollcall.Key{ServiceKey: b.Service, ID: id}, rollcall.Finding{Slot: b.Slot, Status: b.Status, Reason: b.Reason}))
		}
		return ws, b.Slot != rollcall.SlotDrain
	case rollcall.OverridePut:
		return []string{wantOverride(b.Key, b.Override, c.Via)}, false
	case rollcall.SettingsPut:
		return []string{wantSettings(b.Service, b.Settings)}, false
	}
	return []string{fmt.Sprintf("%T", c.Body)}, false
}
