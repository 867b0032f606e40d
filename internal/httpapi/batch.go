package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/rollcall-registry/rollcall"
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

// registerMany registers instances, each on its own; none unless all of the
// body is JSON.
func (s *Server) registerMany(r *request) (int, error) {
	all, wrong, err := s.readMany(r)
	if err != nil {
		return 0, err
	}
	good := all
	if len(wrong) > 0 {
		good = make([]rollcall.Instance, 0, len(all))
		for n := range all {
			if wrong[n] == nil {
				good = append(good, all[n])
			}
		}
	}
	var done []rollcall.Registration
	if len(good) > 0 {
		done = s.reg.RegisterMany(r.ctx, good)
	}
	b := append(make([]byte, 0, 64+96*len(all)), `{"results":[`...)
	at := 0 // in good and done
	for n := range all {
		if n > 0 {
			b = append(b, ',')
		}
		if err := wrong[n]; err != nil {
			b = s.appendResult(b, &all[n], &rollcall.Registration{Err: err})
			continue
		}
		good[at].ID = done[at].Key.ID // chosen by the registry, if it was empty
		b = s.appendResult(b, &good[at], &done[at])
		at++
	}
	return r.send(s, http.StatusOK, append(b, "]}\n"...))
}

func (s *Server) appendResult(b []byte, i *rollcall.Instance, res *rollcall.Registration) []byte {
	b = appendString(append(b, `{"service":`...), i.Service)
	b = appendString(append(b, `,"id":`...), i.ID)
	if res.Err != nil {
		p, known := problemOf(res.Err)
		if !known {
			s.o.Logger.Error("a registration failed", "service", i.Service, "id", i.ID, "err", res.Err)
		}
		b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
		b = p.appendJSON(append(b, `,"error":`...))
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

// readMany reads the instances of a body, and what is wrong with some of them.
func (s *Server) readMany(r *request) (all []rollcall.Instance, wrong map[int]error, err error) {
	d, err := s.read(r, s.o.MaxBatchBody)
	if err != nil {
		return nil, nil, err
	}
	defer s.done(d)
	all, wrong, err = d.Instances(s.o.MaxBatch)
	for n := range all {
		if wrong[n] != nil {
			continue
		}
		if err := r.place(&all[n]); err != nil {
			if wrong == nil {
				wrong = map[int]error{}
			}
			wrong[n] = err
		}
	}
	return all, wrong, err
}
