package watch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// ErrClosed is returned by Next once the hub was closed: the server stops, and
// the stream should be taken up elsewhere.
var ErrClosed = errors.New("the server is stopping")

// Selection decides which instances a subscriber sees. Text is equal for equal
// selections, so that what is worked out for one subscriber serves all.
type Selection struct {
	Text  string
	Match func(*catalog.Item) bool
}

// Type says what a batch is.
type Type uint8

const (
	// Snapshot is the whole state, first thing in a subscription that does not
	// resume.
	Snapshot Type = iota
	// Reset is the whole state too: what was seen before no longer connects.
	Reset
	// Changes is what changed since the batch before.
	Changes
	// Bookmark says that nothing did, as of its revision.
	Bookmark
)

// Batch is what a subscriber is told at once. Subscribers share it: it must not
// be changed.
type Batch struct {
	Type     Type
	Revision rollcall.Revision // what the subscriber is current as of
	State    *catalog.Snapshot // of a Snapshot or Reset
	Changes  []Change          // of Changes, by revision
	At       time.Time         // when the newest of the changes was published

	mu   sync.Mutex
	memo map[string][]byte
}

// Kind says what a change means to a subscriber with a selection.
type Kind uint8

const (
	Put    Kind = iota // an instance is new, or what was registered changed
	Health             // only its health changed
	Remove             // it is gone, or no longer selected
)

// Change is one instance's before → after as one selection sees it.
type Change struct {
	Kind     Kind
	Revision rollcall.Revision
	Service  rollcall.ServiceKey
	ID       string
	Item     *catalog.Item // nil if the instance is gone
}

// Memo returns what build made of the batch under key before, or builds it:
// each door encodes a batch once for all who get it.
func (b *Batch) Memo(key string, build func() []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.memo[key]
	if !ok {
		if b.memo == nil {
			b.memo = map[string][]byte{}
		}
		data = build()
		b.memo[key] = data
	}
	return data
}

// Subscription is an open cursor into the history. Its methods belong to one
// goroutine.
type Subscription struct {
	hub       *Hub
	topic     *topic
	selection Selection
	cursor    uint64
	revision  rollcall.Revision
	first     *Batch // to be delivered before anything else
	timer     *time.Timer
}

// Subscribe opens a subscription. With after it goes on behind that revision
// where the history still reaches so far, else it begins with a reset. The
// token's log must be the hub's: another log's is treated as out of reach.
// Close it when done.
func (h *Hub) Subscribe(name Topic, sel Selection, after rollcall.Token) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topic(name)
	t.refs++
	h.subscribers.Add(1)
	s := &Subscription{hub: h, topic: t, selection: sel, revision: h.snapshot.Revision()}

	t.mu.Lock()
	defer t.mu.Unlock()
	s.cursor = t.base + uint64(len(t.events))
	switch {
	case after.IsZero():
		s.first = &Batch{Type: Snapshot, Revision: s.revision, State: h.snapshot, At: h.now()}
	case !h.reaches(name, after):
		s.first = &Batch{Type: Reset, Revision: s.revision, State: h.snapshot, At: h.now()}
	default:
		n, _ := slices.BinarySearchFunc(t.events, after.Revision+1, func(e *catalog.Event, r rollcall.Revision) int {
			return cmp.Compare(e.Revision, r)
		})
		s.cursor = t.base + uint64(n)
		s.revision = after.Revision
	}
	return s
}

// reaches reports whether all events of a topic behind a token are known.
func (h *Hub) reaches(name Topic, after rollcall.Token) bool {
	if after.Log != h.snapshot.Log() || after.Revision > h.snapshot.Revision() {
		return false
	}
	if after.Revision >= h.trimmed {
		return true
	}
	v := h.snapshot.View(name)
	return v != nil && v.Revision() <= after.Revision
}

