package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// queued is how many records of a subscription may wait for its reader, apart
// from the parts of a state. It is no fault to read more slowly than that: the
// subscription ends, and going on from what was read costs less than keeping what
// is merged by then.
const queued = 256

var errSlow = errors.New("more records came than were read; going on behind the last")

// watches is the stream that carries all of a client's subscriptions. One
// goroutine reads it and waits for no reader of a subscription; another writes.
type watches struct {
	*stream[rollcallpb.WatchRequest, rollcallpb.WatchResponse]
	wake chan struct{} // there is something to write

	mu      sync.Mutex
	subs    map[uint64]*subscription
	last    uint64                       // number of a subscription
	say     []*rollcallpb.WatchRequest   // what is to be written,
	acks    map[uint64]rollcall.Revision // and the newest that was handled, by subscription
	failure error                        // why the stream has ended
}

// subscription is a [wire.Records].
type subscription struct {
	w   *watches
	n   uint64
	ctx context.Context

	// The reader's own.
	state  []rollcall.Instance // of the parts of a state that are not all there
	events []rollcall.WatchEvent
	said   rollcall.Token // the last that was acknowledged

	mu      sync.Mutex
	queue   []*rollcallpb.WatchResponse
	whole   int   // of queue, without parts that others follow
	failure error // comes after queue
	wake    chan struct{}
}

// Watch implements [wire.Caller]. What was handled is always said.
func (c *Client) Watch(ctx context.Context, q *rollcall.Query, _ bool) (wire.Records, error) {
	for {
		w, err := c.watches.get(ctx, c, c.openWatches)
		if err != nil {
			return nil, err
		}
		if s := w.subscribe(ctx, q); s != nil {
			return s, nil
		}
	}
}

func (c *Client) openWatches() (w *watches, err error) {
	err = c.turn.Ask(c.life, func(i int) error {
		s, err := openStream(c.life, c, i, rollcallpb.RegistryClient.Watch)
		if err != nil {
			return err
		}
		w = newWatches(s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.heard(wire.Silence)
	if err := c.task(w.read); err != nil {
		w.broken(err)
		return nil, err
	}
	return w, nil
}

func newWatches(s *stream[rollcallpb.WatchRequest, rollcallpb.WatchResponse]) *watches {
	return &watches{stream: s, wake: make(chan struct{}, 1), subs: map[uint64]*subscription{}, acks: map[uint64]rollcall.Revision{}}
}

// over reports whether the stream has ended.
func (w *watches) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure != nil
}

// subscribe begins a subscription, unless the stream has ended.
func (w *watches) subscribe(ctx context.Context, q *rollcall.Query) *subscription {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return nil
	}
	w.last++
	s := &subscription{w: w, n: w.last, ctx: ctx, wake: make(chan struct{}, 1)}
	w.subs[s.n] = s
	w.tell(&rollcallpb.WatchRequest{Say: &rollcallpb.WatchRequest_Subscribe{
		Subscribe: &rollcallpb.Subscribe{Subscription: s.n, Query: rollcallpb.FromQuery(q), Acks: true},
	}})
	return s
}

// unsubscribe ends a subscription, of which the server is told if it still knows
// it; the last one ends the stream.
func (w *watches) unsubscribe(n uint64, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs[n] == nil || w.failure != nil {
		return
	}
	delete(w.subs, n)
	delete(w.acks, n)
	if len(w.subs) == 0 {
		w.failure = errUnwatched
		w.end(errUnwatched)
		return
	}
	if known {
		w.tell(&rollcallpb.WatchRequest{Say: &rollcallpb.WatchRequest_Unsubscribe{Unsubscribe: &rollcallpb.Unsubscribe{Subscription: n}}})
	}
}

var errUnwatched = errors.New("nobody watches any more")

// tell has a request written. Its caller holds mu.
func (w *watches) tell(m *rollcallpb.WatchRequest) {
	w.say = append(w.say, m)
	signal(w.wake)
}

// ack has the newest revision that was handled written.
func (w *watches) ack(n uint64, r rollcall.Revision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs[n] != nil {
		w.acks[n] = r
		signal(w.wake)
	}
}

// signal wakes who waits, or will.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// unsaid takes what is to be written.
func (w *watches) unsaid() []*rollcallpb.WatchRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.say
	for n, r := range w.acks {
		all = append(all, &rollcallpb.WatchRequest{Say: &rollcallpb.WatchRequest_Ack{Ack: &rollcallpb.Ack{Subscription: n, Revision: uint64(r)}}})
	}
	w.say = nil
	clear(w.acks)
	return all
}

