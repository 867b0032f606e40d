package grpcapi

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/form"
)

// renew answers each message of renewals with one.
func (s *Server) renew(c *conversation) error {
	defer c.stops()()
	c.apart(func() error {
		for {
			m := renewals{s: s}
			err := c.receive(&in{most: c.most, decode: m.decode}, func() error { return c.send(s.renewed(c.ctx, &m)) })
			if err != nil {
				return err
			}
		}
	})
	<-c.ctx.Done()
	return c.leave(context.Cause(c.ctx))
}

// renewals are what a message asks for.
type renewals struct {
	s     *Server
	one   *pb.Renewal      // if it is alone
	many  []rollcall.Renew // else
	said  [][]byte         // of many, those that say more than many can say at once
	wrong error            // why nothing is renewed
}

// decode takes in a message. Its renewals are decoded one by one, so that there is
// never more of them than what is kept. An error is that of a message that is none.
func (m *renewals) decode(b []byte) error {
	o := &m.s.o
	n, err := form.Count(b, 1)
	switch {
	case err != nil:
		return undecodable("RenewRequest", err)
	case n <= 1 && len(b) > o.MaxMessage:
		m.wrong = tooLarge(len(b), o.MaxMessage)
		return nil
	case n > o.MaxBatch:
		m.wrong = tooMany(o.MaxBatch, "renewals")
		return nil
	}
	if n > 1 {
		m.many = make([]rollcall.Renew, 0, n)
	}
	one := new(pb.Renewal)
	err = form.Each(b, 1, func(b []byte) error {
		if len(b) > o.MaxMessage {
			m.wrong = tooLarge(len(b), o.MaxMessage)
			return nil
		}
		if err := proto.Unmarshal(b, one); err != nil {
			return undecodable("RenewRequest", err)
		}
		if n > 1 && m.wrong == nil {
			m.add(one, b)
		}
		return nil
	})
	if n == 1 {
		m.one = one
	}
	return err
}

// add adds one of many.
func (m *renewals) add(one *pb.Renewal, b []byte) {
	if one.Service == "" || one.Id == "" {
		m.wrong = rollcall.Invalid("renewals", "need both service and id")
		return
	}
	r := one.Report
	if r != nil && (r.Status != 0 || r.Note != "" || len(r.Checks) > 0) {
		m.said = append(m.said, b)
		return
	}
	m.many = append(m.many, rollcall.Renew{
		Key: rollcall.NewKey(one.Namespace, one.Service, one.Id), Load: r.GetLoad().Domain(), Position: r.GetPosition().Domain(),
	})
}

// renewed answers one message of renewals.
func (s *Server) renewed(ctx context.Context, m *renewals) *pb.RenewResponse {
	answer, err := s.renewAll(ctx, m)
	if err != nil {
		return &pb.RenewResponse{Error: s.detail("a renewal", rollcall.Key{}, err)}
	}
	return answer
}

func (s *Server) renewAll(ctx context.Context, m *renewals) (*pb.RenewResponse, error) {
	switch {
	case m.wrong != nil:
		return nil, m.wrong
	case m.one != nil:
		return s.renewOne(ctx, m.one)
	}
	renewed, unknown, err := s.reg.RenewMany(ctx, m.many)
	if err != nil {
		return nil, err
	}
	answer := &pb.RenewResponse{Renewed: uint32(renewed)}
	for _, k := range unknown {
		answer.Unknown = append(answer.Unknown, pb.FromKey(k))
	}
	for _, b := range m.said {
		said := new(pb.Renewal)
		if err := proto.Unmarshal(b, said); err != nil {
			return nil, undecodable("Renewal", err)
		}
		one, err := s.renewOne(ctx, said)
		if err != nil {
			return nil, err
		}
		answer.Renewed += one.Renewed
		answer.Unknown = append(answer.Unknown, one.Unknown...)
	}
	return answer, nil
}

func (s *Server) renewOne(ctx context.Context, m *pb.Renewal) (*pb.RenewResponse, error) {
	key := rollcall.NewKey(m.GetNamespace(), m.GetService(), m.GetId())
	var report *rollcall.Report
	if m.GetReport() != nil {
		r, err := m.Report.Domain()
		if err != nil {
			return nil, err
		}
		report = &r
	}
	got, err := s.reg.Renew(ctx, key, report)
	switch {
	case errors.Is(err, rollcall.ErrNotFound):
		return &pb.RenewResponse{Unknown: []*pb.Key{pb.FromKey(key)}}, nil
	case err != nil:
		return nil, err
	}
	return &pb.RenewResponse{Renewed: 1, Ttl: int64(got.TTL), Revision: uint64(got.Revision)}, nil
}
