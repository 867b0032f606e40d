package registry

import (
	"context"
	"fmt"
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
	if err := r.may(ctx, auth.Hold, rollcall.Key{}); err != nil {
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
		if err := n.Validate(fmt.Sprintf("renew[%d].", i)); err != nil {
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
	for name := range rep.Checks {
		if !r.live.Leases.Has(item.Key(), rollcall.CheckSlot(name)) {
			return rollcall.Invalid("checks."+name, "is not a check of type ttl of this instance; declare it when registering")
		}
	}
	return rep.Validate(r.o.Limits)
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
	switch item := r.catalog.Item(key); {
	case item == nil:
		r.soft.Drop(key) // it was removed meanwhile
	case rep.Position != nil:
		r.move(item, *rep.Position)
	}
}

// move notes where an instance is, unless it is known to be there.
func (r *Registry) move(item *catalog.Item, p rollcall.Position) {
	key := item.Key()
	if at, moved := r.soft.Position(key); moved && at == p || !moved && samePosition(record.Position(item.Record()), &p) {
		return
	}
	r.soft.Move(key, p)
	if r.catalog.Item(key) == nil {
		r.soft.Drop(key) // it was removed meanwhile
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
