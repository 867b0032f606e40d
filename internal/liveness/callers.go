package liveness

import (
	"context"
	"net/netip"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/load"
)

// sweepEvery is how often what callers report is looked at, unless a report asks
// for it.
const sweepEvery = 10 * time.Second

// CallerSays takes in what a caller at an address, zero if it has none, saw of a
// service's instances, all of which are registered.
func (l *Liveness) CallerSays(service rollcall.ServiceKey, from netip.Addr, rep *rollcall.CallerReport) {
	if l.Outliers.Report(service, from, rep) {
		select {
		case l.sweepNow <- struct{}{}:
		default:
		}
	}
}

// sweep judges instances by what their callers report.
func (l *Liveness) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	ejected := map[rollcall.Key]struct{}{} // as the leases have it
	for {
		select {
		case <-tick.C:
		case <-l.sweepNow:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.follows(ejected, l.Outliers.Sweep(func(service rollcall.ServiceKey) int {
			if v := l.o.Judge.Snapshot().View(service); v != nil {
				return v.Len()
			}
			return 0
		}))
	}
}

// follows brings the leases in line with who is ejected, and keeps in ejected whom
// they have as that. An instance that was registered anew meanwhile is not, and
// no verdict would ever say so: what was reported of it is gone by the time that
// it has its lease (see put), so whom a verdict came too late for shows here.
func (l *Liveness) follows(ejected map[rollcall.Key]struct{}, verdicts []load.Verdict) {
	say := func(key rollcall.Key, s rollcall.Status, reason string) {
		l.Say(key, rollcall.Finding{Slot: rollcall.SlotCallers, Status: s, Reason: reason, Since: l.o.Judge.Wall().UTC().Round(0)})
	}
	for _, v := range verdicts {
		if !v.Eject {
			delete(ejected, v.Key)
			say(v.Key, rollcall.Healthy, v.Reason)
			continue
		}
		ejected[v.Key] = struct{}{}
		say(v.Key, rollcall.Unhealthy, v.Reason)
		l.o.Ejected()
	}
	for key := range ejected {
		if _, still := l.Outliers.Ejected(key); !still {
			delete(ejected, key)
			say(key, rollcall.Healthy, "registered anew")
		}
	}
}
