package judge

import (
	"fmt"
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// Flap damping, after RFC 2439 and RFC 7196: each time an instance's verdict turns
// from usable to not, or back, it is charged a penalty, which decays. Beyond a
// limit its verdict is followed no more: it stays in answers, degraded, and
// watchers are left alone. It is followed again when it has been steady for long
// enough, and at once when it is silent or seen to be dead: who flaps is at least
// there.
const (
	flapPenalty  = 1000
	flapLimit    = 2500 // the third turn within a minute or so
	flapRelease  = 1500
	flapHalfLife = time.Minute
	flapLongest  = 10 * time.Minute
)

// flap is what is held against one instance.
type flap struct {
	of      rollcall.Revision // the incarnation: another one begins without a past
	penalty float64
	at      time.Time // of which the penalty is
	usable  bool      // as it was last found
	turns   int
	damped  time.Time // since when; zero: it is not
}

// penaltyAt returns what is left of the penalty.
func (f *flap) penaltyAt(now time.Time) float64 {
	return f.penalty * math.Exp2(-float64(now.Sub(f.at))/float64(flapHalfLife))
}

// turn takes in how an instance is found to be, and reports whether it is damped.
func (f *flap) turn(usable bool, now time.Time) bool {
	if usable != f.usable {
		f.penalty = f.penaltyAt(now) + flapPenalty
		f.at, f.usable = now, usable
		f.turns++
		if f.damped.IsZero() && f.penalty >= flapLimit {
			f.damped = now
		}
	}
	return !f.damped.IsZero()
}

// released reports whether a damped instance has been steady for long enough, or
// damped for too long.
func (f *flap) released(now time.Time) bool {
	return f.penaltyAt(now) <= flapRelease || now.Sub(f.damped) >= flapLongest
}

// flaps are the instances whose verdict turned lately.
type flaps map[rollcall.Key]*flap

// damp returns which of the findings about an instance are to be written, at a
// time of the wall clock; now is that of one that never jumps.
func (fs flaps) damp(key rollcall.Key, item *catalog.Item, ev *lease.Evidence, found []rollcall.Finding, at, now time.Time) []rollcall.Finding {
	f := fs[key]
	if f != nil && f.of != item.Incarnation() {
		delete(fs, key)
		f = nil
	}
	_, marked := item.Finding(rollcall.SlotFlap)
	if f == nil && len(found) == 0 && !marked {
		return nil
	}
	if fs == nil || item.Override() != nil || hard(ev) {
		delete(fs, key)
		return unmark(found, marked)
	}
	status := after(item, found)
	if status != rollcall.Unhealthy && !status.Usable() {
		// It starts or drains, as it says itself.
		return unmark(found, marked && (f == nil || f.damped.IsZero()))
	}
	if f == nil {
		was := item.Status()
		if was != rollcall.Unhealthy && !was.Usable() || was.Usable() == status.Usable() {
			return unmark(found, marked)
		}
		f = &flap{of: item.Incarnation(), usable: was.Usable(), at: now}
		fs[key] = f
	}
	if !f.turn(status.Usable(), now) {
		return unmark(found, marked)
	}
	if !status.Usable() {
		found = nil
	}
	if !marked {
		found = append(found, rollcall.Finding{
			Slot: rollcall.SlotFlap, Status: rollcall.Degraded, Since: at,
			Reason: fmt.Sprintf("the verdict turned %d times; it is followed again once it is steady", f.turns),
		})
	}
	return found
}

// unmark adds that an instance flaps no more, if the log says that it does.
func unmark(found []rollcall.Finding, marked bool) []rollcall.Finding {
	if marked {
		found = append(found, rollcall.Finding{Slot: rollcall.SlotFlap, Status: rollcall.Healthy})
	}
	return found
}

// hard reports whether there is evidence against an instance that is beyond
// flapping.
func hard(ev *lease.Evidence) bool {
	if ev.State >= lease.Lapsed {
		return true
	}
	for _, f := range ev.Reports {
		if f.Status == rollcall.Unhealthy && (f.Hard || f.Slot == rollcall.SlotCallers) {
			return true
		}
	}
	return false
}

// after returns the verdict that an instance would have with further findings,
// were it not for damping.
func after(item *catalog.Item, found []rollcall.Finding) rollcall.Status {
	var fs []rollcall.Finding
	for _, f := range item.Findings() {
		if f.Slot != rollcall.SlotFlap {
			fs = append(fs, f)
		}
	}
next:
	for _, f := range found {
		for n := range fs {
			if fs[n].Slot == f.Slot {
				fs[n] = f
				continue next
			}
		}
		fs = append(fs, f)
	}
	status, _ := rollcall.Judge(fs, nil)
	return status
}

// review forgets who has been steady, and returns those whose verdicts are to be
// looked at again.
func (fs flaps) review(now time.Time) (again []rollcall.Key) {
	for key, f := range fs {
		switch {
		case !f.damped.IsZero() && f.released(now):
			f.damped = time.Time{}
			f.penalty, f.at = min(f.penaltyAt(now), flapRelease), now
			again = append(again, key)
		case f.damped.IsZero() && f.penaltyAt(now) < flapPenalty/10:
			delete(fs, key)
		}
	}
	return again
}
