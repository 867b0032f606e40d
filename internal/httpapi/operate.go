package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// drain stops new traffic to an instance.
func (s *Server) drain(r *request) (int, error) {
	var wait time.Duration
	if v, ok := r.params["wait"]; ok {
		var err error
		if wait, err = form.Wait(v[0]); err != nil {
			return 0, err
		}
	}
	b, err := s.reg.Drain(r.ctx, r.key(), true, wait)
	if err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, b)
}

func (s *Server) endDrain(r *request) (int, error) {
	if _, err := s.reg.Drain(r.ctx, r.key(), false, 0); err != nil {
		return 0, err
	}
	return s.instance(r)
}

// setOverride sets an operator's verdict on an instance.
func (s *Server) setOverride(r *request) (int, error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var o rollcall.Override
	if err := d.Override(&o, time.Now()); err != nil {
		return 0, err
	}
	if err := s.reg.Override(r.ctx, r.key(), &o); err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, o)
}

func (s *Server) clearOverride(r *request) (int, error) {
	if err := s.reg.Override(r.ctx, r.key(), nil); err != nil {
		return 0, err
	}
	code, err := s.instance(r)
	if errors.Is(err, rollcall.ErrNotFound) { // an override may be there without it
		return r.empty()
	}
	return code, err
}

// listEvents answers with history, newest first.
func (s *Server) listEvents(r *request) (int, error) {
	limit, err := r.pageSize()
	if err != nil {
		return 0, err
	}
	f := rollcall.EventFilter{Namespace: r.param("namespace"), Service: r.param("service"), ID: r.param("id")}
	now := time.Now()
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v := r.param(name); v != "" {
			if *to, err = form.Moment(v, now, -1); err != nil {
				return 0, rollcall.Invalid(name, err.Error())
			}
		}
	}
	es, next, err := s.reg.Events(r.ctx, f, r.param("after"), limit)
	if err != nil {
		return 0, err
	}
	if es == nil {
		es = []rollcall.Event{}
	}
	return r.json(s, http.StatusOK, struct {
		Events []rollcall.Event `json:"events"`
		Next   string           `json:"next,omitempty"`
	}{es, next})
}

// status answers with how the server is.
func (s *Server) status(r *request) (int, error) {
	st, err := s.reg.Status(r.ctx)
	if err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, st)
}

// backup sends a state file.
func (s *Server) backup(r *request) (int, error) {
	w := &download{r: r, c: http.NewResponseController(r.w), timeout: s.o.WriteTimeout}
	if r.Method == http.MethodHead {
		w.begin()
		return http.StatusOK, nil
	}
	err := s.reg.Backup(r.ctx, w)
	if err == nil {
		w.begin()
		return http.StatusOK, nil
	}
	if !w.begun {
		return 0, err
	}
	s.o.Logger.Warn("a backup broke off", "to", r.RemoteAddr, "err", err)
	panic(http.ErrAbortHandler) // so that nobody takes it for whole
}

// download writes a file against a deadline.
type download struct {
	r       *request
	c       *http.ResponseController
	timeout time.Duration
	begun   bool
}

func (w *download) begin() {
	if !w.begun {
		w.begun = true
		h := w.r.w.Header()
		h["Content-Type"] = headerOctets
		h.Set("Content-Disposition", `attachment; filename="rollcall.backup"`)
	}
}

func (w *download) Write(b []byte) (int, error) {
	w.begin()
	w.c.SetWriteDeadline(time.Now().Add(w.timeout))
	return w.r.w.Write(b)
}
