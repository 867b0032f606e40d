package filter

import (
	"container/list"
	"errors"
	"sync"

	"github.com/rollcall-registry/rollcall"
)

// Cache compiles each text once. Those that were not asked for the longest make
// room for new ones. What does not compile is remembered as well, apart from
// what does, so that many bad texts drive out none that is in use. It may be used
// by many at once.
//
// A filter takes some 30 to 60 times the memory of its text, so the length of all
// texts is bounded as well as their number.
type Cache struct {
	mu     sync.Mutex // guards both; nothing is compiled under it
	good   lru[*Filter]
	failed lru[error]
}

// meanText is how long the texts in a full cache may be on the average, in bytes.
const meanText = 256

// NewCache returns a cache of at most n filters of 256 bytes on the average, and
// of as many failures; n is at least 1.
func NewCache(n int) *Cache {
	return &Cache{good: newLRU[*Filter](n), failed: newLRU[error](n)}
}

// Compile is [Compile], of which the result is kept. Who asks for the same text
// at the same time may compile it as well, and all get one filter.
func (c *Cache) Compile(text string) (*Filter, error) {
	if f, err, ok := c.known(text); ok {
		return f, err
	}
	f, err := Compile(text)
	if err != nil && (len(text) > maxText || !errors.Is(err, rollcall.ErrInvalid)) {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return nil, c.failed.add(text, err)
	}
	return c.good.add(text, f), nil
}

func (c *Cache) known(text string) (*Filter, error, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.good.get(text); ok {
		return f, nil, true
	}
	err, ok := c.failed.get(text)
	return nil, err, ok
}

// lru maps texts to values, of which it keeps those that were used last.
type lru[V any] struct {
	most   int
	bytes  int // of all texts
	byText map[string]*list.Element
	order  *list.List // of item[V], the last used first
}

type item[V any] struct {
	text  string
	value V
}

func newLRU[V any](most int) lru[V] {
	return lru[V]{most: most, byText: map[string]*list.Element{}, order: list.New()}
}

func (l *lru[V]) get(text string) (v V, ok bool) {
	e, ok := l.byText[text]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(item[V]).value, true
}

// add returns the value of text: v, unless there is one already.
func (l *lru[V]) add(text string, v V) V {
	if old, ok := l.get(text); ok {
		return old
	}
	l.byText[text] = l.order.PushFront(item[V]{text, v})
	l.bytes += len(text)
	for l.order.Len() > 1 && (l.order.Len() > l.most || l.bytes > l.most*meanText) {
		last := l.order.Remove(l.order.Back()).(item[V])
		delete(l.byText, last.text)
		l.bytes -= len(last.text)
	}
	return v
}
