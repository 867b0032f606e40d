package registry

import (
	"context"
	"net/netip"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
)

// Report takes in what a caller at an address, zero if it has none, saw of the
// instances it called. Those that are not registered (any more) are passed over.
func (r *Registry) Report(ctx context.Context, service rollcall.ServiceKey, from netip.Addr, rep *rollcall.CallerReport) error {
	if err := authorize(ctx, auth.Report, rollcall.Key{ServiceKey: service}); err != nil {
		return err
	}
	if err := service.Validate(); err != nil {
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
	r.live.CallerSays(service, from, &known)
	return nil
}
