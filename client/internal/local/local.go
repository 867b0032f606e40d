// Package local is what a client knows by itself: views of what it subscribed to, kept
// up to date from the background and on disk, pickers that are fed from them, and what
// its own requests came to.
//
// A feed is one subscription, shared by all who ask the same. Its goroutine takes in
// what a watch tells; at each point at which that is complete it replaces the view and
// what is picked from, and only then asks the watch for more, which is how the registry
// knows that it has been acted upon. Readers take the newest view and the newest set to
// pick from by their pointers, and wait for nobody.
package local

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/client/internal/cache"
	"github.com/rollcall-registry/rollcall/client/internal/outcome"
	"github.com/rollcall-registry/rollcall/client/internal/view"
)

// ErrNoInstances is the kind of an error that means a service is known and none of its
// instances takes traffic.
var ErrNoInstances = errors.New("no instance takes traffic")

// errEnded is the error of what has been closed.
var errEnded = errors.New("the client is closed")

// Registry is what is asked of one.
type Registry struct {
	// Follow watches a query, from its After on, by one who knows these instances. The
	// sequence ends with an error that trying again would not change, or ctx's. That
	// the next record is asked for says that those before have been acted upon.
	Follow func(ctx context.Context, q rollcall.Query, known []rollcall.Instance) iter.Seq2[rollcall.WatchEvent, error]
	// Resolve answers whether a service is known.
	Resolve func(context.Context, rollcall.Query) (rollcall.Answer, error)
	// Observe takes a report of what requests came to.
	Observe func(context.Context, rollcall.ServiceKey, rollcall.CallerReport) error
}

// Local is the local knowledge of one client. Fields that begin with a capital are set
// before it is used. Its methods may be called by any number of goroutines.
type Local struct {
	Registry  Registry
	Caller    string // stable over the life of the process
	Namespace string // of names that say none
	Locality  rollcall.Locality
	Dir       string        // where views are kept; "" is nowhere
	Subset    int           // how many instances a subscription is of; 0 is all
	Settle    time.Duration // for how long an update waits at most for requests to those that leave
	Timeout   func() time.Duration
	Log       func() *slog.Logger

	life   context.Context
	end    context.CancelFunc
	picked atomic.Pointer[map[string]*Handle] // by the name as it was typed; copied to be changed

	outcomes outcome.Log

	mu     sync.Mutex // guards what follows, and changes of picked
	feeds  map[string]*feed
	closed bool
	runs   bool // housekeep and store
	work   sync.WaitGroup
}

// New returns what knows nothing yet. Close ends it.
func New() *Local {
	l := &Local{Settle: settleMost, feeds: map[string]*feed{}}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// Close ends all subscriptions, and waits until the last views are on disk.
func (l *Local) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.work.Wait()
}

// Handle is one holder's share in a feed.
type Handle struct {
	*feed
	ended atomic.Bool
	used  atomic.Bool // since it was last looked
	last  time.Time   // when it was found used; guarded by Local.mu
}

// Subscribe opens a feed, or joins the one that there is for an equal query. q's After
// and what else says when to answer means nothing.
func (l *Local) Subscribe(q rollcall.Query) (*Handle, error) {
	if q.Namespace == "" {
		q.Namespace = l.Namespace
	}
	if err := rollcall.CheckName("service", q.Service); err != nil {
		return nil, err
	}
	if q.Pick > 0 || !q.At.IsZero() {
		return nil, rollcall.Invalid("pick, at", "are not of a result that can be kept up to date; leave them out")
	}
	if l.Subset > 0 && q.Subset == "" && usable(&q) {
		q.Subset, q.SubsetSize = l.Caller, l.Subset
	}
	q.Caller = l.Caller
	q.After, q.Wait, q.MinRevision, q.MaxAge, q.Consistent = rollcall.Token{}, 0, 0, 0, false
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errEnded
	}
	text := q.Key().String() + "?" + q.Selection()
	f := l.feeds[text]
	if f == nil {
		f = l.open(q)
		f.text = text
		l.feeds[text] = f
	}
	f.refs++
	return &Handle{feed: f, last: time.Now()}, nil
}

