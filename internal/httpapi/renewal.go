package httpapi

import (
	"net/http"
	"strconv"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
)

// heartbeat renews the lease of the instance that the path names. Most come
// without a body.
func (s *Server) heartbeat(r *request) (int, error) {
	var report *rollcall.Report
	if r.hasBody() {
		var err error
		if report, err = s.readReport(r); err != nil {
			return 0, err
		}
	}
	renewal, err := s.reg.Renew(r.ctx, r.key(), report)
	if err != nil {
		return 0, err
	}
	b := s.scratch.Get().(*[]byte)
	defer s.scratch.Put(b)
	*b = append((*b)[:0], `{"ttl":"`...)
	*b = append(*b, renewal.TTL.String()...)
	*b = append(*b, `","revision":`...)
	*b = strconv.AppendUint(*b, uint64(renewal.Revision), 10)
	*b = append(*b, "}\n"...)
	r.w.Header()["Content-Type"] = headerJSON
	r.w.Write(*b) // net/http adds the length of so short a body
	return http.StatusOK, nil
}

// readReport reads what an instance says with its renewal; nil if that is
// nothing.
func (s *Server) readReport(r *request) (*rollcall.Report, error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return nil, err
	}
	defer s.done(d)
	if d.Empty() {
		return nil, nil
	}
	report := new(rollcall.Report)
	return report, d.Report(report)
}

// heartbeats renews many leases.
func (s *Server) heartbeats(r *request) (int, error) {
	rs, err := s.readRenewals(r)
	if err != nil {
		return 0, err
	}
	renewed, unknown, err := s.reg.RenewMany(r.ctx, rs)
	if err != nil {
		return 0, err
	}
	b := strconv.AppendInt([]byte(`{"renewed":`), int64(renewed), 10)
	b = append(b, `,"unknown":[`...)
	for n, k := range unknown {
		if n > 0 {
			b = append(b, ',')
		}
		b = quote.Append(append(b, `{"namespace":`...), k.Namespace)
		b = quote.Append(append(b, `,"service":`...), k.Service)
		b = quote.Append(append(b, `,"id":`...), k.ID)
		b = append(b, '}')
	}
	return r.send(s, http.StatusOK, append(b, "]}\n"...))
}

func (s *Server) readRenewals(r *request) ([]rollcall.Renew, error) {
	d, err := s.read(r, s.o.MaxBatchBody)
	if err != nil {
		return nil, err
	}
	defer s.done(d)
	return d.Renewals(r.param("namespace"), s.o.MaxBatch)
}
