package lease

import (
	"fmt"
	"runtime"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// schedule puts e into the wheel at its next deadline, unless it stands there
// earlier: then it is looked at too early and put back. The caller holds e's
// shard.
func (t *Table) schedule(e *entry, now time.Duration) {
	at, ok := e.next(now)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tick := max(int64((at+Tick-1)/Tick), t.tick+1)
	tick = min(tick, t.tick+int64(len(t.wheel))-1)
	if e.look != 0 && int64(e.look) <= tick {
		return
	}
	e.look = uint32(tick) // an entry found in another slot than this is stale
	slot := &t.wheel[tick%int64(len(t.wheel))]
	*slot = append(*slot, e)
}

// next returns the earliest time, as of now, at which something about e may
// change.
func (e *entry) next(now time.Duration) (at time.Duration, ok bool) {
	consider := func(d time.Duration) {
		if !ok || d < at {
			at, ok = d, true
		}
	}
	if e.shared.ttl > 0 {
		switch e.state {
		case Alive:
			if e.shared.session && !e.is(broken) {
				every := missAfter(e.shared.ttl)
				if at := e.heard() + every; at > now {
					consider(at)
					break
				}
				// Its first answer may come at any time, and others are owed from then on.
				consider(now + every)
			}
			consider(time.Duration(e.deadline.Load()))
		case Missing:
			consider(time.Duration(e.deadline.Load()))
		case Lapsed:
			consider(e.lapsed + e.shared.removeAfter)
		}
	}
	for _, r := range e.reports() {
		if r.ttl > 0 && r.failing == 0 && !r.lapsed {
			consider(r.deadline)
		}
		if r.remove > 0 && r.failing != 0 && e.state != Expired {
			consider(r.failing + r.remove)
		}
	}
	return at, ok
}

// Tick moves time on and returns the instances that are to be judged anew. If
// it comes late by more than [Pause], the process itself was paused and the
// table's time with it.
func (t *Table) Tick() (changed []rollcall.Key) {
	if !t.begun.Load() || t.ended.Load() {
		return nil
	}
	t.mu.Lock()
	t.moveOn(Tick)
	now := t.time()
	type looked struct {
		*entry
		key rollcall.Key
	}
	var due []looked
	for tick := int64(now / Tick); t.tick < tick; {
		t.tick++
		slot := &t.wheel[t.tick%int64(len(t.wheel))]
		for _, e := range *slot {
			if int64(e.look) == t.tick {
				e.look = 0
				if e.shared != nil {
					due = append(due, looked{e, e.key()})
				}
			}
		}
		*slot = nil
	}
	t.mu.Unlock()
	for n, e := range due {
		if n%1024 == 1023 {
			runtime.Gosched() // all who wait for a processor come first
			t.mu.Lock()
			t.moveOn(0) // the table's own work is no pause
			t.mu.Unlock()
		}
		if t.look(e.key, e.entry, now) {
			changed = append(changed, e.key)
		}
	}
	return changed
}

// moveOn notes that the clock has moved. What it moved beyond what was expected
// was a pause of the process, if it is more than [Pause]. The caller holds t.mu.
func (t *Table) moveOn(expected time.Duration) {
	clock := t.now()
	if late := clock - t.last - expected; late > Pause {
		t.paused.Add(int64(late))
		t.pauses += late
		t.amiss.Store(int64(clock) - t.paused.Load() + int64(comeback))
	}
	t.last = clock
	t.most.Store(int64(clock) - t.paused.Load() + int64(Tick+Pause))
}

// look moves e's state on to now and puts it back into the wheel.
func (t *Table) look(key rollcall.Key, e *entry, now time.Duration) (changed bool) {
	s, _ := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.shared == nil {
		return false
	}
	if ttl := e.shared.ttl; ttl > 0 {
		deadline := time.Duration(e.deadline.Load())
		switch {
		case e.state <= Missing && deadline <= now:
			e.state, e.lapsed, changed = Silent, now, true
		case e.state == Alive && e.pinged() && e.heard()+missAfter(ttl) <= now:
			e.state, changed = Missing, true
		case e.state == Lapsed && e.lapsed+e.shared.removeAfter <= now:
			e.state, changed = Expired, true
			e.extra().why = fmt.Sprintf("no renewal for %v", rollcall.Duration(ttl+e.shared.removeAfter))
		}
	}
	reports := e.reports()
	for i := range reports {
		r := &reports[i]
		if r.ttl > 0 && r.failing == 0 && !r.lapsed && r.deadline <= now {
			changed = true
			if r.lapsed = r.finding.Status.Usable(); !r.lapsed { // it never was good
				r.fail(now, "")
			}
		}
		if r.remove > 0 && r.failing != 0 && r.failing+r.remove <= now && e.state != Expired {
			e.state, changed = Expired, true
			name, _ := r.finding.Slot.Check()
			e.extra().why = fmt.Sprintf("check %s failed for %v", name, rollcall.Duration(r.remove))
		}
	}
	t.schedule(e, now)
	return changed
}

// fail has it count that a check is not reported any more; cause is how the
// instance was seen to be dead, if it was.
func (r *report) fail(now time.Duration, cause string) {
	r.lapsed, r.failing = false, max(now, 1)
	r.finding.Status, r.finding.Reason, r.finding.Hard = rollcall.Unhealthy, r.silence(), cause != ""
	if cause != "" {
		r.finding.Reason += "; " + cause
	}
}

func (r *report) silence() string {
	return fmt.Sprintf("not reported within %v", rollcall.Duration(r.ttl))
}

// Paused returns for how long in all the process is known to have been paused.
func (t *Table) Paused() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pauses
}
