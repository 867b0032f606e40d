// Package registry is the application: every use case of Rollcall, whatever
// door it comes through. A command is checked, authorised and appended to the
// log; one loop applies what the log says and publishes it; reads come from the
// published snapshot and need nothing else. Renewals and reports stay in memory:
// only when they change a verdict does one writer bring that to the log.
package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/egress"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/index"
	"github.com/rollcall-registry/rollcall/internal/judge"
	"github.com/rollcall-registry/rollcall/internal/liveness"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/session"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Log is the ordered, durable sequence of changes behind a registry.
type Log interface {
	// Status tells the log's identity (another after it was wiped or restored),
	// how far it is, and whether it takes writes.
	Status() rollcall.LogStatus
	// Append writes a batch, all of it or nothing. It is durable once Append
	// returns. An error that matches ErrPrecondition has a cause with a method
	// FailedPreconditions() []int; one that matches ErrUnavailable means that
	// the log takes no writes for now.
	Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error)
	// Follow yields every change behind a revision, in order, once; a reset
	// first if the log does not reach back so far, and always from 0. It ends
	// with an error, that of ctx if it is done.
	Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error]
	// Checkpoint gives the log an image of its state at a revision, so that it
	// can forget what came before. It also makes a log that refuses writes after
	// an error try again.
	Checkpoint(ctx context.Context, at rollcall.Revision, state iter.Seq[rollcall.Change]) error
}

// Options configure a registry.
type Options struct {
	Log     Log
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Limits  rollcall.Limits       // zero: the defaults
	History *history.History      // nil: one in memory
	Version string                // of the program, for the status
	Store   string                // name of the kind of log, for the status
	// Defaults are the settings of services that have none of their own; nil
	// fields are Rollcall's.
	Defaults rollcall.Settings
	// Wall is the wall clock, nil is the system's. It may jump: it only tells what
	// time it is in what is written and shown, and when an override is over.
	Wall func() time.Time
	// Undamped has every verdict followed, however often one instance's changes.
	Undamped bool
	// Egress says who may be probed; nil is everybody but loopback, link-local and
	// the like. Exec lets instances of the configuration have commands run.
	Egress *egress.Policy
	Exec   bool
	// Probe is that of [liveness.Options].
	Probe func(context.Context, *catalog.Item) (refused bool, cause string)
	// Events, if set, is called with each event that is new, not with those that
	// are read back at the start. It is called by the apply loop and must not wait;
	// whoever keeps the event copies its texts, which share the memory of a batch.
	Events func(rollcall.Event)
}

// Registry answers for the catalog. Create it with [New], and have [Registry.Run]
// running; all other methods may be called by any goroutine.
type Registry struct {
	o       Options
	log     Log
	logger  *slog.Logger
	started time.Time

	catalog  *catalog.Catalog // written by the apply loop alone
	hub      *watch.Hub
	live     *liveness.Liveness
	session  *session.Table
	soft     *load.Table
	index    *index.Table // of big services
	compiler *resolve.Compiler
	world    resolve.World    // what answers are worked out from
	history  *history.History // written by the apply loop alone
	pasts    *catalog.Pasts
	applied  catalog.Progress
	acked    atomic.Uint64 // newest revision that an Append returned
	foreign  atomic.Bool   // somebody knew another log; see settling
	metrics  *metrics

	read      atomic.Bool // the log was read from its start
	serving   atomic.Bool // the doors are open; opened is set then
	opened    time.Time
	inStep    atomic.Bool  // the log is being followed
	lastStep  atomic.Int64 // when it last was, nanoseconds since started
	forget    atomic.Bool  // the apply loop is to forget what is long gone
	sinceMark atomic.Int64 // changes since the last checkpoint

	queries sync.Mutex // held by whoever writes a named query

	mu       sync.Mutex // guards expiring
	expiring map[rollcall.Key]time.Time

	warmed map[rollcall.ServiceKey]struct{} // with instances that begin to warm up; the apply loop's
}

