package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/liveness"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// change returns body as a change by the caller.
func (r *Registry) change(ctx context.Context, body rollcall.Body, why string) rollcall.Change {
	p := auth.From(ctx)
	return rollcall.Change{At: r.now(), By: p.Name, Via: p.Door, Why: why, Body: body}
}

// now is the time that goes into the log, by the wall clock: without a monotonic
// reading, so that equal times are equal.
func (r *Registry) now() time.Time { return r.o.Wall().UTC().Round(0) }

// authorize is asked by every use case before it does anything.
func authorize(ctx context.Context, action auth.Action, resource rollcall.Key) error {
	return auth.Authorize(auth.From(ctx), action, resource)
}

// may asks that, and then whether the log was read: before that, nothing is known.
func (r *Registry) may(ctx context.Context, action auth.Action, resource rollcall.Key) error {
	if err := authorize(ctx, action, resource); err != nil {
		return err
	}
	return r.synced()
}

// Register creates or replaces an instance. The same registration again is a
// renewal: no revision, unless the instance was marked, drained, or had said
// something of itself, which ends with it. With ifMatch not 0, that must be the
// revision of the instance that is replaced.
func (r *Registry) Register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (rollcall.Instance, bool, error) {
	return r.register(ctx, i, ifMatch, byRequest)
}

func (r *Registry) register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision, how keeping) (rollcall.Instance, bool, error) {
	key, err := r.prepare(ctx, &i, how)
	if err != nil {
		return rollcall.Instance{}, false, err
	}
	put := rollcall.InstancePut{Key: key, Record: record.Pack(&i)}
	old := r.catalog.Item(key)
	if err := matches(key, old, ifMatch); err != nil {
		return rollcall.Instance{}, false, err
	}
	if r.renews(key, old, put.Record) {
		return r.show(old), false, nil
	}
	b := rollcall.Batch{Changes: []rollcall.Change{r.change(ctx, put, "")}}
	if ifMatch != 0 {
		b.If = []rollcall.Precondition{{Key: key, Revision: ifMatch}}
	}
	rev, err := r.append(ctx, b)
	if err != nil {
		return rollcall.Instance{}, false, err
	}
	r.metrics.registrations.Inc()
	return r.asRegistered(i, put, rev), old == nil, nil
}

// asRegistered returns what was registered as [Registry.show] does, without
// unpacking it again if it is what can be read now.
func (r *Registry) asRegistered(i rollcall.Instance, put rollcall.InstancePut, rev rollcall.Revision) rollcall.Instance {
	item := r.catalog.Item(put.Key)
	switch {
	case item == nil: // and gone again already
		i.Revision, i.Incarnation = rev, rev
		return i
	case item.Revision() != rev || item.Record() != put.Record:
		return r.show(item)
	}
	health := item.Health()
	i.Health, i.Revision, i.Incarnation, i.RegisteredAt = &health, rev, item.Incarnation(), item.Registered()
	i.EffectiveWeight, i.Load, i.Provisional, i.Distance = new(r.Weight(item)), nil, false, nil
	return i
}

// prepare makes a registration ready to be packed, and returns its key.
func (r *Registry) prepare(ctx context.Context, i *rollcall.Instance, how keeping) (key rollcall.Key, err error) {
	if i.ID == "" && i.Service != "" {
		i.ID = strings.ToLower(i.Service) + "-" + strings.ToLower(rand.Text()[:10])
		i.ID = i.ID[max(0, len(i.ID)-128):]
	}
	i.Origin = auth.From(ctx).Door
	i.Normalize()
	if err := i.Validate(r.o.Limits); err != nil {
		return key, err
	}
	if err := r.supported(i, how); err != nil {
		return key, err
	}
	key = i.Key()
	if err := r.may(ctx, auth.Register, key); err != nil {
		return key, err
	}
	if v := r.catalog.View(key.ServiceKey); v != nil {
		i.Service = v.Name() // shown as it was first written
		key.ServiceKey = v.Key()
	}
	return key, nil
}

// keeping is how a registration came, and so what may keep its lease.
type keeping bool

const (
	byRequest keeping = false
	bySession keeping = true // or as an update of one that did
)

// supported refuses what nothing here would keep or check.
func (r *Registry) supported(i *rollcall.Instance, how keeping) error {
	if i.Lease.Mode == rollcall.LeaseSession && how != bySession {
		return rollcall.Invalid("lease.mode", "session is bound to a stream: register the instance in one (POST /api/v1/session), or use ttl and renew with POST …/heartbeat")
	}
	return r.mayRun(i)
}

