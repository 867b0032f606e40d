package registry

import (
	"context"
	"fmt"
	"io"
	runtimemetrics "runtime/metrics"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// freshWait is how long a query with min_revision or consistent waits unless it
// says.
const freshWait = 5 * time.Second

// show returns an instance whole, as a reader sees it who asks for it alone.
func (r *Registry) show(item *catalog.Item) rollcall.Instance {
	i := item.Instance()
	if p, moved := r.Position(item.Key()); moved {
		i.Position = &p
	}
	if l, ok := r.soft.Load(item.Key()); ok {
		i.Load = &l
	}
	return i
}

// Position returns where an instance has moved since it was registered: soft
// state, which has a generation.
func (r *Registry) Position(key rollcall.Key) (p rollcall.Position, moved bool) {
	return r.soft.Position(key)
}

// Instance returns one instance, whole.
func (r *Registry) Instance(ctx context.Context, key rollcall.Key) (rollcall.Instance, error) {
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key.ServiceKey}); err != nil {
		return rollcall.Instance{}, err
	}
	if err := r.synced(); err != nil {
		return rollcall.Instance{}, err
	}
	s := r.catalog.Snapshot()
	if item := s.Item(key); item != nil {
		return r.show(item), nil
	}
	if s.View(key.ServiceKey) == nil {
		if _, settling := r.settling(); settling {
			return rollcall.Instance{}, r.unknown(key.ServiceKey)
		}
	}
	return rollcall.Instance{}, r.noInstance(key)
}

// Instances returns up to limit instances across services that match f, in
// order of their keys, and a cursor for those that follow.
func (r *Registry) Instances(ctx context.Context, f rollcall.InstanceFilter, after string, limit int) (is []rollcall.Instance, next string, err error) {
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: f.Namespace}}); err != nil {
		return nil, "", err
	}
	if err := r.synced(); err != nil {
		return nil, "", err
	}
	namespace := strings.ToLower(f.Namespace)
	// A cursor is the key of the last instance, "namespace/service/id".
	parts := strings.SplitN(after+"//", "/", 3)
	from := rollcall.ServiceKey{Namespace: parts[0], Service: parts[1]}
	id := strings.TrimSuffix(parts[2], "//")
	if after == "" {
		from, id = rollcall.ServiceKey{Namespace: namespace}, ""
	}
	s := r.catalog.Snapshot()
	one := func(v *catalog.View, behind string) bool {
		for item := range v.From(behind) {
			if f.Origin != "" && f.Origin != record.Origin(item.Record()) {
				continue
			}
			node, address := record.Place(item.Record())
			if f.Node != "" && f.Node != node || f.Address != "" && f.Address != address {
				continue
			}
			if len(is) == limit {
				next = is[limit-1].Key().String()
				return false
			}
			is = append(is, r.show(item))
		}
		return true
	}
	if v := s.View(from); v != nil && (namespace == "" || from.Namespace == namespace) && !one(v, id) {
		return is, next, nil
	}
	for v := range s.Views(from) {
		if namespace != "" && v.Key().Namespace != namespace {
			continue // a cursor may point anywhere
		}
		if !one(v, "") {
			break
		}
	}
	return is, next, nil
}

// Services returns up to limit services, in order, and a cursor for those that
// follow. An empty namespace is all of them. A time that is not zero asks for the
// past.
func (r *Registry) Services(ctx context.Context, namespace string, at time.Time, after string, limit int) (ss []rollcall.ServiceSummary, next string, err error) {
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: namespace}}); err != nil {
		return nil, "", err
	}
	if err := r.synced(); err != nil {
		return nil, "", err
	}
	namespace = strings.ToLower(namespace)
	from := rollcall.ServiceKey{Namespace: namespace}
	if after != "" {
		ns, service, ok := strings.Cut(after, "/")
		if !ok {
			return nil, "", rollcall.Invalid("after", fmt.Sprintf("%.200q is not a cursor: pass back what next said", after))
		}
		from = rollcall.NewServiceKey(ns, service)
	}
	s := r.catalog.Snapshot()
	if !at.IsZero() {
		if s, err = r.past(ctx, at, rollcall.ServiceKey{}); err != nil {
			return nil, "", err
		}
	}
	for v := range s.Views(from) {
		if namespace != "" && v.Key().Namespace != namespace {
			continue // a cursor may point anywhere
		}
		if len(ss) == limit {
			return ss, rollcall.NewServiceKey(ss[limit-1].Namespace, ss[limit-1].Service).String(), nil
		}
		ss = append(ss, v.Summary())
	}
	return ss, "", nil
}

// Settings returns a service's settings; nil fields are defaults.
func (r *Registry) Settings(ctx context.Context, key rollcall.ServiceKey) (rollcall.Settings, error) {
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return rollcall.Settings{}, err
	}
	if err := r.synced(); err != nil {
		return rollcall.Settings{}, err
	}
	v := r.catalog.View(key)
	if v == nil {
		return rollcall.Settings{}, r.unknown(key)
	}
	return v.Settings(), nil
}

