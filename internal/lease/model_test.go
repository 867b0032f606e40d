package lease

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var seed = flag.Uint64("seed", 0, "seed of the model test; 0 draws one")

// model is a table as one would write it without a thought for speed: at every
// tick it looks at everything.
type model struct {
	begun   bool
	now     time.Duration // without the pauses
	entries map[rollcall.Key]*modelLease
}

type modelLease struct {
	incarnation      rollcall.Revision
	ttl, removeAfter time.Duration
	deadline         time.Duration
	lapsed           time.Duration
	state            State
	removing         bool
	why              string
	status           rollcall.Finding
	checks           []modelCheck
}

type modelCheck struct {
	check    rollcall.Check
	at       string
	finding  rollcall.Finding
	deadline time.Duration
	failing  bool
	since    time.Duration
}

func (m *model) set(k rollcall.Key, g Grant) (agrees bool) {
	ttl := time.Duration(g.Lease.TTL)
	old := m.entries[k]
	n := &modelLease{incarnation: g.Incarnation, ttl: ttl, removeAfter: time.Duration(g.Lease.RemoveAfter), deadline: m.now + ttl}
	if g.Found == rollcall.Unhealthy && ttl > 0 {
		n.state, n.lapsed = Lapsed, m.now+ttl
	}
	if old != nil && old.incarnation == g.Incarnation {
		n.removing, n.why, n.status = old.removing, old.why, old.status
		if m.begun {
			n.state, n.lapsed = old.state, old.lapsed
		}
		if m.begun && (ttl == old.ttl || old.state != Alive) {
			n.deadline = old.deadline
		}
		if ttl == 0 && old.ttl != 0 && n.state == Lapsed {
			n.state = Alive
		}
	}
	for _, c := range g.Checks {
		c, at := c.Check, c.Endpoint
		mc := modelCheck{check: c, at: at, deadline: m.now + time.Duration(c.TTL), finding: rollcall.Finding{Slot: rollcall.CheckSlot(c.Name)}}
		if old != nil {
			same := func(o modelCheck) bool { return o.check.Name == c.Name && o.check.TTL == c.TTL && o.at == at }
			if i := slices.IndexFunc(old.checks, same); i >= 0 {
				mc = old.checks[i]
				mc.check = c // under another bound, maybe
			}
		}
		n.checks = append(n.checks, mc)
	}
	m.entries[k] = n
	return found(n.state != Alive) == g.Found
}

func (m *model) follow(k rollcall.Key, lapsed bool) (agrees bool) {
	e := m.entries[k]
	if e == nil {
		return true
	}
	if !m.begun {
		e.state, e.deadline = Alive, m.now+e.ttl
		if lapsed && e.ttl > 0 {
			e.state, e.lapsed = Lapsed, m.now+e.ttl
		}
	}
	return (e.state != Alive) == lapsed
}

func (m *model) renew(k rollcall.Key) (ttl time.Duration, known, changed bool) {
	e := m.entries[k]
	if e == nil || e.removing {
		return 0, false, false
	}
	changed = e.state != Alive
	e.state, e.deadline = Alive, m.now+e.ttl
	return e.ttl, true, changed
}

func (m *model) report(k rollcall.Key, f rollcall.Finding) (known, changed bool) {
	e := m.entries[k]
	if e == nil {
		return false, false
	}
	if f.Slot == rollcall.SlotStatus {
		changed = e.status.Status != f.Status
		e.status = f
		return true, changed
	}
	for i := range e.checks {
		if c := &e.checks[i]; c.finding.Slot == f.Slot {
			changed = c.finding.Status != f.Status
			bad := f.Status != rollcall.Healthy && f.Status != rollcall.Degraded
			if bad && !c.failing {
				c.since = max(m.now, 1) // 0 is never there
			}
			c.failing, c.finding, c.deadline = bad, f, m.now+time.Duration(c.check.TTL)
			return true, changed
		}
	}
	return false, false
}

func (m *model) tick() (changed []rollcall.Key) {
	for k, e := range m.entries {
		was := e.state
		if e.ttl > 0 && e.state == Alive && e.deadline <= m.now {
			e.state, e.lapsed = Lapsed, m.now
		} else if e.ttl > 0 && e.state == Lapsed && e.lapsed+e.removeAfter <= m.now {
			e.state = Expired
			e.why = fmt.Sprintf("no renewal for %v", rollcall.Duration(e.ttl+e.removeAfter))
		}
		different := e.state != was
		for i := range e.checks {
			c := &e.checks[i]
			if c.check.TTL > 0 && !c.failing && c.deadline <= m.now {
				c.failing, c.since, different = true, m.now, true
				c.finding.Status = rollcall.Unhealthy
				c.finding.Reason = fmt.Sprintf("not reported within %v", c.check.TTL)
			}
			if after := time.Duration(c.check.DeregisterAfter); after > 0 && c.failing && c.since+after <= m.now && e.state != Expired {
				e.state, different = Expired, true
				e.why = fmt.Sprintf("check %s failed for %v", c.check.Name, c.check.DeregisterAfter)
			}
		}
		if different {
			changed = append(changed, k)
		}
	}
	return changed
}

func (m *model) evidence(k rollcall.Key) (ev Evidence, ok bool) {
	e := m.entries[k]
	if e == nil {
		return ev, false
	}
	ev = Evidence{Incarnation: e.incarnation, State: e.state, TTL: e.ttl, Why: e.why}
	if e.status.Status != 0 {
		ev.Reports = append(ev.Reports, e.status)
	}
	for _, c := range e.checks {
		if c.finding.Status != 0 {
			ev.Reports = append(ev.Reports, c.finding)
		}
	}
	return ev, true
}