// mayRun refuses checks that run commands, unless the server's own configuration
// asks for them.
func (r *Registry) mayRun(i *rollcall.Instance) error {
	for n, c := range i.Checks {
		if c.Type == rollcall.CheckExec && !(i.Origin == liveness.ConfigDoor && r.o.Exec) {
			return &rollcall.Error{
				Kind: rollcall.ErrForbidden, Field: fmt.Sprintf("checks[%d].type", n),
				Detail: "exec runs a command on the registry's own machine: only instances in its configuration file may ask for that, and only where exec-checks is on",
			}
		}
	}
	return nil
}

// matches checks an If-Match condition against the newest snapshot. The log
// checks it again.
func matches(key rollcall.Key, old *catalog.Item, ifMatch rollcall.Revision) error {
	if ifMatch == 0 || old != nil && old.Revision() == ifMatch {
		return nil
	}
	detail := fmt.Sprintf("%v is not registered", key)
	if old != nil {
		detail = fmt.Sprintf("%v is at revision %d, not %d; read it again", key, old.Revision(), ifMatch)
	}
	return &rollcall.Error{Kind: rollcall.ErrPrecondition, Field: "If-Match", Detail: detail}
}

// renews reports whether a registration says nothing new, and renews the lease
// then.
func (r *Registry) renews(key rollcall.Key, old *catalog.Item, rec rollcall.Record) bool {
	if old == nil || old.Record() != rec {
		return false
	}
	for _, slot := range []rollcall.Slot{rollcall.SlotLease, rollcall.SlotStatus, rollcall.SlotDrain} {
		if _, found := old.Finding(slot); found {
			return false
		}
	}
	if _, known := r.live.Renew(key); !known {
		return false
	}
	r.metrics.renewals.Inc()
	return true
}

// manyAtOnce and bytesAtOnce are how many registrations share a batch of the
// log: well within what it takes.
const (
	manyAtOnce  = 1000
	bytesAtOnce = 1 << 20
)

// RegisterMany registers instances, each on its own: one that is wrong does not
// keep the others out.
func (r *Registry) RegisterMany(ctx context.Context, is []rollcall.Instance) []rollcall.Registration {
	results := make([]rollcall.Registration, len(is))
	var puts []rollcall.InstancePut
	var right []int
	for n := range is {
		put, err := r.Prepare(ctx, &is[n], "")
		if results[n] = (rollcall.Registration{Key: is[n].Key(), Err: err}); err == nil {
			puts, right = append(puts, put), append(right, n)
		}
	}
	for n, result := range r.RegisterPrepared(ctx, puts) {
		results[right[n]] = result
	}
	return results
}

// Limits returns what bounds a registration.
func (r *Registry) Limits() rollcall.Limits { return r.o.Limits }

// Prepare checks a registration, completes it and packs it for
// [Registry.RegisterPrepared], with lists that were checked, see [record.PackText]. Of
// i it keeps nothing but the names of a service that is new.
func (r *Registry) Prepare(ctx context.Context, i *rollcall.Instance, lists string) (rollcall.InstancePut, error) {
	key, err := r.prepare(ctx, i, byRequest)
	if err != nil {
		return rollcall.InstancePut{}, err
	}
	text := record.PackText(i, lists)
	key.ID = text[:len(key.ID)]
	return rollcall.InstancePut{Key: key, Record: rollcall.Record(text[len(key.ID):]), Text: text}, nil
}

// RegisterPrepared registers instances, each on its own. They share batches of
// the log.
func (r *Registry) RegisterPrepared(ctx context.Context, puts []rollcall.InstancePut) []rollcall.Registration {
	results := make([]rollcall.Registration, len(puts))
	seen := make(map[rollcall.Key]struct{}, len(puts))
	b := rollcall.Batch{Changes: make([]rollcall.Change, 0, min(len(puts), manyAtOnce))}
	written := make([]*rollcall.Registration, 0, cap(b.Changes))
	size := 0
	c := r.change(ctx, nil, "")
	flush := func() {
		if len(written) == 0 {
			return
		}
		rev, err := r.append(ctx, b)
		for _, result := range written {
			result.Revision, result.Err = rev, err
		}
		if err == nil {
			r.metrics.registrations.Add(float64(len(written)))
		}
		b, written, size = rollcall.Batch{}, written[:0], 0 // the log may still be reading
		c.At = r.now()
	}
	for n, put := range puts {
		result, old := &results[n], r.catalog.Item(put.Key)
		result.Key = put.Key
		if _, again := seen[put.Key]; !again {
			if r.renews(put.Key, old, put.Record) {
				result.Revision = old.Revision()
				continue
			}
			result.Created = old == nil
			seen[put.Key] = struct{}{}
		}
		c.Body = put
		b.Changes = append(b.Changes, c)
		written = append(written, result)
		if size += len(put.Record); len(written) == manyAtOnce || size > bytesAtOnce {
			flush()
		}
	}
	flush()
	return results
}

