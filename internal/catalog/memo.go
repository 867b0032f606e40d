package catalog

import (
	"slices"
	"sync"
	"sync/atomic"
)

// memos keeps what doors derive from views (encoded answers), so that each is
// built once and served many times. It bounds the bytes of all of them
// together; beyond that the ones that were not asked for lately go (CLOCK).
//
// A memo dies with its view: nothing ever needs to be invalidated.
type memos struct {
	limit int

	mu    sync.Mutex // guards what follows, and every view's list against writers
	bytes int
	queue []*memo // a ring in order of age, from head
	head  int
}

type memo struct {
	view *View
	key  string
	data []byte
	used atomic.Bool
}

// DefaultMemoBytes bounds the memos of a catalog.
const DefaultMemoBytes = 64 << 20

// overhead is what a memo costs beside its data, roughly.
const overhead = 128

// Memo returns what build made for (view, key) before, or builds it. Keys are
// the doors' own, e.g. "http gzip health=any". The result must not be changed.
// Several callers may build at once; one result is kept.
func (v *View) Memo(key string, build func() []byte) []byte {
	if list := v.memos.Load(); list != nil {
		for _, m := range *list {
			if m.key == key {
				if !m.used.Load() {
					m.used.Store(true)
				}
				return m.data
			}
		}
	}
	data := build()
	v.shared.budget.add(v, key, data)
	return data
}

func (b *memos) add(v *View, key string, data []byte) {
	size := len(data) + overhead
	if size > b.limit/4 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*memo
	if p := v.memos.Load(); p != nil {
		list = *p
	}
	if slices.ContainsFunc(list, func(m *memo) bool { return m.key == key }) {
		return
	}
	for b.bytes+size > b.limit {
		b.evict()
	}
	m := &memo{view: v, key: key, data: data}
	list = append(slices.Clip(list), m)
	v.memos.Store(&list)
	b.queue = append(b.queue, m)
	b.bytes += size
}

// evict drops the oldest memo that nobody used since it was last passed over.
func (b *memos) evict() {
	for {
		m := b.queue[b.head]
		b.queue[b.head] = nil
		b.head++
		if b.head > len(b.queue)/2 {
			b.queue = slices.Delete(b.queue, 0, b.head)
			b.head = 0
		}
		if m.used.Swap(false) {
			b.queue = append(b.queue, m)
			continue
		}
		list := slices.DeleteFunc(slices.Clone(*m.view.memos.Load()), func(o *memo) bool { return o == m })
		m.view.memos.Store(&list)
		b.bytes -= len(m.data) + overhead
		return
	}
}
