package grpcapi

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// watching is a stream of watches. Its handler receives what is subscribed to, and
// waits most of the time; the door's senders tell what its plain subscriptions say.
// Each derived one, which works out results of its own, has a goroutine. Whoever tells has the
// stream's turn from before anything is encoded until it is sent, so that one
// record at a time is in memory.
type watching struct {
	*conversation
	group *watch.Group
	from  string
	out   told // what goes out, for who has the turn

	mu   sync.Mutex // guards what follows
	subs map[uint64]*subscription
}

// subscription is one of a stream.
type subscription struct {
	w       *watching
	number  uint64
	head    mem.Buffer // the number, as messages begin with it
	id      string     // among the hub's watchers
	topic   rollcall.ServiceKey
	plan    *resolve.Plan
	log     rollcall.LogID // of its tokens; who tells has it
	memo    string         // what its changes are remembered under, with log
	metrics *class
	feed    watch.Feed
	member  *watch.Member // nil: it is derived
	stop    context.CancelFunc
}

// watch serves subscriptions for as long as their stream lasts.
func (s *Server) watch(c *conversation) error {
	s.senders.Begin()
	w := &watching{conversation: c, group: s.senders.Queue.NewGroup(), subs: map[uint64]*subscription{}}
	if from := caller(c.ctx); from.IsValid() {
		w.from = from.String()
	}
	defer w.close()
	c.seldom, c.alone = true, true
	defer c.stops()()
	return c.leave(w.receive())
}

// receive does what the client says until the conversation is over, and returns why
// it is.
func (w *watching) receive() error {
	for w.ctx.Err() == nil {
		m := new(pb.WatchRequest)
		err := w.conversation.receive(&in{most: w.most, decode: decoder(m)}, func() error { return w.heard(m) })
		switch {
		case err == io.EOF: // it has subscribed to all that it wants to
			<-w.ctx.Done()
		case err != nil:
			return err
		}
	}
	return context.Cause(w.ctx)
}

// close ends all subscriptions.
func (w *watching) close() {
	w.mu.Lock()
	all := w.subs
	w.subs = nil
	w.mu.Unlock()
	for _, sub := range all {
		w.drop(sub)
	}
}

// heard does what a message says. An error ends the stream.
func (w *watching) heard(m *pb.WatchRequest) error {
	switch say := m.Say.(type) {
	case *pb.WatchRequest_Subscribe:
		return w.subscribe(say.Subscribe)
	case *pb.WatchRequest_Unsubscribe:
		if sub := w.take(say.Unsubscribe.GetSubscription()); sub != nil {
			w.drop(sub)
		}
	case *pb.WatchRequest_Ack:
		sub := w.find(say.Ack.GetSubscription())
		if sub == nil {
			return nil // it is over
		}
		if err := w.s.reg.Ack(w.ctx, sub.id, rollcall.Revision(say.Ack.GetRevision())); err != nil {
			return w.finish(sub, err)
		}
	}
	return nil
}

func (w *watching) find(number uint64) *subscription {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.subs[number]
}

// take removes a subscription from the stream, nil if there is none or it was
// taken already. Who has it lets go of it.
func (w *watching) take(number uint64) *subscription {
	w.mu.Lock()
	defer w.mu.Unlock()
	sub := w.subs[number]
	delete(w.subs, number)
	return sub
}

// drop lets go of what take returned.
func (w *watching) drop(sub *subscription) {
	sub.metrics.watchers.Dec()
	if sub.member != nil {
		w.group.Remove(sub.member)
		return
	}
	sub.stop() // its goroutine closes it
}

// finish says that a subscription is over, unless that is known already.
func (w *watching) finish(sub *subscription, err error) error {
	if w.take(sub.number) == nil {
		return nil
	}
	w.drop(sub)
	return w.ended(sub.number, err)
}

func (w *watching) ended(number uint64, err error) error {
	return w.send(&pb.WatchResponse{Subscription: number, Tell: &pb.WatchResponse_Ended{Ended: w.s.detail("a watch", rollcall.Key{}, err)}})
}

