package resolve

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Placed is an instance and why it is in an answer, or is not.
type Placed struct {
	Item   *catalog.Item
	In     bool
	Why    string
	Weight uint16 // effective; of those that are in
}

// Explain returns all instances of the services that a plan asks: first those of
// its answer, in the answer's order, then those that match and find no room in it,
// then the others by id; and the answer. A plan that picks is explained with all
// that it picks from.
func (p *Plan) Explain(own rollcall.ServiceKey, w *World) (all []Placed, r *Result, err error) {
	fresh := *w
	fresh.Ready, fresh.explain = nil, true // what is kept says less
	w = &fresh
	asked := *p
	asked.pick = 0
	asked.limit = 0 // look at all, cut below
	whole, err := asked.Evaluate(own, w)
	if err != nil {
		return nil, nil, err
	}
	asked.limit = p.limit
	if r, err = asked.Evaluate(own, w); err != nil {
		return nil, nil, err
	}
	r.Total = whole.Total
	x := explainer{p: p, w: w, r: r, seen: map[rollcall.Key]bool{}, closed: map[*catalog.Item]ring{}}
	for _, s := range r.sets {
		for _, g := range s.groups {
			for n := range g.from {
				if g.share == 0 {
					x.closed[g.from[n].Item] = g.ring
				}
			}
		}
	}
	for n := range r.Endpoints {
		e := &r.Endpoints[n]
		x.add(Placed{e.Item, true, x.because(e), e.Weight})
	}
	for n := range whole.Endpoints {
		x.add(Placed{Item: whole.Endpoints[n].Item, Why: fmt.Sprintf("it matches, but limit is %d and it is number %d", p.limit, n+1)})
	}
	var out []Placed
	for n := range p.all() {
		b := &p.all()[n]
		v := w.View(b.of(own))
		if v == nil {
			continue
		}
		for i := range v.All() {
			if x.seen[i.Key()] {
				continue
			}
			if why, matches := x.not(n, b, i, own); matches {
				x.add(Placed{Item: i, Why: why})
			} else {
				out = append(out, Placed{Item: i, Why: why})
			}
		}
	}
	for _, o := range out {
		x.add(o)
	}
	return x.all, r, nil
}

type explainer struct {
	p    *Plan
	w    *World
	r    *Result
	all  []Placed
	seen map[rollcall.Key]bool
	// closed are the instances of rings that get no traffic.
	closed map[*catalog.Item]ring
}

// add takes in an instance that is not there yet.
func (x *explainer) add(p Placed) {
	if key := p.Item.Key(); !x.seen[key] {
		x.seen[key] = true
		x.all = append(x.all, p)
	}
}

// because says why an instance is in the answer.
func (x *explainer) because(e *Endpoint) string {
	i, v := e.Item, x.w.View(e.Item.Key().ServiceKey)
	why := []string{verdict(i)}
	switch {
	case x.p.health == rollcall.HealthAny:
		why = append(why, "health=any asks for all")
	case x.p.health != "":
		why[0] += ", as was asked for"
	case i.Forced():
		why = append(why, fmt.Sprintf("served all the same, last: the service is in panic, with %d of %d instances routable", v.Routable(), v.Len()))
	case i.Status() == rollcall.Suspect:
		why = append(why, "served last")
	}
	if x.p.measured() {
		why = append(why, x.where(e))
	}
	if x.r.Failover > 0 {
		why = append(why, fmt.Sprintf("failover target %d of the query, since those before have fewer than %d routable", x.r.Failover, x.p.least))
	}
	if x.p.subset != "" {
		why = append(why, "in the subset of "+x.p.subset)
	}
	if x.p.named != nil && len(x.p.branches) > 1 && x.r.Failover == 0 {
		why = append(why, fmt.Sprintf("in a share of %.4g %% of the traffic", 100*e.share))
	}
	by, warming := x.soft(i)
	if text := weighed(i, x.w.weights(i.Key().ServiceKey), v.Panic(), by); text != "" {
		why = append(why, text)
	}
	if warming != "" {
		why = append(why, warming)
	}
	return strings.Join(why, "; ")
}

