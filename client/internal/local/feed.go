package local

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/client/internal/cache"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/view"
)

// feed is a subscription as all who have it share it.
type feed struct {
	l      *Local
	q      rollcall.Query
	text   string // equal for equal queries
	key    rollcall.ServiceKey
	refs   int // guarded by Local.mu
	opened time.Time

	end  context.CancelFunc
	done chan struct{}

	picker *balancer.Balancer
	view   atomic.Pointer[View]
	said   chan struct{} // closed once the registry has said something: a result or an error
	once   sync.Once
	failed atomic.Pointer[error] // what the registry refuses the query with
	absent atomic.Pointer[absence]
	asking chan struct{} // holds a token while it is found out about that

	// What follows belongs to the goroutine that follows.
	state   view.State
	token   rollcall.Token
	loose   bool          // the state is beyond the token
	changed bool          // the state is beyond the view
	derived bool          // the name means a named query
	settled time.Time     // when it was last waited for requests, see settle,
	waited  time.Duration // and how long of late
	buffer  []balancer.Endpoint

	// And this to the one that stores.
	saved *View
	at    time.Time // as of which it was
	rest  time.Time // not before
}

// View returns the newest view. It is never nil.
func (f *feed) View() *View { return f.view.Load() }

// diskAfter is for how long from the beginning of a feed Ready waits for the registry
// before it is content with what was on disk.
const diskAfter = 500 * time.Millisecond

// Ready returns the newest view, once one is known: when the registry has answered, or
// if it has not after half a second, when there was one on disk. Its error is that of
// ctx, or what the registry refuses the query with.
func (f *feed) Ready(ctx context.Context) (*View, error) {
	select {
	case <-f.said:
		return f.answered()
	default:
	}
	disk := time.NewTimer(time.Until(f.opened.Add(diskAfter)))
	defer disk.Stop()
	select {
	case <-f.said:
		return f.answered()
	case <-f.done:
		return f.answered()
	case <-disk.C:
	case <-ctx.Done():
	}
	for {
		v := f.View()
		if v.of != nil {
			return v, nil
		}
		select {
		case <-f.said:
			return f.answered()
		case <-f.done:
			return f.answered()
		case <-v.next:
		case <-ctx.Done():
			return v, f.late(ctx)
		}
	}
}

// answered returns what is known now that nothing more is waited for.
func (f *feed) answered() (*View, error) {
	v := f.View()
	if v.of == nil {
		return v, f.unknown()
	}
	return v, nil
}

// unknown says why nothing is known.
func (f *feed) unknown() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	if f.l.life.Err() != nil {
		return errEnded
	}
	return &rollcall.Error{Kind: rollcall.ErrNotSynced, Detail: fmt.Sprintf("nothing is known of %s yet: the registry has not answered", f.name())}
}

// late says that a view did not come in time.
func (f *feed) late(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != context.DeadlineExceeded {
		return cause
	}
	return &rollcall.Error{
		Kind: rollcall.ErrTimeout, Cause: ctx.Err(),
		Detail: fmt.Sprintf("the registry has not said in time which instances %s has; see whether it can be reached", f.name()),
	}
}

func (f *feed) name() string {
	if f.key.Namespace == rollcall.DefaultNamespace {
		return f.key.Service
	}
	return f.key.String()
}

// run follows the registry until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	f.load()
	again := retry.Backoff{Least: time.Second, Most: 30 * time.Second}
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if err == nil || ctx.Err() != nil {
			again.Reset()
			continue
		}
		f.failed.Store(&err)
		f.once.Do(func() { close(f.said) })
		wait := again.Next(err)
		f.l.Log().Warn("the registry refuses a subscription; asking again", "service", f.name(), "in", wait.Round(time.Millisecond), "err", err)
		retry.Pause(ctx, wait)
	}
}

// resultBit is set in the generation of the tokens of results that are worked out as a
// whole, of which those of named queries are some.
const resultBit = 1 << 63

// plain reports whether the query is of a service's instances each by itself, unless its
// name turns out to be a named query's or its filter to read load.
func (f *feed) plain() bool {
	return usable(&f.q) && f.q.Near == "" && f.q.Limit == 0 && f.q.Subset == ""
}

// every says whether there may be instances in the result that take no traffic.
func (f *feed) every() { f.state.Every = f.plain() && !f.derived || !usable(&f.q) }

