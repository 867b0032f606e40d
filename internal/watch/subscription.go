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

// ErrMoved is returned by Next once the topic's name means something else: a query
// was stored under it. The stream should be taken up again.
var ErrMoved = errors.New("the name means another query now")

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
	// Weights says what share of the traffic instances get from now on. It has no
	// revision, and of several the last one counts.
	Weights
)

// Batch is what a subscriber is told at once. Subscribers share it: it must not
// be changed.
type Batch struct {
	Type     Type
	Revision rollcall.Revision // what the subscriber is current as of
	State    *catalog.Snapshot // of a Snapshot or Reset, unless it is derived
	Changes  []Change          // of Changes, by revision
	Weighed  []Weighed         // of Weights
	// Result is what a [Derived] subscription is told, all of it in a Snapshot or
	// Reset; nil for others.
	Result *Result
	// Generation is that of the soft state that Weights are of.
	Generation uint64
	At         time.Time // when the newest of the changes was committed, as far as that is known

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
	Shown    *Shown        // of a derived Put
	Why      string        // the last change's own words for it, if it had any
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
	resumes   bool   // and nothing was told since
	timer     *time.Timer

	moves     uint64           // of the topic, when it began
	weighings uint64           // of the topic, that were told
	weighed   map[Topic]uint64 // the generation of each service's weights that was told last

	reader *reader       // nil: nobody
	poller *poller       // of a long poll whose caller is known; else nil
	wait   time.Duration // that poll's
}

// Subscribe opens a subscription. With after it goes on behind that revision
// where the history still reaches so far, else it begins with a reset. The
// token's log must be the hub's: another log's is treated as out of reach.
// Close it when done.
func (h *Hub) Subscribe(name Topic, sel Selection, after rollcall.Token, who Reader) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.subscribe(name, sel, after)
	if who.Door != "" {
		s.reader = h.join(s.topic, who, newID())
		s.begin()
	}
	return s
}

func (h *Hub) subscribe(name Topic, sel Selection, after rollcall.Token) *Subscription {
	t := h.topic(name)
	t.refs++
	h.subscribers.Add(1)
	s := &Subscription{hub: h, topic: t, selection: sel, revision: h.snapshot.Revision()}

	t.mu.Lock()
	defer t.mu.Unlock()
	s.cursor = t.base + uint64(len(t.events))
	s.moves = t.moves
	if s.weighings = t.weighings; !after.IsZero() {
		s.weighings = resumed // what was missed is not known, so all are repeated
	}
	v := h.snapshot.View(name)
	switch {
	case after.IsZero():
		s.first = &Batch{Type: Snapshot, Revision: s.revision, State: h.snapshot, At: h.now()}
		return s
	case after.Generation&derived != 0:
		s.first = &Batch{Type: Reset, Revision: s.revision, State: h.snapshot, At: h.now()}
		return s
	case after.Log == h.snapshot.Log() && v != nil && v.Revision() <= after.Revision && after.Revision <= s.revision:
		// Nothing happened since, however long ago that was.
	case after.Log == h.snapshot.Log() && h.trimmed <= after.Revision && after.Revision <= s.revision:
		n, _ := slices.BinarySearchFunc(t.events, after.Revision+1, func(e *catalog.Event, r rollcall.Revision) int {
			return cmp.Compare(e.Revision, r)
		})
		s.cursor = t.base + uint64(n)
	default:
		s.first = &Batch{Type: Reset, Revision: s.revision, State: h.snapshot, At: h.now()}
		return s
	}
	s.revision, s.resumes = after.Revision, true
	return s
}

// begin has the reader know where the subscription begins. The caller holds
// Hub.mu.
func (s *Subscription) begin() {
	s.reader.begin(s.hub.snapshot.Log(), s.cursor, s.revision, s.first)
}

// ID names the subscription among the hub's watchers, for [Hub.Ack]. Nobody can
// guess it. It is empty if its reader is nobody.
func (s *Subscription) ID() string {
	if s.reader == nil {
		return ""
	}
	return s.reader.id
}

// Sent says that all that Next returned was sent to the reader.
func (s *Subscription) Sent() { s.reader.send() }

// Close ends the subscription.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers.Add(-1)
	switch {
	case s.poller != nil:
		h.polled(s.poller, s.wait)
	case s.reader != nil:
		h.leave(s.reader)
	}
	h.release(s.topic)
	if s.timer != nil {
		s.timer.Stop()
	}
}