// New returns a registry on a log. It answers nothing until Run has read it.
func New(o Options) *Registry {
	if o.Limits == (rollcall.Limits{}) {
		o.Limits = rollcall.DefaultLimits()
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.History == nil {
		o.History, _ = history.Open("", history.Options{}) // fails for want of a directory alone
	}
	start := time.Now()
	r := &Registry{
		o: o, log: o.Log, logger: o.Logger, started: start,
		history:  o.History,
		pasts:    catalog.NewPasts(),
		catalog:  catalog.New(),
		hub:      watch.NewHub(time.Now),
		expiring: map[rollcall.Key]time.Time{}, warmed: map[rollcall.ServiceKey]struct{}{},
	}
	if share := o.Defaults.Panic; share != nil {
		r.catalog.PanicBelow(*share)
	}
	r.index = index.New(index.Options{View: r.catalog.View, Snapshot: r.catalog.Snapshot, At: r.Position})
	r.soft = load.New(start, load.Options{Facts: r.facts, Moved: r.index.Move, Forgot: r.index.Forget, Raised: func(s rollcall.ServiceKey) { r.Stamp(s).Add(1) }})
	r.compiler = resolve.NewCompiler()
	r.world = resolve.World{
		View: r.catalog.View, Soft: r.soft, Index: r.index, Subsets: &resolve.Subsets{Now: time.Now}, Ready: &resolve.Ready{}, Newest: r.catalog.Item, Now: time.Now, Rand: rand.Float64,
	}
	r.hub.Weights = r.weights
	r.live = liveness.New(liveness.Options{
		Judge: judge.Options{
			Paused: func(d time.Duration) {
				r.history.Note(rollcall.Event{
					At: r.now(), Type: "pause", By: "rollcall", Via: "lease",
					Why: fmt.Sprintf("this process was stopped for %v; all deadlines were moved by as much", d.Round(time.Millisecond)),
				})
			},
			Snapshot: r.catalog.Snapshot, Append: r.append,
			Defaults: o.Defaults, Wall: o.Wall, Undamped: o.Undamped, Logger: o.Logger, Metrics: o.Metrics,
		},
		Check: check.Options{Policy: o.Egress, Exec: o.Exec}, Probe: o.Probe,
		Ejected: func() { r.metrics.ejections.Inc() },
	})
	r.session = session.New(session.Options{
		Leases: r.live.Leases, Judge: r.live.Judge.Anew, Now: time.Now, Logger: o.Logger,
		Register: func(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (rollcall.Instance, bool, error) {
			return r.register(ctx, i, ifMatch, bySession)
		},
		Renew: r.Renew, Deregister: r.deregisterOf,
	})
	r.metrics = newMetrics(r, o.Metrics)
	return r
}

// Run reads the log and keeps the registry going until ctx ends; then it writes
// positions that are not in the log yet and returns nil.
func (r *Registry) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.follow(ctx) })
	g.Go(func() error { return r.live.Run(ctx, r.WaitSynced) })
	g.Go(func() error { return r.housekeeping(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// EndStreams ends all watches and long polls, so that the doors can close. Who is not
// heard from any more then was sent elsewhere.
func (r *Registry) EndStreams() { r.live.Leases.End(); r.hub.Close() }

// WaitSynced returns once the registry has read its log.
func (r *Registry) WaitSynced(ctx context.Context) error { return r.applied.Wait(ctx, 0) }

// Ready returns nil if the registry can do all it is for, else why not.
func (r *Registry) Ready() error {
	if err := r.synced(); err != nil {
		return err
	}
	return r.log.Status().Err
}

// Serving says that the doors are open: from here on silence counts, and leases
// have their full TTL.
func (r *Registry) Serving() {
	if !r.serving.Load() {
		r.opened = time.Now()
		r.live.Leases.Begin()
		r.serving.Store(true)
	}
}

func (r *Registry) synced() error {
	if !r.read.Load() {
		return &rollcall.Error{
			Kind: rollcall.ErrNotSynced, RetryAfter: time.Second,
			Detail: "the registry is still reading its log; try again in a moment",
		}
	}
	return nil
}

// append writes changes to the log and waits until they are published, so that
// whoever was told of them can read them.
func (r *Registry) append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	rev, err := r.log.Append(ctx, b)
	if err != nil {
		return 0, err
	}
	for {
		acked := r.acked.Load()
		if uint64(rev) <= acked || r.acked.CompareAndSwap(acked, uint64(rev)) {
			break
		}
	}
	return rev, r.applied.Wait(ctx, rev)
}

// settleFor is how long a new log is settling.
const settleFor = rollcall.DefaultTTL * 3 / 2

// settling reports whether an unknown name may only be one that is not back
// yet: the log is young, and somebody knew another one. A log is as old as the
// time for which it could be asked; what it was before this process is taken
// from the wall clock, as far as that can be true.
func (r *Registry) settling() (left time.Duration, ok bool) {
	if !r.foreign.Load() || !r.serving.Load() {
		return 0, false
	}
	left = settleFor - time.Since(r.opened)
	if st := r.log.Status(); !st.First {
		left -= max(0, r.opened.Sub(st.Created.Local()))
	}
	return left, left > 0
}

// sawForeign notes that somebody knows another log than this one.
func (r *Registry) sawForeign() {
	if !r.foreign.Load() {
		r.foreign.Store(true)
		if left, ok := r.settling(); ok {
			r.logger.Warn("clients of an earlier log are here: unknown services are answered with 503 until they had time to register again", "for", left.Round(time.Second))
		}
	}
}

// notYet returns the error for what is not there, if that may change while the
// registry is settling.
func (r *Registry) notYet(what string) error {
	if _, ok := r.settling(); !ok {
		return nil
	}
	return &rollcall.Error{
		Kind: rollcall.ErrSettling, RetryAfter: 2 * time.Second,
		Detail: what + " is not known yet; the registry's log is new and its instances may be about to register again",
	}
}

// unknown returns the error for a service that is not in the catalog.
func (r *Registry) unknown(key rollcall.ServiceKey) error {
	if err := r.notYet("service " + key.String()); err != nil {
		return err
	}
	return &rollcall.Error{
		Kind:   rollcall.ErrNotFound,
		Detail: fmt.Sprintf("service %s has no instance and had none lately; list what there is with GET /api/v1/services", key),
	}
}