// soft says what an instance's soft state is about: its load, its warm-up and how far
// that is, or both.
func (x *explainer) soft(i *catalog.Item) (by, warming string) {
	by = "load"
	window := record.Warmup(i.Terms())
	if window == 0 || x.w.Soft == nil || !i.Status().Routable() {
		return by, ""
	}
	passed := x.w.Now().Sub(i.Since())
	if passed >= window {
		return by, ""
	}
	if by = "warm-up"; passed > 0 {
		if _, reports := x.w.Soft.Load(i.Key()); reports {
			by = "warm-up and load"
		}
	}
	return by, fmt.Sprintf("it has warmed up for %v of %v", passed.Round(time.Second), rollcall.Duration(window))
}

// ranked reports whether all targets are measured by rings.
func (p *Plan) ranked() bool {
	for _, b := range p.all() {
		if k := b.nearest(p).kind; k != toZone && k != toInstance {
			return false
		}
	}
	return true
}

// measured reports whether nearness counts.
func (p *Plan) measured() bool {
	for _, b := range p.all() {
		if b.nearest(p).kind != nowhere {
			return true
		}
	}
	return false
}

// where says how near an endpoint is.
func (x *explainer) where(e *Endpoint) string {
	var text []string
	if e.Kilometres != unknown {
		text = append(text, fmt.Sprintf("%.1f km away", e.Kilometres))
	}
	if e.ring > 0 || x.p.ranked() {
		text = append(text, fmt.Sprintf("%s, to which %.0f %% of the traffic goes", ringNames[e.ring], 100*e.share))
	}
	if text == nil {
		return "it has no position"
	}
	return strings.Join(text, ", ")
}

// weighed says what an effective weight is made of, if it is not the registered
// one; by is what the factor of soft state is of.
func weighed(i *catalog.Item, ws *load.Weights, panic bool, by string) string {
	registered, effective := record.Weight(i.Terms()), Weigh(i, ws, panic)
	if registered == effective || !i.Usable() {
		return ""
	}
	text := fmt.Sprintf("weight %d of %d", effective, registered)
	var of []string
	if h := health(i); h != full && !panic {
		of = append(of, fmt.Sprintf("health leaves %d %%", (100*h+full/2)/full))
	}
	if ws != nil {
		if f := ws.Factor(i.ID()); f != full {
			of = append(of, fmt.Sprintf("%s %d %%", by, (100*int(f)+full/2)/full))
		}
	}
	if of == nil {
		return text
	}
	return text + " (" + strings.Join(of, ", ") + ")"
}

// not says why an instance of a target is not in the answer: which condition it
// does not meet, the first of them, or what else has the room.
func (x *explainer) not(n int, b *branch, i *catalog.Item, own rollcall.ServiceKey) (why string, matches bool) {
	if !x.p.healthy(i) {
		if x.p.health != "" {
			return fmt.Sprintf("health=%s asks for another than %s", x.p.health, verdict(i)), false
		}
		if i.Usable() {
			return verdict(i) + "; weight 0 takes no new traffic", false
		}
		return verdict(i), false
	}
	for _, c := range b.conditions {
		if !c.match(i, x.w) {
			return c.why(i, x.w), false
		}
	}
	if target := n - len(x.p.branches) + 1; x.p.named != nil && max(0, target) != x.r.Failover {
		if target > x.r.Failover && len(x.r.Endpoints) < x.p.least {
			return fmt.Sprintf("it matches, but failover target %d has no more that are routable", target), true
		}
		if target > x.r.Failover {
			return fmt.Sprintf("it matches, but failover target %d is not needed", target), true
		}
		return fmt.Sprintf("it matches, but %s has fewer than %d routable, so failover target %d answers", b.describe(own), x.p.least, x.r.Failover), true
	}
	if r, closed := x.closed[i]; closed {
		return fmt.Sprintf("it matches, but is in another ring (%s): nearer ones bear all of the traffic", ringNames[r]), true
	}
	return fmt.Sprintf("it matches, but is not in the subset of %s", x.p.subset), true
}
