package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// DefaultGrace is how long a closing registration stays drained before it is
// removed: the time for which callers may hold a DNS answer.
const DefaultGrace = time.Second

// longestDrain is for how long the registry waits for watchers at most.
const longestDrain = 10 * time.Minute

// Registration is an instance whose lease is kept. Its methods may be called
// at the same time from any goroutine.
//
// A lease of mode session, the default, is kept by a stream that all of a client's
// registrations share: nothing is renewed while it is there, and when it breaks
// it is taken up again. One of mode ttl is renewed every third of its TTL, give or
// take a fifth, by a goroutine of its own. A renewal that failed is tried again
// soon and for ever, less and less often down to once a period (or once in ten
// seconds, if that is sooner); a registry that no longer knows the instance gets
// it again, with the latest data.
type Registration struct {
	c      *Client
	grace  time.Duration
	notify func(Notice)
	load   func() rollcall.Load // nil unless the registry is to be told
	orTTL  bool

	// turn is a lock whose taking can be given up: who holds its one token may
	// call the registry for this instance, and use via and kept. It comes before
	// mu.
	turn chan struct{}
	via  carrier
	kept kept

	mu    sync.Mutex
	inst  rollcall.Instance // as the registry last showed it
	err   error             // why the lease is not kept, or nil
	next  time.Time         // when the next attempt is due; zero is at once
	idle  bool              // no attempt is due, unless it is woken
	woken bool              // since the last attempt began

	life  context.Context // of the keeper's calls; drop cuts them short
	drop  context.CancelFunc
	stop  chan struct{} // closed to end the keeper after what it is doing
	spoke chan struct{} // tells the keeper that somebody else made an attempt
	done  chan struct{} // closed when the keeper has ended
	once  sync.Once     // of Close
}

// Notice tells what became of a registration.
type Notice struct {
	Kind NoticeKind
	// Instance is as [Registration.Instance] returns it.
	Instance rollcall.Instance
	// Err is why the lease is not kept, in a NoticeFailing.
	Err error
}

// NoticeKind says what a [Notice] is about.
type NoticeKind string

const (
	// NoticeRegistered: the instance was registered for the first time.
	NoticeRegistered NoticeKind = "registered"
	// NoticeReregistered: the registry had forgotten the instance, or its session,
	// as after a restart, and got it again.
	NoticeReregistered NoticeKind = "re-registered"
	// NoticeFailing: an attempt in the background failed, after one that did
	// not; attempts go on.
	NoticeFailing NoticeKind = "failing"
	// NoticeRecovered: an attempt succeeded, after some that failed.
	NoticeRecovered NoticeKind = "recovered"
)

// RegisterOption changes how an instance is kept.
type RegisterOption func(*Registration)

// WithGrace replaces [DefaultGrace]; with 0, Close removes the instance at
// once.
func WithGrace(d time.Duration) RegisterOption { return func(r *Registration) { r.grace = d } }

// WithNotify calls f with what becomes of the registration. It must not block,
// nor call Update, Report, Drain or Close.
func WithNotify(f func(Notice)) RegisterOption { return func(r *Registration) { r.notify = f } }

// OrTTL keeps a lease of mode session by heartbeats, as one of mode ttl, if the
// server knows no sessions. An instance that asks for no mode has it anyway.
func OrTTL() RegisterOption { return func(r *Registration) { r.orTTL = true } }

// Register registers an instance and keeps its lease until the registration is
// closed. It fails when the registry cannot be reached or refuses; see
// [Client.Keep] for not depending on that. An empty id is filled in with a new
// one. A lease whose mode is left empty is one of mode session, or of mode ttl if
// the server knows no sessions. One of mode none needs no renewal: it is only
// registered and, by [Registration.Close], removed.
func (c *Client) Register(ctx context.Context, inst rollcall.Instance, opts ...RegisterOption) (*Registration, error) {
	r, err := c.registration(inst, opts)
	if err != nil {
		return nil, err
	}
	if err := r.renew(ctx); err != nil {
		r.abandon()
		return nil, err
	}
	return r, r.start()
}

// Keep is [Client.Register] without waiting: it returns at once, and the
// instance is registered as soon as the registry takes it. Until then
// [Registration.Err] says why it has not been.
func (c *Client) Keep(inst rollcall.Instance, opts ...RegisterOption) (*Registration, error) {
	r, err := c.registration(inst, opts)
	if err != nil {
		return nil, err
	}
	return r, r.start()
}

