package dnsapi

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"weak"

	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// setOf returns the records of an answer. They are packed once for all who ask alike,
// for as long as the answer is the same. They are valid until the next.
func (h *handler) setOf(k *known, a *resolve.Answer) answer.Set {
	if a.Result != nil {
		return h.resultSet(k, a.Result)
	}
	k.of(a)
	if set, ok := a.View.Kept(k.key); ok {
		return set
	}
	endpoints, _ := a.Endpoints()
	h.set = answer.Pack(h.set[:0], endpoints, k.terms)
	a.View.Keep(k.key, h.set) // a copy, if there is room
	if set, ok := a.View.Kept(k.key); ok {
		return set
	}
	return h.set
}

// of makes the key for what hangs on the view of an answer.
func (k *known) of(a *resolve.Answer) {
	if k.key == "" || k.generation != a.Generation || k.plan != a.Plan && k.plan.Text() != a.Plan.Text() {
		k.generation, k.plan = a.Generation, a.Plan
		k.key = k.zone.text + k.name.Port + " " + strconv.FormatUint(a.Generation, 10) + " " + a.Plan.Text()
	}
}

// resultSet is [handler.setOf] for what is worked out as a whole. What all who ask
// from one zone are given is one result until something changes; for many others
// it is made anew each time, and packed then.
func (h *handler) resultSet(k *known, r *resolve.Result) answer.Set {
	key := setKey{weak.Make(r), k.zone, k.name.Port}
	set, seen := h.s.sets.get(key)
	if set != nil {
		return set
	}
	h.set = answer.Pack(h.set[:0], ranked(r.Endpoints), k.terms)
	if seen {
		h.s.sets.put(key, slices.Clone(h.set))
	} else {
		h.s.sets.put(key, nil)
	}
	return h.set
}

// asNear is how many kilometres farther than the nearest an instance is as near.
const asNear = 100

// ranked returns endpoints with weights that say what their distances do, where those
// are known: DNS has no other way to say whom to call first. Who is not as near as the
// nearest stands in for them.
func ranked(es []resolve.Endpoint) []resolve.Endpoint {
	if len(es) == 0 || math.IsInf(es[0].Kilometres, 1) {
		return es
	}
	most := uint16(1)
	for n := range es {
		most = max(most, es[n].Weight)
	}
	es = slices.Clone(es)
	for n := range es {
		switch e := &es[n]; {
		case e.Weight == 0:
		case e.Kilometres <= es[0].Kilometres+asNear:
			e.Weight = uint16(max(1, uint32(e.Weight)*math.MaxUint16/uint32(most)))
		default:
			e.Weight = 1
		}
	}
	return es
}

// sets keeps those of results, for all handlers. A set lives no longer than somebody
// else keeps its result, or until there is no room.
type sets struct {
	mu    sync.RWMutex // guards what follows
	of    map[setKey]answer.Set
	bytes int
}

type setKey struct {
	result weak.Pointer[resolve.Result]
	zone   *zone
	port   string
}

// Bounds of what is kept, before all of it is dropped.
const (
	mostSets     = 4096
	mostSetBytes = 32 << 20
)

// get returns the set for a key, nil if only the key was seen.
func (s *sets) get(key setKey) (set answer.Set, seen bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set, seen = s.of[key]
	return set, seen
}

func (s *sets) put(key setKey, set answer.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil || len(s.of) >= mostSets || s.bytes+len(set) > mostSetBytes {
		s.of, s.bytes = map[setKey]answer.Set{}, 0
	}
	s.bytes += len(set) - len(s.of[key])
	s.of[key] = set
}
