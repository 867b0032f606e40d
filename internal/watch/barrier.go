package watch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// lookEvery is how long a barrier waits between two looks at what was delivered
// to those who do not say; everything else wakes it.
const lookEvery = 5 * time.Millisecond

// barrier waits for the readers that were there when it began.
//
// Lock order: reader.mu before barrier.mu.
type barrier struct {
	waits []*wait       // of those who were not settled when last looked at
	kept  *time.Timer   // until what nobody can tell has changed is kept no more; nil: it is not
	done  chan struct{} // closed when nobody is pending

	mu           sync.Mutex // guards what follows
	acknowledged int
	pending      int
}

// wait is that of one barrier for one reader.
type wait struct {
	barrier  *barrier
	reader   *reader
	revision rollcall.Revision
	target   uint64 // where in its topic the revision ends
	over     atomic.Bool
}

// Barrier waits until a revision of a service, which must be published, has
// reached all who are told of the service, or ctx ends. It has reached a watcher
// who acknowledged it; and one who acknowledged all that it was handed and to
// whom nothing of its selection is left to be handed up to that revision. Those
// who leave meanwhile count as neither, and nor do those who come: they begin
// with what there is. Those who keep what they were told ([Hub.Told]) count as one,
// whom it has reached when none of them may keep it any longer that was told before
// the barrier began.
func (h *Hub) Barrier(ctx context.Context, service Topic, rev rollcall.Revision) rollcall.Barrier {
	start := time.Now()
	b := h.barrier(service, rev)
	b.wait(ctx, h.done)
	b.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	return rollcall.Barrier{
		Acknowledged: b.acknowledged, Pending: b.pending,
		Elapsed: rollcall.Duration(time.Since(start).Round(time.Millisecond)),
	}
}

// barrier begins one.
func (h *Hub) barrier(service Topic, rev rollcall.Revision) *barrier {
	b := &barrier{done: make(chan struct{}), pending: 1} // itself, until it has begun
	h.mu.Lock()
	for _, name := range above(service) {
		t := h.topics[name]
		if t == nil {
			continue
		}
		target, waits := t.after(rev), make([]wait, len(t.readers))
		for n, r := range t.readers {
			w := &waits[n]
			w.barrier, w.reader, w.revision, w.target = b, r, rev, target
			b.waits = append(b.waits, w)
		}
	}
	h.mu.Unlock()
	if left, _ := h.told.left(service); left > 0 {
		b.pending++
		b.kept = time.AfterFunc(left, func() { b.settled(true) })
	}
	b.waits = slices.DeleteFunc(b.waits, func(w *wait) bool { return !w.begin() })
	b.settled(false)
	return b
}

// after returns the place in the topic that all events up to a revision are
// before.
func (t *topic) after(rev rollcall.Revision) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, _ := slices.BinarySearchFunc(t.events, rev+1, func(e *catalog.Event, r rollcall.Revision) int {
		return cmp.Compare(e.Revision, r)
	})
	return t.base + uint64(n)
}

// begin reports whether the reader has to be waited for.
func (w *wait) begin() bool {
	r, b := w.reader, w.barrier
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gone:
		return false
	case r.has(w.revision, w.target):
		b.mu.Lock()
		b.acknowledged++
		b.mu.Unlock()
		return false
	}
	b.mu.Lock()
	b.pending++
	b.mu.Unlock()
	r.waits = append(r.waits, w)
	return true
}

// settled counts one less that is pending.
func (b *barrier) settled(acknowledged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if acknowledged {
		b.acknowledged++
	}
	if b.pending--; b.pending == 0 {
		close(b.done)
	}
}

// wait returns when nobody is pending, ctx ends, or the hub is closed.
func (b *barrier) wait(ctx context.Context, closed <-chan struct{}) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		start := time.Now()
		var look <-chan time.Time
		if b.look() {
			timer.Reset(max(lookEvery, 4*time.Since(start))) // it is not all that there is to do
			look = timer.C
		}
		select {
		case <-look:
		case <-b.done:
			return
		case <-closed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look looks at what was delivered to those who are pending, and reports whether
// to look again.
func (b *barrier) look() (again bool) {
	b.waits = slices.DeleteFunc(b.waits, func(w *wait) bool {
		w.reader.look()
		return w.over.Load()
	})
	return slices.ContainsFunc(b.waits, func(w *wait) bool {
		w.reader.mu.Lock()
		defer w.reader.mu.Unlock()
		return w.reader.asked()
	})
}

// end has the readers that are still pending forget the barrier.
func (b *barrier) end() {
	if b.kept != nil {
		b.kept.Stop()
	}
	for _, w := range b.waits {
		w.reader.mu.Lock()
		w.reader.waits = slices.DeleteFunc(w.reader.waits, func(o *wait) bool { return o == w })
		w.reader.mu.Unlock()
	}
}
