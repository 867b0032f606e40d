package index

import (
	"strings"
	"sync/atomic"

	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// texts is how many predicates an index remembers the verdicts of; those of the
// least recently used go.
const texts = 16

// verdicts are what a predicate said of instances: by slot, whether it was asked,
// and what it said. Queries add to them with the lock of the service held for
// reading; who holds it for writing takes away.
type verdicts struct {
	known, yes   []uint32
	knows, agree atomic.Int64 // how many bits each has
	last         uint64       // by the clock of the service
}

func (v *verdicts) grow(slots int) {
	for n := (slots + 31) / 32; len(v.known) < n; {
		v.known, v.yes = append(v.known, 0), append(v.yes, 0)
	}
}

// get returns what the predicate said of a slot, if it was asked.
func (v *verdicts) get(slot uint32) (yes, known bool) {
	w, bit := slot>>5, slot&31
	if atomic.LoadUint32(&v.known[w])>>bit&1 == 0 {
		return false, false
	}
	return atomic.LoadUint32(&v.yes[w])>>bit&1 != 0, true
}

func (v *verdicts) set(slot uint32, yes bool) {
	w, bit := slot>>5, uint32(1)<<(slot&31)
	if yes && atomic.OrUint32(&v.yes[w], bit)&bit == 0 {
		v.agree.Add(1)
	}
	if atomic.OrUint32(&v.known[w], bit)&bit == 0 {
		v.knows.Add(1)
	}
}

func (v *verdicts) forget(slot uint32) {
	w, bit := slot>>5, uint32(1)<<(slot&31)
	if v.yes[w]&bit != 0 {
		v.yes[w] &^= bit
		v.agree.Add(-1)
	}
	if v.known[w]&bit != 0 {
		v.known[w] &^= bit
		v.knows.Add(-1)
	}
}

// verdictsOf returns the verdicts under a text, with the lock held for reading;
// nil if it is empty.
func (s *Service) verdictsOf(text string) *verdicts {
	if text == "" {
		return nil
	}
	s.verdictsMu.Lock()
	defer s.verdictsMu.Unlock()
	v := s.verdicts[text]
	if v == nil {
		if len(s.verdicts) == texts {
			oldest := ""
			for text, o := range s.verdicts {
				if oldest == "" || o.last < s.verdicts[oldest].last {
					oldest = text
				}
			}
			delete(s.verdicts, oldest)
		}
		v = new(verdicts)
		v.grow(len(s.items))
		s.verdicts[strings.Clone(text)] = v
	}
	v.last = s.clock.Load()
	return v
}

// forgetVerdicts drops what was said of a slot whose instance changes.
func (s *Service) forgetVerdicts(slot uint32) {
	for _, v := range s.verdicts {
		v.forget(slot)
	}
}

// jury asks a predicate for one query. It is asked outside of the lock, of many
// instances at a time: those that the search came upon without a verdict.
type jury struct {
	match  func(*catalog.Item) bool
	shared *verdicts              // nil if the predicate has no name
	own    map[*catalog.Item]bool // what it said in this query
	open   []uint32               // slots without a verdict
	items  []*catalog.Item        // in them
	budget int                    // of how many it may be asked next
	now    bool                   // ask at once
}

// keep returns the verdict on the instance in a slot, false if it is open. When
// enough are, it lets everything in, so that the search comes to its end.
func (j *jury) keep(slot uint32, items []*catalog.Item) bool {
	if j.shared != nil {
		if yes, known := j.shared.get(slot); known {
			return yes
		}
	}
	i := items[slot]
	if yes, known := j.own[i]; known {
		return yes
	}
	if j.now {
		return j.match(i)
	}
	if j.full() {
		return true
	}
	j.open, j.items = append(j.open, slot), append(j.items, i)
	return false
}

func (j *jury) full() bool { return len(j.open) >= j.budget }

// ask asks of those that are open, of more and more at a time: not so many that
// most are in vain, not so few that the search begins anew over and over. If they
// keep changing all the while, the next search asks at once.
func (j *jury) ask(round int) {
	if j.own == nil {
		j.own = make(map[*catalog.Item]bool, len(j.items))
	}
	for _, i := range j.items {
		j.own[i] = j.match(i)
	}
	j.budget *= 2
	j.now = round >= 32
}

// tell shares the verdicts on the instances that are still in their slots.
func (j *jury) tell(s *Service) {
	if j.shared != nil {
		for n, slot := range j.open {
			if i := j.items[n]; s.items[slot] == i {
				j.shared.set(slot, j.own[i])
			}
		}
	}
	j.open, j.items = j.open[:0], j.items[:0]
}
