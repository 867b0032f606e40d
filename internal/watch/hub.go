// Package watch tells subscribers what changed. All of them read one shared
// history of events; a subscription is a cursor into it and has no queue of its
// own. A subscriber that falls behind gets the merged difference between what
// it saw last and now; one that falls behind the history gets a reset. The
// writer appends and never waits for anybody.
//
// It promises, for every subscription: events come in the order of their
// revisions, each once; a revision is never split over two batches; nothing
// that still matters is left out; and a stream can be taken up again from the
// revision of the last batch that was seen, or is told that it cannot.
package watch

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Bounds of the shared history: it forgets its oldest events beyond any of them.
const (
	HistoryEvents = 100_000
	HistoryBytes  = 256 << 20 // what its events keep in memory, roughly
	HistoryAge    = 5 * time.Minute
)

// limits are the bounds of a hub's history.
type limits struct {
	events int
	bytes  int
	age    time.Duration
}

// BookmarkEvery is how often an idle subscription is told that it is current.
const BookmarkEvery = 5 * time.Second

// Topic is what a subscription is about: a service; with an empty Service a
// namespace; with both parts empty everything.
type Topic = rollcall.ServiceKey

// Hub keeps the history and the topics. Publish belongs to one goroutine;
// everything else may be called by any.
//
// Lock order: Hub.mu before topic.mu before reader.mu.
type Hub struct {
	// Weights returns the effective weights of a service's instances that changed
	// behind a generation of its soft state, with the newest one; from 0 all that
	// are not as registered. Nil is none, ever. It is set before anybody subscribes.
	Weights func(service Topic, since uint64) (ws []Weighed, generation uint64)

	now         func() time.Time
	limits      limits
	subscribers atomic.Int64
	revision    atomic.Uint64 // of the newest snapshot whose events are all in their topics
	seed        maphash.Seed
	told        told
	done        chan struct{} // closed with the hub

	mu       sync.Mutex // guards what follows
	snapshot *catalog.Snapshot
	topics   map[Topic]*topic
	readers  map[string][]*reader // by id; a derived subscription has several
	pollers  map[pollerKey]*poller
	order    []stored // the history, oldest first, from head
	head     int
	bytes    int               // what it keeps in memory, roughly
	trimmed  rollcall.Revision // of the newest event that was forgotten
	closed   bool
	touched  []*topic // by the publication under way
}

type stored struct {
	at     time.Time
	event  *catalog.Event
	topics [3]*topic
	bytes  int
}

// freshReused is up to how many events of one publication a topic keeps room
// for. Many topics are of one service, and see few at a time.
const freshReused = 64

// topic is the part of the history that one kind of subscription sees. It is
// kept while it has events or subscribers.
type topic struct {
	name    Topic
	refs    int              // subscribers and pollers; guarded by Hub.mu
	readers []*reader        // the watchers; guarded by Hub.mu
	fresh   []*catalog.Event // of this publication; guarded by Hub.mu

	mu     sync.Mutex // guards what follows
	events []*catalog.Event
	at     time.Time     // when the newest event was committed
	base   uint64        // sequence number of events[0]
	wake   chan struct{} // closed when there is something new; nil if nobody asked since
	closed bool
	shared map[span]*merge // made since the last event, for subscribers with the same cursor
	spans  int             // sum of the lengths of shared's keys

	moves     uint64                       // counts the times when its name meant something else
	listeners map[chan<- struct{}]struct{} // each has room for one token
	members   []*Member                    // subscriptions that are read in groups
	weighed   map[Topic]uint64             // services whose weights were published anew, by when
	weighings uint64                       // counts that
	weights   map[weighing]*Batch          // made since, for subscribers that were told the same
}

// span is what a subscriber with a selection has missed.
type span struct {
	from, to  uint64
	selection string
}

// NewHub returns a hub without history.
func NewHub(now func() time.Time) *Hub {
	return newHub(now, limits{HistoryEvents, HistoryBytes, HistoryAge})
}

func newHub(now func() time.Time, l limits) *Hub {
	return &Hub{
		now: now, limits: l, seed: maphash.MakeSeed(), told: told{began: time.Now()}, done: make(chan struct{}),
		topics: map[Topic]*topic{}, readers: map[string][]*reader{}, pollers: map[pollerKey]*poller{},
	}
}

// Subscribers returns the number of open subscriptions.
func (h *Hub) Subscribers() int { return int(h.subscribers.Load()) }

// Revision returns the revision of the newest published snapshot.
func (h *Hub) Revision() rollcall.Revision { return rollcall.Revision(h.revision.Load()) }

