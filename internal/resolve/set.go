package resolve

import (
	"cmp"
	"math"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/index"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Endpoint is an instance in an answer.
type Endpoint struct {
	Item *catalog.Item
	// Weight is its share of the traffic, relative to the others of the answer, 0
	// to 65535.
	Weight uint16
	// Kilometres is how far it is from where nearness is measured from; infinite
	// where that is not known or not asked.
	Kilometres float64

	ring   ring
	tier   tier
	weight float64 // among those of its group
	share  float64 // of its group, of all traffic
}

// group is a part of an answer that gets a share of the traffic: what one target
// has in one ring.
type group struct {
	branch int
	ring   ring
	share  float64 // 0: closed
	from   []Endpoint

	registered, healthy float64 // capacity
}

// uncounted is the total of an answer that was found without counting.
const uncounted = -1

// set is what one or several targets have for a query, before a subset, a limit
// or a pick: groups in the order in which they are used.
type set struct {
	groups []group
	total  int
	panic  bool // a service that was asked is in panic
}

// nearestAtMost is up to what limit the nearest are looked for one by one rather
// than by sorting all.
const nearestAtMost = 1000

// few reports whether no more than the nearest of each target are needed: what is
// dealt out, or shared with others, is chosen of all.
func (p *Plan) few() bool {
	return p.limit > 0 && p.limit <= nearestAtMost && p.subset == "" && len(p.branches) == 1
}

// set applies one target of the plan to its view.
func (p *Plan) set(n int, b *branch, v *catalog.View, w *World) (*set, error) {
	at, err := w.locate(b.nearest(p))
	if err != nil {
		return nil, err
	}
	ws := w.weights(v.Key())
	if at.point != nil && !at.rings && p.few() && w.Index != nil {
		if x := w.Index.Of(v); x != nil {
			return p.nearest(n, b, v, &at, x, ws, w), nil
		}
	}
	gs := make([]group, rings)
	s, zone := &set{panic: v.Panic()}, at.locality
	take := func(i *catalog.Item) {
		r := ring(0)
		if at.rings {
			r = at.ring(i)
		}
		if at.rings && r <= sameZone { // of which the zone may be named alone
			zone = record.Locality(i.Record())
		}
		g := &gs[r]
		capacity := float64(record.Weight(i.Terms()))
		g.registered += capacity
		if !p.healthy(i) {
			return
		}
		t := p.tier(i)
		if t == first || v.Panic() {
			g.healthy += capacity
		}
		e := Endpoint{Item: i, Kilometres: at.kilometres(i, w), ring: r, tier: t}
		e.weight = float64(Weigh(i, ws, v.Panic()))
		g.from = append(g.from, e)
		s.total++
	}
	if x := w.index(v, b.terms); x != nil {
		for _, i := range x.Select(b.terms, func(i *catalog.Item) bool { return b.match(i, w) }) {
			take(i)
		}
	} else {
		for i := range v.All() {
			if b.match(i, w) {
				take(i)
			}
		}
	}
	spill := 0.0
	if ws != nil {
		spill = ws.Spill(zone.Region, zone.Zone)
	}
	p.share(gs, at.rings, spill)
	for r := range gs {
		if g := &gs[r]; len(g.from) > 0 {
			g.branch, g.ring = n, ring(r)
			if !slices.IsSortedFunc(g.from, before) {
				slices.SortFunc(g.from, before)
			}
			s.groups = append(s.groups, *g)
		}
	}
	return s, nil
}

// nearest returns the place that a target's nearness is measured from.
func (b *branch) nearest(p *Plan) near {
	if b.near.kind != nowhere {
		return b.near
	}
	return p.near
}

// before orders the endpoints of a group.
func before(a, b Endpoint) int {
	if c := cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.Kilometres, b.Kilometres)); c != 0 {
		return c
	}
	return cmp.Compare(a.Item.ID(), b.Item.ID())
}

// share decides which share of the traffic each ring gets.
func (p *Plan) share(gs []group, rank bool, spill float64) {
	if !rank || p.health != "" {
		for r := range gs {
			gs[r].share = 1 // whoever asks for a health is shown all that have it
		}
		return
	}
	var registered, healthy [rings]float64
	for r := range gs {
		registered[r], healthy[r] = gs[r].registered, gs[r].healthy
	}
	for r, s := range shares(&registered, &healthy, spill) {
		gs[r].share = s
	}
	if healthy == ([rings]float64{}) { // only the suspect are left: the nearest of them
		for r := range gs {
			if len(gs[r].from) > 0 {
				gs[r].share = 1
				break
			}
		}
	}
}

