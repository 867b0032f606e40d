package balancer

import (
	"math/bits"
	"slices"

	"github.com/rollcall-registry/rollcall"
)

// set is an immutable line on which each member has a piece as long as its share
// of requests.
type set struct {
	members []*endpoint
	// ends are where the pieces end, in fractions of 2⁶⁴; the last is the greatest
	// number.
	ends []uint64
	// guide has for each of 2^k equal parts of the line the first piece that is in
	// it.
	guide []int32
	shift int
}

// at returns the member on whose piece a point of the line lies.
func (s *set) at(point uint64) *endpoint {
	i := s.guide[point>>s.shift]
	for s.ends[i] < point {
		i++
	}
	return s.members[i]
}

// capacity is what a ring has: the registered weight of all and of those that can
// be picked, the weights of these, and the share of requests that it takes.
type capacity struct{ all, up, weights, share float64 }

// newSet lays out those that can be picked, in the order that they come in. If nobody
// has a weight all have the same.
func newSet(endpoints []*endpoint, from rollcall.Locality) *set {
	type place struct {
		*endpoint
		weight float64
		ring   *capacity
	}
	var rings [elsewhere + 1]capacity
	weighted := slices.ContainsFunc(endpoints, func(e *endpoint) bool { return e.of.Weight > 0 && !e.of.Down })
	sum := 0.0
	places := make([]place, 0, len(endpoints))
	for _, e := range endpoints {
		w, full := float64(e.of.Weight), float64(e.of.Registered)
		if !weighted {
			w = 1
		}
		if full == 0 {
			full = w
		}
		k := ring(from, e.of.Locality)
		r := &rings[k]
		r.all += full
		out := e.of.Down || w == 0
		e.out.Store(out)
		e.ring.Store(int32(k))
		if out {
			continue
		}
		r.up += full
		r.weights += w
		sum += w
		places = append(places, place{e, w, r})
	}
	if len(places) == 0 {
		return &set{}
	}
	left := 1.0
	for k := range rings {
		if r := &rings[k]; r.up > 0 {
			r.share = min(left, overprovision*r.up/r.all)
			left -= r.share
		}
	}
	mean := sum / float64(len(places))
	s := &set{members: make([]*endpoint, len(places)), ends: make([]uint64, len(places))}
	end := 0.0
	for i, p := range places {
		end += p.weight * p.ring.share / p.ring.weights / (1 - left)
		s.ends[i] = fraction(end)
		s.members[i] = p.endpoint
		p.endpoint.weight.store(p.weight / mean)
	}
	s.ends[len(s.ends)-1] = ^uint64(0)
	s.index()
	return s
}

// index makes the guide: two parts for each member, or a little more.
func (s *set) index() {
	k := bits.Len(uint(2*len(s.ends) - 1))
	s.shift = 64 - k
	s.guide = make([]int32, 1<<k)
	i := int32(0)
	for part := range s.guide {
		for s.ends[i] < uint64(part)<<s.shift {
			i++
		}
		s.guide[part] = i
	}
}

// fraction returns a share of the line; all of it and more is its end.
func fraction(share float64) uint64 {
	if share >= 1 {
		return ^uint64(0)
	}
	return uint64(share * (1 << 32) * (1 << 32))
}

// The rings around a caller. What is unknown is elsewhere.
const (
	sameSubZone = iota
	sameZone
	sameRegion
	elsewhere
)

func ring(from, to rollcall.Locality) int {
	switch {
	case from.Region != to.Region || from == rollcall.Locality{}:
		return elsewhere
	case from.Zone == "" || from.Zone != to.Zone:
		return sameRegion
	case from.SubZone == "" || from.SubZone != to.SubZone:
		return sameZone
	}
	return sameSubZone
}