// open begins a feed. The caller holds l.mu.
func (l *Local) open(q rollcall.Query) *feed {
	key := q.Key()
	ctx, end := context.WithCancel(l.life)
	f := &feed{l: l, q: q, key: key, opened: time.Now(), end: end, done: make(chan struct{}), said: make(chan struct{}), asking: make(chan struct{}, 1)}
	f.picker = balancer.New(balancer.Options{Locality: l.Locality, Probes: -1})
	f.state = view.State{Own: key, Digest: l.outcomes.Digest, Shown: !usable(&q)}
	f.view.Store(newView(key, nil, time.Time{}, rollcall.Token{}))
	l.work.Go(func() { f.run(ctx) })
	if !l.runs {
		l.runs = true
		l.work.Go(l.housekeep)
		if l.Dir != "" {
			l.work.Go(l.store)
		}
	}
	return f
}

// usable reports whether a query is of what can be used, rather than of a health.
func usable(q *rollcall.Query) bool {
	return q.Health == "" || q.Health == rollcall.HealthRoutable
}

// Close gives the share up; the last one ends the feed. The last view stays as it is.
func (h *Handle) Close() {
	if h.ended.Swap(true) {
		return
	}
	l := h.l
	l.mu.Lock()
	h.refs--
	last := h.refs == 0
	if last {
		delete(l.feeds, h.text)
	}
	l.mu.Unlock()
	if last {
		h.end()
		<-h.done
	}
}

// housekeep tells the registry once a second what requests came to, if there is news,
// and ends what nobody picks from any more.
func (l *Local) housekeep() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-l.life.Done():
			return
		case now := <-tick.C:
			l.report(now)
			if n%60 == 0 {
				l.sweep(now)
			}
		}
	}
}

// reportWithin is for how long the reports of a second may be on their way.
const reportWithin = 5 * time.Second

// report sends what is due. What cannot be sent is lost, with all behind it: it would be
// old news.
func (l *Local) report(now time.Time) {
	due := l.outcomes.Due(now)
	if len(due) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(l.life, reportWithin)
	defer cancel()
	for _, r := range due {
		r.Caller = l.Caller
		err := l.Registry.Observe(ctx, r.Service, r.CallerReport)
		if err == nil {
			continue
		}
		l.Log().Debug("could not report what requests came to", "service", r.Service.Service, "err", err)
		if !errors.Is(err, rollcall.ErrNotFound) && !errors.Is(err, rollcall.ErrForbidden) { // which are of one service
			return
		}
	}
}

const (
	// storeEvery is how often changed views are written.
	storeEvery = time.Second
	// confirmEvery is how often one is that did not change, so that its age is known.
	confirmEvery = time.Minute
	// storeRest is how many times as long as it took to write a view that then rests.
	storeRest = 20
)

// store keeps views on disk.
func (l *Local) store() {
	l.cache().Tidy(time.Now())
	tick := time.NewTicker(storeEvery)
	defer tick.Stop()
	for open := true; open; {
		select {
		case <-l.life.Done():
			open = false
		case <-tick.C:
		}
		l.mu.Lock()
		feeds := make([]*feed, 0, len(l.feeds))
		for _, f := range l.feeds {
			feeds = append(feeds, f)
		}
		l.mu.Unlock()
		for _, f := range feeds {
			f.save(time.Now(), !open)
		}
	}
}

// name is what the file of a query is known by. The default name of a caller is
// another each time, and its subset not the least like that of the one before, but a
// better beginning than none.
func (l *Local) name(q rollcall.Query) string {
	if q.Subset == l.Caller {
		q.Subset = "*"
	}
	return q.Key().String() + "?" + q.Selection()
}

func (l *Local) cache() cache.Dir { return cache.Dir{Path: l.Dir, Log: l.Log()} }
