package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// past returns the state of a service, or with the zero key that of everything,
// as it was at a time: today's, with undone what history says happened since. One
// is made at a time; the others wait.
func (r *Registry) past(ctx context.Context, at time.Time, service rollcall.ServiceKey) (*catalog.Snapshot, error) {
	return r.pasts.Get(ctx, at, service, r.o.Wall(), func() (*catalog.Snapshot, error) { return r.makePast(ctx, at, service) })
}

func (r *Registry) makePast(ctx context.Context, at time.Time, service rollcall.ServiceKey) (*catalog.Snapshot, error) {
	s := r.catalog.Snapshot()
	// History tells of a revision once that is published. That it tells of later
	// ones as well does no harm: what they changed stood in this one.
	if err := r.applied.Wait(ctx, s.Revision()); err != nil {
		return nil, err
	}
	before, err := r.history.Since(at, service)
	if err != nil {
		return nil, err
	}
	return r.catalog.Past(s, service, before)
}

// answerPast answers a query about the past.
func (r *Registry) answerPast(ctx context.Context, q *rollcall.Query, plan *resolve.Plan) (*resolve.Answer, error) {
	switch {
	case !q.After.IsZero():
		return nil, rollcall.Invalid("after", "the past does not change; leave out after or at")
	case q.Pick > 0:
		return nil, rollcall.Invalid("pick", "chooses by how busy instances are, which is not known of the past; leave it out")
	case q.Subset != "":
		return nil, rollcall.Invalid("subset", "depends on who else asked, which is not known of the past; leave it out")
	case q.MinRevision != 0 || q.Consistent || q.MaxAge != 0:
		return nil, rollcall.Invalid("at", "asks for the past, and min_revision, consistent and max_age for the present; leave one out")
	}
	if err := r.synced(); err != nil {
		return nil, err
	}
	key := q.Key()
	of := key
	if plan.Named() || len(plan.Beside()) > 0 {
		of = rollcall.ServiceKey{} // there may be several
	}
	s, err := r.past(ctx, q.At, of)
	if err != nil {
		return nil, err
	}
	w := &resolve.World{View: s.View}
	a := &resolve.Answer{Key: key, Name: key.Service, Plan: plan, World: w, Log: s.Log(), Revision: s.Revision(), Age: r.age(), Past: true}
	switch v := s.View(key); {
	case v != nil:
		a.Name = v.Name()
	case !plan.Named():
		return nil, &rollcall.Error{
			Kind:   rollcall.ErrNotFound,
			Detail: fmt.Sprintf("service %s had no instance at %s", key, q.At.UTC().Format(time.RFC3339)),
		}
	}
	if plan.Steady() {
		a.View = s.View(key)
		return a, nil
	}
	a.Result, err = plan.Evaluate(key, w)
	return a, err
}
