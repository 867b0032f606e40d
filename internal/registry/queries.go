package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
)

// mostQueries bounds the named queries: all are copied when one changes.
const mostQueries = 10_000

// PutQuery stores a query under its name, or replaces it, and returns it as it is
// stored, to be read only. The same query again is no change. With ifMatch not 0,
// that must be the revision of the query that is replaced.
func (r *Registry) PutQuery(ctx context.Context, q *rollcall.NamedQuery, ifMatch rollcall.Revision) (is *rollcall.NamedQuery, created bool, err error) {
	q = q.Clone()
	if old := r.catalog.Snapshot().Query(q.Key()); old != nil {
		q.Namespace, q.Name = old.Namespace, old.Name // shown as they were first written
	}
	q.Normalize()
	if err := q.Validate(r.o.Limits); err != nil {
		return nil, false, err
	}
	if err := r.compiler.Check(q); err != nil {
		return nil, false, err
	}
	old, err := r.writeQuery(ctx, q.Key(), q, ifMatch)
	if err != nil {
		return nil, false, err
	}
	if is = r.catalog.Snapshot().Query(q.Key()); is == nil {
		is = q // and gone again already
	}
	return is, old == nil, nil
}

// DeleteQuery removes a named query. That there is none is no error, unless
// ifMatch asks for a revision of it.
func (r *Registry) DeleteQuery(ctx context.Context, key rollcall.ServiceKey, ifMatch rollcall.Revision) error {
	_, err := r.writeQuery(ctx, key, nil, ifMatch)
	return err
}

// writeQuery has the log say what query there is under a name, none if q is nil,
// and returns the one that there was. The log knows no conditions on queries, so
// that one is written at a time.
func (r *Registry) writeQuery(ctx context.Context, key rollcall.ServiceKey, q *rollcall.NamedQuery, ifMatch rollcall.Revision) (*rollcall.NamedQuery, error) {
	if err := r.may(ctx, auth.Operate, rollcall.Key{ServiceKey: key}); err != nil {
		return nil, err
	}
	r.queries.Lock()
	defer r.queries.Unlock()
	if err := r.applied.Wait(ctx, rollcall.Revision(r.acked.Load())); err != nil {
		return nil, err
	}
	s := r.catalog.Snapshot()
	old := s.Query(key)
	switch {
	case ifMatch != 0 && old == nil:
		return nil, &rollcall.Error{Kind: rollcall.ErrPrecondition, Field: "If-Match", Detail: fmt.Sprintf("there is no query %v", key)}
	case ifMatch != 0 && old.Revision != ifMatch:
		return nil, &rollcall.Error{
			Kind: rollcall.ErrPrecondition, Field: "If-Match",
			Detail: fmt.Sprintf("query %v is at revision %d, not %d; read it again", key, old.Revision, ifMatch),
		}
	case q == nil && old == nil, q != nil && old != nil && old.Same(q):
		return old, nil
	case q != nil && old == nil && s.NamedQueries() >= mostQueries:
		return nil, &rollcall.Error{Kind: rollcall.ErrConflict, Detail: fmt.Sprintf("there are %d named queries already, as many as there may be; delete one first", mostQueries)}
	}
	_, err := r.append(ctx, rollcall.Batch{Changes: []rollcall.Change{r.change(ctx, rollcall.QueryPut{Name: key, Query: q}, "")}})
	return old, err
}

// Query returns a named query, to be read only.
func (r *Registry) Query(ctx context.Context, key rollcall.ServiceKey) (*rollcall.NamedQuery, error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return nil, err
	}
	if q := r.catalog.Snapshot().Query(key); q != nil {
		return q, nil
	}
	return nil, &rollcall.Error{Kind: rollcall.ErrNotFound, Detail: fmt.Sprintf("there is no query %v; list what there is with GET /api/v1/queries", key)}
}

// Queries returns up to limit named queries, in order, and a cursor for those that
// follow. An empty namespace is all of them.
func (r *Registry) Queries(ctx context.Context, namespace, after string, limit int) (qs []*rollcall.NamedQuery, next string, err error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: namespace}}); err != nil {
		return nil, "", err
	}
	var from rollcall.ServiceKey
	if after != "" {
		ns, name, ok := strings.Cut(after, "/")
		if !ok {
			return nil, "", rollcall.Invalid("after", fmt.Sprintf("%.200q is not a cursor: pass back what next said", after))
		}
		from = rollcall.NewServiceKey(ns, name)
	}
	for q := range r.catalog.Snapshot().Queries(strings.ToLower(namespace), from) {
		if len(qs) == limit {
			return qs, qs[limit-1].Key().String(), nil
		}
		qs = append(qs, q)
	}
	return qs, "", nil
}
