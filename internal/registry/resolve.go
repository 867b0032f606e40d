package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// freshWait is how long a query with min_revision or consistent waits unless it
// says.
const freshWait = 5 * time.Second

// compile turns a query into a plan: of the named query that its name means, or
// else of the service. The caller must be allowed to read all that it asks.
func (r *Registry) compile(ctx context.Context, q *rollcall.Query) (*resolve.Plan, error) {
	nq := r.named(q)
	if nq == nil && q.Near == "" {
		return r.compiler.Compile(q)
	}
	compile := r.compiler.Compile
	if nq != nil {
		compile = func(q *rollcall.Query) (*resolve.Plan, error) { return r.compiler.CompileNamed(nq, q) }
	}
	plan, err := compile(q)
	if err != nil {
		return nil, err
	}
	for _, key := range plan.Asks(q.Key()) {
		if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// named returns the named query that a query's name means, nil if it is none.
func (r *Registry) named(q *rollcall.Query) *rollcall.NamedQuery {
	if s := r.catalog.Snapshot(); s.NamedQueries() > 0 && q.Service != "" {
		return s.Query(q.Key())
	}
	return nil
}

// Resolve answers a query: at once, or when the snapshot is as new as the query
// asks for, or, with After and Wait, when its result is another than the one of
// the token After, or Wait has passed.
func (r *Registry) Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error) {
	key := q.Key()
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return nil, err
	}
	if err := key.Validate(); err != nil {
		return nil, err
	}
	if q.At.IsZero() && (q.MinRevision != 0 || q.MaxAge != 0 || q.Consistent) {
		if err := r.fresh(ctx, q); err != nil {
			return nil, err
		}
	}
	plan, err := r.compile(ctx, q)
	if err != nil {
		return nil, err
	}
	if !q.At.IsZero() {
		return r.answerPast(ctx, q, plan)
	}
	if err := r.synced(); err != nil {
		return nil, err
	}
	switch {
	case q.After.IsZero():
		return r.answer(key, plan)
	case !plan.Whole():
		return r.pollResult(ctx, q, plan)
	}
	return r.poll(ctx, q, plan)
}

func (r *Registry) answer(key rollcall.ServiceKey, plan *resolve.Plan) (*resolve.Answer, error) {
	if !plan.Steady() {
		return r.work(key, plan, r.catalog.Snapshot(), nil)
	}
	generation := r.soft.Generation(key) // first: what is older than the view is overwritten by it
	s := r.catalog.Snapshot()
	v := r.catalog.View(key)
	if v != nil && v.Revision() > s.Revision() {
		v = s.View(key) // the snapshot with the newest is only about to be there
	}
	if v == nil {
		return nil, r.unknown(key)
	}
	return &resolve.Answer{
		Key: key, Name: v.Name(), View: v, Plan: plan, World: &r.world, Log: s.Log(), Generation: generation, Revision: s.Revision(), Age: r.age(),
	}, nil
}

// work works out the answer to a plan, of a snapshot. Places, if not nil, are those
// that were measured from before.
func (r *Registry) work(key rollcall.ServiceKey, plan *resolve.Plan, s *catalog.Snapshot, places map[rollcall.Key]resolve.Place) (*resolve.Answer, error) {
	w := r.world
	w.View, w.Places = s.View, places
	a := &resolve.Answer{Key: key, Name: key.Service, Plan: plan, World: &w, Log: s.Log(), Revision: s.Revision(), Age: r.age()}
	if nq := s.Query(key); plan.Named() && nq != nil {
		a.Name = nq.Name
	} else if v := s.View(key); v != nil {
		a.Name = v.Name()
	} else if !plan.Named() {
		return nil, r.unknown(key)
	}
	if _, settling := r.settling(); settling && plan.Named() { // nobody may be a service that is not back yet
		for _, asked := range plan.Services(key) {
			if s.View(asked) == nil {
				return nil, r.unknown(asked)
			}
		}
	}
	var err error
	a.Result, err = plan.Evaluate(key, &w)
	return a, err
}

// age returns how long ago the snapshot was known to be the newest.
func (r *Registry) age() time.Duration {
	if r.inStep.Load() {
		return 0
	}
	return time.Since(r.started) - time.Duration(r.lastStep.Load())
}

