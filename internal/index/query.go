package index

import (
	"cmp"
	"slices"
	"strings"

	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
)

// Near is an instance that was found, and how far it is.
type Near struct {
	Item       *catalog.Item
	Kilometres float64
}

func (n Near) compare(o Near) int {
	if c := cmp.Compare(n.Kilometres, o.Kilometres); c != 0 {
		return c
	}
	return strings.Compare(n.Item.ID(), o.Item.ID())
}

// scanned is the share of a service that a query has to be narrowed down to if
// that is to be faster than looking through all of it.
const scanned = 8

// Select returns the instances that match, by id. The terms must follow from
// match; they only make it faster.
func (s *Service) Select(terms []Term, match func(*catalog.Item) bool) []*catalog.Item {
	s.prepare(terms)
	var items []*catalog.Item
	s.mu.RLock()
	few := s.narrow(terms)
	narrow := few != nil && few[0].size*scanned <= len(s.slots)
	if narrow {
		few.each(func(slot uint32) bool {
			items = append(items, s.items[slot])
			return true
		})
	}
	s.mu.RUnlock()
	if !narrow {
		if v := s.table.o.View(s.key); v != nil {
			for i := range v.All() {
				if match(i) {
					items = append(items, i)
				}
			}
		}
		return items
	}
	items = slices.DeleteFunc(items, func(i *catalog.Item) bool { return !match(i) })
	slices.SortFunc(items, func(a, b *catalog.Item) int { return strings.Compare(a.ID(), b.ID()) })
	return items
}

// prepare counts a query and makes the columns that it needs.
func (s *Service) prepare(terms []Term) {
	s.clock.Add(1)
	for n := range terms {
		if _, ok := terms[n].hashes(s.table.seed); ok {
			s.ask(&terms[n])
		}
	}
}

// narrowed is what the terms of a query leave, those that leave the fewest first;
// nil if no term can say.
type narrowed []choice

// choice is what one term leaves: the slots in any of its sets.
type choice struct {
	sets []*set
	size int // at most
}

func (c *choice) has(slot uint32) bool {
	for _, s := range c.sets {
		if s.has(slot) {
			return true
		}
	}
	return false
}

// narrow returns what terms leave, with the lock held for reading.
func (s *Service) narrow(terms []Term) (all narrowed) {
	for n := range terms {
		hs, ok := terms[n].hashes(s.table.seed)
		c := s.find(terms[n].Field, terms[n].Name)
		if !ok || c == nil || !c.whole {
			continue
		}
		var left choice
		for _, h := range hs {
			if set := c.sets[h]; set != nil {
				left.sets = append(left.sets, set)
				left.size += int(set.size)
			}
		}
		all = append(all, left)
	}
	slices.SortFunc(all, func(a, b choice) int { return a.size - b.size })
	return all
}

// each calls do with every slot that all terms leave, once, until it says false.
func (all narrowed) each(do func(slot uint32) bool) {
	visit := func(slot uint32) bool {
		for n := range all[1:] {
			if !all[1+n].has(slot) {
				return true
			}
		}
		return do(slot)
	}
	first := &all[0]
	if len(first.sets) == 1 {
		first.sets[0].each(visit)
		return
	}
	slots := make([]uint32, 0, first.size)
	for _, set := range first.sets {
		set.each(func(slot uint32) bool {
			slots = append(slots, slot)
			return true
		})
	}
	slices.Sort(slots)
	for _, slot := range slices.Compact(slots) {
		if !visit(slot) {
			return
		}
	}
}

// bits returns, for each term, a bit for each slot that it leaves, and what of it
// is to be given back to the table.
func (t *Table) bits(all narrowed, slots int) (words [][]uint32, lent []*[]uint32) {
	for _, c := range all {
		if len(c.sets) == 1 && c.sets[0].dense {
			words = append(words, c.sets[0].words)
			continue
		}
		room, _ := t.room.Get().(*[]uint32)
		if room == nil {
			room = new([]uint32)
		}
		w := slices.Grow((*room)[:0], (slots+31)/32)[:(slots+31)/32]
		clear(w)
		for _, set := range c.sets {
			set.into(w)
		}
		*room = w
		words, lent = append(words, w), append(lent, room)
	}
	return words, lent
}

