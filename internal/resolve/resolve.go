// Package resolve answers, for every door alike, which instances of a service a
// caller should use. It is pure: a compiled query applied to a view.
package resolve

import (
	"fmt"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Plan is a compiled query: what it selects, whatever the service.
type Plan struct {
	text    string
	limit   int
	health  string // the one that is asked for, "" for what can be used
	filters []filter
}

// filter is one condition of a plan. why says, of an instance that does not meet
// it, how that is.
type filter struct {
	match func(*catalog.Item) bool
	why   func(*catalog.Item) string
}

// plain is the plan of the default query, shared by all who ask it.
var plain = &Plan{filters: []filter{{routable, verdict}}}

// Compile turns a query's selection into a plan. It returns an
// [rollcall.ErrUnsupported] that names the parameters that cannot be served
// yet, or an [rollcall.ErrInvalid] that names the one that is wrong.
func Compile(q *rollcall.Query) (*Plan, error) {
	text := q.Selection()
	if text == "" {
		return plain, nil
	}
	if err := unsupported(q); err != nil {
		return nil, err
	}
	p := &Plan{text: text, limit: q.Limit, health: q.Health}
	if q.Health == rollcall.HealthRoutable {
		p.health = ""
	}
	if q.Limit < 0 {
		return nil, rollcall.Invalid("limit", "is negative")
	}
	switch q.Health {
	case "", rollcall.HealthRoutable:
		p.filters = append(p.filters, filter{routable, verdict})
	case rollcall.HealthAny:
	default:
		status, err := rollcall.ParseStatus(q.Health)
		if err != nil {
			return nil, rollcall.Invalid("health", err.Error()+", routable or any")
		}
		p.filters = append(p.filters, filter{
			func(i *catalog.Item) bool { return i.Status() == status },
			func(i *catalog.Item) string {
				return fmt.Sprintf("health=%v asks for another than %s", status, verdict(i))
			},
		})
	}
	for _, m := range q.Capability {
		p.filters = append(p.filters, capability(m))
	}
	for _, m := range q.Metadata {
		p.filters = append(p.filters, metadata(m))
	}
	return p, nil
}

func capability(m rollcall.Match) filter {
	return filter{
		func(i *catalog.Item) bool { return record.Capability(i.Record(), m.Name).Matches(m.Value) },
		func(i *catalog.Item) string {
			v := record.Capability(i.Record(), m.Name)
			if v.Kind() == rollcall.KindNone {
				return fmt.Sprintf("cap.%s=%s: it has no capability of that name", m.Name, m.Value)
			}
			return fmt.Sprintf("cap.%s=%s: it has %v", m.Name, m.Value, v)
		},
	}
}

func metadata(m rollcall.Match) filter {
	value := func(i *catalog.Item) (string, bool) { return record.Metadata(i.Record(), m.Name) }
	return filter{
		func(i *catalog.Item) bool { v, ok := value(i); return ok && v == m.Value },
		func(i *catalog.Item) string {
			v, ok := value(i)
			if !ok {
				return fmt.Sprintf("meta.%s=%s: it has no metadata of that name", m.Name, m.Value)
			}
			return fmt.Sprintf("meta.%s=%s: it has %q", m.Name, m.Value, v)
		},
	}
}

func routable(i *catalog.Item) bool { return i.Usable() }

func unsupported(q *rollcall.Query) error {
	var names []string
	for _, p := range []struct {
		name string
		set  bool
	}{
		{"filter", q.Filter != ""},
		{"near", q.Near != ""},
		{"pick", q.Pick != 0},
		{"subset", q.Subset != "" || q.SubsetSize != 0},
	} {
		if p.set {
			names = append(names, p.name)
		}
	}
	if names == nil {
		return nil
	}
	return &rollcall.Error{
		Kind: rollcall.ErrUnsupported, Field: strings.Join(names, ", "),
		Detail: fmt.Sprintf("this version does not answer queries with %s; leave it out, or select with health, cap.NAME, meta.NAME and limit", strings.Join(names, ", ")),
	}
}

// Text is equal for plans that select alike; "" is the default selection.
func (p *Plan) Text() string { return p.text }

// Limited reports whether the plan returns less than all that match.
func (p *Plan) Limited() bool { return p.limit > 0 }

// Match reports whether an instance is in the answer, before any limit.
func (p *Plan) Match(i *catalog.Item) bool {
	for _, f := range p.filters {
		if !f.match(i) {
			return false
		}
	}
	return true
}

// Select returns the instances of a view that match, up to the limit, and how
// many match in all. Those that a caller should use come first, by id; behind
// them, by id, those that are to be used only if nothing better is left: the
// suspect, then what a panic brings up.
func (p *Plan) Select(v *catalog.View) (items []*catalog.Item, total int) {
	most := v.Len()
	if p.limit > 0 {
		most = min(most, p.limit)
	}
	items = make([]*catalog.Item, 0, most)
	var last [2][]*catalog.Item
	for i := range v.All() {
		if !p.Match(i) {
			continue
		}
		total++
		to := &items
		switch {
		case p.health != "" || i.Status().Routable():
		case i.Status() == rollcall.Suspect:
			to = &last[0]
		default:
			to = &last[1]
		}
		if len(*to) < most {
			*to = append(*to, i)
		}
	}
	for _, l := range last {
		items = append(items, l[:min(len(l), most-len(items))]...)
	}
	return items, total
}