// Publish appends the events that led to a snapshot and wakes those whom they
// concern. They are complete behind a revision: that of the snapshot before, or
// a later one. Events of a reset are told like others, but cannot be resumed
// through: tokens from before are trimmed. Nothing connects the states of two
// logs: everybody begins anew with a reset.
func (h *Hub) Publish(s *catalog.Snapshot, events []catalog.Event, since rollcall.Revision) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.snapshot
	h.snapshot = s
	switch {
	case len(events) > 0 && events[0].Reset:
		h.trimmed = s.Revision()
	case old == nil, since > old.Revision():
		h.trimmed = since
	}
	if old != nil && old.Log() != s.Log() {
		h.forget()
		return
	}
	touched := h.touched[:0]
	var topics [3]*topic // of the last event; most are of the same namespace, many of one service
	for i := range events {
		e := &events[i]
		if e.ID == "" && e.Service.Service == "" {
			continue // about everything, which no instance shows
		}
		for n, name := range above(e.Service) {
			t := topics[n]
			if t == nil || t.name != name {
				t = h.topic(name)
				topics[n] = t
			}
			if len(t.fresh) == 0 {
				touched = append(touched, t)
			}
			t.fresh = append(t.fresh, e)
		}
		st := stored{at: now, event: e, topics: topics, bytes: size(e)}
		h.order = append(h.order, st)
		h.bytes += st.bytes
	}
	for _, t := range touched {
		t.append(now)
	}
	h.trim(now)
	h.revision.Store(uint64(s.Revision()))
	for _, t := range touched {
		t.signal()
	}
	clear(touched)
	h.touched = touched
}

// size returns what the history keeps in memory for an event, roughly: the
// records of a registration that may be gone from the catalog.
func size(e *catalog.Event) int {
	n := 256
	if e.HealthOnly() {
		return n
	}
	for _, i := range []*catalog.Item{e.Before, e.After} {
		if i != nil {
			n += len(i.Record())
		}
	}
	return n
}

// Moved says that a name means something else from now on: subscriptions to it end
// with [ErrMoved].
func (h *Hub) Moved(name Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[name]; t != nil {
		t.mu.Lock()
		t.moves++
		t.mu.Unlock()
		t.signal()
	}
}

// forget drops the whole history and leaves every cursor behind it.
func (h *Hub) forget() {
	h.order, h.head, h.bytes, h.trimmed = nil, 0, 0, h.snapshot.Revision()
	h.revision.Store(uint64(h.snapshot.Revision()))
	for _, t := range h.topics {
		t.mu.Lock()
		t.base += uint64(len(t.events)) + 1
		t.events = nil
		t.unshare()
		t.mu.Unlock()
		t.signal()
		if t.refs == 0 {
			delete(h.topics, t.name)
		}
	}
}

// Close ends all subscriptions, whose Next returns [ErrClosed], and barriers.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	close(h.done)
	for _, p := range h.pollers {
		h.forgetPoller(p)
	}
	for _, t := range h.topics {
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		t.signal()
	}
}

func (h *Hub) topic(name Topic) *topic {
	t := h.topics[name]
	if t == nil {
		t = &topic{name: name, shared: map[span]*merge{}, closed: h.closed}
		h.topics[name] = t
	}
	return t
}

// trim forgets the oldest events beyond the bounds. An event that is the oldest
// of all is the oldest of each of its topics. A revision that shares its number
// with a forgotten event cannot be resumed from, so whole revisions go.
func (h *Hub) trim(now time.Time) {
	for h.head < len(h.order) {
		o := &h.order[h.head]
		if len(h.order)-h.head <= h.limits.events && h.bytes <= h.limits.bytes && now.Sub(o.at) <= h.limits.age {
			break
		}
		h.bytes -= o.bytes
		h.trimmed = max(h.trimmed, o.event.Revision)
		for _, t := range o.topics {
			if t.pop() && t.refs == 0 {
				delete(h.topics, t.name)
			}
		}
		*o = stored{}
		h.head++
	}
	if kept := h.order[h.head:]; h.head > len(kept) {
		into := h.order[:0]
		if 4*len(kept) < cap(h.order) {
			into = make([]stored, 0, 2*len(kept))
		}
		into = append(into, kept...)
		clear(h.order[len(into):])
		h.order, h.head = into, 0
	}
}

// append takes in all that a publication has for the topic at once, so that
// nobody sees half a revision. The caller holds Hub.mu.
func (t *topic) append(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, t.fresh...)
	if committed := t.fresh[len(t.fresh)-1].Committed; !committed.IsZero() {
		at = committed
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
	if cap(t.fresh) > freshReused {
		t.fresh = nil
	}
	t.at = at
	t.unshare()
}

// share returns the merge of what a selection missed since a cursor, the same
// one for all who ask until the next event. The caller holds t.mu.
func (t *topic) share(cursor uint64, sel *Selection) *merge {
	key := span{cursor, t.base + uint64(len(t.events)), sel.Text}
	if m := t.shared[key]; m != nil {
		return m
	}
	// Whoever resumes from every revision there is must not make us keep as
	// many merges of all that followed.
	missed := t.events[cursor-t.base:]
	if t.spans += len(missed); t.spans > max(1024, 4*len(t.events)) {
		t.unshare()
		t.spans = len(missed)
	}
	m := &merge{
		sel: sel, events: slices.Clone(missed),
		batch: Batch{Type: Changes, Revision: missed[len(missed)-1].Revision, At: t.at},
	}
	t.shared[key] = m
	return m
}

func (t *topic) unshare() {
	clear(t.shared)
	t.spans = 0
}

// pop forgets the oldest event and reports whether none is left.
func (t *topic) pop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events[0] = nil
	t.events = t.events[1:]
	t.base++
	return len(t.events) == 0
}

func (t *topic) signal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake != nil {
		close(t.wake)
		t.wake = nil
	}
	for l := range t.listeners {
		notify(l)
	}
	for _, m := range t.members {
		m.group.notify(m)
	}
}

func notify(l chan<- struct{}) {
	select {
	case l <- struct{}{}:
	default:
	}
}
