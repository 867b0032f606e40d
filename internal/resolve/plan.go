// Package resolve answers, for every door alike, which instances of a service a
// caller should use. A query is compiled into a [Plan], which is applied to views
// and to the soft state of the moment ([World]): health and conditions first,
// then nearness, then weights, then the caller's subset, then a limit or a pick.
package resolve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/filter"
	"github.com/rollcall-registry/rollcall/internal/index"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const (
	// mostPicked is how many instances the registry chooses at once.
	mostPicked = 100
	// DefaultSubset and leastSubset are how many instances a subset has, unless
	// asked for, and at least: fewer would not survive the loss of some.
	DefaultSubset = 20
	leastSubset   = 12
)

// Plan is a compiled query. It is immutable.
type Plan struct {
	text   string
	health string // the one that is asked for, "" for what can be used
	limit  int
	pick   int
	subset string // the caller whose subset is asked for
	size   int    // of the subset
	// everybodys is what text is, but for the caller: they share the subsets.
	everybodys string
	near       near
	// branches are what is asked, each with its share of the traffic; then, where
	// that has too few, failover, in order. A plain query has one branch.
	branches []branch
	failover []branch
	least    int // how many routable instances are enough
	named    *rollcall.NamedQuery
}

// branch is one target of a plan.
type branch struct {
	service    rollcall.ServiceKey // zero: the one that is asked for
	share      float64             // of the traffic, 0 to 1
	conditions []condition
	text       string       // of the conditions
	terms      []index.Term // which all that match meet
	near       near         // none: the plan's
	soft       bool         // a condition reads what changes without a revision
}

// condition is one that an instance must meet. why says, of one that does not,
// how that is.
type condition struct {
	match func(*catalog.Item, *World) bool
	why   func(*catalog.Item, *World) string
}

// plain is the plan of the default query, shared by all who ask it.
var plain = &Plan{branches: []branch{{share: 1}}, least: 1}

// Compiler turns queries into plans. Its methods may be called by any goroutine.
type Compiler struct{ filters *filter.Cache }

// mostFilters is how many compiled expressions are kept.
const mostFilters = 1000

// NewCompiler returns a compiler that has seen no query.
func NewCompiler() *Compiler { return &Compiler{filter.NewCache(mostFilters)} }

// Compile turns a query's selection into a plan. An error is an
// [rollcall.ErrInvalid] that names the parameter that is wrong.
func (c *Compiler) Compile(q *rollcall.Query) (*Plan, error) {
	text := q.Selection()
	if text == "" {
		return plain, nil
	}
	p := &Plan{text: text, least: 1}
	if err := p.read(q); err != nil {
		return nil, err
	}
	if q.Subset != "" {
		every := *q
		every.Subset = ""
		p.everybodys = every.Selection()
	}
	b := branch{share: 1}
	if err := c.conditions(&b, q); err != nil {
		return nil, err
	}
	p.branches = []branch{b}
	return p, nil
}

// read takes over all of a query but its conditions.
func (p *Plan) read(q *rollcall.Query) (err error) {
	if p.health = q.Health; p.health == rollcall.HealthRoutable {
		p.health = ""
	}
	if p.health != "" && p.health != rollcall.HealthAny {
		if _, err := rollcall.ParseStatus(p.health); err != nil {
			return rollcall.Invalid("health", err.Error()+", routable or any")
		}
	}
	if p.near, err = parseNear(q.Namespace, q.Near); err != nil {
		return err
	}
	p.limit, p.pick, p.subset, p.size = q.Limit, q.Pick, q.Subset, q.SubsetSize
	if p.pick > 0 && p.limit == 0 && p.near.kind == toPoint { // one of the nearest
		p.limit = max(p.pick, drawnAtMost)
	}
	switch {
	case p.limit < 0:
		return rollcall.Invalid("limit", "is negative")
	case p.pick < 0 || p.pick > mostPicked:
		return rollcall.Invalid("pick", fmt.Sprintf("is %d; the registry chooses 1 to %d, and mostly 1", p.pick, mostPicked))
	case p.pick > 0 && q.Limit > 0:
		return rollcall.Invalid("pick", "and limit both say how many; leave one out")
	case p.pick > 0 && p.health != "":
		return rollcall.Invalid("pick", "chooses among what can be used; leave out health")
	case len(p.subset) > mostCaller:
		return rollcall.Invalid("subset", fmt.Sprintf("is %d bytes long; at most %d are allowed: name the caller", len(p.subset), mostCaller))
	case p.subset == "" && p.size != 0:
		return rollcall.Invalid("subset_size", "is of a subset: say whose with subset=CALLER")
	case p.subset != "" && p.health != "":
		return rollcall.Invalid("subset", "is dealt of what can be used; leave out health")
	case p.subset != "" && p.size == 0:
		p.size = DefaultSubset
	case p.subset != "" && p.size < leastSubset:
		return rollcall.Invalid("subset_size", fmt.Sprintf("is %d; %d are the least that survives the loss of some", p.size, leastSubset))
	}
	return nil
}

