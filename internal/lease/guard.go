package lease

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	// GuardWindow is the time in which no more than a share of a service may be
	// convicted on silence alone.
	GuardWindow = time.Minute
	// GuardHolds is for how long a guard lasts at least before it lets go of anybody:
	// most networks that are cut are mended by then.
	GuardHolds = 2 * time.Minute
	// GuardShare is that share, unless a service has one of its own.
	GuardShare = 0.15
	// GuardIsolated is for how long a guard lets go of nobody while fewer than
	// GuardShare of all instances are heard from: then it is the registry that is
	// cut off. That must end some time, lest a site that was shut down stays listed.
	GuardIsolated = time.Hour
	// ProbeHeld is how often instances that are held are looked at.
	ProbeHeld = 5 * time.Second
	// probedAtOnce is how many of those held by one guard are looked at in one review.
	probedAtOnce = 1024
)

// Census counts leases for a guard.
type Census interface {
	// Count counts a service's leases, or all for the zero key, and tells the share
	// of them that may be convicted on silence alone; 1 is all.
	Count(service rollcall.ServiceKey) (c Count, share float64)
	// Silent reports whether an instance is still silent.
	Silent(key rollcall.Key) bool
}

// Guard decides whether silence is enough to convict an instance.
//
// One that falls silent while the others are heard from is gone. If many do at
// once, it is likelier that something between them and the registry is, and to
// believe it would empty services that work. So no more than a share of a
// service, but at least one, and of everything, but at least two, may be convicted
// within [GuardWindow] without other evidence: if those and all who are silent or
// about to be are more, a guard begins and holds whoever is silent from then on,
// suspect and probed. That those who are about to be count as well is what keeps
// the first ones from being convicted before it shows how many there are.
//
// A guard holds whom it holds until they are heard from, seen to be dead, or let go
// of. It lets go after [GuardHolds] of as many as the share allows in each further
// window, longest silent first, but for an hour ([GuardIsolated]) of nobody as long
// as hardly anybody at all is heard from, nor for a GuardWindow after that: when a
// cut ends, the first to be heard from do not have the others convicted, who are
// about to be. It ends when it holds nobody and no more than the share are about
// to be silent or lately convicted, or when it has held nobody for a GuardWindow:
// who always renews late is about to be silent for ever. So it ends by itself, also
// after a true disaster (Eureka's self-preservation, from which the idea comes,
// does not).
//
// A Guard belongs to one goroutine. It keeps no time of its own.
type Guard struct {
	census   Census
	services map[rollcall.ServiceKey]*scope
	all      *scope
	isolated time.Time // when hardly anybody was heard from last, while a guard was on
}

// scope is what one guard is about: a service, or everything.
type scope struct {
	key       rollcall.ServiceKey
	on        bool
	since     time.Time
	holding   time.Time // when it last held somebody, or began
	held      map[rollcall.Key]*heldBack
	convicted map[rollcall.Key]time.Time // on silence alone, within the window
	lifted    time.Time                  // by an operator, until then
}

type heldBack struct{ since, probed time.Time }

// Decision is what a guard makes of silence.
type Decision struct {
	Convict []rollcall.Key
	Hold    []rollcall.Key
	Probe   []rollcall.Key // of those that are held
	Begun   []rollcall.Guard
	Ended   []rollcall.ServiceKey
}

// NewGuard returns a guard that asks a census.
func NewGuard(c Census) *Guard {
	return &Guard{census: c, services: map[rollcall.ServiceKey]*scope{}, all: newScope(rollcall.ServiceKey{})}
}

func newScope(key rollcall.ServiceKey) *scope {
	return &scope{key: key, held: map[rollcall.Key]*heldBack{}, convicted: map[rollcall.Key]time.Time{}}
}

func (g *Guard) scope(key rollcall.ServiceKey) *scope {
	if key == (rollcall.ServiceKey{}) {
		return g.all
	}
	s := g.services[key]
	if s == nil {
		s = newScope(key)
		g.services[key] = s
	}
	return s
}

// Adopt goes on with a guard on a service, or on everything, that was on before a
// restart. Its time begins anew.
func (g *Guard) Adopt(now time.Time, key rollcall.ServiceKey) {
	s := g.scope(key)
	s.on, s.since, s.holding = true, now, now
}

// Held returns how many instances a guard holds.
func (g *Guard) Held(key rollcall.ServiceKey) int {
	if key == (rollcall.ServiceKey{}) {
		return len(g.all.held)
	}
	if s := g.services[key]; s != nil {
		return len(s.held)
	}
	return 0
}

// Refused notes that an instance was seen to be dead, so that nobody holds it and
// its conviction is none on silence alone.
func (g *Guard) Refused(key rollcall.Key) {
	for _, s := range []*scope{g.services[key.ServiceKey], g.all} {
		if s != nil {
			delete(s.held, key)
			delete(s.convicted, key)
		}
	}
}

// Decide judges instances that fell silent.
func (g *Guard) Decide(now time.Time, silent []rollcall.Key) (d Decision) {
	if len(silent) == 0 {
		return d
	}
	g.begin(now, g.all, &d)
	seen := map[rollcall.ServiceKey]*scope{} // those who hold a service's instances; nil: nobody does
	for _, key := range silent {
		holder, ok := seen[key.ServiceKey]
		if !ok {
			holder = g.holder(now, g.scope(key.ServiceKey), &d)
			seen[key.ServiceKey] = holder
		}
		switch {
		case g.scope(key.ServiceKey).held[key] != nil || g.all.held[key] != nil:
		case holder != nil:
			holder.held[key] = &heldBack{since: now, probed: now}
			d.Hold = append(d.Hold, key)
			d.Probe = append(d.Probe, key)
		default:
			g.convict(now, key, &d)
		}
	}
	return d
}

