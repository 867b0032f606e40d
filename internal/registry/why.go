package registry

import (
	"context"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// Why explains the answer to a query: of each instance of the service, or of the
// one called id, why it is in the answer or is not, and on what evidence.
func (r *Registry) Why(ctx context.Context, q *rollcall.Query, id string) (rollcall.Explanation, error) {
	key := q.Key()
	if err := authorize(ctx, auth.Inspect, rollcall.Key{ServiceKey: key, ID: id}); err != nil {
		return rollcall.Explanation{}, err
	}
	asked := *q
	asked.Pick = 0 // to be asked why is no pick
	a, err := r.Resolve(ctx, &asked)
	if err != nil {
		return rollcall.Explanation{}, err
	}
	plan := a.Plan
	if q.Pick > 0 {
		if plan, err = r.compile(ctx, q); err != nil {
			return rollcall.Explanation{}, err
		}
	}
	all, result, err := plan.Explain(key, a.World)
	if err != nil {
		return rollcall.Explanation{}, err
	}
	x := rollcall.Explanation{
		Namespace: key.Namespace, Service: a.Name, Revision: result.Revision, At: q.At, Panic: result.Panic, Total: result.Total,
		Instances: []rollcall.Reason{},
	}
	if q.At.IsZero() {
		x.Guard = r.guardOf(key)
	}
	for _, p := range all {
		if id != "" && p.Item.ID() != id {
			continue
		}
		n := r.reason(p, q.At.IsZero())
		if of := p.Item.Key().ServiceKey; a.Plan.Named() {
			n.Namespace, n.Service = of.Namespace, of.Service
		}
		x.Instances = append(x.Instances, n)
	}
	if id != "" && len(x.Instances) == 0 {
		return x, r.noInstance(rollcall.Key{ServiceKey: key, ID: id})
	}
	return x, nil
}

// guardOf returns the guard that a service's instances are under.
func (r *Registry) guardOf(key rollcall.ServiceKey) *rollcall.Guard {
	guards := r.live.Judge.Guards()
	for _, of := range []rollcall.ServiceKey{key, {}} {
		if n := slices.IndexFunc(guards, func(g rollcall.Guard) bool { return g.Key() == of }); n >= 0 {
			return &guards[n]
		}
	}
	return nil
}

// reason explains one instance, with what is known beyond the log if it is about
// now.
func (r *Registry) reason(p resolve.Placed, now bool) rollcall.Reason {
	i := p.Item
	n := rollcall.Reason{ID: i.ID(), In: p.In, Why: p.Why, EffectiveWeight: p.Weight, Health: i.Health(), Override: i.Override()}
	for _, f := range i.Findings() {
		n.Evidence = append(n.Evidence, rollcall.Evidence{Source: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard, Since: f.Since})
	}
	if now {
		n.Evidence = append(n.Evidence, r.live.Heard(i, r.now())...)
	}
	slices.SortStableFunc(n.Evidence, func(a, b rollcall.Evidence) int { return b.Since.Compare(a.Since) })
	return n
}
