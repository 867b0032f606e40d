package registry

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/session"
)

// Renew keeps an instance's lease and takes in what it says of itself. An
// instance that is not known gets ErrNotFound: it should register again.
// Nothing of a renewal is logged unless it changes a verdict.
func (r *Registry) Renew(ctx context.Context, key rollcall.Key, rep *rollcall.Report) (rollcall.Renewal, error) {
	if err := authorize(ctx, auth.Register, key); err != nil {
		return rollcall.Renewal{}, err
	}
	item, err := r.renewable(key)
	if err != nil {
		return rollcall.Renewal{}, err
	}
	if rep != nil {
		if err := r.checkReport(item, rep); err != nil {
			return rollcall.Renewal{}, err
		}
	}
	ttl, err := r.renew(key)
	if err != nil {
		return rollcall.Renewal{}, err
	}
	if rep != nil {
		r.takeIn(key, rep)
	}
	return rollcall.Renewal{TTL: rollcall.Duration(ttl), Revision: item.Revision()}, nil
}

func (r *Registry) renewable(key rollcall.Key) (*catalog.Item, error) {
	item := r.catalog.Item(key)
	if item == nil {
		return nil, r.registerAgain(key)
	}
	return item, nil
}

func (r *Registry) renew(key rollcall.Key) (time.Duration, error) {
	ttl, known := r.live.Renew(key)
	if !known {
		return 0, r.registerAgain(key)
	}
	r.metrics.renewals.Inc()
	return ttl, nil
}

func (r *Registry) registerAgain(key rollcall.Key) error {
	if err := r.synced(); err != nil {
		return err
	}
	r.sawForeign()
	r.metrics.unknownRenewals.Inc()
	return &rollcall.Error{
		Kind:   rollcall.ErrNotFound,
		Detail: fmt.Sprintf("instance %s of service %s is not registered; register it again", key.ID, key.ServiceKey),
	}
}

// OpenSession opens a session, a lease that is bound to a stream, for a TTL (0:
// the default), or takes that of a token up again; see [session.Table.Open].
func (r *Registry) OpenSession(ctx context.Context, token string, ttl time.Duration) (*session.Session, bool, error) {
	if err := authorize(ctx, auth.Hold, rollcall.Key{}); err != nil {
		return nil, false, err
	}
	if err := r.synced(); err != nil {
		return nil, false, err
	}
	s, resumed, err := r.session.Open(token, ttl)
	if err == nil && token != "" && !resumed {
		r.sawForeign()
	}
	return s, resumed, err
}

// RenewMany renews many instances and returns those that are not known.
func (r *Registry) RenewMany(ctx context.Context, rs []rollcall.Renew) (renewed int, unknown []rollcall.Key, err error) {
	if err := r.synced(); err != nil {
		return 0, nil, err
	}
	for i := range rs {
		n := &rs[i]
		if err := authorize(ctx, auth.Register, n.Key); err != nil {
			return renewed, unknown, err
		}
		if n.Load == nil && n.Position == nil {
			continue
		}
		if err := checkSoft(fmt.Sprintf("renew[%d].", i), n.Load, n.Position); err != nil {
			return renewed, unknown, err
		}
	}
	for i := range rs {
		n := &rs[i]
		if _, err := r.renew(n.Key); err != nil {
			unknown = append(unknown, n.Key)
			continue
		}
		renewed++
		r.takeIn(n.Key, &rollcall.Report{Load: n.Load, Position: n.Position})
	}
	return renewed, unknown, nil
}

// checkReport refuses a report before any of it is taken in.
func (r *Registry) checkReport(item *catalog.Item, rep *rollcall.Report) error {
	if len(rep.Note) > r.o.Limits.ValueBytes {
		return rollcall.Invalid("note", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(rep.Note), r.o.Limits.ValueBytes))
	}
	for name, c := range rep.Checks {
		field := "checks." + name
		switch {
		case !r.live.Leases.Has(item.Key(), rollcall.CheckSlot(name)):
			return rollcall.Invalid(field, "is not a check of type ttl of this instance; declare it when registering")
		case c.Status != rollcall.Healthy && c.Status != rollcall.Degraded && c.Status != rollcall.Unhealthy:
			return rollcall.Invalid(field+".status", "must be healthy, degraded or unhealthy")
		case len(c.Note) > r.o.Limits.ValueBytes:
			return rollcall.Invalid(field+".note", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(c.Note), r.o.Limits.ValueBytes))
		}
	}
	if rep.Status == rollcall.Suspect {
		return rollcall.Invalid("status", "suspect is the registry's to say; use starting, healthy, degraded, unhealthy or draining")
	}
	return checkSoft("", rep.Load, rep.Position)
}

func checkSoft(field string, l *rollcall.Load, p *rollcall.Position) error {
	if p != nil && !(math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180) {
		return rollcall.Invalid(field+"position", fmt.Sprintf("%v, %v is not a latitude (-90 to 90) and longitude (-180 to 180)", p.Lat, p.Lon))
	}
	if l == nil {
		return nil
	}
	for name, f := range map[string]float64{
		"utilization": l.Utilization, "in_flight": float64(l.InFlight), "rps": l.RPS, "errors": l.Errors,
		"latency_p50_ms": l.LatencyP50, "latency_p99_ms": l.LatencyP99,
	} {
		if !(f >= 0 && f <= 1e12) {
			return rollcall.Invalid(field+"load."+name, fmt.Sprintf("is %v; 0 and up are allowed", f))
		}
	}
	return nil
}

// takeIn keeps what a renewed instance reports.
func (r *Registry) takeIn(key rollcall.Key, rep *rollcall.Report) {
	if rep.Status != 0 {
		r.live.Say(key, rollcall.Finding{Slot: rollcall.SlotStatus, Status: rep.Status, Reason: strings.Clone(rep.Note), Since: r.now()})
	}
	for name, c := range rep.Checks {
		r.live.Say(key, rollcall.Finding{Slot: rollcall.CheckSlot(name), Status: c.Status, Reason: strings.Clone(c.Note), Since: r.now()})
	}
	if rep.Load != nil {
		r.soft.Report(key, *rep.Load)
	}
	if rep.Position != nil {
		if at := r.position(key, r.catalog.Item(key)); at == nil || *at != *rep.Position {
			r.soft.Move(key, *rep.Position)
		}
	}
}

// position returns where an instance is: where it has moved, or else where it
// was registered; nil if that is not known.
func (r *Registry) position(key rollcall.Key, item *catalog.Item) *rollcall.Position {
	if p, ok := r.soft.Position(key); ok {
		return &p
	}
	if item == nil {
		return nil
	}
	return record.Position(item.Record())
}