// holder returns the guard that holds a service's instances, nil if none does.
func (g *Guard) holder(now time.Time, s *scope, d *Decision) *scope {
	if _, share := g.census.Count(s.key); g.all.on && share < 1 && !s.lifted.After(now) {
		return g.all
	}
	if g.begin(now, s, d); s.on {
		return s
	}
	return nil
}

func (g *Guard) convict(now time.Time, key rollcall.Key, d *Decision) {
	g.scope(key.ServiceKey).convicted[key] = now
	g.all.convicted[key] = now
	d.Convict = append(d.Convict, key)
}

// begin begins a guard if too many are silent.
func (g *Guard) begin(now time.Time, s *scope, d *Decision) {
	s.forget(now)
	count, share := g.census.Count(s.key)
	if s.on || share >= 1 || s.lifted.After(now) {
		return
	}
	gone := count.Late + len(s.convicted)
	if most := s.most(count, share); gone > most {
		s.on, s.since, s.holding = true, now, now
		d.Begun = append(d.Begun, rollcall.Guard{
			Namespace: s.key.Namespace, Service: s.key.Service, Since: now,
			Reason: fmt.Sprintf("%d of %d instances are silent or late; silence alone may take out %d a minute", gone, count.Of(), most),
		})
	}
}

// most is how many may be convicted on silence alone in one window.
func (s *scope) most(c Count, share float64) int {
	least := 1
	if s.key == (rollcall.ServiceKey{}) {
		least = 2 // a registry may be small
	}
	return max(least, int(share*float64(c.Of())+1e-9))
}

func (s *scope) forget(now time.Time) {
	maps.DeleteFunc(s.convicted, func(_ rollcall.Key, at time.Time) bool { return now.Sub(at) >= GuardWindow })
}

// Review looks at the guards that are on, about once a second.
func (g *Guard) Review(now time.Time) (d Decision) {
	scopes := slices.SortedFunc(maps.Values(g.services), func(a, b *scope) int { return a.key.Compare(b.key) })
	scopes = append(scopes, g.all)
	if slices.ContainsFunc(scopes, func(s *scope) bool { return s.on }) && g.alone() {
		g.isolated = now
	}
	for _, s := range scopes {
		s.forget(now)
		if s.on {
			g.review(now, s, &d)
		}
		if s != g.all && !s.on && len(s.convicted) == 0 && !s.lifted.After(now) {
			delete(g.services, s.key)
		}
	}
	return d
}

func (g *Guard) review(now time.Time, s *scope, d *Decision) {
	maps.DeleteFunc(s.held, func(key rollcall.Key, _ *heldBack) bool { return !g.census.Silent(key) })
	count, share := g.census.Count(s.key)
	if len(s.held) > 0 {
		s.holding = now
	} else if count.Late+len(s.convicted) <= s.most(count, share) || now.Sub(s.holding) >= GuardWindow {
		s.on = false
		d.Ended = append(d.Ended, s.key)
		return
	}
	if lasts := now.Sub(s.since); lasts >= GuardIsolated || lasts >= GuardHolds && now.Sub(g.isolated) >= GuardWindow {
		g.release(now, s, s.most(count, share)-len(s.convicted), d)
	}
	// If they are many, some of them: which is a matter of chance.
	var due []rollcall.Key
	for key, h := range s.held {
		if now.Sub(h.probed) < ProbeHeld {
			continue
		}
		h.probed = now
		if due = append(due, key); len(due) == probedAtOnce {
			break
		}
	}
	slices.SortFunc(due, compare)
	d.Probe = append(d.Probe, due...)
}

// release convicts up to n of those who are held, longest silent first, and of
// each service as many as may be.
func (g *Guard) release(now time.Time, s *scope, n int, d *Decision) {
	if n <= 0 {
		return
	}
	oldest := slices.SortedFunc(maps.Keys(s.held), func(a, b rollcall.Key) int {
		return cmp.Or(s.held[a].since.Compare(s.held[b].since), compare(a, b))
	})
	left := map[rollcall.ServiceKey]int{} // how many more of a service
	for _, key := range oldest {
		of, ok := left[key.ServiceKey]
		if !ok {
			own := g.scope(key.ServiceKey)
			count, share := g.census.Count(key.ServiceKey)
			of = own.most(count, share) - len(own.convicted)
		}
		if of > 0 {
			of--
			delete(s.held, key)
			g.convict(now, key, d)
			n--
		}
		if left[key.ServiceKey] = of; n == 0 {
			return
		}
	}
}

func compare(a, b rollcall.Key) int {
	return cmp.Or(a.Compare(b.ServiceKey), cmp.Compare(a.ID, b.ID))
}

// alone reports whether hardly anybody is heard from.
func (g *Guard) alone() bool {
	count, share := g.census.Count(rollcall.ServiceKey{})
	return count.Heard+count.Late > 2 && float64(count.Heard) < share*float64(count.Heard+count.Late)
}

// Lift ends the guard on a service, or with the zero key that on everything,
// because an operator says so: all whom it holds are convicted, and those of the
// service whom the guard on everything holds. It does not begin again for
// [GuardWindow]. Lift reports whether there was anything to end.
func (g *Guard) Lift(now time.Time, key rollcall.ServiceKey) (d Decision, was bool) {
	s := g.scope(key)
	if s.on {
		d.Ended = append(d.Ended, key)
	}
	for _, holder := range []*scope{s, g.all} {
		for held := range holder.held {
			if holder == s || held.ServiceKey == key {
				delete(holder.held, held)
				g.convict(now, held, &d)
			}
		}
	}
	if was = s.on || len(d.Convict) > 0; was {
		s.on, s.lifted = false, now.Add(GuardWindow)
	}
	return d, was
}