// fresh waits until the snapshot is as new as q asks for.
func (r *Registry) fresh(ctx context.Context, q *rollcall.Query) error {
	if q.MaxAge != 0 {
		if age := r.age(); age > q.MaxAge {
			return &rollcall.Error{
				Kind: rollcall.ErrNotSynced, Field: "max_age", RetryAfter: time.Second,
				Detail: fmt.Sprintf("what is known here is %v old; leave out max_age to get it all the same", age.Round(time.Millisecond)),
			}
		}
	}
	want := q.MinRevision
	if q.Consistent {
		if !r.inStep.Load() {
			return &rollcall.Error{
				Kind: rollcall.ErrNotSynced, Field: "consistent", RetryAfter: time.Second,
				Detail: "the log is out of reach, so nobody can tell whether this is its newest state; leave out consistent to get what is known",
			}
		}
		want = max(want, rollcall.Revision(r.acked.Load()))
	}
	wait := q.Wait
	if wait == 0 || !q.After.IsZero() {
		wait = freshWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := r.applied.Wait(ctx, want); err != nil {
		if context.Cause(ctx) != context.DeadlineExceeded {
			return err
		}
		return &rollcall.Error{
			Kind: rollcall.ErrTimeout, Field: "min_revision", RetryAfter: time.Second,
			Detail: fmt.Sprintf("revision %d was not reached within %v; the newest is %d", want, wait, r.hub.Revision()),
		}
	}
	return nil
}

// poll waits for the result of a query to differ from the one after was the
// token of.
func (r *Registry) poll(ctx context.Context, q *rollcall.Query, plan *resolve.Plan) (*resolve.Answer, error) {
	if q.After.Log != r.catalog.Snapshot().Log() {
		r.sawForeign()
	}
	caller, err := callerOf(q)
	if err != nil {
		return nil, err
	}
	if q.Wait == 0 {
		caller = "" // a look, not a watch
	}
	sub := r.hub.Poll(q.Key(), watch.Selection{Text: plan.Text(), Match: plan.Match}, q.After, caller, q.Wait)
	defer sub.Close()
	if !plan.Of(r.named(q)) { // since a moment ago
		return r.Resolve(ctx, q)
	}
	a, err := r.polled(ctx, sub, q, plan)
	if err == nil {
		sub.Answered(a.Token().Revision)
	}
	return a, err
}

func (r *Registry) polled(ctx context.Context, sub *watch.Subscription, q *rollcall.Query, plan *resolve.Plan) (*resolve.Answer, error) {
	key := q.Key()
	if resolve.Derived(q.After) {
		return r.answer(key, plan)
	}
	ctx, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	for {
		b, err := sub.Next(ctx)
		switch {
		case err == nil && b.Type != watch.Bookmark && b.Type != watch.Weights:
			return r.answer(key, plan)
		case err == nil:
		case err == watch.ErrMoved:
			if plan, err = r.compile(ctx, q); err != nil {
				return nil, err
			}
			return r.answer(key, plan)
		case err == watch.ErrClosed || ctx.Err() == context.DeadlineExceeded:
			a, err := r.answer(key, plan)
			if err == nil {
				a.Same = q.After
			}
			return a, err
		default:
			return nil, err
		}
	}
}

// pollResult is [Registry.poll] for what is worked out as a whole.
func (r *Registry) pollResult(ctx context.Context, q *rollcall.Query, plan *resolve.Plan) (*resolve.Answer, error) {
	if q.Pick > 0 {
		return nil, rollcall.Invalid("pick", "chooses anew each time it is asked, so there is nothing to wait for; leave out after")
	}
	if q.After.Log != r.catalog.Snapshot().Log() {
		r.sawForeign()
	}
	d := r.deriver(ctx, q, plan)
	sub, err := r.hub.Derive(d.query(), q.After, watch.Reader{})
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	if !r.knows(q, plan, d.last) {
		return d.last, nil
	}
	sub.Skip()
	ctx, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	for {
		b, err := sub.Next(ctx)
		switch {
		case err == nil && b.Type != watch.Bookmark && b.Type != watch.Weights:
			return d.last, nil
		case err == nil:
		case err == watch.ErrClosed || ctx.Err() == context.DeadlineExceeded:
			d.last.Same = q.After
			return d.last, nil
		default:
			return nil, err
		}
	}
}

// knows reports whether the token After is that of the result as it is now.
func (r *Registry) knows(q *rollcall.Query, plan *resolve.Plan, now *resolve.Answer) bool {
	if !resolve.Derived(q.After) && plan.Steady() {
		a, err := r.answer(q.Key(), plan)
		return err == nil && a.Token() == q.After
	}
	return q.After.Log == now.Log && q.After.Generation == now.Result.Generation
}

// deriver works out the results of one subscription. Its methods belong to one
// goroutine.
type deriver struct {
	r      *Registry
	ctx    context.Context // of who asks
	q      rollcall.Query
	plan   *resolve.Plan
	last   *resolve.Answer
	places map[rollcall.Key]resolve.Place
}

func (r *Registry) deriver(ctx context.Context, q *rollcall.Query, plan *resolve.Plan) *deriver {
	return &deriver{r: r, ctx: ctx, q: *q, plan: plan, places: map[rollcall.Key]resolve.Place{}}
}

func (d *deriver) query() watch.Query {
	return watch.Query{Evaluate: d.evaluate, Concerns: func(i *catalog.Item) bool { return d.plan.Concerns(i) }, Soft: d.soft}
}

// soft returns a number that changes with the soft state of all services that are
// asked.
func (d *deriver) soft() (sum uint64) {
	for _, key := range d.plan.Asks(d.q.Key()) {
		sum += d.r.soft.Generation(key)
	}
	if _, settling := d.r.settling(); settling { // till it is over
		sum++
	}
	if d.plan.ReadsLoad() { // which has no generation
		sum += uint64(time.Since(d.r.started) / watch.SoftEvery)
	}
	return sum
}

func (d *deriver) evaluate() (*watch.Result, error) {
	plan, err := d.r.compile(d.ctx, &d.q)
	if err != nil {
		return nil, err
	}
	d.plan = plan
	key := d.q.Key()
	s := d.r.catalog.Snapshot()
	a, err := d.r.work(key, plan, s, d.places)
	switch {
	case err == nil:
	case d.last != nil && errors.Is(err, rollcall.ErrSettling):
		a = d.last // it is not known for now, and goes on as it was
	case errors.Is(err, rollcall.ErrNotFound) && s.View(key) == nil && !plan.Named(): // it may be yet to come
		a = &resolve.Answer{Key: key, Name: key.Service, Plan: plan, Log: s.Log(), Revision: s.Revision(), Result: resolve.Empty(s.Revision())}
	default:
		return nil, err
	}
	if d.last != nil && d.last.Log == a.Log && d.last.Result.Revision > a.Result.Revision { // a query is gone, and its revision with it
		later := *a.Result
		later.Revision = d.last.Result.Revision
		a.Result = &later
	}
	d.last = a
	r := &watch.Result{Log: a.Log, Revision: a.Result.Revision, Generation: a.Result.Generation, Named: plan.Named(), Soft: plan.Soft(), Topics: []watch.Topic{key}}
	for _, asked := range plan.Asks(key) {
		r.Weights = max(r.Weights, d.r.soft.Generation(asked))
		if asked != key {
			r.Topics = append(r.Topics, asked)
		}
	}
	for n := range a.Result.Endpoints {
		e := &a.Result.Endpoints[n]
		r.Shown = append(r.Shown, watch.Shown{Item: e.Item, Shown: catalog.Shown{Weight: e.Weight, Kilometres: e.Kilometres}})
	}
	return r, nil
}

// Watch opens a subscription to a query; without a service, to a namespace, and
// without that to everything. q.After resumes. who reads it, under the name of
// q.Caller; the zero reader is not counted among the watchers. The caller closes
// it.
func (r *Registry) Watch(ctx context.Context, q *rollcall.Query, who watch.Reader) (watch.Feed, *resolve.Plan, error) {
	topic := watch.Topic{Namespace: strings.ToLower(q.Namespace)}
	if q.Service != "" {
		topic = q.Key()
		if err := topic.Validate(); err != nil {
			return nil, nil, err
		}
	}
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: topic}); err != nil {
		return nil, nil, err
	}
	plan, err := r.compile(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	if err := watchable(q, plan); err != nil {
		return nil, nil, err
	}
	if err := r.synced(); err != nil {
		return nil, nil, err
	}
	if who.Caller, err = callerOf(q); err != nil {
		return nil, nil, err
	}
	s := r.catalog.Snapshot()
	if !q.After.IsZero() && q.After.Log != s.Log() {
		r.sawForeign()
	}
	if q.Service != "" && !plan.Named() && s.View(topic) == nil {
		// One may wait for a service that is yet to come, but "none" must not
		// be said where it may be wrong.
		if _, settling := r.settling(); settling {
			return nil, nil, r.unknown(topic)
		}
	}
	if !plan.Whole() {
		sub, err := r.hub.Derive(r.deriver(ctx, q, plan).query(), q.After, who)
		if err != nil {
			return nil, nil, err
		}
		return sub, plan, nil
	}
	sub := r.hub.Subscribe(topic, watch.Selection{Text: plan.Text(), Match: plan.Match}, q.After, who)
	if !plan.Of(r.named(q)) { // since a moment ago
		sub.Close()
		return r.Watch(ctx, q, who)
	}
	return sub, plan, nil
}

// watchable refuses what cannot be watched.
func watchable(q *rollcall.Query, plan *resolve.Plan) error {
	switch {
	case !q.At.IsZero():
		return rollcall.Invalid("at", "the past does not change; leave it out, or resolve with it")
	case q.Pick > 0:
		return rollcall.Invalid("pick", "chooses anew each time it is asked; leave it out and choose by the weights, or resolve with it")
	case q.Service == "" && plan.ReadsLoad():
		return rollcall.Invalid("filter", "reads load or position, which changes without a revision: watch one service by its name with it")
	case q.Service == "" && !plan.Whole():
		return rollcall.Invalid("near, limit, subset", "are of one service: watch it by its name, or everything without them")
	}
	return nil
}