const mostCaller = 256 // bytes of a caller's name

// conditions compiles those of a query, beside health, into b.
func (c *Compiler) conditions(b *branch, q *rollcall.Query) error {
	of := rollcall.Query{Capability: q.Capability, Metadata: q.Metadata}
	b.text += strconv.Quote(of.Selection())
	for _, m := range q.Capability {
		b.conditions = append(b.conditions, capability(m))
		b.terms = append(b.terms, index.Term{Field: "cap", Name: m.Name, Text: m.Value})
	}
	for _, m := range q.Metadata {
		b.conditions = append(b.conditions, metadata(m))
		b.terms = append(b.terms, index.Term{Field: "meta", Name: m.Name, Text: m.Value})
	}
	return c.filter(b, q.Filter)
}

// filter adds an expression to the conditions of b.
func (c *Compiler) filter(b *branch, text string) error {
	if text == "" {
		return nil
	}
	f, err := c.filters.Compile(text)
	if err != nil {
		return err
	}
	b.text += strconv.Quote(text)
	b.conditions = append(b.conditions, condition{
		func(i *catalog.Item, w *World) bool { return f.Match(w.subject(i, f.Soft())) },
		func(i *catalog.Item, w *World) string { return f.Why(w.subject(i, f.Soft())) },
	})
	b.soft = b.soft || f.Soft()
	for _, t := range f.Terms() {
		b.terms = append(b.terms, index.Term{Field: t.Field, Name: t.Name, Any: t.Any})
	}
	return nil
}

func capability(m rollcall.Match) condition {
	return condition{
		func(i *catalog.Item, _ *World) bool { return record.Capability(i.Record(), m.Name).Matches(m.Value) },
		func(i *catalog.Item, _ *World) string {
			v := record.Capability(i.Record(), m.Name)
			if v.Kind() == rollcall.KindNone {
				return fmt.Sprintf("cap.%s=%s: it has no capability of that name", m.Name, m.Value)
			}
			return fmt.Sprintf("cap.%s=%s: it has %v", m.Name, m.Value, v)
		},
	}
}

func metadata(m rollcall.Match) condition {
	value := func(i *catalog.Item) (string, bool) { return record.Metadata(i.Record(), m.Name) }
	return condition{
		func(i *catalog.Item, _ *World) bool { v, ok := value(i); return ok && v == m.Value },
		func(i *catalog.Item, _ *World) string {
			v, ok := value(i)
			if !ok {
				return fmt.Sprintf("meta.%s=%s: it has no metadata of that name", m.Name, m.Value)
			}
			return fmt.Sprintf("meta.%s=%s: it has %q", m.Name, m.Value, v)
		},
	}
}

// Text is equal for plans that select alike; "" is the default selection.
func (p *Plan) Text() string { return p.text }

// Whole reports whether each instance is in the answer or not by itself, whatever
// the others and the soft state are: then [Plan.Match] says it all.
func (p *Plan) Whole() bool { return p.Steady() && p.limit == 0 }

// Steady reports whether the answer follows from the view of the one service that
// is asked for: until that changes it stays the same, but for weights.
func (p *Plan) Steady() bool {
	return p.named == nil && p.pick == 0 && p.subset == "" && p.near.kind == nowhere && !p.branches[0].soft
}

// Of reports whether the plan is that of a named query, nil for of none.
func (p *Plan) Of(nq *rollcall.NamedQuery) bool { return p.named == nq }

// Named reports whether the plan is that of a named query, whose instances may be
// of several services.
func (p *Plan) Named() bool { return p.named != nil }

// Soft reports whether the answer depends on what changes without a revision.
func (p *Plan) Soft() bool {
	return p.ReadsLoad() || p.measured() || p.pick > 0 || p.subset != ""
}

// ReadsLoad reports whether a condition reads what instances report.
func (p *Plan) ReadsLoad() bool {
	return slices.ContainsFunc(p.all(), func(b branch) bool { return b.soft })
}