// nearest finds no more than the plan's limit, and as many as are enough, without
// looking at all the rest.
func (p *Plan) nearest(n int, b *branch, v *catalog.View, at *Place, x *index.Service, ws *load.Weights, w *World) *set {
	g := group{branch: n, share: 1}
	want := max(p.limit, p.least)
	for t := first; t <= forced && len(g.from) < want; t++ {
		if t > first && (p.health != "" || t == suspect && v.Count(rollcall.Suspect) == 0 || t == forced && !v.Panic()) {
			continue
		}
		match := func(i *catalog.Item) bool { return p.healthy(i) && p.tier(i) == t && b.match(i, w) }
		for _, f := range x.Nearest(*at.point, want-len(g.from), b.terms, b.remembered(p, t), match) {
			g.from = append(g.from, Endpoint{
				Item: f.Item, Kilometres: f.Kilometres, tier: t, weight: float64(Weigh(f.Item, ws, v.Panic())),
			})
		}
		for _, i := range x.Placeless(want-len(g.from), b.terms, match) {
			g.from = append(g.from, Endpoint{Item: i, Kilometres: unknown, tier: t, weight: float64(Weigh(i, ws, v.Panic()))})
		}
	}
	return &set{groups: []group{g}, total: uncounted, panic: v.Panic()}
}

// rooms returns how many endpoints each group may have of most in all: as its
// share is, but at least one, so that the share is not lost, and what others do
// not use.
func rooms(gs []group, most int) []int {
	left, shares := most, 0.0
	open := func(g *group) bool { return g.share > 0 && len(g.from) > 0 }
	for n := range gs {
		if open(&gs[n]) {
			shares += gs[n].share
		}
	}
	room := make([]int, len(gs))
	give := func(want func(g *group) int) {
		for n := range gs {
			if g := &gs[n]; open(g) {
				more := min(left, len(g.from)-room[n], max(0, want(g)-room[n]))
				room[n] += more
				left -= more
			}
		}
	}
	give(func(*group) int { return 1 })
	give(func(g *group) int { return int(math.Round(float64(most) * g.share / shares)) })
	give(func(*group) int { return most })
	return room
}

// flatten lists the endpoints of open groups in the order in which they are to be
// used, the suspect and the forced of all groups last, with weights by which each
// group gets its share.
func flatten(gs []group) []Endpoint {
	count, open, shared := 0, 0, 0.0
	sums := make([]float64, len(gs)) // of weights
	for n := range gs {
		g := &gs[n]
		if g.share == 0 || len(g.from) == 0 {
			continue
		}
		count += len(g.from)
		open++
		for _, e := range g.from {
			sums[n] += e.weight
		}
		if sums[n] > 0 {
			shared += g.share
		}
	}
	es := make([]Endpoint, 0, count)
	most := 0.0 // weight, once the groups have their shares
	for n := range gs {
		g := &gs[n]
		if g.share == 0 {
			continue
		}
		for _, e := range g.from {
			if e.share = 1; open > 1 && sums[n] > 0 {
				e.share = g.share / shared
				e.weight *= e.share / sums[n]
			}
			most = max(most, e.weight)
			es = append(es, e)
		}
	}
	by := 1.0
	if open > 1 && most > 0 {
		by = mostWeight / most
	}
	round(es, by)
	slices.SortStableFunc(es, func(a, b Endpoint) int { return cmp.Compare(a.tier, b.tier) })
	return es
}

// mostWeight is what weights of several groups are scaled to.
const mostWeight = 1<<16 - 1

// round makes whole numbers of weights. What rounding leaves over goes on to the
// next, so that many small ones have together what they should; some of them get
// nothing.
func round(es []Endpoint, by float64) {
	over := 0.0
	for n := range es {
		exact := es[n].weight*by + over
		whole := math.Round(exact)
		es[n].Weight = uint16(min(whole, mostWeight))
		over = exact - whole
	}
}

// remembered names the verdicts of a branch on instances of one tier, if they last.
func (b *branch) remembered(p *Plan, t tier) string {
	if b.soft {
		return ""
	}
	return p.health + string('0'+rune(t)) + b.text
}