// release is the end of a reference to a topic. The caller holds Hub.mu.
func (h *Hub) release(t *topic) {
	t.refs--
	t.mu.Lock()
	empty := len(t.events) == 0
	t.mu.Unlock()
	if empty && t.refs == 0 {
		delete(h.topics, t.name)
	}
}

// Next waits for the next batch: changes that the selection sees, or after
// [BookmarkEvery] without any a bookmark. One that resumes where nothing happened
// since begins with a bookmark, so that its reader knows. It returns ctx's error
// when ctx ends and [ErrClosed] when the hub is closed.
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
		b, wake, err := s.news(due, true)
		if b != nil || err != nil {
			return b, err
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

// now returns what there is, nil if that is nothing; then, if one is due, a
// bookmark.
func (s *Subscription) now(due bool) (*Batch, error) {
	if b := s.first; b != nil {
		s.first = nil
		return b, nil
	}
	b, _, err := s.news(due, false)
	return b, err
}

// news is now behind the first batch. To who waits it returns a channel that is
// closed when there is more.
func (s *Subscription) news(due, waits bool) (*Batch, <-chan struct{}, error) {
	// Read before the topic: all events up to it are in their topics.
	current := s.hub.Revision()
	b, wake, err := s.poll(waits)
	due, s.resumes = due || s.resumes, false
	if b == nil && err == nil {
		b = s.weigh()
	}
	if b == nil && err == nil && due {
		s.revision = max(s.revision, current)
		s.reader.pass(s.cursor, s.revision)
		b = &Batch{Type: Bookmark, Revision: s.revision}
	}
	return b, wake, err
}

// poll returns what is there already, or to who waits a channel that is closed
// when there is more.
func (s *Subscription) poll(waits bool) (*Batch, <-chan struct{}, error) {
	t := s.topic
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, nil, ErrClosed
	}
	if s.moves != t.moves {
		t.mu.Unlock()
		return nil, nil, ErrMoved
	}
	if t.wake == nil && waits {
		t.wake = make(chan struct{})
	}
	wake := t.wake
	end := t.base + uint64(len(t.events))
	switch {
	case s.cursor == end:
		t.mu.Unlock()
		return nil, wake, nil
	case s.cursor < t.base:
		t.mu.Unlock()
		return s.reset(), nil, nil
	}
	m := t.share(s.cursor, &s.selection)
	t.mu.Unlock()
	b := m.do() // without the topic: the writer must not wait for it
	s.cursor, s.revision = end, b.Revision
	if len(b.Changes) == 0 {
		s.reader.pass(s.cursor, s.revision)
		return nil, wake, nil
	}
	s.reader.hand(s.cursor, b)
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
	b := &Batch{Type: Reset, Revision: s.revision, State: h.snapshot, At: h.now()}
	s.reader.hand(s.cursor, b)
	return b
}

// merge is the batch that events are for a selection, made by the first who
// needs it.
type merge struct {
	once   sync.Once
	sel    *Selection
	events []*catalog.Event
	batch  Batch
}

func (m *merge) do() *Batch {
	m.once.Do(func() {
		m.batch.Changes = m.sel.merge(m.events)
		m.events, m.sel = nil, nil
	})
	return &m.batch
}

// merge reduces events to one change for each instance that looks different at
// their end than before them.
func (sel *Selection) merge(events []*catalog.Event) []Change {
	if len(events) == 1 {
		return sel.change(nil, events[0].Before, events[0])
	}
	type id struct {
		service rollcall.ServiceKey
		id      string
	}
	type ends struct{ first, last *catalog.Event }
	seen := make(map[id]ends, len(events))
	for _, e := range events {
		k := id{e.Service, e.ID}
		first := seen[k].first
		if first == nil {
			first = e
		}
		seen[k] = ends{first, e}
	}
	var changes []Change
	for _, e := range events {
		if ends := seen[id{e.Service, e.ID}]; ends.last == e {
			changes = sel.change(changes, ends.first.Before, e)
		}
	}
	return changes
}

// change appends what before → the end of e means, if it means anything.
func (sel *Selection) change(changes []Change, before *catalog.Item, e *catalog.Event) []Change {
	if e.ID == "" {
		return changes
	}
	kind, ok := sel.kind(before, e.After)
	if !ok {
		return changes
	}
	return append(changes, Change{Kind: kind, Revision: e.Revision, Service: e.Service, ID: e.ID, Item: e.After, Why: e.Why})
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
