package registry

import (
	"context"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
)

// sweepEvery is how often what callers report is looked at, unless a report asks
// for it.
const sweepEvery = 10 * time.Second

// Report takes in what a caller saw of the instances it called. Those that are not
// registered (any more) are passed over.
func (r *Registry) Report(ctx context.Context, service rollcall.ServiceKey, rep *rollcall.CallerReport) error {
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
	if r.outliers.Report(service, &known) {
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
	for {
		select {
		case <-tick.C:
		case <-r.sweepNow:
		case <-ctx.Done():
			return ctx.Err()
		}
		verdicts := r.outliers.Sweep(func(service rollcall.ServiceKey) int {
			if v := r.catalog.View(service); v != nil {
				return v.Len()
			}
			return 0
		})
		for _, v := range verdicts {
			f := rollcall.Finding{Slot: rollcall.SlotCallers, Status: rollcall.Healthy, Reason: v.Reason, Since: r.now()}
			if v.Eject {
				f.Status = rollcall.Unhealthy
				r.metrics.ejections.Inc()
			}
			if _, changed := r.leases.Report(v.Key, f); changed {
				r.judge.Anew(v.Key)
			}
		}
	}
}
