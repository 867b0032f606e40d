package resolve

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Result is what a plan selects at a moment.
type Result struct {
	// Revision is that of the newest of the views, and of the named query, that it
	// is made of.
	Revision rollcall.Revision
	// Generation tells results of different instances apart: it counts nothing, but
	// is made of who they are, what they registered and their health. Where they are,
	// order, weights and distances are not in it. Its highest bit is set, which those of
	// soft state never have.
	Generation uint64
	Panic      bool
	// Total is how many match in all; -1 where counting them would have cost more
	// than the answer.
	Total     int
	Endpoints []Endpoint
	// Failover is which of a named query's failover targets answered, from 1; 0 is
	// none.
	Failover int

	sets []*set // all that were worked out, of an explanation
}

// derived is the bit that marks the generation of a [Result].
const derived = 1 << 63

// Derived reports whether a token is one of a [Result].
func Derived(t rollcall.Token) bool { return t.Generation&derived != 0 }

// Empty returns the result of a service that is not known.
func Empty(rev rollcall.Revision) *Result { return &Result{Revision: rev, Generation: derived} }

// Evaluate works out what the plan selects for a query of a service. An error is
// about the place that nearness is measured from.
func (p *Plan) Evaluate(own rollcall.ServiceKey, w *World) (*Result, error) {
	k, err := p.ready(own, w)
	if err != nil {
		return nil, err
	}
	if k.pool == nil || len(k.pool.endpoints) == 0 {
		return k.result, nil
	}
	r := *k.result
	r.Endpoints = k.pool.choose(p.pick, w)
	r.Generation = fingerprint(r.Endpoints)
	return &r, nil
}

// work works the result out, without a pick.
func (p *Plan) work(own rollcall.ServiceKey, w *World) (*Result, error) {
	r := &Result{}
	if p.named != nil {
		r.Revision = p.named.Revision
	}
	s, err := p.primary(own, w, r)
	if err != nil {
		return nil, err
	}
	best, usable := s, s.routable()
	for n := 0; n < len(p.failover) && usable < p.least; n++ {
		s, err := p.target(len(p.branches)+n, &p.failover[n], own, w, r)
		if err != nil {
			return nil, err
		}
		if is := s.routable(); is > usable || usable == 0 && best.empty() && !s.empty() {
			best, usable, r.Failover = s, is, n+1
		}
	}
	p.deal(best, own, w)
	r.Total, r.Panic = best.total, best.panic
	r.Endpoints = flatten(best.groups)
	r.Generation = fingerprint(r.Endpoints)
	return r, nil
}

// primary applies the branches of the plan: one, or those of a split, of which
// each instance is in the first that it matches.
func (p *Plan) primary(own rollcall.ServiceKey, w *World, r *Result) (*set, error) {
	if len(p.branches) == 1 {
		return p.target(0, &p.branches[0], own, w, r)
	}
	seen := map[rollcall.Key]bool{}
	all := &set{}
	for n := range p.branches {
		s, err := p.target(n, &p.branches[n], own, w, r)
		if err != nil {
			return nil, err
		}
		all.panic = all.panic || s.panic
		for _, g := range s.groups {
			g.share *= p.branches[n].share
			var kept []Endpoint
			for _, e := range g.from {
				if key := e.Item.Key(); !seen[key] {
					seen[key] = true
					kept = append(kept, e)
				}
			}
			if g.from = kept; len(kept) > 0 {
				all.groups = append(all.groups, g)
				all.total += len(kept)
			}
		}
	}
	return all, nil
}

// target applies one target of the plan. A service that is not known has nobody.
func (p *Plan) target(n int, b *branch, own rollcall.ServiceKey, w *World, r *Result) (*set, error) {
	v := w.View(b.of(own))
	if v == nil {
		return &set{}, nil
	}
	r.Revision = max(r.Revision, v.Revision())
	s, err := p.set(n, b, v, w)
	if err == nil && w.explain {
		r.sets = append(r.sets, s)
	}
	return s, err
}

func (s *set) empty() bool {
	for i := range s.groups {
		if len(s.groups[i].from) > 0 {
			return false
		}
	}
	return true
}

// routable counts the instances of a set that are used first.
func (s *set) routable() (n int) {
	for i := range s.groups {
		for _, e := range s.groups[i].from {
			if e.tier == first {
				n++
			}
		}
	}
	return n
}

// deal leaves of a set the caller's subset, and then no more than the limit.
func (p *Plan) deal(s *set, own rollcall.ServiceKey, w *World) {
	if p.subset != "" && w.Subsets != nil {
		for n, room := range rooms(s.groups, p.size) {
			g := &s.groups[n]
			if g.share > 0 {
				g.from = w.Subsets.deal(p, own, g, room)
			}
		}
	}
	if p.limit > 0 {
		for n, room := range rooms(s.groups, p.limit) {
			if g := &s.groups[n]; g.share > 0 {
				g.from = g.from[:room]
			}
		}
	}
}

// fingerprint returns the generation of a result.
func fingerprint(es []Endpoint) (sum uint64) {
	var room [256]byte
	for n := range es {
		i := es[n].Item
		b := append(room[:0], i.ID()...)
		b = append(append(b, 0), i.Key().Service...)
		b = append(append(b, 0), i.Key().Namespace...)
		b = binary.LittleEndian.AppendUint64(b, uint64(i.Incarnation()))
		before, after := record.Unplaced(i.Record())
		b = binary.LittleEndian.AppendUint64(b, xxhash.Sum64String(before))
		b = binary.LittleEndian.AppendUint64(b, xxhash.Sum64String(after))
		sum += xxhash.Sum64(append(b, byte(i.Status()), boolByte(i.Forced())))
	}
	return sum | derived
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Items returns the instances of the result, in its order.
func (r *Result) Items() []*catalog.Item {
	items := make([]*catalog.Item, len(r.Endpoints))
	for n := range r.Endpoints {
		items[n] = r.Endpoints[n].Item
	}
	return items
}
