package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// Why explains the answer to a query: of each instance of the service, or of the
// one called id, why it is in the answer or is not, and on what evidence.
func (r *Registry) Why(ctx context.Context, q *rollcall.Query, id string) (rollcall.Explanation, error) {
	key := q.Key()
	if err := authorize(ctx, auth.Inspect, rollcall.Key{ServiceKey: key, ID: id}); err != nil {
		return rollcall.Explanation{}, err
	}
	a, err := r.Resolve(ctx, q)
	if err != nil {
		return rollcall.Explanation{}, err
	}
	x := rollcall.Explanation{
		Namespace: key.Namespace, Service: a.View.Name(), Revision: a.View.Revision(), At: q.At, Panic: a.View.Panic(),
		Instances: []rollcall.Reason{},
	}
	if q.At.IsZero() {
		x.Guard = r.guardOf(key)
	}
	all, total := a.Plan.Explain(a.View)
	x.Total = total
	for _, p := range all {
		if id != "" && p.Item.ID() != id {
			continue
		}
		x.Instances = append(x.Instances, r.reason(p, q.At.IsZero()))
	}
	if id != "" && len(x.Instances) == 0 {
		return x, r.noInstance(rollcall.Key{ServiceKey: key, ID: id})
	}
	return x, nil
}

// guardOf returns the guard that a service's instances are under.
func (r *Registry) guardOf(key rollcall.ServiceKey) *rollcall.Guard {
	guards := r.judge.Guards()
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
	n := rollcall.Reason{ID: i.ID(), In: p.In, Why: p.Why, Health: i.Health(), Override: i.Override()}
	for _, f := range i.Findings() {
		n.Evidence = append(n.Evidence, rollcall.Evidence{Source: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard, Since: f.Since})
	}
	if now {
		n.Evidence = append(n.Evidence, r.heard(i)...)
	}
	slices.SortStableFunc(n.Evidence, func(a, b rollcall.Evidence) int { return b.Since.Compare(a.Since) })
	return n
}

// heard returns what speaks for an instance, or is no finding (yet).
func (r *Registry) heard(i *catalog.Item) (es []rollcall.Evidence) {
	ev, ok := r.leases.Evidence(i.Key())
	if !ok || ev.Incarnation != i.Incarnation() {
		return nil
	}
	if _, found := i.Finding(rollcall.SlotLease); !found && ev.TTL > 0 && ev.State == lease.Alive && !ev.Broken {
		es = append(es, rollcall.Evidence{
			Source: rollcall.SlotLease, Status: rollcall.Healthy, Since: r.now().Add(-ev.Silence),
			Reason: fmt.Sprintf("heard from %v ago, within its TTL of %v", ev.Silence.Round(100*time.Millisecond), rollcall.Duration(ev.TTL)),
		})
	}
	if s, ok := r.outliers.Explain(i.Key()); ok {
		status := rollcall.Healthy
		if _, ejected := r.outliers.Ejected(i.Key()); ejected {
			status = rollcall.Unhealthy
		}
		text := fmt.Sprintf("%.1f %% of %.0f requests of %d callers succeeded", 100*s.SuccessRate, s.Requests, s.Callers)
		if s.Mean > 0 {
			text += fmt.Sprintf("; the service's mean is %.1f %%, σ %.1f", 100*s.Mean, 100*s.Sigma)
		}
		if s.Agreeing > 0 {
			text += fmt.Sprintf("; it fails beyond the others for %d", s.Agreeing)
		}
		es = append(es, rollcall.Evidence{Source: rollcall.SlotCallers, Status: status, Reason: text})
	}
	return es
}
