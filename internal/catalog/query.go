package catalog

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// Query returns the query that has a service's name, nil if there is none, as is
// the rule: that costs nothing.
func (s *Snapshot) Query(key rollcall.ServiceKey) *rollcall.NamedQuery {
	if s.queries == nil {
		return nil
	}
	return s.queries[key]
}

// Queries yields the named queries of a namespace, or with an empty one all, in
// order of their keys, beginning behind a key; the zero key is before all.
func (s *Snapshot) Queries(namespace string, after rollcall.ServiceKey) iter.Seq[*rollcall.NamedQuery] {
	return func(yield func(*rollcall.NamedQuery) bool) {
		for _, key := range s.queryKeys() {
			if key.Compare(after) <= 0 || namespace != "" && key.Namespace != namespace {
				continue
			}
			if !yield(s.queries[key]) {
				return
			}
		}
	}
}

func (s *Snapshot) queryKeys() []rollcall.ServiceKey {
	return slices.SortedFunc(maps.Keys(s.queries), rollcall.ServiceKey.Compare)
}

// NamedQueries returns the number of named queries.
func (s *Snapshot) NamedQueries() int { return len(s.queries) }

// query stores a named query, or removes it. Those of a snapshot are copied once
// until the next one, however many change.
func (c *Catalog) query(ch *rollcall.Change, b rollcall.QueryPut) {
	if b.Query == nil && c.next.Query(b.Name) == nil {
		return
	}
	if c.queried != c.edit {
		c.queried, c.next.queries = c.edit, maps.Clone(c.next.queries)
	}
	if b.Query == nil {
		delete(c.next.queries, b.Name)
	} else {
		if c.next.queries == nil {
			c.next.queries = map[rollcall.ServiceKey]*rollcall.NamedQuery{}
		}
		q := b.Query.Clone()
		q.Revision, q.UpdatedAt, q.By = ch.Revision, ch.At, strings.Clone(ch.By)
		c.next.queries[rollcall.ServiceKey{Namespace: strings.Clone(b.Name.Namespace), Service: strings.Clone(b.Name.Service)}] = q
	}
	if len(c.next.queries) == 0 {
		c.next.queries = nil
	}
	var was string // nothing of a query, for the past is asked with what is there now
	if v := c.next.viewOrDraft(c.drafts, b.Name); v != nil {
		was = v.known()
	}
	c.decided(ch, b.Name, was)
}

// queryChanges yields the changes that make up the named queries.
func (s *Snapshot) queryChanges() iter.Seq[rollcall.Change] {
	return func(yield func(rollcall.Change) bool) {
		for _, key := range s.queryKeys() {
			q := s.queries[key]
			if !yield(rollcall.Change{At: q.UpdatedAt, By: q.By, Revision: q.Revision, Body: rollcall.QueryPut{Name: key, Query: q}}) {
				return
			}
		}
	}
}

// otherQueries returns the names under which two snapshots have different queries.
func otherQueries(old, now *Snapshot) (keys []rollcall.ServiceKey) {
	for key, q := range now.queries {
		if was := old.Query(key); was == nil || was.Revision != q.Revision || !was.Same(q) {
			keys = append(keys, key)
		}
	}
	for key := range old.queries {
		if now.Query(key) == nil {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, rollcall.ServiceKey.Compare)
	return keys
}
