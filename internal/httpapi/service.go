package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// Bounds of pages.
const (
	defaultPage = 1000
	maxPage     = 10_000
)

// pageSize reads limit, of a listing.
func (r *request) pageSize() (int, error) {
	v := r.param("limit")
	if v == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPage {
		return 0, rollcall.Invalid("limit", "is the size of a page, 1 to "+strconv.Itoa(maxPage))
	}
	return n, nil
}

// listServices answers with services and counts of their instances.
func (s *Server) listServices(r *request) (int, error) {
	limit, err := r.pageSize()
	if err != nil {
		return 0, err
	}
	var at time.Time
	if v := r.param("at"); v != "" {
		if at, err = form.Moment(v, time.Now(), -1); err != nil {
			return 0, rollcall.Invalid("at", err.Error())
		}
	}
	ss, next, err := s.reg.Services(r.ctx, r.param("namespace"), at, r.param("after"), limit)
	if err != nil {
		return 0, err
	}
	if ss == nil {
		ss = []rollcall.ServiceSummary{}
	}
	return r.json(s, http.StatusOK, struct {
		Services []rollcall.ServiceSummary `json:"services"`
		Next     string                    `json:"next,omitempty"`
	}{ss, next})
}

func (s *Server) settings(r *request) (int, error) {
	st, err := s.reg.Settings(r.ctx, r.service())
	if err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, st)
}

// setSettings replaces a service's settings.
func (s *Server) setSettings(r *request) (int, error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var st rollcall.Settings
	if err := d.Settings(&st); err != nil {
		return 0, err
	}
	if err := s.reg.SetSettings(r.ctx, r.service(), &st); err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, st)
}

// clearSettings puts all settings of a service back to their defaults.
func (s *Server) clearSettings(r *request) (int, error) {
	if err := s.reg.SetSettings(r.ctx, r.service(), nil); err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, rollcall.Settings{})
}