func (c *Client) registration(inst rollcall.Instance, opts []RegisterOption) (*Registration, error) {
	inst, err := wanted(inst)
	if err != nil {
		return nil, err
	}
	left := inst.Lease.Mode == ""
	if left {
		inst.Lease.Mode = rollcall.LeaseSession
	}
	r := &Registration{
		c:      c,
		orTTL:  left,
		grace:  DefaultGrace,
		notify: func(Notice) {},
		turn:   make(chan struct{}, 1),
		kept:   kept{want: inst},
		inst:   inst,
		err:    errors.New("not registered yet"),
		stop:   make(chan struct{}),
		spoke:  make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	for _, o := range opts {
		o(r)
	}
	if r.via = (calls{c}); inst.Lease.Mode == rollcall.LeaseSession {
		if r.via, err = c.join(r, &inst); err != nil {
			return nil, err
		}
	}
	r.life, r.drop = context.WithCancel(c.life)
	return r, nil
}

// abandon frees what a registration holds that is not kept after all.
func (r *Registration) abandon() {
	r.drop()
	if s, ok := r.via.(*session); ok && s.leave(r.kept.want.Key()) {
		s.over()
	}
}

// start begins to keep the lease.
func (r *Registration) start() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.closed { // and the session with it
		r.drop()
		return errClientClosed
	}
	r.c.keepers.Go(r.keep)
	return nil
}

// keep renews until it is stopped.
func (r *Registration) keep() {
	defer close(r.done)
	defer r.drop()
	if r.load != nil {
		var telling sync.WaitGroup
		telling.Go(r.tellLoad)
		defer telling.Wait()
	}
	failing := false
	for {
		due, cancel := r.due()
		select {
		case <-r.stop:
			cancel()
			return
		case <-r.life.Done():
			cancel()
			return
		case <-r.spoke:
			cancel()
		case <-due:
			err := r.beat()
			switch {
			case r.life.Err() != nil:
			case err != nil && !failing:
				r.tell(NoticeFailing, err)
			case err == nil && failing:
				r.tell(NoticeRecovered, nil)
			}
			failing = err != nil
		}
	}
}

// due returns a channel that tells when the next attempt is due, and what
// frees it.
func (r *Registration) due() (<-chan time.Time, func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(r.next))
	return t.C, func() { t.Stop() }
}

// wake has an attempt made in the background at once.
func (r *Registration) wake() {
	r.mu.Lock()
	r.next, r.idle, r.woken = time.Time{}, false, true
	r.mu.Unlock()
	r.speakUp()
}

// speakUp has the keeper look when it is to be next.
func (r *Registration) speakUp() {
	select {
	case r.spoke <- struct{}{}:
	default:
	}
}

// beat makes an attempt in the background.
func (r *Registration) beat() error {
	if err := r.lock(r.life); err != nil {
		return err
	}
	defer func() { <-r.turn }()
	ctx, cancel := context.WithTimeout(r.life, r.kept.patience())
	defer cancel()
	return r.renew(ctx)
}

// Instance returns the instance as the registry showed it when it was last
// registered; before that, as it is to be.
func (r *Registration) Instance() rollcall.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inst
}

// Err returns why the lease is not kept, or nil if the last attempt to keep it
// succeeded. Whatever it is, attempts go on.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Update registers new data for the instance. Namespace, service and id must
// be those it has, or empty. If the registry cannot be reached, Update says so
// and the data is registered as soon as it can be; if the registry finds fault
// with it, what was registered before stays.
func (r *Registration) Update(ctx context.Context, inst rollcall.Instance) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	if err := r.kept.replace(inst); err != nil {
		return err
	}
	return r.renew(ctx)
}

// Report renews the lease and tells the registry how the instance is. What
// holds of it is told again after a re-registration. If the registry cannot be
// reached, Report says so and the report goes along with the next renewal.
func (r *Registration) Report(ctx context.Context, report rollcall.Report) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	r.kept.unsaid = merge(r.kept.unsaid, report)
	return r.renew(ctx)
}

// Drain takes new traffic away from the instance and returns when its callers
// have had the grace period to notice, or sooner if some watch the service and
// all of them know. The lease is kept meanwhile and after, and a registry that
// forgot the instance is told again that it drains.
func (r *Registration) Drain(ctx context.Context, grace time.Duration) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	r.kept.draining = true
	key := r.kept.want.Key()
	r.unlock()
	start := time.Now()
	b, err := r.c.Drain(ctx, key, min(grace, longestDrain))
	if err != nil || b.Acknowledged > 0 && b.Pending == 0 {
		return err
	}
	// Where nobody watches, whoever calls it has found it in some other way, of
	// which the registry cannot tell.
	if !retry.Pause(ctx, grace-time.Since(start)) {
		return ctx.Err()
	}
	return nil
}

// Close drains the instance for the grace period, or for half of the time that
// ctx allows if that is less, unless [Registration.Drain] did before. Then it
// removes the instance and waits until nothing runs in the background any more.
// If the registry cannot be told, the lease lapses by itself. Later calls do
// nothing.
func (r *Registration) Close(ctx context.Context) (err error) {
	r.once.Do(func() { err = r.close(ctx) })
	return err
}