// Update changes what edit changes. A new position alone is soft state; any
// other difference is a new revision of the same incarnation.
func (r *Registry) Update(ctx context.Context, key rollcall.Key, ifMatch rollcall.Revision, edit func(*rollcall.Instance) error) (rollcall.Instance, error) {
	if err := authorize(ctx, auth.Register, key); err != nil {
		return rollcall.Instance{}, err
	}
	for {
		if err := r.synced(); err != nil {
			return rollcall.Instance{}, err
		}
		s := r.catalog.Snapshot()
		old := s.Item(key)
		if old == nil {
			return rollcall.Instance{}, r.noInstance(key)
		}
		if err := matches(key, old, ifMatch); err != nil {
			return rollcall.Instance{}, err
		}
		done, err := r.update(ctx, key, old, edit)
		if err == nil {
			return done, nil
		}
		if ifMatch != 0 || !errors.Is(err, rollcall.ErrPrecondition) {
			return rollcall.Instance{}, err
		}
		// Somebody else was faster. Their change is in the log and on its way.
		if err := r.applied.Wait(ctx, s.Revision()+1); err != nil {
			return rollcall.Instance{}, err
		}
	}
}

// Move notes where an instance is: [Registry.Update] of its position alone. It
// returns the instance and, if it has said that, its load.
func (r *Registry) Move(ctx context.Context, key rollcall.Key, p rollcall.Position) (*catalog.Item, *rollcall.Load, error) {
	if err := r.may(ctx, auth.Register, key); err != nil {
		return nil, nil, err
	}
	item := r.catalog.Snapshot().Item(key)
	if item == nil {
		return nil, nil, r.noInstance(key)
	}
	if err := (&rollcall.Renew{Key: key, Position: &p}).Validate(""); err != nil {
		return nil, nil, err
	}
	r.move(item, p)
	l, ok := r.soft.Load(key)
	if !ok {
		return item, nil, nil
	}
	return item, &l, nil
}

func (r *Registry) update(ctx context.Context, key rollcall.Key, old *catalog.Item, edit func(*rollcall.Instance) error) (rollcall.Instance, error) {
	was, at := registration(old), r.position(key, old)
	i := registration(old)
	i.Position = at
	if err := edit(&i); err != nil {
		return rollcall.Instance{}, err
	}
	i.Normalize()
	if i.Key() != key {
		return rollcall.Instance{}, rollcall.Invalid("id", "namespace, service and id cannot be changed; register the instance under its new name and deregister this one")
	}
	if err := i.Validate(r.o.Limits); err != nil {
		return rollcall.Instance{}, err
	}
	if err := r.supported(&i, keeping(was.Lease.Mode == rollcall.LeaseSession)); err != nil {
		return rollcall.Instance{}, err
	}
	i.Service, i.Origin = was.Service, was.Origin
	still := i
	still.Position = was.Position
	switch moved := !samePosition(i.Position, at); {
	case record.Pack(&still) != old.Record():
	case moved && i.Position != nil:
		r.soft.Move(key, *i.Position)
		return r.show(old), nil
	case !moved:
		return r.show(old), nil
	case was.Position == nil: // what it takes back is only soft
		r.soft.Forget(key)
		return r.show(old), nil
	}
	if err := r.put(ctx, old, &i); err != nil {
		return rollcall.Instance{}, err
	}
	if item := r.catalog.Item(key); item != nil {
		return r.show(item), nil
	}
	return i, nil
}

// put writes an update of item.
func (r *Registry) put(ctx context.Context, item *catalog.Item, i *rollcall.Instance) error {
	put := replacement(item, i)
	if put.Record == item.Record() {
		return nil
	}
	_, err := r.append(ctx, rollcall.Batch{
		Changes: []rollcall.Change{r.change(ctx, put, "")},
		If:      []rollcall.Precondition{unchanged(item)},
	})
	return err
}

