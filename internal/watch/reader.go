package watch

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Reader says who reads a subscription, and how it is known what has reached
// them. The zero Reader is nobody: it is not among the watchers, and no barrier
// waits for it.
type Reader struct {
	Caller string // as they call themselves
	Door   string // how they watch
	From   string // the address they do it from
	Acks   bool   // they acknowledge by themselves from the beginning; else from their first acknowledgement on

	// Delivered reports whether all that was sent has arrived at the reader's
	// machine; nil means that what is sent has. It must not block, and may be
	// called by any goroutine, also once the subscription is closed.
	Delivered func() bool
}

// reader is one who is told of a topic, and what is known of how far they are.
type reader struct {
	Reader
	id    string
	topic *topic
	at    int // index in topic.readers; guarded by Hub.mu

	mu     sync.Mutex // guards what follows; comes after Hub.mu and topic.mu
	log    rollcall.LogID
	cursor uint64            // all of the topic before it was handed out, or is not selected
	passed rollcall.Revision // the same as a revision
	told   rollcall.Revision // of the newest record that was handed out
	sent   rollcall.Revision // of the newest record that was sent
	acked  rollcall.Revision // up to where all has arrived
	exact  bool              // it acknowledges by itself
	gone   bool
	waits  []*wait // of the barriers that wait for it
}

// join makes a subscription's reader a watcher of its topic. The caller holds
// Hub.mu.
func (h *Hub) join(t *topic, who Reader, id string) *reader {
	r := &reader{Reader: who, id: id, topic: t, at: len(t.readers), exact: who.Acks}
	t.readers = append(t.readers, r)
	h.readers[id] = append(h.readers[id], r)
	return r
}

// newID returns a name that nobody can guess.
func newID() string { return rand.Text()[:16] }

// leave is the end of a watcher. The caller holds Hub.mu.
func (h *Hub) leave(r *reader) {
	t := r.topic
	last := t.readers[len(t.readers)-1]
	t.readers[r.at], last.at = last, r.at
	t.readers[len(t.readers)-1] = nil
	t.readers = t.readers[:len(t.readers)-1]
	if h.readers[r.id] = slices.DeleteFunc(h.readers[r.id], func(o *reader) bool { return o == r }); len(h.readers[r.id]) == 0 {
		delete(h.readers, r.id)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
	r.settle()
}

// begin says where the reader of a new subscription is: it has acknowledged
// what it resumes from, and nothing if that does not connect.
func (r *reader) begin(log rollcall.LogID, cursor uint64, passed rollcall.Revision, first *Batch) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log, r.cursor, r.passed = log, cursor, passed
	r.told, r.acked = passed, passed
	if first != nil {
		r.told, r.acked = newest(r.topic.name, first), 0
	}
	r.sent = r.acked
	r.settle()
}

// pass says that the subscription's cursor passed what is not selected, and that
// nothing else is up to a revision.
func (r *reader) pass(cursor uint64, passed rollcall.Revision) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor, r.passed = cursor, passed
	r.settle()
}

// hand says that a batch is handed out and the cursor behind it.
func (r *reader) hand(cursor uint64, b *Batch) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.State != nil && b.State.Log() != r.log { // nothing that was acknowledged has a meaning any more
		r.log, r.sent, r.acked = b.State.Log(), 0, 0
	}
	r.cursor, r.passed, r.told = cursor, b.Revision, newest(r.topic.name, b)
}

// derive says that a result as of a revision is handed out and the cursor behind
// all that it is made of.
func (r *reader) derive(log rollcall.LogID, cursor uint64, rev rollcall.Revision) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if log != r.log {
		r.log, r.sent, r.acked = log, 0, 0
	}
	r.cursor, r.passed, r.told = cursor, max(r.passed, rev), max(r.told, rev)
}

// newest returns the revision of the last record of a batch. A service's state
// is told of with the revision of its view.
func newest(name Topic, b *Batch) rollcall.Revision {
	var v *catalog.View
	switch {
	case b.Type == Changes:
		return b.Changes[len(b.Changes)-1].Revision
	case name.Service != "":
		v = b.State.View(name)
	}
	if v == nil {
		return b.Revision
	}
	return v.Revision()
}

// send says that all that was handed out is on its way.
func (r *reader) send() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent = r.told; r.Delivered == nil && !r.exact {
		r.acknowledge(r.sent)
	}
}

