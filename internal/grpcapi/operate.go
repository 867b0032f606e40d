package grpcapi

import (
	"context"
	"time"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/form"
)

// report takes in what a caller saw of a service's instances.
func (s *Server) report(ctx context.Context, most int, receive func(any) error) (any, error) {
	m := new(pb.ReportRequest)
	decode := func(b []byte) error {
		if n, err := form.Count(b, 4); err == nil && n > s.o.MaxBatch {
			return tooMany(s.o.MaxBatch, "instances")
		}
		return decoder(m)(b)
	}
	if err := take(receive, &in{most: most, decode: decode}); err != nil {
		return nil, err
	}
	r := m.Domain()
	if err := s.reg.Report(ctx, m.Service.Domain().ServiceKey, caller(ctx).Addr(), &r); err != nil {
		return nil, err
	}
	return encoded(nil), nil
}

// mostDrainWait is how long one may wait for a drain to be known to all.
const mostDrainWait = 10 * time.Minute

func (s *Server) drain(ctx context.Context, m *pb.DrainRequest) (any, error) {
	wait := time.Duration(m.Wait)
	switch {
	case wait < 0 || wait > mostDrainWait:
		return nil, rollcall.Invalid("wait", "is a duration from 0 to 10m")
	case m.End && wait != 0:
		return nil, rollcall.Invalid("wait", "is for draining; to end that takes no wait")
	}
	b, err := s.reg.Drain(ctx, m.Key.Domain(), !m.End, wait)
	if err != nil {
		return nil, err
	}
	return &pb.DrainResponse{Acknowledged: uint32(b.Acknowledged), Pending: uint32(b.Pending), Elapsed: int64(b.Elapsed)}, nil
}

// why explains the answer to a query.
func (s *Server) why(ctx context.Context, m *pb.WhyRequest) (any, error) {
	q, err := m.Query.Domain()
	if err != nil {
		return nil, err
	}
	x, err := s.reg.Why(ctx, &q, m.Id)
	if err != nil {
		return nil, err
	}
	return pb.FromExplanation(&x), nil
}
