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
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Bounds of the shared history: it forgets its oldest events beyond either.
const (
	HistoryEvents = 100_000
	HistoryAge    = 5 * time.Minute
)

// BookmarkEvery is how often an idle subscription is told that it is current.
const BookmarkEvery = 5 * time.Second

// Topic is what a subscription is about: a service; with an empty Service a
// namespace; with both parts empty everything.
type Topic = rollcall.ServiceKey

// Hub keeps the history and the topics. Publish belongs to one goroutine;
// everything else may be called by any.
//
// Lock order: Hub.mu before topic.mu.
type Hub struct {
	now         func() time.Time
	subscribers atomic.Int64
	revision    atomic.Uint64 // of the newest snapshot whose events are all in their topics

	mu       sync.Mutex // guards what follows
	snapshot *catalog.Snapshot
	topics   map[Topic]*topic
	order    []stored // the history, oldest first, from head
	head     int
	trimmed  rollcall.Revision // of the newest event that was forgotten
	closed   bool
}

type stored struct {
	at     time.Time
	event  *catalog.Event
	topics [3]*topic
}

// topic is the part of the history that one kind of subscription sees. It is
// kept while it has events or subscribers.
type topic struct {
	name Topic
	refs int // subscribers; guarded by Hub.mu

	mu     sync.Mutex // guards what follows
	events []*catalog.Event
	at     time.Time     // when the newest event was published
	base   uint64        // sequence number of events[0]
	wake   chan struct{} // closed when there is something new; nil if nobody waits
	closed bool
	shared map[span]*Batch // made since the last event, for subscribers with the same cursor
}

type span struct {
	from, to  uint64
	selection string
}

// NewHub returns a hub without history.
func NewHub(now func() time.Time) *Hub {
	return &Hub{now: now, topics: map[Topic]*topic{}}
}

// Subscribers returns the number of open subscriptions.
func (h *Hub) Subscribers() int { return int(h.subscribers.Load()) }

// Revision returns the revision of the newest published snapshot.
func (h *Hub) Revision() rollcall.Revision { return rollcall.Revision(h.revision.Load()) }

// Publish appends the events that led to a snapshot and wakes those whom they
// concern. Events of a reset are told like
// others, but cannot be resumed through: tokens from before are foreign or
// trimmed.
func (h *Hub) Publish(s *catalog.Snapshot, events []catalog.Event) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.snapshot == nil || len(events) > 0 && events[0].Reset {
		h.trimmed = s.Revision()
	}
	h.snapshot = s
	woken := map[*topic]bool{}
	for i := range events {
		e := &events[i]
		st := stored{at: now, event: e}
		for n, name := range [...]Topic{e.Service, {Namespace: e.Service.Namespace}, {}} {
			t := h.topic(name)
			t.append(e, now)
			st.topics[n] = t
			woken[t] = true
		}
		h.order = append(h.order, st)
	}
	h.trim(now)
	h.revision.Store(uint64(s.Revision()))
	for t := range woken {
		t.signal()
	}
}

// Close ends all subscriptions: their Next returns [ErrClosed].
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
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
		t = &topic{name: name, shared: map[span]*Batch{}, closed: h.closed}
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
		if len(h.order)-h.head <= HistoryEvents && now.Sub(o.at) <= HistoryAge {
			break
		}
		h.trimmed = max(h.trimmed, o.event.Revision)
		for _, t := range o.topics {
			if t.pop() && t.refs == 0 {
				delete(h.topics, t.name)
			}
		}
		*o = stored{}
		h.head++
	}
	if h.head > len(h.order)/2 {
		h.order = append(h.order[:0:0], h.order[h.head:]...)
		h.head = 0
	}
}

func (t *topic) append(e *catalog.Event, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
	t.at = at
	clear(t.shared)
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
}
