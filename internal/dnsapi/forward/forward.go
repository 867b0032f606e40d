// Package forward asks other servers what this one does not know, so that it may be
// the only one that a host is told of. It keeps nothing of the answers.
//
// Whoever can send in an upstream's name must not be believed. A query goes out from
// a socket of its own, hence from a port that the system draws, under an id drawn at
// random, and its answer is what comes from the very address asked with that id and
// the same question byte by byte; anything else is passed over, and who tries often
// has it asked by TCP instead. What the client and this server have between them,
// cookies above all, stays there in both directions.
//
// Upstreams are asked in their order, the next when one does not answer, or answers
// that it failed or will not. One that leaves a query without an answer is doubted: the
// others come first, and a probe finds out, aside of all queries, whether it is dead.
// So a dead one costs those queries that are under way when it dies.
//
// A query that comes back to us by way of the upstreams is not told from a new one. It
// goes round until as many are under way as may be, then all of it fails; whoever
// configures upstreams refuses addresses of ours.
package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

var (
	// ErrQuery is the error of what is no query, or one that cannot be passed on
	// unchanged, as those that are signed.
	ErrQuery = errors.New("not a query that can be passed on")
	// ErrBusy is the error of a query beyond those that may be under way.
	ErrBusy = errors.New("too many queries to DNS upstreams are under way")
	// ErrNoAnswer is the error of a query that no upstream answers.
	ErrNoAnswer = errors.New("no DNS upstream answers")
	// ErrClosed is the error of queries after Close.
	ErrClosed = errors.New("nothing is passed on any more")
)

const (
	timeout = 2 * time.Second
	most    = 1024
	// tries is how many upstreams are asked for one query; its client does not wait for
	// more.
	tries = 3
)

// Options are what a forwarder is made of.
type Options struct {
	// Upstreams are asked in this order. An address of this server itself must not be
	// among them.
	Upstreams []netip.AddrPort
	// Timeout is how long one upstream has to answer; 0 is 2 s.
	Timeout time.Duration
	// Most is how many queries may be under way, a socket each; 0 is 1,024.
	Most int
	// Logger is told when an upstream dies and when it is back; nil is nobody.
	Logger *slog.Logger
}

// Forwarder passes queries on. All may use it at once. Close it.
type Forwarder struct {
	upstreams []*upstream
	timeout   time.Duration
	log       *slog.Logger
	now       func() time.Time

	room chan struct{} // one for each query under way
	ctx  context.Context
	stop context.CancelFunc // ends ctx

	mu     sync.Mutex // guards closed, and that nobody comes to wait after it
	closed bool
	wait   sync.WaitGroup // for queries and probes
}

// New returns a forwarder.
func New(o Options) *Forwarder {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Forwarder{timeout: cmp.Or(max(o.Timeout, 0), timeout), log: o.Logger, now: time.Now, room: make(chan struct{}, cmp.Or(max(o.Most, 0), most))}
	f.ctx, f.stop = context.WithCancel(context.Background())
	for _, a := range o.Upstreams {
		f.upstreams = append(f.upstreams, &upstream{addr: a})
	}
	return f
}

// Forward returns the answer of an upstream to a query, with the query's id and question.
// The query is not kept or changed. If the client did not come by TCP, an answer larger
// than it takes by the query is one that is cut and says so. An answer that says
// SERVFAIL or REFUSED is returned if no upstream has a better one.
//
// Errors are [ErrQuery], [ErrBusy], [ErrNoAnswer], [ErrClosed] and that of ctx; a client
// is best told SERVFAIL for all of them.
func (f *Forwarder) Forward(ctx context.Context, query []byte, tcp bool) ([]byte, error) {
	q, err := readQuery(query)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err // without asking anybody for who does not wait
	}
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	answer, err := f.ask(ctx, &q, tcp)
	switch {
	case err != nil && f.ctx.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	if answer = q.forClient(answer); !tcp {
		answer = q.fit(answer)
	}
	return answer, nil
}

// ask asks the upstreams one after the other and returns the first answer that is one, or
// else the first that was given.
func (f *Forwarder) ask(ctx context.Context, q *query, tcp bool) (answer []byte, err error) {
	defer f.look() // after the query, which knows more
	f.look()
	err = ErrNoAnswer
	for _, u := range f.order() {
		b, failed := f.exchange(ctx, u.addr, q, tcp)
		if failed != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				u.unanswered()
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			err = fmt.Errorf("%w: %w", ErrNoAnswer, failed)
			continue
		}
		if u.answered() {
			f.log.Info("a DNS upstream answers again", "upstream", u.addr)
		}
		if code := rcode(b); code != servfail && code != refused {
			return b, nil
		}
		if answer == nil {
			answer = b
		}
	}
	if answer != nil {
		return answer, nil
	}
	return nil, err
}

// order returns the upstreams to ask, those that are well first.
func (f *Forwarder) order() []*upstream {
	var by [dead + 1][]*upstream
	for _, u := range f.upstreams {
		is := u.is()
		by[is] = append(by[is], u)
	}
	order := slices.Concat(by[:]...)
	return order[:min(tries, len(order))]
}

// enter takes a place among the queries under way.
func (f *Forwarder) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	select {
	case f.room <- struct{}{}:
		f.wait.Add(1)
		return nil
	default:
		return ErrBusy
	}
}

func (f *Forwarder) leave() {
	<-f.room
	f.wait.Done()
}

// Close ends what is under way and waits until nothing is. Queries fail from then on.
func (f *Forwarder) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.wait.Wait()
}
