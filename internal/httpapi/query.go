package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// queryName returns the named query that the path names.
func (r *request) queryName() rollcall.ServiceKey {
	return rollcall.NewServiceKey(r.param("namespace"), r.PathValue("name"))
}

// putQuery stores a query under the name in the path, or replaces it.
func (s *Server) putQuery(r *request) (int, error) {
	if r.Header["If-None-Match"] != nil {
		return 0, unsupported("If-None-Match", "this version cannot store a query only if there is none; leave it out")
	}
	match, exists, err := r.condition()
	if err != nil {
		return 0, err
	}
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var q rollcall.NamedQuery
	if err := d.NamedQuery(&q); err != nil {
		return 0, err
	}
	for _, f := range []struct {
		name, of string
		to       *string
	}{{"namespace", cmp.Or(r.param("namespace"), rollcall.DefaultNamespace), &q.Namespace}, {"name", r.PathValue("name"), &q.Name}} {
		if *f.to == "" {
			*f.to = f.of
		}
		if !strings.EqualFold(*f.to, f.of) {
			return 0, rollcall.Invalid(f.name, fmt.Sprintf("is %.140q, but the request is for %.140q; leave it out or make them agree", *f.to, f.of))
		}
	}
	if exists { // at whatever revision it is
		is, err := s.reg.Query(r.ctx, q.Key())
		switch {
		case errors.Is(err, rollcall.ErrNotFound):
			return 0, &rollcall.Error{Kind: rollcall.ErrPrecondition, Field: "If-Match", Detail: "there is no such query", Cause: err}
		case err != nil:
			return 0, err
		}
		match = is.Revision
	}
	is, created, err := s.reg.PutQuery(r.ctx, &q, match)
	if err != nil {
		return 0, err
	}
	if created {
		return s.sendQuery(r, http.StatusCreated, is)
	}
	return s.sendQuery(r, http.StatusOK, is)
}

// sendQuery answers with a named query. Its revision is its ETag, for If-Match.
func (s *Server) sendQuery(r *request, code int, q *rollcall.NamedQuery) (int, error) {
	r.w.Header()["Etag"] = []string{`"` + strconv.FormatUint(uint64(q.Revision), 10) + `"`}
	return r.json(s, code, q)
}

func (s *Server) query(r *request) (int, error) {
	q, err := s.reg.Query(r.ctx, r.queryName())
	if err != nil {
		return 0, err
	}
	return s.sendQuery(r, http.StatusOK, q)
}

func (s *Server) deleteQuery(r *request) (int, error) {
	match, exists, err := r.condition()
	if err != nil {
		return 0, err
	}
	if exists {
		return 0, rollcall.Invalid("If-Match", `takes a revision here, not "*"`)
	}
	if err := s.reg.DeleteQuery(r.ctx, r.queryName(), match); err != nil {
		return 0, err
	}
	return r.empty()
}

// listQueries answers with named queries, whole.
func (s *Server) listQueries(r *request) (int, error) {
	limit, err := r.pageSize()
	if err != nil {
		return 0, err
	}
	qs, next, err := s.reg.Queries(r.ctx, r.param("namespace"), r.param("after"), limit)
	if err != nil {
		return 0, err
	}
	if qs == nil {
		qs = []*rollcall.NamedQuery{}
	}
	return r.json(s, http.StatusOK, struct {
		Queries []*rollcall.NamedQuery `json:"queries"`
		Next    string                 `json:"next,omitempty"`
	}{qs, next})
}
