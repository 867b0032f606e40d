package catalog

import (
	"bytes"
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
)

// memos keeps what doors derive from views (encoded answers), so that each is
// built once and served many times. It bounds the bytes of all of them
// together, and how many a view has: beyond either the ones that were not asked
// for lately go (CLOCK).
//
// A memo dies with its view: nothing ever needs to be invalidated.
type memos struct {
	limit int

	mu      sync.Mutex // guards what follows, and every view's list against writers
	bytes   int
	queue   list.List // of *memo, oldest first
	refused uint64    // counts what there was no room for
}

type memo struct {
	view *View
	key  string
	data []byte
	used atomic.Bool
	at   *list.Element
}

// DefaultMemoBytes bounds the memos of a catalog. It is what the answers of 10,000
// services of 100 instances take, compressed as they are.
const DefaultMemoBytes = 64 << 20

// memosPerView bounds how many queries' answers one view keeps: looking for one
// goes through them all, and what a caller makes up must not make it long.
const memosPerView = 32

// overhead is what a memo costs beside its key and data, roughly.
const overhead = 160

func (m *memo) size() int { return len(m.key) + len(m.data) + overhead }

// Memo returns what build made for (view, key) before, or builds it. Keys are
// the doors' own, e.g. "http gzip health=any". The result must not be changed.
// Several callers may build at once; one result is kept.
func (v *View) Memo(key string, build func() []byte) []byte {
	data, ok := v.Kept(key)
	if !ok {
		data = build()
		v.Keep(key, data)
	}
	return data
}

// Kept returns what is kept for (view, key).
func (v *View) Kept(key string) (data []byte, ok bool) {
	if list := v.memos.Load(); list != nil {
		for _, m := range *list {
			if m.key == key {
				if !m.used.Load() {
					m.used.Store(true)
				}
				return m.data, true
			}
		}
	}
	return nil, false
}

// Keep keeps a copy of data for (view, key). Where that would drive out others,
// the view has to be asked again before as many others are as there are memos:
// what is wanted once in a long while does not replace what is wanted all the
// time.
func (v *View) Keep(key string, data []byte) {
	m := &memo{view: v, key: key, data: data}
	if !v.shared.budget.admits(m) {
		return
	}
	m.data = bytes.Clone(data) // without the room that it was given to grow
	v.shared.budget.add(m)
}

// admits reports whether there is room for a memo, or shall be.
func (b *memos) admits(m *memo) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes+m.size() <= b.limit {
		return true
	}
	b.refused++
	before := m.view.refused
	m.view.refused = b.refused
	return before != 0 && b.refused-before <= uint64(b.queue.Len())
}

func (b *memos) add(m *memo) {
	if m.size() > b.limit/4 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*memo
	if p := m.view.memos.Load(); p != nil {
		all = *p
	}
	if slices.ContainsFunc(all, func(o *memo) bool { return o.key == m.key }) {
		return
	}
	if len(all) >= memosPerView {
		n := slices.IndexFunc(all, func(o *memo) bool { return !o.used.Swap(false) })
		b.remove(all[max(n, 0)])
	}
	for b.bytes+m.size() > b.limit {
		b.evict()
	}
	all = nil
	if p := m.view.memos.Load(); p != nil {
		all = *p
	}
	all = append(slices.Clip(all), m)
	m.view.memos.Store(&all)
	m.at = b.queue.PushBack(m)
	b.bytes += m.size()
}

// evict drops the oldest memo that nobody used since it was last passed over.
func (b *memos) evict() {
	for {
		e := b.queue.Front()
		m := e.Value.(*memo)
		if !m.used.Swap(false) {
			b.remove(m)
			return
		}
		b.queue.MoveToBack(e)
	}
}

func (b *memos) remove(m *memo) {
	all := slices.DeleteFunc(slices.Clone(*m.view.memos.Load()), func(o *memo) bool { return o == m })
	m.view.memos.Store(&all)
	b.queue.Remove(m.at)
	b.bytes -= m.size()
}

// drop forgets the memos of a view that has been replaced, and so the view.
func (b *memos) drop(v *View) {
	if v == nil || v.memos.Load() == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range *v.memos.Load() {
		b.remove(m)
	}
}
