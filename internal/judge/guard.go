package judge

import (
	"context"
	"iter"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

const (
	// probers is how many instances that fell silent are looked at at once, and
	// probesWaiting how many may wait for that. Those that find no room are not
	// probed now: it is a sample that tells whether a service is up.
	probers       = 64
	probesWaiting = 4096
	// counted is how many instances of a service are looked at to learn how many of
	// them are late.
	counted = 4096
)

// decide has the guard judge those who fell silent.
func (j *Judge) decide(keys []rollcall.Key) {
	var silent []rollcall.Key
	j.guarding.Lock()
	defer j.guarding.Unlock()
	for _, key := range keys {
		is, dead := j.o.Leases.Silent(key)
		switch {
		case dead:
			j.guard.Refused(key)
			j.o.Leases.Convict(key)
		case is:
			silent = append(silent, key)
		}
	}
	j.apply(j.guard.Decide(time.Now(), silent))
}

// review looks at the guards that are on.
func (j *Judge) review() {
	j.guarding.Lock()
	defer j.guarding.Unlock()
	d := j.guard.Review(time.Now())
	j.apply(d)
	j.Anew(d.Convict...)
	j.wake()
}

// apply does what the guard decided, but for the verdicts. The caller holds
// guarding.
func (j *Judge) apply(d lease.Decision) {
	for _, key := range d.Convict {
		j.o.Leases.Convict(key)
		j.toProbe(key) // to know, rather than to presume
	}
	for _, key := range d.Hold {
		j.o.Leases.Hold(key)
	}
	for _, key := range d.Probe {
		j.toProbe(key)
	}
	at := j.now()
	for _, g := range d.Begun {
		g.Since = at
		j.o.Logger.Warn("a guard begins: so many instances are silent that silence alone is not believed", "service", g.Key(), "why", g.Reason)
		j.metrics.guards.Inc()
		j.guards = append(j.guards, rollcall.Change{
			At: at, By: "rollcall", Via: "guard", Why: g.Reason, Body: rollcall.GuardPut{Service: g.Key(), Guard: &g},
		})
	}
	for _, key := range d.Ended {
		j.o.Logger.Info("a guard ends", "service", key)
		j.guards = append(j.guards, rollcall.Change{At: at, By: "rollcall", Via: "guard", Why: "nobody is held any more", Body: rollcall.GuardPut{Service: key}})
	}
}

// wake has a round made if guards are to be written. The caller holds guarding.
func (j *Judge) wake() {
	if len(j.guards) > 0 {
		select {
		case j.token <- struct{}{}:
		default:
		}
	}
}

// writeGuards writes which guards began and ended, in order.
func (j *Judge) writeGuards(ctx context.Context) error {
	j.guarding.Lock()
	changes := j.guards
	j.guards = nil
	j.guarding.Unlock()
	if len(changes) == 0 {
		return nil
	}
	_, err := j.o.Append(ctx, rollcall.Batch{Changes: changes})
	if err != nil {
		j.guarding.Lock()
		j.guards = append(changes, j.guards...)
		j.wake()
		j.guarding.Unlock()
	}
	return err
}

// Begin takes up the guards that the log has.
func (j *Judge) Begin() {
	j.guarding.Lock()
	defer j.guarding.Unlock()
	for _, g := range j.o.Snapshot().Guards() {
		j.guard.Adopt(time.Now(), g.Key())
	}
}

// Guards returns the guards that are on, that on everything first.
func (j *Judge) Guards() (gs []rollcall.Guard) {
	j.guarding.Lock()
	defer j.guarding.Unlock()
	for _, g := range j.o.Snapshot().Guards() {
		shown := *g
		shown.Held = j.guard.Held(g.Key())
		gs = append(gs, shown)
	}
	return gs
}

// EndGuard ends the guard on a service, or with the zero key that on everything,
// in somebody's name. It reports whether there was one.
func (j *Judge) EndGuard(key rollcall.ServiceKey, by, via string) bool {
	j.guarding.Lock()
	defer j.guarding.Unlock()
	d, was := j.guard.Lift(time.Now(), key)
	if !was {
		return false
	}
	before := len(j.guards)
	j.apply(d)
	for i := range j.guards[before:] {
		c := &j.guards[before+i]
		c.By, c.Via, c.Why = by, via, "ended by hand"
	}
	j.Anew(d.Convict...)
	j.wake()
	return true
}

// toProbe asks for a probe of an instance.
func (j *Judge) toProbe(key rollcall.Key) {
	if j.o.Probe == nil {
		return
	}
	select {
	case j.probes <- key:
	default:
	}
}

// probe looks at instances that fell silent. One that refuses is dead; that one
// answers, or does not, is no evidence.
func (j *Judge) probe(ctx context.Context) error {
	for {
		select {
		case key := <-j.probes:
			item := j.o.Snapshot().Item(key)
			ev, ok := j.o.Leases.Evidence(key)
			silent, _ := j.o.Leases.Silent(key)
			lapsed := ev.State == lease.Lapsed && !ev.Broken // a broken session says enough
			if item == nil || !ok || ev.Refused || !silent && !lapsed {
				continue
			}
			j.metrics.probes.Inc()
			if refused, cause := j.o.Probe(ctx, item); refused && j.o.Leases.Refuse(key, cause) {
				j.Anew(key)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// census counts leases for the guard.
type census struct{ *Judge }

// Count implements [lease.Census].
func (c census) Count(service rollcall.ServiceKey) (lease.Count, float64) {
	share := lease.GuardShare
	if s := c.o.Defaults.GuardShare; s != nil {
		share = *s
	}
	if service == (rollcall.ServiceKey{}) {
		return c.o.Leases.CountAll(), share
	}
	v := c.o.Snapshot().View(service)
	if v == nil {
		return lease.Count{}, share
	}
	if s := v.Settings().GuardShare; s != nil {
		share = *s
	}
	keys, some := sample(v)
	return c.o.Leases.Count(keys).Times(v.Len(), some), share
}

// sample yields the keys of a service's instances, evenly chosen if there are
// many, and tells how many those are.
func sample(v *catalog.View) (keys iter.Seq[rollcall.Key], some int) {
	every := max(1, (v.Len()+counted-1)/counted)
	return func(yield func(rollcall.Key) bool) {
		n := 0
		for i := range v.All() {
			if n%every == 0 && !yield(i.Key()) {
				return
			}
			n++
		}
	}, (v.Len() + every - 1) / every
}

// Silent implements [lease.Census].
func (c census) Silent(key rollcall.Key) bool {
	is, _ := c.o.Leases.Silent(key)
	return is
}
