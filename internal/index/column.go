package index

import (
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// The fields that a [Term] may be about.
const (
	Capability = "cap"
	Metadata   = "meta"
)

// Term is a condition that an index can narrow a query down by: a capability or a
// metadata pair has a value. Terms of one query all have to hold.
type Term struct {
	Field string // Capability or Metadata
	Name  string
	// Any, if it is not nil, has the values of which the instance's is one, or holds
	// one as an element.
	Any []rollcall.Value
	// Text, if Any is nil, is what the value is matched with, as by
	// [rollcall.Value.Matches]; metadata equal it.
	Text string
}

// column has, for one name, the slots of the instances by each value. A value is
// known by its hash alone: two that share one propose each other's instances, which
// costs a look at them, but keeps no text.
type column struct {
	field, name string
	sets        map[uint64]*set
	whole       bool // all instances are in it
	used        atomic.Bool
	last        atomic.Uint64 // by the clock of its service
	since       time.Time     // it was last seen to be used
}

// hash returns the hash of a value that is no list.
func hash(seed maphash.Seed, v rollcall.Value) uint64 {
	switch v.Kind() {
	case rollcall.KindBool:
		if v.Bool() {
			return 1
		}
		return 2
	case rollcall.KindNumber: // 0 and -0 are equal
		n := math.Float64bits(v.Number()+0) * 0x9e3779b97f4a7c15
		return n ^ n>>32
	}
	return maphash.String(seed, v.Text())
}

// hashes appends those of the values that an instance has: one, or the elements of
// a list.
func (c *column) hashes(to []uint64, seed maphash.Seed, i *catalog.Item) []uint64 {
	if c.field == Metadata {
		if m, ok := record.Metadata(i.Record(), c.name); ok {
			to = append(to, maphash.String(seed, m))
		}
		return to
	}
	switch v := record.Capability(i.Record(), c.name); v.Kind() {
	case rollcall.KindNone:
	case rollcall.KindList:
		for _, e := range v.List() {
			to = append(to, hash(seed, e))
		}
	default:
		to = append(to, hash(seed, v))
	}
	return to
}

// hashes returns those of the values that a term holds for, without repetition. Ok
// is false if the term cannot be answered by them.
func (t *Term) hashes(seed maphash.Seed) (hs []uint64, ok bool) {
	values := t.Any
	if values == nil {
		values = []rollcall.Value{rollcall.String(t.Text)}
		if n, err := strconv.ParseFloat(t.Text, 64); err == nil {
			values = append(values, rollcall.Number(n))
		}
		switch t.Text {
		case "true", "false":
			values = append(values, rollcall.Bool(t.Text == "true"))
		}
	}
	for _, v := range values {
		if v.Kind() == rollcall.KindNone || v.Kind() == rollcall.KindList {
			return nil, false
		}
		hs = append(hs, hash(seed, v))
	}
	slices.Sort(hs)
	return slices.Compact(hs), t.Field == Metadata || t.Field == Capability
}

// change replaces what the column knows of a slot. Either item may be nil. Slots is
// how many there are.
func (c *column) change(seed maphash.Seed, slot uint32, old, now *catalog.Item, slots int) {
	var buf [2][16]uint64
	was, is := buf[0][:0], buf[1][:0]
	if old != nil {
		was = c.hashes(was, seed, old)
	}
	if now != nil {
		is = c.hashes(is, seed, now)
	}
	if slices.Equal(was, is) {
		return
	}
	for _, h := range was {
		if s := c.sets[h]; s != nil {
			if s.remove(slot, slots); s.size == 0 {
				delete(c.sets, h)
			}
		}
	}
	for _, h := range is {
		c.add(h, slot, slots)
	}
}

func (c *column) add(h uint64, slot uint32, slots int) {
	s := c.sets[h]
	if s == nil {
		s = new(set)
		c.sets[h] = s
	}
	s.add(slot, slots)
}

// find returns a column, nil if there is none, with the lock of s held in any way.
func (s *Service) find(field, name string) *column {
	for _, c := range s.columns {
		if c.field == field && c.name == name {
			return c
		}
	}
	return nil
}

// ask sees to it that there is a column for a term. Whoever is the first to need it
// makes it; others do without meanwhile.
func (s *Service) ask(t *Term) {
	s.mu.RLock()
	c := s.find(t.Field, t.Name)
	s.mu.RUnlock()
	if c == nil {
		c = s.fill(t.Field, t.Name)
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	c.last.Store(s.clock.Load())
}

// fill makes a column, a part at a time: the lock is not held while records are
// read.
func (s *Service) fill(field, name string) *column {
	s.mu.Lock()
	if c := s.find(field, name); c != nil {
		s.mu.Unlock()
		return c
	}
	c := &column{field: field, name: strings.Clone(name), sets: map[uint64]*set{}}
	c.last.Store(s.clock.Load())
	s.columns = append(s.columns, c)
	s.trim(c)
	s.mu.Unlock()

	part := make([]*catalog.Item, 0, 1024)
	var hs []uint64
	ends := make([]int, 0, cap(part))
	for filled := 0; ; {
		s.mu.RLock()
		part = append(part[:0], s.items[filled:min(len(s.items), filled+cap(part))]...)
		s.mu.RUnlock()
		hs, ends = hs[:0], ends[:0]
		for _, i := range part {
			if i != nil {
				hs = c.hashes(hs, s.table.seed, i)
			}
			ends = append(ends, len(hs))
		}
		s.mu.Lock()
		from := 0
		for n, i := range part {
			slot := uint32(filled)
			filled++
			if now := s.items[slot]; now == i {
				for _, h := range hs[from:ends[n]] {
					c.add(h, slot, len(s.items))
				}
			} else {
				c.change(s.table.seed, slot, nil, now, len(s.items))
			}
			from = ends[n]
		}
		if c.whole = filled == len(s.items); c.whole {
			s.trim(c)
		}
		s.mu.Unlock()
		if c.whole {
			return c
		}
	}
}

// trim gives up the columns that were used longest ago, but for one that is new,
// while there are too many, or they have more values in all than two for each
// instance: a name whose values are all different takes as much memory as all else.
func (s *Service) trim(fresh *column) {
	values := 0
	for _, c := range s.columns {
		values += len(c.sets)
	}
	for len(s.columns) > columns || len(s.columns) > 1 && values > 2*len(s.items) {
		oldest := -1
		for n, c := range s.columns {
			if c != fresh && (oldest < 0 || c.last.Load() < s.columns[oldest].last.Load()) {
				oldest = n
			}
		}
		values -= len(s.columns[oldest].sets)
		s.columns = slices.Delete(s.columns, oldest, oldest+1)
	}
}

// set is a set of slots: a sorted list while they are few, else a bit for each
// slot there is.
type set struct {
	words []uint32
	size  uint32
	dense bool
}

// share is how many slots there are for each in a set that has bits. With more,
// those of the set are better looked at one by one; so they are if they are fewer
// than least, whatever their share.
const (
	share = 128
	least = 32
)

func (s *set) has(slot uint32) bool {
	if s.dense {
		return hasBit(s.words, slot)
	}
	_, found := slices.BinarySearch(s.words, slot)
	return found
}

func hasBit(words []uint32, slot uint32) bool {
	return int(slot>>5) < len(words) && words[slot>>5]>>(slot&31)&1 != 0
}

func (s *set) add(slot uint32, slots int) {
	if s.dense {
		if n := int(slot>>5) + 1; n > len(s.words) {
			s.words = slices.Grow(s.words, n-len(s.words))[:n]
		}
		if w := &s.words[slot>>5]; *w>>(slot&31)&1 == 0 {
			*w |= 1 << (slot & 31)
			s.size++
		}
		return
	}
	n := len(s.words)
	if at, found := slices.BinarySearch(s.words, slot); n == 0 || slot > s.words[n-1] {
		s.words = append(s.words, slot)
	} else if !found {
		s.words = slices.Insert(s.words, at, slot)
	}
	s.size = uint32(len(s.words))
	if int(s.size)*share >= max(slots, least*share) {
		list := s.words
		s.words, s.dense = make([]uint32, (slots+31)/32), true
		for _, slot := range list {
			s.words[slot>>5] |= 1 << (slot & 31)
		}
	}
}

func (s *set) remove(slot uint32, slots int) {
	if !s.dense {
		if at, found := slices.BinarySearch(s.words, slot); found {
			s.words = slices.Delete(s.words, at, at+1)
		}
		s.size = uint32(len(s.words))
		return
	}
	if !s.has(slot) {
		return
	}
	s.words[slot>>5] &^= 1 << (slot & 31)
	s.size--
	if int(s.size)*2*share < max(slots, least*share) {
		list := make([]uint32, 0, s.size)
		s.each(func(slot uint32) bool { list = append(list, slot); return true })
		s.words, s.dense = list, false
	}
}

// each calls do with every slot in order, until it says false.
func (s *set) each(do func(slot uint32) bool) {
	if s.dense {
		eachBit(s.words, do)
		return
	}
	for _, slot := range s.words {
		if !do(slot) {
			return
		}
	}
}

func eachBit(words []uint32, do func(slot uint32) bool) {
	for n, w := range words {
		for ; w != 0; w &= w - 1 {
			if !do(uint32(n*32 + bits.TrailingZeros32(w))) {
				return
			}
		}
	}
}

// into adds the set to bits that are long enough.
func (s *set) into(words []uint32) {
	if s.dense {
		for n, w := range s.words {
			words[n] |= w
		}
		return
	}
	for _, slot := range s.words {
		words[slot>>5] |= 1 << (slot & 31)
	}
}