// follow watches until that ends with an error, or what the name means is to be asked
// for in another way. A service is asked for all its instances, so that those which take
// no traffic count in what their zones would have; a result is asked for as it is.
func (f *feed) follow(ctx context.Context) error {
	q := f.q
	if f.every(); f.plain() && !f.derived {
		q.Health = rollcall.HealthAny
	}
	q.After = f.token
	for ev, err := range f.l.Registry.Follow(ctx, q, f.state.View().Stored()) {
		if err != nil {
			return err
		}
		if derived := ev.Token.Generation&resultBit != 0; f.plain() && !ev.Token.IsZero() && derived != f.derived {
			f.derived, f.token = derived, rollcall.Token{}
			return nil
		}
		was := f.picker.Mark()
		f.take(&ev)
		f.settle(ctx, was)
	}
	return nil
}

// settleMost is for how long it is waited for requests to instances that left: those
// that are not answered in that time have been sent long since.
const settleMost = 250 * time.Millisecond

// settleAhead is how many times as long it is waited in all while updates come one upon
// the other; a half of the time between them is added to it. Where requests take long and
// many instances leave, the view must not fall behind.
const settleAhead = 4

// settle waits until what was picked before an update is over, of those instances that
// leave because they want to: one that drains hangs up once all who call it have acted
// on that, and a request that is sent to it then fails.
func (f *feed) settle(ctx context.Context, was balancer.Mark) {
	if f.picker.Mark() == was {
		return
	}
	began := time.Now()
	f.waited = max(0, f.waited-began.Sub(f.settled)/2)
	ctx, cancel := context.WithTimeout(ctx, min(f.l.Settle, settleAhead*f.l.Settle-f.waited))
	defer cancel()
	f.picker.Settle(ctx, was, func(p balancer.Pick) bool { return p.Payload().(*view.Entry).Leaves() })
	f.settled = time.Now()
	f.waited += f.settled.Sub(began)
}

// take takes in a record. What comes without a token is part of something that is not
// complete yet, but for weights.
func (f *feed) take(ev *rollcall.WatchEvent) {
	f.changed = f.state.Take(ev) || f.changed
	switch {
	case !ev.Token.IsZero():
		f.token, f.loose = ev.Token, false
	case ev.Type != rollcall.WatchWeights:
		f.loose = true
	}
	if f.loose {
		return
	}
	f.publish(time.Now())
	if f.failed.Load() != nil {
		f.failed.Store(nil)
	}
	f.once.Do(func() { close(f.said) })
}

// publish replaces the view and what is picked from, or says that they are current.
func (f *feed) publish(at time.Time) {
	old := f.view.Load()
	if old.of != nil && !f.changed {
		old.confirm(at, f.token)
		return
	}
	f.changed = false
	v := newView(f.key, f.state.View(), at, f.token)
	f.buffer = v.of.Endpoints(f.buffer[:0], f.key, f.q.Near == "" && !f.state.Foreign())
	f.picker.Update(f.buffer)
	clear(f.buffer) // of what should not be kept
	f.view.Store(v)
	close(old.next)
}

// load begins with what is on disk.
func (f *feed) load() {
	if f.l.Dir == "" {
		return
	}
	file := f.l.cache().Load(f.l.name(f.q))
	if file == nil {
		return
	}
	f.token = file.Token
	f.derived = file.Token.Generation&resultBit != 0
	f.every()
	f.state.Take(&rollcall.WatchEvent{Type: rollcall.WatchSnapshot, Instances: file.Instances})
	f.publish(file.Confirmed)
}

// save writes the newest view, if the one on disk is another or its age is out of date.
func (f *feed) save(now time.Time, last bool) {
	v := f.View()
	seen := v.seen.Load()
	if v.of == nil || v == f.saved && seen.at.Sub(f.at) < confirmEvery && !last || v == f.saved && seen.at.Equal(f.at) || now.Before(f.rest) && !last {
		return
	}
	select {
	case <-f.said:
	default:
		return // it is what was on disk
	}
	f.l.cache().Save(&cache.File{Query: f.l.name(f.q), Token: seen.token, Confirmed: seen.at, Instances: v.of.Stored()})
	f.saved, f.at, f.rest = v, seen.at, now.Add(storeRest*time.Since(now))
}
