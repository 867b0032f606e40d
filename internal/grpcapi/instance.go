package grpcapi

import (
	"context"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/form"
	"github.com/rollcall-registry/rollcall/internal/nest"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// register creates or replaces instances. One alone has the call's error.
func (s *Server) register(ctx context.Context, most int, receive func(any) error) (any, error) {
	m := in{most: most}
	if err := take(receive, &m); err != nil {
		return nil, err
	}
	n, err := form.Count(m.raw, 1)
	switch {
	case err != nil:
		return nil, undecodable("RegisterRequest", err)
	case n == 0:
		return nil, rollcall.Invalid("instances", "is empty")
	case n == 1 && len(m.raw) > s.o.MaxMessage:
		return nil, tooLarge(len(m.raw), s.o.MaxMessage)
	case n == 1:
		return s.registerOne(ctx, m.raw)
	case n > s.o.MaxBatch:
		return nil, tooMany(s.o.MaxBatch, "instances")
	case form.Conditional(m.raw):
		return nil, rollcall.Invalid("if_match", "is for one instance alone")
	}
	return s.registerMany(ctx, m.raw, n)
}

func (s *Server) registerOne(ctx context.Context, raw []byte) (any, error) {
	m := new(pb.RegisterRequest)
	if err := decoder(m)(raw); err != nil {
		return nil, err
	}
	i, err := m.Instances[0].Domain()
	if err != nil {
		return nil, err
	}
	settle(&i, caller(ctx).Addr())
	is, created, err := s.reg.Register(ctx, i, rollcall.Revision(m.IfMatch))
	if err != nil {
		return nil, err
	}
	return encoded(appendRegistered(nil, 1, &is, created)), nil
}

// appendRegistered writes how one is told that its instance is registered.
func appendRegistered(b []byte, num protowire.Number, i *rollcall.Instance, created bool) []byte {
	b, at := nest.Open(slices.Grow(b, usualInstance), num)
	b = appendKey(b, i.Key())
	b = appendInt(appendBool(b, 2, created), 3, uint64(i.Revision))
	b, inner := nest.Open(b, 5)
	return nest.Shut(nest.Shut(record.AppendRegistered(b, i), inner), at)
}

func appendKey(b []byte, k rollcall.Key) []byte {
	b, at := nest.Open(b, 1)
	b = appendText(b, 1, k.Service)
	b = appendText(b, 2, k.ID)
	return nest.Shut(appendText(b, 3, k.Namespace), at)
}

// refused is one of many registrations that something is wrong with.
type refused struct {
	at  int // among all
	key rollcall.Key
	err error
}

// registerMany registers instances, each on its own; none unless all of the message
// can be decoded. They are prepared one by one, so that of each no more than its
// packed form is kept.
func (s *Server) registerMany(ctx context.Context, raw []byte, n int) (any, error) {
	from := caller(ctx).Addr()
	puts := make([]rollcall.InstancePut, 0, n)
	var wrong []refused
	r := form.Reader{Limits: s.reg.Limits()}
	err := r.Instances(raw, s.o.MaxMessage, func(i *rollcall.Instance, lists string, err error) {
		if err == nil {
			settle(i, from)
			var put rollcall.InstancePut
			if put, err = s.reg.Prepare(ctx, i, lists); err == nil {
				puts = append(puts, put)
				return
			}
		}
		wrong = append(wrong, refused{len(puts) + len(wrong), i.Key(), err})
	})
	if err != nil {
		return nil, undecodable("RegisterRequest", err)
	}
	done := s.reg.RegisterPrepared(ctx, puts)
	b := make([]byte, 0, usualResult*n)
	for at := range n {
		if len(wrong) > 0 && wrong[0].at == at {
			b = s.appendResult(b, &rollcall.Registration{Key: wrong[0].key, Err: wrong[0].err})
			wrong = wrong[1:]
			continue
		}
		b = s.appendResult(b, &done[0])
		done = done[1:]
	}
	return encoded(b), nil
}

// usualResult is about how many bytes a result of many has.
const usualResult = 64

// appendResult writes one of the results of a RegisterResponse.
func (s *Server) appendResult(b []byte, r *rollcall.Registration) []byte {
	b, at := nest.Open(b, 1)
	b = appendKey(b, r.Key)
	if r.Err == nil {
		b = appendBool(b, 2, r.Created)
		return nest.Shut(appendInt(b, 3, uint64(r.Revision)), at)
	}
	b, inner := nest.Open(b, 4)
	b, _ = proto.MarshalOptions{}.MarshalAppend(b, s.detail("a registration", r.Key, r.Err)) // its text is UTF-8
	return nest.Shut(nest.Shut(b, inner), at)
}

func (s *Server) deregister(ctx context.Context, m *pb.DeregisterRequest) (any, error) {
	if err := s.reg.Deregister(ctx, m.Key.Domain(), rollcall.Revision(m.IfMatch)); err != nil {
		return nil, err
	}
	return encoded(nil), nil
}
