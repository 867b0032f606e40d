package rollcall

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// NamedQuery is a query that is stored under a name and may be asked for
// wherever a service may. Its name is one of its namespace's services: where
// there is such a service too, the name means the query, so that an operator can
// split or fail over a service whose callers know nothing of it. What a query
// asks for are always services, never other queries.
type NamedQuery struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Service is asked first, in the query's namespace; by default the one that
	// has the query's name.
	Service string `json:"service,omitempty"`
	// Filter is CEL over an instance of Service, up to 4 KiB. That of a split
	// holds beside it, that of a failover target in its place.
	Filter string `json:"filter,omitempty"`
	// Split shares the traffic out, up to 10 ways; none is all to Service.
	Split []Split `json:"split,omitempty"`
	// Failover is up to 10 targets that are asked in this order while all that
	// were asked before have fewer routable instances than MinRoutable.
	Failover []QueryTarget `json:"failover,omitempty"`
	// MinRoutable is how many routable instances a target needs, 1 to 1,000,000;
	// default 1.
	MinRoutable int `json:"min_routable,omitempty"`
	// Near, Limit and SubsetSize hold for callers that do not give their own.
	Near       string `json:"near,omitempty"`
	Limit      int    `json:"limit,omitempty"`       // 0 to 1,000,000
	SubsetSize int    `json:"subset_size,omitempty"` // 0 to 1,000,000

	// What follows is the registry's to say: of the last change.
	Revision  Revision  `json:"revision,omitempty"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	By        string    `json:"by,omitempty"`
}

// QueryTarget is a service that a [NamedQuery] asks. An empty namespace or service
// is the query's, an empty Near too.
type QueryTarget struct {
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	Filter    string `json:"filter,omitempty"`
	Near      string `json:"near,omitempty"`
}

// Split is a share of the traffic and where it goes.
type Split struct {
	// Percent is more than 0; those of a query are 100 in all.
	Percent float64 `json:"percent"`
	QueryTarget
}

const (
	maxTargets   = 10 // of each kind
	maxFilter    = 4096
	maxInstances = 1_000_000
	percentSlack = 0.01 + 1e-9 // and what adding up costs
)

// Key returns the key that the query is stored under: its name as a service's.
func (q *NamedQuery) Key() ServiceKey { return NewServiceKey(q.Namespace, q.Name) }

// Target returns what is asked first.
func (q *NamedQuery) Target() QueryTarget {
	return QueryTarget{Namespace: q.Namespace, Service: q.Service, Filter: q.Filter, Near: q.Near}
}

// Key returns the key of the service. The target is one of a normalized query.
func (t *QueryTarget) Key() ServiceKey { return NewServiceKey(t.Namespace, t.Service) }

// Normalize fills in the defaults, but for Near: which service each target is,
// and the fewest routable instances.
func (q *NamedQuery) Normalize() {
	if q.Namespace == "" {
		q.Namespace = DefaultNamespace
	}
	if q.Service == "" {
		q.Service = q.Name
	}
	if q.MinRoutable == 0 {
		q.MinRoutable = 1
	}
	fill := func(t *QueryTarget) {
		if t.Namespace == "" {
			t.Namespace = q.Namespace
		}
		if t.Service == "" {
			t.Service = q.Service
		}
	}
	for n := range q.Split {
		fill(&q.Split[n].QueryTarget)
	}
	for n := range q.Failover {
		fill(&q.Failover[n])
	}
}

// Validate reports the first thing that is wrong with a normalized query, as an
// [*Error] that names the field. Whether a filter is CEL it does not know.
func (q *NamedQuery) Validate(l Limits) error {
	v := validator{limits: l}
	v.add(CheckName("name", q.Name))
	target := q.Target()
	v.target("", &target)
	v.count("split", len(q.Split), maxTargets)
	v.count("failover", len(q.Failover), maxTargets)
	sum := 0.0
	for n := 0; n < len(q.Split) && v.err == nil; n++ {
		s, field := &q.Split[n], fmt.Sprintf("split[%d].", n)
		if !(s.Percent > 0 && s.Percent <= 100) {
			v.fail(field+"percent", fmt.Sprintf("is %v; more than 0 and up to 100 are allowed", s.Percent))
		}
		sum += s.Percent
		v.target(field, &s.QueryTarget)
	}
	if len(q.Split) > 0 && !(math.Abs(sum-100) <= percentSlack) {
		v.fail("split", fmt.Sprintf("has percents of %v in all; they must be 100", math.Round(sum*1e6)/1e6))
	}
	for n := 0; n < len(q.Failover) && v.err == nil; n++ {
		v.target(fmt.Sprintf("failover[%d].", n), &q.Failover[n])
	}
	v.between("min_routable", q.MinRoutable, 1, maxInstances)
	v.between("limit", q.Limit, 0, maxInstances)
	v.between("subset_size", q.SubsetSize, 0, maxInstances)
	return v.err
}

func (v *validator) target(field string, t *QueryTarget) {
	v.add(CheckName(field+"namespace", t.Namespace))
	v.add(CheckName(field+"service", t.Service))
	switch {
	case len(t.Filter) > maxFilter:
		v.fail(field+"filter", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(t.Filter), maxFilter))
	case !utf8.ValidString(t.Filter):
		v.fail(field+"filter", "is not valid UTF-8")
	}
	v.text(field+"near", t.Near)
}

func (v *validator) between(field string, n, least, most int) {
	if n < least || n > most {
		v.fail(field, fmt.Sprintf("is %d; %d to %d are allowed", n, least, most))
	}
}

// Same reports whether q and o ask the same under the same name, whoever stored
// them and when.
func (q *NamedQuery) Same(o *NamedQuery) bool {
	return q.Namespace == o.Namespace && q.Name == o.Name && q.Target() == o.Target() && q.MinRoutable == o.MinRoutable &&
		q.Limit == o.Limit && q.SubsetSize == o.SubsetSize && slices.Equal(q.Split, o.Split) && slices.Equal(q.Failover, o.Failover)
}

// Clone returns a copy that shares no memory with q, nor with the page or body
// that q was read from.
func (q *NamedQuery) Clone() *NamedQuery {
	c := *q
	texts := []*string{&c.Namespace, &c.Name, &c.Service, &c.Filter, &c.Near, &c.By}
	c.Split, c.Failover = slices.Clone(q.Split), slices.Clone(q.Failover)
	for n := range c.Split {
		texts = append(texts, c.Split[n].texts()...)
	}
	for n := range c.Failover {
		texts = append(texts, c.Failover[n].texts()...)
	}
	for _, s := range texts {
		*s = strings.Clone(*s)
	}
	return &c
}

func (t *QueryTarget) texts() []*string {
	return []*string{&t.Namespace, &t.Service, &t.Filter, &t.Near}
}