// Close ends the subscription.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers.Add(-1)
	t := s.topic
	t.refs--
	t.mu.Lock()
	empty := len(t.events) == 0
	t.mu.Unlock()
	if empty && t.refs == 0 {
		delete(h.topics, t.name)
	}
	if s.timer != nil {
		s.timer.Stop()
	}
}

// Next waits for the next batch: changes that the selection sees, or after
// [BookmarkEvery] without any a bookmark. It returns ctx's error when ctx ends
// and [ErrClosed] when the hub is closed.
func (s *Subscription) Next(ctx context.Context) (*Batch, error) {
	if b := s.first; b != nil {
		s.first = nil
		return b, nil
	}
	if s.timer == nil {
		s.timer = time.NewTimer(BookmarkEvery)
	} else {
		s.timer.Reset(BookmarkEvery)
	}
	for due := false; ; {
		// Read before the topic: all events up to it are in their topics.
		current := s.hub.Revision()
		b, wake, err := s.poll()
		if b != nil || err != nil {
			return b, err
		}
		if due {
			s.revision = max(s.revision, current)
			return &Batch{Type: Bookmark, Revision: s.revision}, nil
		}
		select {
		case <-wake:
		case <-s.timer.C:
			due = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// poll returns what is there already, or a channel that is closed when there is
// more.
func (s *Subscription) poll() (*Batch, <-chan struct{}, error) {
	t := s.topic
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, nil, ErrClosed
	}
	end := t.base + uint64(len(t.events))
	if t.wake == nil {
		t.wake = make(chan struct{})
	}
	wake := t.wake
	if s.cursor == end {
		t.mu.Unlock()
		return nil, wake, nil
	}
	if s.cursor < t.base {
		t.mu.Unlock()
		return s.reset(), nil, nil
	}
	key := span{s.cursor, end, s.selection.Text}
	b := t.shared[key]
	if b == nil {
		b = &Batch{Type: Changes, Changes: s.selection.merge(t.events[s.cursor-t.base:]), At: t.at}
		b.Revision = t.events[len(t.events)-1].Revision
		t.shared[key] = b
	}
	t.mu.Unlock()
	s.cursor, s.revision = end, b.Revision
	if len(b.Changes) == 0 {
		return nil, wake, nil
	}
	return b, nil, nil
}

// reset moves the cursor to now and returns the whole state.
func (s *Subscription) reset() *Batch {
	h, t := s.hub, s.topic
	h.mu.Lock()
	defer h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.cursor = t.base + uint64(len(t.events))
	s.revision = h.snapshot.Revision()
	return &Batch{Type: Reset, Revision: s.revision, State: h.snapshot, At: h.now()}
}

// merge reduces events to one change for each instance that looks different at
// their end than before them.
func (sel *Selection) merge(events []*catalog.Event) []Change {
	type id struct {
		service rollcall.ServiceKey
		id      string
	}
	first := make(map[id]*catalog.Event, len(events))
	last := make(map[id]*catalog.Event, len(events))
	for _, e := range events {
		k := id{e.Service, e.ID}
		if first[k] == nil {
			first[k] = e
		}
		last[k] = e
	}
	var changes []Change
	for _, e := range events {
		k := id{e.Service, e.ID}
		if last[k] != e || e.ID == "" {
			continue
		}
		if kind, ok := sel.kind(first[k].Before, e.After); ok {
			changes = append(changes, Change{kind, e.Revision, e.Service, e.ID, e.After})
		}
	}
	return changes
}

func (sel *Selection) kind(before, after *catalog.Item) (Kind, bool) {
	saw := before != nil && sel.Match(before)
	sees := after != nil && sel.Match(after)
	whole := catalog.Event{Before: before, After: after}
	switch {
	case sees && saw && before == after:
		return 0, false
	case sees && saw && whole.HealthOnly():
		return Health, true
	case sees:
		return Put, true
	case saw:
		return Remove, true
	}
	return 0, false
}