// subscribe begins a subscription.
func (w *watching) subscribe(m *pb.Subscribe) error {
	number := m.GetSubscription()
	w.mu.Lock()
	_, taken := w.subs[number]
	full := len(w.subs) >= w.s.o.MaxSubscriptions
	w.mu.Unlock()
	switch {
	case taken:
		return rollcall.Invalid("subscription", fmt.Sprintf("is %d, which is the number of another one on this stream", number))
	case full:
		return w.ended(number, &rollcall.Error{
			Kind: rollcall.ErrTooMany, Field: "subscription",
			Detail: fmt.Sprintf("a stream has room for %d subscriptions; open another one", w.s.o.MaxSubscriptions),
		})
	}
	if err := w.open(number, m); err != nil {
		return w.ended(number, err)
	}
	return nil
}

func (w *watching) open(number uint64, m *pb.Subscribe) error {
	q, err := m.Query.Domain()
	if err != nil {
		return err
	}
	if err := watchable(&q); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(w.ctx)
	feed, plan, err := w.s.reg.Watch(ctx, &q, watch.Reader{Door: "grpc", From: w.from, Acks: m.GetAcks()})
	if err != nil {
		stop()
		return err
	}
	sub := &subscription{w: w, number: number, head: mem.SliceBuffer(appendInt(nil, 1, number)), id: feed.ID(), plan: plan, feed: feed, stop: stop}
	sub.of(q.After.Log)
	if q.Service != "" {
		sub.topic = q.Key()
	} else {
		sub.topic.Namespace = strings.ToLower(q.Namespace)
	}
	sub.metrics = w.s.metrics.classes[sub.class()]
	sub.metrics.watchers.Inc()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs[number] = sub
	plain, ok := feed.(*watch.Subscription)
	if !ok {
		w.apart(func() error { return w.follow(ctx, sub) })
		return nil
	}
	stop()
	sub.stop = nil
	sub.member = w.group.Add(plain, sub)
	return nil
}

// watchable refuses what says when a single answer is given.
func watchable(q *rollcall.Query) error {
	if q.MinRevision == 0 && q.MaxAge == 0 && !q.Consistent && q.Wait == 0 {
		return nil
	}
	return &rollcall.Error{
		Kind: rollcall.ErrUnsupported, Field: "query",
		Detail: "this version does not watch with min_revision, max_age, consistent or wait; leave them out, and resolve with them first if it matters: " +
			"the token of that answer is where a watch can go on (after)",
	}
}

// of says which log the subscription's tokens are of.
func (sub *subscription) of(log rollcall.LogID) {
	if sub.log != log || sub.memo == "" {
		sub.log, sub.memo = log, "grpc watch "+string(log)
	}
}

// class says what a subscription is about.
func (sub *subscription) class() string {
	switch {
	case sub.topic.Service != "":
		return "service"
	case sub.topic.Namespace != "":
		return "namespace"
	}
	return "all"
}

// atOnce is how many batches a stream is told before others have their turn.
const atOnce = 64

// news tells a stream what its plain subscriptions say.
func (s *Server) news(g *watch.Group) {
	var w *watching
	defer func() {
		if p := recover(); p != nil {
			s.panicked("telling", p)
			if w != nil {
				w.end(errPanicked)
			}
			g.Yield()
		}
	}()
	for range atOnce {
		m, b, err := g.Poll()
		if m == nil {
			return
		}
		sub := m.Value.(*subscription)
		if w = sub.w; w.ctx.Err() != nil {
			continue // its handler is about to remove all
		}
		if err == nil {
			err = w.tell(sub, b)
		} else if err != watch.ErrClosed {
			err = w.finish(sub, err)
		}
		if err != nil {
			w.end(err)
		}
	}
	g.Yield()
}

// follow tells what a derived subscription says until that ends.
func (w *watching) follow(ctx context.Context, sub *subscription) error {
	defer sub.feed.Close()
	for {
		b, err := sub.feed.Next(ctx)
		switch {
		case err == nil:
			err = w.tell(sub, b)
		case ctx.Err() != nil:
			return nil
		case err != watch.ErrClosed:
			return w.finish(sub, err)
		}
		if err != nil {
			return err
		}
	}
}

// tell tells what a batch says.
func (w *watching) tell(sub *subscription, b *watch.Batch) error {
	if err := w.batch(sub, b); err != nil {
		w.s.o.Logger.Debug("a watcher was dropped", "from", w.from, "err", err)
		return err
	}
	sub.feed.Sent()
	if b.Type == watch.Changes {
		sub.metrics.propagation.Observe(time.Since(b.At).Seconds())
	}
	return nil
}

