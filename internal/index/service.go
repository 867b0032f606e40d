package index

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const (
	// atOnce bounds how many events are worked off while queries wait.
	atOnce = 64
	// movesAtOnce is how many moves are better worked off together than singly, and
	// movesMost how many a query has to work off at most before it begins.
	movesAtOnce = 64
	movesMost   = 4096
	// columns is how many columns an index has at most; the least recently used
	// goes.
	columns = 32
)

// Service is the index of one service.
type Service struct {
	table *Table
	key   rollcall.ServiceKey
	ready chan struct{} // closed when it was made
	used  atomic.Bool   // since the last sweep
	gone  atomic.Bool   // it is not kept in step any more
	since time.Time     // it was last seen to be used; Sweep's own
	clock atomic.Uint64 // counts queries, to tell what was used last

	waiting struct {
		sync.Mutex  // the last of the locks here
		some        atomic.Bool
		moves, last []move // last: the room of those that were worked off
	}

	mu sync.RWMutex // guards what follows
	// ids is taken behind mu by who changes built, or slots of a built index, and
	// alone by who reads just these: those that move do not meet with queries.
	ids      sync.RWMutex
	built    bool
	made     rollcall.Revision // of the view that it was made from
	noted    []noted           // while it is being made
	items    []*catalog.Item   // by slot; nil: a free one
	slots    map[string]uint32 // by id
	free     []uint32
	points   geo.Index // by slot
	columns  []*column
	verdicts map[string]*verdicts // by text; changed with verdictsMu held, or mu for writing
	// verdictsMu is taken behind mu.
	verdictsMu sync.Mutex
}

// move is a move that waits. Those that wait have the slots that instances have:
// they are worked off before any other change.
type move struct {
	id   string // empty: slot
	slot uint32
	back bool // to where it was registered
	at   geo.Point
}

// noted is an event that came while the index was being made.
type noted struct {
	revision rollcall.Revision
	id       string
	after    *catalog.Item
}

// build makes the index from a view that holds at least all events before those
// that are noted. Nobody else looks at it meanwhile.
func (s *Service) build(v *catalog.View) {
	s.made = v.Revision()
	s.items = make([]*catalog.Item, 0, v.Len()+v.Len()/8)
	s.slots = make(map[string]uint32, v.Len())
	for i := range v.All() {
		s.put(i)
	}
	for {
		s.mu.Lock()
		events := s.noted
		if s.noted = nil; len(events) == 0 {
			s.ids.Lock()
			s.built = true
			s.drain()
			s.ids.Unlock()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, e := range events {
			s.set(e.revision, e.id, e.after)
		}
	}
}

// covers reports whether the index was made from a view as new as v.
func (s *Service) covers(v *catalog.View) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return v.Revision() <= s.made
}

// apply works off events. It returns false if the index is far too big for what is
// left of the service.
func (s *Service) apply(events []catalog.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.built {
		for i := range events {
			s.noted = append(s.noted, noted{events[i].Revision, events[i].ID, events[i].After})
		}
		return true
	}
	s.ids.Lock() // no move that has a slot waits while slots change hands
	defer s.ids.Unlock()
	s.drain() // moves are older than what At says of a new registration
	for i := range events {
		s.set(events[i].Revision, events[i].ID, events[i].After)
	}
	return len(s.slots) >= max(s.table.o.Least, len(s.items))/shrunk
}

// set says what an instance is since a revision, nil if it is gone. An event of
// the service itself has no id, and what the view had that the index was made from
// is no news.
func (s *Service) set(since rollcall.Revision, id string, i *catalog.Item) {
	if id == "" || since <= s.made {
		return
	}
	if i != nil {
		s.put(i)
		return
	}
	slot, ok := s.slots[id]
	if !ok {
		return
	}
	for _, c := range s.columns {
		c.change(s.table.seed, slot, s.items[slot], nil, len(s.items))
	}
	s.forgetVerdicts(slot)
	s.points.Remove(slot)
	delete(s.slots, id)
	s.items[slot] = nil
	s.free = append(s.free, slot)
}

func (s *Service) put(i *catalog.Item) {
	slot, known := s.slots[i.ID()]
	if known {
		old := s.items[slot]
		s.items[slot] = i
		s.forgetVerdicts(slot)
		if old.Record() == i.Record() {
			return // its health is another
		}
		for _, c := range s.columns {
			c.change(s.table.seed, slot, old, i, len(s.items))
		}
		delete(s.slots, i.ID()) // the key is part of the old item
	} else {
		slot = s.take(i)
		for _, c := range s.columns {
			c.change(s.table.seed, slot, nil, i, len(s.items))
		}
	}
	s.slots[i.ID()] = slot
	s.place(slot)
}

// take returns a slot for a new instance.
func (s *Service) take(i *catalog.Item) uint32 {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		s.items[slot] = i
		return slot
	}
	s.items = append(s.items, i)
	for _, v := range s.verdicts {
		v.grow(len(s.items))
	}
	return uint32(len(s.items) - 1)
}

// place puts an instance where it is by its registration, or has moved since.
func (s *Service) place(slot uint32) {
	i := s.items[slot]
	if at := s.table.o.At; at != nil {
		if p, ok := at(i.Key()); ok && geo.Valid(p) {
			s.points.Set(slot, geo.At(p))
			return
		}
	}
	if p := record.Position(i.Record()); p != nil && geo.Valid(*p) {
		s.points.Set(slot, geo.At(*p))
		return
	}
	s.points.Remove(slot)
}

// move notes a move for the next query. Now and then those that wait are worked off
// without one: if none is at work, or if they are too many to let it wait for.
func (s *Service) move(m move) {
	s.ids.RLock()
	if s.built {
		slot, ok := s.slots[m.id]
		if !ok {
			s.ids.RUnlock()
			return // At will know, should it come
		}
		m.id, m.slot = "", slot
	}
	w := &s.waiting
	w.Lock()
	w.moves = append(w.moves, m)
	w.some.Store(true)
	waiting := len(w.moves)
	w.Unlock()
	s.ids.RUnlock()
	switch {
	case waiting%movesAtOnce != 0:
		return
	case waiting >= movesMost:
		s.mu.Lock()
	case !s.mu.TryLock():
		return
	}
	s.drain()
	s.mu.Unlock()
}

// settle works off the moves that wait, so that a query sees all that were made
// before it.
func (s *Service) settle() {
	if s.waiting.some.Load() {
		s.mu.Lock()
		s.drain()
		s.mu.Unlock()
	}
}

// drain works off the moves that wait, with the lock held.
func (s *Service) drain() {
	w := &s.waiting
	if !s.built || !w.some.Load() {
		return
	}
	w.Lock()
	moves := w.moves
	w.moves, w.last = w.last[:0], nil
	w.some.Store(false)
	w.Unlock()
	for i := range moves {
		m := &moves[i]
		if m.id != "" {
			var ok bool
			if m.slot, ok = s.slots[m.id]; !ok {
				continue
			}
		}
		if m.back {
			s.place(m.slot)
		} else {
			s.points.Set(m.slot, m.at)
		}
	}
	if clear(moves); cap(moves) <= 2*movesMost {
		w.Lock()
		w.last = moves[:0]
		w.Unlock()
	}
}

// sweep gives up columns that are not used any more.
func (s *Service) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.built {
		return
	}
	s.columns = slices.DeleteFunc(s.columns, func(c *column) bool {
		if c.used.Swap(false) || c.since.IsZero() {
			c.since = now
		}
		return now.Sub(c.since) >= kept
	})
}