// look has what was sent count as acknowledged once it was delivered, unless the
// reader says by itself what it has.
func (r *reader) look() {
	r.mu.Lock()
	log, sent, ask := r.log, r.sent, r.asked() && r.sent > r.acked
	r.mu.Unlock()
	if !ask || !r.Delivered() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked() && r.log == log {
		r.acknowledge(sent)
	}
}

// asked reports whether nobody tells what has arrived, so that one has to look.
func (r *reader) asked() bool { return r.Delivered != nil && !r.exact }

// ack takes in what the reader says it has.
func (r *reader) ack(to rollcall.Revision) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if most := max(r.passed, r.told); to > most {
		return rollcall.Invalid("revision", fmt.Sprintf("is %d, and the subscription has been told up to %d; acknowledge what has arrived", to, most))
	}
	r.exact = true
	r.acknowledge(to)
	return nil
}

func (r *reader) acknowledge(to rollcall.Revision) {
	r.acked = max(r.acked, to)
	r.settle()
}

// current reports whether the reader has all that it was handed. It is as good
// as acknowledged then that it has what lies between that and its cursor, of
// which nothing is selected.
func (r *reader) current() bool { return r.acked >= r.told }

// settle tells the barriers whose wait for this reader is over.
func (r *reader) settle() {
	r.waits = slices.DeleteFunc(r.waits, func(w *wait) bool {
		has := r.has(w.revision, w.target)
		if has || r.gone {
			w.over.Store(true)
			w.barrier.settled(has && !r.gone)
			return true
		}
		return false
	})
}

// has reports whether a reader has all that concerns it up to a revision, which
// ends at a place in its topic: it has acknowledged the revision, or is current
// and its cursor is there.
func (r *reader) has(revision rollcall.Revision, target uint64) bool {
	return r.acked >= revision || r.current() && r.cursor >= target
}

// acknowledged returns the revision as of which the reader has all that
// concerns it.
func (r *reader) acknowledged() rollcall.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current() {
		return max(r.acked, r.passed)
	}
	return r.acked
}

// Ack takes in that the subscription's reader has all up to a revision, which is
// one that it was told. From then on, if not from the beginning (see [Reader]), it
// counts for what it acknowledges, not for what was delivered to it. Any goroutine may call it.
func (s *Subscription) Ack(to rollcall.Revision) error { return s.reader.ack(to) }

// Ack is [Subscription.Ack] of the subscription with an id.
func (h *Hub) Ack(id string, to rollcall.Revision) error {
	h.mu.Lock()
	rs := slices.Clone(h.readers[id])
	h.mu.Unlock()
	if len(rs) == 0 {
		return &rollcall.Error{Kind: rollcall.ErrNotFound, Field: "subscription", Detail: "no watch is open under this name; it ends with its connection"}
	}
	for _, r := range rs {
		if err := r.ack(to); err != nil {
			return err
		}
	}
	return nil
}

// Watchers lists those who are told of a service: who watch it, its namespace
// or everything; and as one those who keep what they were told ([Hub.Told]).
func (h *Hub) Watchers(service Topic) []rollcall.Watcher {
	h.mu.Lock()
	var all []*reader
	for _, name := range above(service) {
		if t := h.topics[name]; t != nil {
			all = append(all, t.readers...)
		}
	}
	revisions := h.topics[service].revisions()
	h.mu.Unlock()
	ws := make([]rollcall.Watcher, len(all), len(all)+1)
	for n, r := range all {
		r.look()
		ws[n] = rollcall.Watcher{Subscription: r.id, Caller: r.Caller, Door: r.Door, From: r.From, Revision: r.acknowledged()}
	}
	if w, ok := h.resolvers(service); ok {
		ws = append(ws, w)
	}
	for n := range ws {
		known, _ := slices.BinarySearch(revisions, ws[n].Revision+1)
		ws[n].Lag = rollcall.Revision(len(revisions) - known)
	}
	slices.SortFunc(ws, func(a, b rollcall.Watcher) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Subscription, b.Subscription))
	})
	return ws
}

// above returns the topics that tell of a service.
func above(service Topic) [3]Topic { return [...]Topic{service, {Namespace: service.Namespace}, {}} }

// revisions returns those of the topic's events, each once.
func (t *topic) revisions() []rollcall.Revision {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rs := make([]rollcall.Revision, 0, len(t.events))
	for _, e := range t.events {
		rs = append(rs, e.Revision)
	}
	return slices.Compact(rs)
}