func (w *watching) batch(sub *subscription, b *watch.Batch) error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	switch {
	case b.Result != nil:
		return w.result(sub, b)
	case b.Type == watch.Snapshot, b.Type == watch.Reset:
		return w.whole(sub, b)
	}
	e := w.records(sub)
	if b.Type == watch.Bookmark {
		e.bookmark(b.Revision)
		return w.pass(sub, e.buf)
	}
	return w.pass(sub, b.Memo(sub.memo, func() []byte {
		if b.Type == watch.Weights {
			e.weighed(b)
		} else {
			e.changes(b)
		}
		return e.buf
	}))
}

func (w *watching) records(sub *subscription) *records {
	return &records{s: w.s, many: sub.topic.Service == "", topic: sub.topic, log: sub.log}
}

// pass sends records, each by itself.
func (w *watching) pass(sub *subscription, all []byte) error {
	for record := range each(all) {
		w.out = told{sub.head, record}
		err := w.put(&w.out)
		if w.out.record = nil; err != nil {
			return err
		}
	}
	return nil
}

// result tells of a result, which is this watcher's alone.
func (w *watching) result(sub *subscription, b *watch.Batch) error {
	sub.of(b.Result.Log)
	e := w.records(sub)
	e.generation, e.many = b.Result.Generation, b.Result.Named
	switch b.Type {
	case watch.Snapshot, watch.Reset:
		e.result(b)
	case watch.Bookmark:
		e.bookmark(b.Revision)
	case watch.Weights:
		e.weighed(b)
	default:
		e.changes(b)
	}
	return w.pass(sub, e.buf)
}

// whole tells all of a state.
func (w *watching) whole(sub *subscription, b *watch.Batch) error {
	sub.of(b.State.Log())
	if sub.topic.Service == "" {
		return w.everything(sub, b)
	}
	v := b.State.View(sub.topic)
	if v == nil {
		e := w.records(sub)
		e.view(b.Type, b.Revision, nil, sub.plan)
		return w.pass(sub, e.buf)
	}
	// The view has been as it is since its own revision. A record that says so
	// is the same for all who come while it is.
	encode := func() []byte {
		e := w.records(sub)
		e.view(b.Type, v.Revision(), v, sub.plan)
		return e.buf
	}
	generation, ok := w.generation(sub.topic)
	if !ok {
		return w.pass(sub, encode())
	}
	key := "grpc watch " + string(sub.log) + " " + strconv.Itoa(int(b.Type)) + " " + strconv.FormatUint(generation, 10) + " " + sub.plan.Text()
	return w.pass(sub, v.Memo(key, encode))
}

// generation returns that of the soft state that a service's instances are
// shown with.
func (w *watching) generation(key rollcall.ServiceKey) (g uint64, ok bool) {
	a, err := w.s.reg.Resolve(w.ctx, &rollcall.Query{Namespace: key.Namespace, Service: key.Service})
	if err != nil {
		return 0, false
	}
	return a.Generation, true
}

// everything tells a state of many services, which may be large, part by part.
func (w *watching) everything(sub *subscription, b *watch.Batch) error {
	e := w.records(sub)
	e.state(b.Type, b.Revision)
	for v := range views(b.State, sub.topic.Namespace) {
		for i := range v.All() {
			if !sub.plan.Match(i) || !e.instance(i, nil) {
				continue
			}
			if err := w.pass(sub, e.buf[:e.at-1]); err != nil {
				return err
			}
			e.buf = append([]byte(nil), e.buf[e.at-1:]...) // what was sent may still be on its way
			e.at = 1
		}
	}
	e.whole()
	return w.pass(sub, e.buf)
}

// views yields the services of a namespace, or all.
func views(s *catalog.Snapshot, namespace string) func(yield func(*catalog.View) bool) {
	return func(yield func(*catalog.View) bool) {
		for v := range s.Views(rollcall.ServiceKey{Namespace: namespace}) {
			if namespace != "" && v.Key().Namespace != namespace || !yield(v) {
				return
			}
		}
	}
}