// all returns the targets of the plan, in the order in which they are asked.
func (p *Plan) all() []branch {
	if len(p.failover) == 0 {
		return p.branches
	}
	return append(p.branches[:len(p.branches):len(p.branches)], p.failover...)
}

// Services returns the services that the plan asks, of which own is the one that
// its query names; each once.
func (p *Plan) Services(own rollcall.ServiceKey) (keys []rollcall.ServiceKey) {
	for _, b := range p.all() {
		if key := b.of(own); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Beside returns the instances that nearness is measured from.
func (p *Plan) Beside() (keys []rollcall.Key) {
	for _, b := range p.all() {
		if n := b.nearest(p); n.kind == toInstance && !slices.Contains(keys, n.instance) {
			keys = append(keys, n.instance)
		}
	}
	return keys
}

// Asks returns [Plan.Services] and those of the instances that nearness is measured
// from.
func (p *Plan) Asks(own rollcall.ServiceKey) []rollcall.ServiceKey {
	keys := p.Services(own)
	for _, at := range p.Beside() {
		if !slices.Contains(keys, at.ServiceKey) {
			keys = append(keys, at.ServiceKey)
		}
	}
	return keys
}

func (b *branch) of(own rollcall.ServiceKey) rollcall.ServiceKey {
	if b.service == (rollcall.ServiceKey{}) {
		return own
	}
	return b.service
}

// Match reports whether an instance meets the conditions of a plan that is
// [Plan.Steady], before any limit.
func (p *Plan) Match(i *catalog.Item) bool { return p.healthy(i) && p.branches[0].match(i, nil) }

// Concerns reports whether an instance meets the conditions of any target of the
// plan that can be told from it alone, or is one that nearness is measured from. One
// that does not changes no answer.
func (p *Plan) Concerns(i *catalog.Item) bool {
	if slices.Contains(p.Beside(), i.Key()) {
		return true
	}
	for _, b := range p.all() {
		if b.soft || b.match(i, nil) {
			return true
		}
	}
	return false
}

// healthy reports whether an instance has the health that is asked for.
func (p *Plan) healthy(i *catalog.Item) bool {
	switch p.health {
	case "":
		return i.Usable() && !i.Idle()
	case rollcall.HealthAny:
		return true
	}
	return i.Status().String() == p.health
}

func (b *branch) match(i *catalog.Item, w *World) bool {
	for _, c := range b.conditions {
		if !c.match(i, w) {
			return false
		}
	}
	return true
}

// verdict tells the verdict on an instance with its reason.
func verdict(i *catalog.Item) string {
	if i.Reason() == "" {
		return i.Status().String()
	}
	return i.Status().String() + ": " + i.Reason()
}

// Select returns the instances of a view that match a plan that is [Plan.Steady],
// up to its limit, and how many match in all. Those that a caller should use come first, by id; behind
// them, by id, those that are to be used only if nothing better is left: the
// suspect, then what a panic brings up.
func (p *Plan) Select(v *catalog.View, w *World) (items []*catalog.Item, total int) {
	b := &p.branches[0]
	most := v.Len()
	if p.limit > 0 {
		most = min(most, p.limit)
	}
	var last [2][]*catalog.Item
	take := func(i *catalog.Item) {
		total++
		to := &items
		if t := p.tier(i); t > first {
			to = &last[t-1]
		}
		if len(*to) < most {
			*to = append(*to, i)
		}
	}
	if x := w.index(v, b.terms); x != nil {
		for _, i := range x.Select(b.terms, p.Match) {
			take(i)
		}
	} else {
		items = make([]*catalog.Item, 0, most)
		for i := range v.All() {
			if p.Match(i) {
				take(i)
			}
		}
	}
	for _, l := range last {
		items = append(items, l[:min(len(l), most-len(items))]...)
	}
	return items, total
}

// tier orders what is used first from what is used if nothing better is left.
type tier uint8

const (
	first   tier = iota
	suspect      // and what was asked for is anything usable
	forced       // by a panic
)

func (p *Plan) tier(i *catalog.Item) tier {
	switch {
	case p.health != "" || i.Status().Routable():
		return first
	case i.Status() == rollcall.Suspect:
		return suspect
	}
	return forced
}

// describe returns the plan's own words for what it selects, for explanations.
func (b *branch) describe(own rollcall.ServiceKey) string {
	return strings.TrimPrefix(b.of(own).String(), rollcall.DefaultNamespace+"/")
}