// TestModel does random things to a table and to the model and compares them
// after every tick.
func TestModel(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 0))
	c := &clock{}
	c.at.Store(int64(rng.IntN(3)) * int64(time.Hour))
	c.Table = New(func() time.Duration { return time.Duration(c.at.Load()) })
	m := &model{entries: map[rollcall.Key]*modelLease{}} // its time begins with the table's
	begin := rng.IntN(500)
	var keys []rollcall.Key
	for n := range 40 {
		keys = append(keys, key(fmt.Sprint(n)))
	}
	pick := func(ds ...rollcall.Duration) rollcall.Duration { return ds[rng.IntN(len(ds))] }
	same := func(what string, k rollcall.Key, got, want any) {
		t.Helper()
		if got != want {
			t.Fatalf("%s %v at %v: %v, want %v", what, k, m.now, got, want)
		}
	}
	lapses := 0
	for step := range 10_000 {
		if step == begin {
			c.Begin()
			m.begun = true
		}
		// Things happen anywhere between two ticks, ticks on their beat.
		inside := time.Duration(rng.IntN(int(Tick)))
		pass := func(d time.Duration) {
			c.at.Add(int64(d))
			if m.begun {
				m.now += d
			}
		}
		pass(inside)
		for range rng.IntN(3) {
			k := keys[rng.IntN(1+rng.IntN(len(keys)))]
			switch rng.IntN(13) {
			case 12:
				lapsed := rng.IntN(2) == 0
				same("Follow", k, c.Follow(k, found(lapsed)), m.follow(k, lapsed))
			case 0:
				g := grant(rollcall.Revision(rng.IntN(3)), pick(0, seconds(2), seconds(5), seconds(150)), pick(1, seconds(3), seconds(200)))
				g.Found = found(rng.IntN(4) == 0)
				for _, name := range []string{"a", "b"} {
					if rng.IntN(2) == 0 {
						c := Check{Check: check(name, pick(seconds(1), seconds(4), seconds(120)), pick(0, 1, seconds(7), seconds(300)))}
						if rng.IntN(4) == 0 {
							c = Check{rollcall.Check{Name: name, Type: rollcall.CheckTCP, DeregisterAfter: c.DeregisterAfter}, fmt.Sprint(rng.IntN(2))}
						}
						g.Checks = append(g.Checks, c)
					}
				}
				same("Set", k, c.Set(k, g), m.set(k, g))
			case 1:
				if rng.IntN(4) == 0 {
					c.Drop(k)
					delete(m.entries, k)
				}
			case 2:
				on := rng.IntN(2) == 0
				e := m.entries[k]
				want := e != nil && (!on || e.state == Expired)
				same("Removing", k, c.Removing(k, on), want)
				if want {
					e.removing = on
				}
			case 3, 4, 5:
				f := rollcall.Finding{
					Slot:   []rollcall.Slot{rollcall.SlotStatus, "check/a", "check/b", "check/c"}[rng.IntN(4)],
					Status: rollcall.Statuses()[rng.IntN(6)], Reason: "step " + fmt.Sprint(step),
				}
				known, changed := c.Report(k, f)
				wantKnown, wantChanged := m.report(k, f)
				same("Report", k, [2]bool{known, changed}, [2]bool{wantKnown, wantChanged})
			default:
				ttl, known, changed := c.Renew(k)
				wantTTL, wantKnown, wantChanged := m.renew(k)
				same("Renew", k, fmt.Sprint(ttl, known, changed), fmt.Sprint(wantTTL, wantKnown, wantChanged))
			}
		}
		pass(Tick - inside)
		switch rng.IntN(200) {
		case 0: // some ticks are left out
			late := Tick * time.Duration(1+rng.IntN(10))
			pass(late)
		case 1: // a pause, which nobody notices
			c.at.Add(int64(Pause + time.Duration(1+rng.IntN(int(time.Hour)))))
		}
		got, want := c.Tick(), []rollcall.Key(nil)
		if m.begun {
			want = m.tick()
		}
		slices.SortFunc(got, byKey)
		slices.SortFunc(want, byKey)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d at %v: changed %v, want %v", step, m.now, got, want)
		}
		lapses += len(got)
		same("Len", rollcall.Key{}, c.Len(), len(m.entries))
		if step%20 != 0 && len(got) == 0 {
			continue
		}
		for _, k := range keys {
			ev, ok := c.Evidence(k)
			wantEv, wantOK := m.evidence(k)
			if ok != wantOK || !alike(ev, wantEv) {
				t.Fatalf("step %d at %v: %v is %+v, want %+v", step, m.now, k, ev, wantEv)
			}
		}
	}
	if lapses < 300 {
		t.Errorf("only %d changes", lapses)
	}
}

// alike reports whether two evidences are the same, whatever the order of their
// reports.
func alike(a, b Evidence) bool {
	for _, e := range []*Evidence{&a, &b} {
		slices.SortFunc(e.Reports, func(a, b rollcall.Finding) int { return strings.Compare(string(a.Slot), string(b.Slot)) })
	}
	return a.Incarnation == b.Incarnation && a.State == b.State && a.TTL == b.TTL && a.Why == b.Why && slices.Equal(a.Reports, b.Reports)
}
