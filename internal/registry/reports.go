package registry

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/load"
)

// sweepEvery is how often what callers report is looked at, unless a report asks
// for it.
const sweepEvery = 10 * time.Second

// Report takes in what a caller at an address, zero if it has none, saw of the
// instances it called. Those that are not
// registered (any more) are passed over.
func (r *Registry) Report(ctx context.Context, service rollcall.ServiceKey, from netip.Addr, rep *rollcall.CallerReport) error {
	if err := authorize(ctx, auth.Report, rollcall.Key{ServiceKey: service}); err != nil {
		return err
	}
	if err := checkService(service); err != nil {
		return err
	}
	if err := rep.Validate(); err != nil {
		return err
	}
	if err := r.synced(); err != nil {
		return err
	}
	v := r.catalog.View(service)
	if v == nil {
		return r.unknown(service)
	}
	known := *rep
	known.Instances = slices.DeleteFunc(slices.Clone(rep.Instances), func(o rollcall.Outcome) bool { return v.Get(o.ID) == nil })
	r.metrics.reports.Inc()
	if r.outliers.Report(service, from, &known) {
		select {
		case r.sweepNow <- struct{}{}:
		default:
		}
	}
	return nil
}

// sweep judges instances by what their callers report.
func (r *Registry) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	ejected := map[rollcall.Key]struct{}{} // as the leases have it
	for {
		select {
		case <-tick.C:
		case <-r.sweepNow:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.follows(ejected, r.outliers.Sweep(func(service rollcall.ServiceKey) int {
			if v := r.catalog.View(service); v != nil {
				return v.Len()
			}
			return 0
		}))
	}
}

// follows brings the leases in line with who is ejected, and keeps in ejected whom
// they have as that. An instance that was registered anew meanwhile is not, and
// no verdict would ever say so: what was reported of it is gone by the time that
// it has its lease (see trackPut), so whom a verdict came too late for shows here.
func (r *Registry) follows(ejected map[rollcall.Key]struct{}, verdicts []load.Verdict) {
	say := func(key rollcall.Key, s rollcall.Status, reason string) {
		f := rollcall.Finding{Slot: rollcall.SlotCallers, Status: s, Reason: reason, Since: r.now()}
		if _, changed := r.leases.Report(key, f); changed {
			r.judge.Anew(key)
		}
	}
	for _, v := range verdicts {
		if !v.Eject {
			delete(ejected, v.Key)
			say(v.Key, rollcall.Healthy, v.Reason)
			continue
		}
		ejected[v.Key] = struct{}{}
		say(v.Key, rollcall.Unhealthy, v.Reason)
		r.metrics.ejections.Inc()
	}
	for key := range ejected {
		if _, still := r.outliers.Ejected(key); !still {
			delete(ejected, key)
			say(key, rollcall.Healthy, "registered anew")
		}
	}
}