func (r *Registration) close(ctx context.Context) error {
	grace := r.grace
	if deadline, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(deadline)/2)
	}
	if grace > 0 && !r.draining(ctx) {
		if err := r.Drain(ctx, grace); err != nil && !errors.Is(err, rollcall.ErrNotFound) {
			// Removing it does what draining should have prepared.
			r.c.log.Warn("could not drain", "err", err)
		}
	}
	// The keeper ends what it is doing rather than being cut short: a
	// registration that overtook the removal would stay.
	close(r.stop)
	unhook := context.AfterFunc(ctx, r.drop)
	<-r.done
	unhook()
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	r.kept.closed = true
	return r.via.Deregister(ctx, r.kept.want.Key())
}

func (r *Registration) draining(ctx context.Context) bool {
	if r.lock(ctx) != nil {
		return false
	}
	defer r.unlock()
	return r.kept.draining
}

var errClosed = errors.New("the registration is closed")

// lock takes the turn.
func (r *Registration) lock(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.kept.closed {
		<-r.turn
		return errClosed
	}
	return nil
}

// unlock gives the turn back and has the keeper look when it is to be next.
func (r *Registration) unlock() {
	<-r.turn
	r.speakUp()
}

// renew brings the registry up to date and plans the next attempt, which counts
// from the beginning of this one: who waited for an answer in vain has waited. Its
// caller has the turn.
func (r *Registration) renew(ctx context.Context) error {
	began := time.Now()
	r.mu.Lock()
	r.woken = false
	r.mu.Unlock()
	err := r.speak(ctx)
	wait, ever := r.kept.plan(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err = err; !r.woken {
		r.next, r.idle = began.Add(wait), !ever
	}
	return err
}

// speak renews the lease, or registers the instance if that is not registered
// as it is wanted.
func (r *Registration) speak(ctx context.Context) error {
	k := &r.kept
	if k.accepted != nil && !k.lost && !r.via.knows(k.want.Key()) {
		k.forgotten()
	}
	if !k.current {
		return r.register(ctx)
	}
	err := r.report(ctx)
	if errors.Is(err, rollcall.ErrNotFound) {
		k.forgotten()
		return r.register(ctx)
	}
	return err
}

// report makes a heartbeat of what is unsaid.
func (r *Registration) report(ctx context.Context) error {
	k := &r.kept
	got, err := r.via.Heartbeat(ctx, k.want.Key(), k.unsaid)
	if err == nil {
		k.heard(time.Duration(got.TTL))
	} else if faulty(err) {
		k.unsaid = rollcall.Report{} // or it would cost the lease
	}
	return err
}

// register registers what is wanted, then tells what is unsaid of it.
func (r *Registration) register(ctx context.Context) error {
	k := &r.kept
	got, err := r.via.put(ctx, k.registration())
	if r.orTTL && errors.Is(err, wire.ErrNoSessions) {
		r.withoutSession(err)
		return r.register(ctx)
	}
	if err != nil {
		if faulty(err) {
			k.revert()
		}
		return err
	}
	r.mu.Lock()
	r.inst = got
	r.mu.Unlock()
	switch {
	case k.lost:
		r.tell(NoticeReregistered, nil)
	case k.accepted == nil:
		r.tell(NoticeRegistered, nil)
	}
	again := k.lost
	k.registered(time.Duration(got.Lease.TTL))
	if !wire.Empty(&k.unsaid) {
		if err := r.report(ctx); err != nil {
			return err
		}
	}
	if again && k.draining {
		_, err = r.c.Drain(ctx, k.want.Key(), 0)
	}
	return err
}

// withoutSession goes on with heartbeats.
func (r *Registration) withoutSession(err error) {
	r.c.log.Warn("the lease is kept by heartbeats", "err", err)
	key := r.kept.want.Key()
	if s, ok := r.via.(*session); ok && s.leave(key) {
		s.end()
	}
	r.via = calls{r.c}
	r.kept.want.Lease.Mode, r.kept.instead = rollcall.LeaseTTL, true
}

// tell logs a notice and passes it on.
func (r *Registration) tell(kind NoticeKind, err error) {
	inst := r.Instance()
	switch log := r.c.log.With("instance", inst.Key().String()); kind {
	case NoticeFailing:
		log.Warn("the instance could not be registered or its lease kept; trying on", "err", err)
	case NoticeReregistered:
		log.Warn("the registry did not know the instance or its session any more; it is registered again")
	default:
		log.Info(string(kind))
	}
	r.notify(Notice{Kind: kind, Instance: inst, Err: err})
}
