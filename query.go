package rollcall

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Match asks that a capability or a metadata pair have a value.
type Match struct {
	Name  string
	Value string
}

// Values of [Query.Health] beside the names of statuses.
const (
	HealthRoutable = "routable" // the default
	HealthAny      = "any"
)

// Query asks which instances of a service a caller should use. It is the one
// form of that question: every door translates its dialect into it.
type Query struct {
	Namespace string
	// Service is empty in a watch of a whole namespace; both are empty in a
	// watch of everything.
	Service string

	// What is in the answer.

	Health     string // routable (also if empty), any, or a status
	Capability []Match
	Metadata   []Match
	Filter     string // CEL over the instance
	Near       string
	Limit      int // at most so many; 0 is all
	Pick       int // the registry chooses so many, load-aware
	Caller     string
	Subset     string
	SubsetSize int
	At         time.Time // the past

	// When it is answered.

	MinRevision Revision      // wait until at least this
	MaxAge      time.Duration // refuse an older view; 0 is any age
	Consistent  bool          // linearizable
	After       Token         // long poll: answer when the result differs from this
	Wait        time.Duration // for how long
}

// Key returns the key of the queried service.
func (q *Query) Key() ServiceKey { return NewServiceKey(q.Namespace, q.Service) }

// Selection returns a text that is equal for queries that select alike,
// whatever service they are about and whenever they want to be answered.
func (q *Query) Selection() string {
	if q.plain() {
		return ""
	}
	s := Query{
		Health: q.Health, Filter: q.Filter, Near: q.Near, Limit: q.Limit, Pick: q.Pick,
		Subset: q.Subset, SubsetSize: q.SubsetSize, At: q.At,
		Capability: sortedMatches(q.Capability), Metadata: sortedMatches(q.Metadata),
	}
	if s.Health == HealthRoutable {
		s.Health = ""
	}
	return s.Values().Encode()
}

// plain reports whether the selection is the default one: the common case,
// kept free of allocation.
func (q *Query) plain() bool {
	return (q.Health == "" || q.Health == HealthRoutable) && q.Filter == "" && q.Near == "" &&
		q.Limit == 0 && q.Pick == 0 && q.Subset == "" && q.SubsetSize == 0 && q.At.IsZero() &&
		len(q.Capability) == 0 && len(q.Metadata) == 0
}

func sortedMatches(ms []Match) []Match {
	ms = slices.Clone(ms)
	slices.SortFunc(ms, func(a, b Match) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Value, b.Value)
	})
	return slices.Compact(ms)
}

// Values returns the query as the parameters of the HTTP API, without the
// service itself.
func (q *Query) Values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	num := func(name string, n int) {
		if n != 0 {
			v.Set(name, strconv.Itoa(n))
		}
	}
	set("namespace", q.Namespace)
	set("health", q.Health)
	for _, m := range q.Capability {
		v.Add("cap."+m.Name, m.Value)
	}
	for _, m := range q.Metadata {
		v.Add("meta."+m.Name, m.Value)
	}
	set("filter", q.Filter)
	set("near", q.Near)
	num("limit", q.Limit)
	num("pick", q.Pick)
	set("caller", q.Caller)
	set("subset", q.Subset)
	num("subset_size", q.SubsetSize)
	if !q.At.IsZero() {
		v.Set("at", q.At.UTC().Format(time.RFC3339Nano))
	}
	if q.MinRevision != 0 {
		v.Set("min_revision", strconv.FormatUint(uint64(q.MinRevision), 10))
	}
	if q.MaxAge != 0 {
		v.Set("max_age", q.MaxAge.String())
	}
	if q.Consistent {
		v.Set("consistent", "1")
	}
	set("after", q.After.String())
	if q.Wait != 0 {
		v.Set("wait", q.Wait.String())
	}
	return v
}

// Answer is what a query is answered with.
type Answer struct {
	Namespace string     `json:"namespace"`
	Service   string     `json:"service"`
	Revision  Revision   `json:"revision"`
	Token     Token      `json:"token"`
	Panic     bool       `json:"panic"`
	Total     int        `json:"total"`
	Instances []Instance `json:"instances"`
}