// replacement returns the update of item to i: the same incarnation.
func replacement(item *catalog.Item, i *rollcall.Instance) rollcall.InstancePut {
	return rollcall.InstancePut{
		Key: item.Key(), Incarnation: item.Incarnation(), RegisteredAt: item.Registered(), Record: record.Pack(i),
	}
}

// unchanged is the condition that nobody registered or updated item meanwhile.
func unchanged(item *catalog.Item) rollcall.Precondition {
	return rollcall.Precondition{Key: item.Key(), Incarnation: item.Incarnation(), Revision: item.Revision()}
}

func samePosition(a, b *rollcall.Position) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// registration returns what was registered, without what the registry adds.
func registration(item *catalog.Item) rollcall.Instance {
	i := item.Instance()
	i.Health, i.Revision, i.Incarnation, i.RegisteredAt, i.EffectiveWeight = nil, 0, 0, time.Time{}, nil
	return i
}

// Deregister removes an instance now. That it is not there is no error, unless
// ifMatch asks for a revision of it.
func (r *Registry) Deregister(ctx context.Context, key rollcall.Key, ifMatch rollcall.Revision) error {
	if err := r.may(ctx, auth.Register, key); err != nil {
		return err
	}
	old := r.catalog.Item(key)
	if err := matches(key, old, ifMatch); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	b := rollcall.Batch{Changes: []rollcall.Change{r.change(ctx, rollcall.InstanceRemove{Key: key}, "deregistered")}}
	if ifMatch != 0 {
		b.If = []rollcall.Precondition{{Key: key, Revision: ifMatch}}
	}
	_, err := r.append(ctx, b)
	return err
}

// deregisterOf removes one incarnation of an instance. That another one is
// registered, or none, is no error.
func (r *Registry) deregisterOf(ctx context.Context, key rollcall.Key, incarnation rollcall.Revision) error {
	if err := authorize(ctx, auth.Register, key); err != nil {
		return err
	}
	item := r.catalog.Item(key)
	if item == nil || item.Incarnation() != incarnation {
		return nil
	}
	_, err := r.append(ctx, rollcall.Batch{
		Changes: []rollcall.Change{r.change(ctx, rollcall.InstanceRemove{Key: key}, "deregistered")},
		If:      []rollcall.Precondition{{Key: key, Incarnation: incarnation}},
	})
	if errors.Is(err, rollcall.ErrPrecondition) {
		return nil
	}
	return err
}

// Drain begins to drain an instance (no new traffic), or ends that. A new
// registration ends it too. A drain returns when all who are told of the service
// know of it, or after wait, and how many they are; the end of one at once.
func (r *Registry) Drain(ctx context.Context, key rollcall.Key, on bool, wait time.Duration) (rollcall.Barrier, error) {
	if err := r.may(ctx, auth.Register, key); err != nil {
		return rollcall.Barrier{}, err
	}
	item := r.catalog.Item(key)
	if item == nil {
		return rollcall.Barrier{}, r.noInstance(key)
	}
	put := rollcall.HealthPut{Service: key.ServiceKey, Slot: rollcall.SlotDrain, Status: rollcall.Healthy, IDs: []string{key.ID}}
	why := "drain ended"
	if on {
		put.Status, why = rollcall.Draining, "drain begun"
	}
	rev := item.Revision()
	if v := r.catalog.View(key.ServiceKey); v != nil {
		rev = v.Revision()
	}
	if _, draining := item.Finding(rollcall.SlotDrain); draining != on {
		var err error
		rev, err = r.append(ctx, rollcall.Batch{
			Changes: []rollcall.Change{r.change(ctx, put, why)},
			If:      []rollcall.Precondition{{Key: key, Incarnation: item.Incarnation()}},
		})
		if err != nil {
			return rollcall.Barrier{}, err
		}
	}
	if !on {
		return rollcall.Barrier{}, nil
	}
	return r.reach(ctx, key.ServiceKey, rev, wait)
}

// noInstance returns the error for an instance that is not in the catalog.
func (r *Registry) noInstance(key rollcall.Key) error {
	return &rollcall.Error{
		Kind:   rollcall.ErrNotFound,
		Detail: fmt.Sprintf("instance %s of service %s is not registered", key.ID, key.ServiceKey),
	}
}
