package grpcapi

import (
	"context"
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/nest"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// mostWait is how long a query may wait.
const mostWait = 10 * time.Minute

// resolve answers which instances a caller should use.
func (s *Server) resolve(ctx context.Context, m *pb.ResolveRequest) (any, error) {
	q, err := m.Query.Domain()
	if err != nil {
		return nil, err
	}
	if q.Wait > mostWait {
		return nil, rollcall.Invalid("wait", "is a duration of at most 10m")
	}
	a, err := s.reg.Resolve(ctx, &q)
	if err != nil {
		return nil, err
	}
	return encoded(s.appendAnswer(nil, a)), nil
}

// usualInstance is about how many bytes an instance has in a message.
const usualInstance = 256

// appendAnswer writes an answer as a ResolveResponse.
func (s *Server) appendAnswer(b []byte, a *resolve.Answer) []byte {
	endpoints, total := a.Endpoints()
	rev, panic := a.Content()
	if b == nil {
		b = make([]byte, 0, 128+usualInstance*len(endpoints))
	}
	b = appendText(b, 1, a.Key.Namespace)
	b = appendText(b, 2, a.Name)
	b = appendInt(b, 3, uint64(rev))
	if token := a.Token(); !token.IsZero() {
		b = appendText(b, 4, token.String())
	}
	b = appendBool(b, 5, panic)
	b = appendInt(b, 6, uint64(int64(total)))
	for n := range endpoints {
		e := &endpoints[n]
		shown := catalog.Shown{Weight: e.Weight, Kilometres: e.Kilometres}
		if p, moved := s.reg.Position(e.Item.Key()); moved && !a.Past {
			shown.Position = &p
		}
		var at int
		b, at = nest.Open(b, 7)
		b = nest.Shut(e.Item.AppendMessage(b, &shown), at)
	}
	b = appendInt(b, 8, uint64(a.Revision))
	return appendInt(b, 9, uint64(a.Age))
}

// appendItem writes an instance as records show it: without its load, which
// changes too often for what is kept.
func (s *Server) appendItem(b []byte, item *catalog.Item, shown *catalog.Shown) []byte {
	is := catalog.Shown{Kilometres: math.Inf(1)}
	if shown != nil {
		is = *shown
	} else {
		is.Weight = s.reg.Weight(item)
	}
	if p, moved := s.reg.Position(item.Key()); moved {
		is.Position = &p
	}
	return item.AppendMessage(b, &is)
}
