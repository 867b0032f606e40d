package httpapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/httpapi/stream"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// watch streams what a query's result is and how it changes.
func (s *Server) watch(r *request) (int, error) {
	q := rollcall.Query{Service: r.PathValue("service")}
	if err := form.Query(r.params, &q); err != nil {
		return 0, err
	}
	if err := watchable(&q); err != nil {
		return 0, err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" { // newer than the address of the stream
		var err error
		if q.After, err = rollcall.ParseToken(id); err != nil {
			return 0, rollcall.Invalid("Last-Event-ID", err.Error())
		}
	}
	who := stream.Reader(r.Request)
	if v, ok := r.params["acks"]; ok {
		var err error
		if who.Acks, err = strconv.ParseBool(v[0]); err != nil {
			return 0, rollcall.Invalid("acks", fmt.Sprintf("%.40q is neither true nor false (1 or 0)", v[0]))
		}
	}
	sub, plan, err := s.reg.Watch(r.ctx, &q, who)
	if err != nil {
		return 0, err
	}
	defer sub.Close()

	st := stream.New(&s.streams, r.w, r.Request, &q, plan, sub.ID())
	c := s.metrics.class(st.Class())
	c.watchers.Inc()
	defer c.watchers.Dec()
	if r.Method == http.MethodHead {
		return http.StatusOK, nil
	}
	if err := st.Start(!q.After.IsZero()); err != nil {
		return http.StatusOK, nil
	}
	for {
		b, err := sub.Next(r.ctx)
		if err != nil && r.ctx.Err() == nil {
			st.Finish()
		}
		if err != nil {
			return http.StatusOK, nil
		}
		if err := st.Tell(b); err != nil {
			s.o.Logger.Debug("a watcher was dropped", "from", r.RemoteAddr, "err", err)
			return http.StatusOK, nil
		}
		sub.Sent()
		if b.Type == watch.Changes {
			c.propagation.Observe(time.Since(b.At).Seconds())
		}
	}
}

// ack takes in what a watcher says it has.
func (s *Server) ack(r *request) (int, error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	defer s.done(d)
	var a form.Ack
	if err := d.Ack(&a); err != nil {
		return 0, err
	}
	if err := s.reg.Ack(r.ctx, a.Subscription, a.Revision); err != nil {
		return 0, err
	}
	return r.empty()
}

// watchers answers with who is told of a service.
func (s *Server) watchers(r *request) (int, error) {
	ws, err := s.reg.Watchers(r.ctx, r.service())
	if err != nil {
		return 0, err
	}
	return r.json(s, http.StatusOK, struct {
		Watchers []rollcall.Watcher `json:"watchers"`
	}{ws})
}

// watchable refuses what says when a single answer is given: this version
// streams from where it is, and a condition that is ignored is a wrong answer.
func watchable(q *rollcall.Query) error {
	var names []string
	check := func(name string, set bool) {
		if set {
			names = append(names, name)
		}
	}
	check("min_revision", q.MinRevision != 0)
	check("max_age", q.MaxAge != 0)
	check("consistent", q.Consistent)
	if names == nil {
		return nil
	}
	all := strings.Join(names, ", ")
	return unsupported(all, "this version does not watch with "+all+"; leave it out, and resolve with it first if it matters: "+
		"the token of that answer is where a watch can go on (after)")
}

// generation returns that of the soft state that a service's instances are
// shown with.
func (s *Server) generation(ctx context.Context, key rollcall.ServiceKey) (g uint64, ok bool) {
	a, err := s.reg.Resolve(ctx, &rollcall.Query{Namespace: key.Namespace, Service: key.Service})
	if err != nil {
		return 0, false
	}
	return a.Generation, true
}

// appendItem writes an instance as records show it: without its load, which
// changes too often for what is kept and is shown with the instance alone.
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
	var w catalog.Writer
	w.B = b
	w.Append(item, &is)
	return w.B
}