// Resolve answers a query: at once, or when the snapshot is as new as the query
// asks for, or, with After and Wait, when its result is another than the one of
// the token After, or Wait has passed.
func (r *Registry) Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error) {
	key := q.Key()
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return nil, err
	}
	if err := checkService(key); err != nil {
		return nil, err
	}
	plan, err := resolve.Compile(q)
	if err != nil {
		return nil, err
	}
	if !q.At.IsZero() {
		return r.answerPast(ctx, q, plan)
	}
	if q.MinRevision != 0 || q.MaxAge != 0 || q.Consistent {
		if err := r.fresh(ctx, q); err != nil {
			return nil, err
		}
	}
	if err := r.synced(); err != nil {
		return nil, err
	}
	if q.After.IsZero() {
		return r.answer(key, plan)
	}
	return r.poll(ctx, q, plan)
}

func (r *Registry) answer(key rollcall.ServiceKey, plan *resolve.Plan) (*resolve.Answer, error) {
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
		View: v, Plan: plan, Log: s.Log(), Generation: generation, Revision: s.Revision(), Age: r.age(),
	}, nil
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
	if err := r.applied.wait(ctx, want); err != nil {
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
	a, err := r.polled(ctx, sub, q, plan)
	if err == nil {
		sub.Answered(a.Token().Revision)
	}
	return a, err
}

func (r *Registry) polled(ctx context.Context, sub *watch.Subscription, q *rollcall.Query, plan *resolve.Plan) (*resolve.Answer, error) {
	key := q.Key()
	if a, err := r.answer(key, plan); err != nil || a.Generation != q.After.Generation {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	for {
		b, err := sub.Next(ctx)
		switch {
		case err == nil && b.Type != watch.Bookmark:
			return r.answer(key, plan)
		case err == nil:
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

// Watch opens a subscription to a query; without a service, to a namespace, and
// without that to everything. q.After resumes. who reads it, under the name of
// q.Caller; the zero reader is not counted among the watchers. The caller closes
// it.
func (r *Registry) Watch(ctx context.Context, q *rollcall.Query, who watch.Reader) (*watch.Subscription, *resolve.Plan, error) {
	topic := watch.Topic{Namespace: strings.ToLower(q.Namespace)}
	if q.Service != "" {
		topic = q.Key()
		if err := checkService(topic); err != nil {
			return nil, nil, err
		}
	}
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: topic}); err != nil {
		return nil, nil, err
	}
	plan, err := resolve.Compile(q)
	if err != nil {
		return nil, nil, err
	}
	if !q.At.IsZero() {
		return nil, nil, rollcall.Invalid("at", "the past does not change; leave it out, or resolve with it")
	}
	if plan.Limited() {
		return nil, nil, &rollcall.Error{
			Kind: rollcall.ErrUnsupported, Field: "limit",
			Detail: "this version does not watch queries with limit; leave it out and take as many as you need",
		}
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
	if q.Service != "" && s.View(topic) == nil {
		// One may wait for a service that is yet to come, but "none" must not
		// be said where it may be wrong.
		if _, settling := r.settling(); settling {
			return nil, nil, r.unknown(topic)
		}
	}
	return r.hub.Subscribe(topic, watch.Selection{Text: plan.Text(), Match: plan.Match}, q.After, who), plan, nil
}

// Events returns what happened, newest first, and a cursor for what was before.
func (r *Registry) Events(ctx context.Context, f rollcall.EventFilter, after string, limit int) (es []rollcall.Event, next string, err error) {
	if err := authorize(ctx, auth.Inspect, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: f.Namespace, Service: f.Service}, ID: f.ID}); err != nil {
		return nil, "", err
	}
	return r.history.Events(f, after, limit)
}

// Status returns how the server is.
func (r *Registry) Status(ctx context.Context) (rollcall.ServerStatus, error) {
	if err := authorize(ctx, auth.Inspect, rollcall.Key{}); err != nil {
		return rollcall.ServerStatus{}, err
	}
	s := r.catalog.Snapshot()
	_, settling := r.settling()
	lg := r.log.Status()
	st := rollcall.ServerStatus{
		Version: r.o.Version, Store: r.o.Store, LogID: lg.ID, Revision: s.Revision(),
		Synced: r.read.Load(), Settling: settling, Writable: true,
		Started: r.started.UTC(), LogCreated: lg.Created, AgeMS: r.age().Milliseconds(),
		Services: s.Services(), Instances: s.Instances(), Health: map[rollcall.Status]int{},
		Watchers: r.hub.Subscribers(), Sessions: r.session.Len(), MemoryBytes: memoryHeld(),
		Guards: len(r.live.Judge.Guards()), Panics: s.Panics(), PausedMS: r.live.Leases.Paused().Milliseconds(),
	}
	if lg.Err != nil {
		st.Writable, st.Reason = false, lg.Err.Error()
	}
	for v := range s.Views(rollcall.ServiceKey{}) {
		for _, status := range rollcall.Statuses() {
			if n := v.Count(status); n > 0 {
				st.Health[status] += n
			}
		}
	}
	return st, nil
}

// memoryHeld returns how much memory the Go runtime holds from the system.
func memoryHeld() uint64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// Backup writes the state of the log, as of now, as one file.
func (r *Registry) Backup(ctx context.Context, w io.Writer) error {
	if err := authorize(ctx, auth.Export, rollcall.Key{}); err != nil {
		return err
	}
	if err := r.synced(); err != nil {
		return err
	}
	s := r.catalog.Snapshot()
	h := record.Header{Log: s.Log(), Created: r.log.Status().Created, Revision: s.Revision(), At: r.now()}
	return record.WriteState(w, h, s.State())
}