// write writes until the stream ends.
func (w *watches) write() {
	for {
		select {
		case <-w.wake:
		case <-w.ctx.Done():
			return
		}
		for _, m := range w.unsaid() {
			if w.Send(m) != nil {
				return // the reader hears why
			}
		}
	}
}

// read reads until the stream ends, and ends all subscriptions then.
func (w *watches) read() {
	var writer sync.WaitGroup
	writer.Go(w.write)
	defer writer.Wait()
	for {
		m, err := w.Recv()
		if err != nil {
			w.broken(w.failed(err))
			return
		}
		w.heard(wire.Silence)
		w.take(m)
	}
}

// take brings a record to its subscription.
func (w *watches) take(m *rollcallpb.WatchResponse) {
	w.mu.Lock()
	s := w.subs[m.GetSubscription()]
	w.mu.Unlock()
	if s != nil && !s.put(m) {
		w.unsubscribe(s.n, m.GetEnded() == nil)
	}
}

func (w *watches) broken(why error) {
	if wire.Elsewhere(why) {
		w.c.turn.Leave(w.server)
	}
	w.end(why)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		w.failure = why
	}
	for _, s := range w.subs {
		s.fail(w.failure)
	}
}

// put queues a record, and returns false if that is the last.
func (s *subscription) put(m *rollcallpb.WatchResponse) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return false
	}
	if s.whole == queued {
		s.failure = errSlow
		return false
	}
	if s.queue = append(s.queue, m); !m.GetState().GetMore() {
		s.whole++
	}
	signal(s.wake)
	return m.GetEnded() == nil
}

func (s *subscription) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = why
	}
	signal(s.wake)
}

// Close implements [wire.Records].
func (s *subscription) Close() { s.w.unsubscribe(s.n, true) }

// Next implements [wire.Records].
func (s *subscription) Next() (ev rollcall.WatchEvent, err error) {
	for len(s.events) == 0 {
		m, err := s.pop()
		if err != nil {
			return ev, err
		}
		if err := s.open(m); err != nil {
			return ev, err
		}
	}
	ev, s.events[0] = s.events[0], ev
	s.events = s.events[1:]
	return ev, nil
}

// pop waits for the next record.
func (s *subscription) pop() (*rollcallpb.WatchResponse, error) {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		if len(s.queue) > 0 {
			m := s.queue[0]
			s.queue[0] = nil
			s.queue = s.queue[1:]
			if !m.GetState().GetMore() {
				s.whole--
			}
			s.mu.Unlock()
			return m, nil
		}
		why := s.failure
		s.mu.Unlock()
		if why != nil {
			return nil, why
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
		}
	}
	return nil, context.Cause(s.ctx)
}

// open takes the events out of a record. Those of a state are one, once all of
// its parts are there.
func (s *subscription) open(m *rollcallpb.WatchResponse) error {
	evs, err := m.Events()
	if err != nil {
		if m.GetEnded() == nil {
			err = fmt.Errorf("a record of the stream could not be read: %w", err)
		}
		return err
	}
	if state := m.GetState(); state != nil {
		s.state = append(s.state, evs[0].Instances...)
		if state.GetMore() {
			return nil
		}
		evs[0].Instances, s.state = s.state, nil
	}
	s.events = evs
	return nil
}

// Handled implements [wire.Records].
func (s *subscription) Handled(ev *rollcall.WatchEvent) {
	if !ev.Token.IsZero() && ev.Token != s.said {
		s.said = ev.Token
		s.w.ack(s.n, ev.Token.Revision)
	}
}
