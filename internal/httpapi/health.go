package httpapi

import (
	"net/http"
	"net/netip"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// guards answers with the guards that are on.
func (s *Server) guards(r *request) (int, error) {
	gs, err := s.reg.Guards(r.ctx)
	if err != nil {
		return 0, err
	}
	if gs == nil {
		gs = []rollcall.Guard{}
	}
	return r.json(s, http.StatusOK, struct {
		Guards []rollcall.Guard `json:"guards"`
	}{gs})
}

// endGuard ends a guard, and answers with those that are left.
func (s *Server) endGuard(r *request) (int, error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var key rollcall.ServiceKey
	if err := d.EndGuard(&key); err != nil {
		return 0, err
	}
	if _, err := s.reg.EndGuard(r.ctx, key); err != nil { // that there was none is as good
		return 0, err
	}
	return s.guards(r)
}

// report takes in what a caller saw of a service's instances.
func (s *Server) report(r *request) (int, error) {
	d, err := s.read(r, s.o.MaxBatchBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var report rollcall.CallerReport
	if err := d.CallerReport(s.o.MaxBatch, &report); err != nil {
		return 0, err
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	if err := s.reg.Report(r.ctx, r.service(), from.Addr(), &report); err != nil {
		return 0, err
	}
	r.w.WriteHeader(http.StatusAccepted)
	return http.StatusAccepted, nil
}

// why explains the answer to a query.
func (s *Server) why(r *request) (int, error) {
	q := rollcall.Query{Service: r.PathValue("service")}
	if err := form.Query(r.params, &q); err != nil { // id is none of a query's
		return 0, err
	}
	x, err := s.reg.Why(r.ctx, &q, r.param("id"))
	if err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, x)
}
