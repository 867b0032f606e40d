package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
)

// replace registers an instance only if it is registered already, at whatever
// revision.
func (s *Server) replace(ctx context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
	for {
		was, err := s.reg.Instance(ctx, i.Key())
		if errors.Is(err, rollcall.ErrNotFound) {
			return i, false, &rollcall.Error{Kind: rollcall.ErrPrecondition, Field: "If-Match", Detail: "the instance is not registered", Cause: err}
		}
		if err != nil {
			return i, false, err
		}
		got, created, err := s.reg.Register(ctx, i, was.Revision)
		if !errors.Is(err, rollcall.ErrPrecondition) {
			return got, created, err
		}
		// Somebody else was faster; look again.
	}
}

// named is one of many registrations, as its result names it.
type named struct {
	service, id string
	err         error // why it is not registered
}

// registerMany registers instances, each on its own; none unless all of the
// body is JSON.
func (s *Server) registerMany(r *request) (int, error) {
	all, puts, err := s.readMany(r)
	if err != nil {
		return 0, err
	}
	done := s.reg.RegisterPrepared(r.ctx, puts)
	b := append(make([]byte, 0, 64+96*len(all)), `{"results":[`...)
	for n := range all {
		if n > 0 {
			b = append(b, ',')
		}
		result := rollcall.Registration{Err: all[n].err}
		if result.Err == nil {
			result, done = done[0], done[1:]
		}
		b = s.appendResult(b, &all[n], &result)
	}
	return r.send(s, http.StatusOK, append(b, "]}\n"...))
}

func (s *Server) appendResult(b []byte, i *named, res *rollcall.Registration) []byte {
	b = quote.Append(append(b, `{"service":`...), i.service)
	b = quote.Append(append(b, `,"id":`...), i.id)
	if res.Err != nil {
		p, known := problem.Of(res.Err)
		if !known {
			s.o.Logger.Error("a registration failed", "service", i.service, "id", i.id, "err", res.Err)
		}
		b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
		b = p.AppendJSON(append(b, `,"error":`...))
		return append(b, '}')
	}
	code := http.StatusOK
	if res.Created {
		code = http.StatusCreated
	}
	b = strconv.AppendInt(append(b, `,"status":`...), int64(code), 10)
	b = strconv.AppendUint(append(b, `,"revision":`...), uint64(res.Revision), 10)
	return append(b, '}')
}

// readMany reads the instances of a body and prepares them one by one, so that
// of each no more than its packed form is kept. The puts are those of the
// instances that nothing is wrong with.
func (s *Server) readMany(r *request) (all []named, puts []rollcall.InstancePut, _ error) {
	d, err := s.read(r, s.o.MaxBatchBody)
	if err != nil {
		return nil, nil, err
	}
	defer s.done(d)
	about := min(s.o.MaxBatch, int(r.ContentLength/usualInstance)+1)
	all, puts = make([]named, 0, about), make([]rollcall.InstancePut, 0, about)
	err = d.Instances(s.o.MaxBatch, func(i *rollcall.Instance, wrong error) {
		var put rollcall.InstancePut
		if wrong == nil {
			wrong = r.place(i)
		}
		if wrong == nil {
			put, wrong = s.reg.Prepare(r.ctx, i, "")
		}
		if all = append(all, named{i.Service, i.ID, wrong}); wrong == nil {
			puts = append(puts, put)
		}
	})
	return all, puts, err
}

// usualInstance is about how many bytes a registration has, or more.
const usualInstance = 256