// fewer reports whether so few candidates are better looked at one by one than
// come upon by distance. The one costs their number, the other how many points lie
// around each that is found: the crossing is where the square of their number is
// that of the points times k, times what was measured.
func (s *Service) fewer(candidates, k int) bool {
	return float64(candidates)*float64(candidates) <= crossing*float64(k)*float64(len(s.slots))
}

const crossing = 0.5

// Nearest returns the k instances nearest to p that match, nearest first, by id
// where they are equally near; which ones it returns of those that are as near as
// the last one is left open. Those without a position are not among them. The terms must follow from match; they only
// make it faster.
//
// Match may take its time: it is not asked twice of an instance that stays as it is,
// if it goes by a name, its text. What it says must depend on the instance alone, and
// be the same for all who use the text.
func (s *Service) Nearest(p geo.Point, k int, terms []Term, text string, match func(*catalog.Item) bool) []Near {
	if k <= 0 {
		return nil
	}
	s.prepare(terms)
	j := jury{match: match, budget: max(16, 2*k)}
	var found []geo.Near
	for round := 0; ; round++ {
		s.settle()
		s.mu.RLock()
		j.shared = s.verdictsOf(text)
		j.tell(s)
		if found = s.search(found, p, k, terms, &j); len(j.open) == 0 {
			near := make([]Near, len(found))
			for n, f := range found {
				near[n] = Near{s.items[f.Number], f.Kilometres()}
			}
			s.mu.RUnlock()
			slices.SortFunc(near, Near.compare)
			return near
		}
		s.mu.RUnlock()
		j.ask(round)
	}
}

// search finds the nearest as far as verdicts are known, with the lock held for
// reading.
func (s *Service) search(into []geo.Near, p geo.Point, k int, terms []Term, j *jury) []geo.Near {
	few := s.narrow(terms)
	if few != nil && s.fewer(few[0].size, k) {
		return s.each(into, p, k, few, j)
	}
	if v := j.shared; v != nil && int(v.knows.Load()) == len(s.slots) && s.fewer(int(v.agree.Load()), k) {
		agree := narrowed{{sets: []*set{{words: v.yes, dense: true}}}}
		return s.each(into, p, k, agree, j)
	}
	return s.walk(into, p, k, few, j)
}

// each looks at every candidate.
func (s *Service) each(into []geo.Near, p geo.Point, k int, few narrowed, j *jury) []geo.Near {
	best := geo.NewBest(into, k)
	few.each(func(slot uint32) bool {
		if at, ok := s.points.Point(slot); ok {
			if n := (geo.Near{Number: slot, Square: geo.Square(p, at)}); best.Wants(n) && j.keep(slot, s.items) {
				best.Add(n)
			}
		}
		return j.now || !j.full()
	})
	return best.Sorted()
}

// walk looks at what is near, and whether it is a candidate.
func (s *Service) walk(into []geo.Near, p geo.Point, k int, few narrowed, j *jury) []geo.Near {
	words, lent := s.table.bits(few, len(s.items))
	defer func() {
		for _, room := range lent {
			s.table.room.Put(room)
		}
	}()
	return s.points.Nearest(into, p, k, func(slot uint32) bool {
		for _, w := range words {
			if !hasBit(w, slot) {
				return false
			}
		}
		return j.keep(slot, s.items)
	})
}

// Placeless returns up to k instances that match and have no position, by id: those
// that [Service.Nearest] does not know. It costs a look at all instances, unless
// each has one.
func (s *Service) Placeless(k int, terms []Term, match func(*catalog.Item) bool) (items []*catalog.Item) {
	s.prepare(terms)
	s.settle()
	s.mu.RLock()
	if s.points.Len() < len(s.slots) {
		words, lent := s.table.bits(s.narrow(terms), len(s.items))
		for slot, i := range s.items {
			if i == nil || slices.ContainsFunc(words, func(w []uint32) bool { return !hasBit(w, uint32(slot)) }) {
				continue
			}
			if _, placed := s.points.Point(uint32(slot)); !placed {
				items = append(items, i)
			}
		}
		for _, room := range lent {
			s.table.room.Put(room)
		}
	}
	s.mu.RUnlock()
	items = slices.DeleteFunc(items, func(i *catalog.Item) bool { return !match(i) })
	slices.SortFunc(items, func(a, b *catalog.Item) int { return strings.Compare(a.ID(), b.ID()) })
	return items[:min(k, len(items))]
}
