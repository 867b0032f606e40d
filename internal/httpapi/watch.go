package httpapi

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi/compress"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/resolve"
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
	sub, plan, err := s.reg.Watch(r.ctx, &q)
	if err != nil {
		return 0, err
	}
	defer sub.Close()

	st := s.newStream(r, &q, plan)
	c := s.metrics.class(st.class())
	c.watchers.Inc()
	defer c.watchers.Dec()
	if r.Method == http.MethodHead {
		return http.StatusOK, nil
	}
	if err := st.start(!q.After.IsZero()); err != nil {
		return http.StatusOK, nil
	}
	for {
		b, err := sub.Next(r.ctx)
		if err == watch.ErrClosed {
			st.finish()
		}
		if err != nil {
			return http.StatusOK, nil
		}
		if err := st.tell(b); err != nil {
			s.o.Logger.Debug("a watcher was dropped", "from", r.RemoteAddr, "err", err)
			return http.StatusOK, nil
		}
		if b.Type == watch.Changes {
			c.propagation.Observe(time.Since(b.At).Seconds())
		}
	}
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

// stream is one watcher's connection. It keeps no buffer: batches are encoded,
// and deflated, once for all who watch alike.
type stream struct {
	s     *Server
	r     *request
	c     *http.ResponseController
	plan  *resolve.Plan
	topic rollcall.ServiceKey // no service: all of a namespace, or of all
	sse   bool
	log   rollcall.LogID
	key   string            // of what is shared with others
	gzip  *compress.Trailer // nil: not compressed
}

func (s *Server) newStream(r *request, q *rollcall.Query, plan *resolve.Plan) *stream {
	st := &stream{s: s, r: r, c: http.NewResponseController(r.w), plan: plan, sse: wantsSSE(r.Header)}
	if q.Service != "" {
		st.topic = q.Key()
	} else {
		st.topic.Namespace = strings.ToLower(q.Namespace)
	}
	st.of(q.After.Log)
	h := r.w.Header()
	h["Content-Type"] = headerNDJSON
	if st.sse {
		h["Content-Type"] = headerSSE
	}
	h["Vary"] = []string{"Accept, Accept-Encoding"}
	h.Set("X-Accel-Buffering", "no") // asks proxies to pass records on at once
	if acceptsGzip(r.Header) {
		h["Content-Encoding"] = headerGzip
		st.gzip = new(compress.Trailer)
	}
	return st
}

// of notes which log the stream's tokens are of.
func (st *stream) of(log rollcall.LogID) {
	st.log = log
	st.key = "http watch " + string(log)
	if st.sse {
		st.key = "http sse " + string(log)
	}
}

func (st *stream) class() string {
	switch {
	case st.topic.Service != "":
		return "service"
	case st.topic.Namespace != "":
		return "namespace"
	}
	return "all"
}

func (st *stream) records() *records {
	return &records{sse: st.sse, many: st.topic.Service == "", log: st.log}
}

// start begins the answer. One that resumes may have nothing to tell for a
// while, but its client should know that it is there.
func (st *stream) start(resumed bool) error {
	st.r.w.WriteHeader(http.StatusOK)
	if st.gzip != nil {
		if _, err := io.WriteString(st.r.w, compress.Header); err != nil {
			return err
		}
	}
	if resumed {
		return st.flush()
	}
	return nil
}

// tell writes a batch.
func (st *stream) tell(b *watch.Batch) error {
	switch b.Type {
	case watch.Snapshot, watch.Reset:
		return st.whole(b)
	case watch.Bookmark:
		e := st.records()
		e.bookmark(b.Revision)
		return st.write(e.buf, nil)
	}
	plain := b.Memo(st.key, func() []byte {
		e := st.records()
		st.s.changes(e, b)
		return e.buf
	})
	if st.gzip == nil {
		return st.write(plain, nil)
	}
	return st.write(plain, b.Memo("gzip "+st.key, func() []byte { return compress.Blocks(plain) }))
}

// whole writes a snapshot or reset.
func (st *stream) whole(b *watch.Batch) error {
	if log := b.State.Log(); log != st.log {
		st.of(log)
	}
	if st.topic.Service == "" {
		return st.everything(b)
	}
	v := b.State.View(st.topic)
	if v == nil {
		e := st.records()
		st.s.view(e, b.Type, b.Revision, nil, st.plan)
		return st.write(e.buf, nil)
	}
	// The view has been as it is since its own revision. A record that says so
	// is the same for all who come while it is.
	encode := func() []byte {
		e := st.records()
		st.s.view(e, b.Type, v.Revision(), v, st.plan)
		return e.buf
	}
	generation, ok := st.generation(v)
	if !ok {
		return st.write(encode(), nil)
	}
	key := st.key + " " + strconv.Itoa(int(b.Type)) + " " + strconv.FormatUint(generation, 10) + " " + st.plan.Text()
	plain := v.Memo(key, encode)
	if st.gzip == nil {
		return st.write(plain, nil)
	}
	return st.write(plain, v.Memo("gzip "+key, func() []byte { return compress.Blocks(plain) }))
}

// generation returns that of the soft state that instances of v are shown with.
func (st *stream) generation(v *catalog.View) (uint64, bool) {
	a, err := st.s.reg.Resolve(st.r.ctx, &rollcall.Query{Namespace: st.topic.Namespace, Service: st.topic.Service})
	if err != nil {
		return 0, false
	}
	return a.Generation, true
}

// chunk is how much of a snapshot of everything is made at a time.
const chunk = 32 << 10

// everything writes a snapshot or reset of many services, which may be large,
// piece by piece.
func (st *stream) everything(b *watch.Batch) error {
	e := st.records()
	e.open(b.Type, b.Revision)
	first := true
	for v := range b.State.Views(rollcall.ServiceKey{Namespace: st.topic.Namespace}) {
		if ns := st.topic.Namespace; ns != "" && v.Key().Namespace != ns {
			break
		}
		for i := range v.All() {
			if !st.plan.Match(i) {
				continue
			}
			if !first {
				e.buf = append(e.buf, ',')
			}
			first = false
			if e.buf = st.s.appendItem(e.buf, i); len(e.buf) >= chunk {
				if err := st.put(e.buf, nil); err != nil {
					return err
				}
				e.buf = e.buf[:0]
			}
		}
	}
	e.shut(b.Revision)
	return st.write(e.buf, nil)
}

// write writes and flushes.
func (st *stream) write(plain, deflated []byte) error {
	if err := st.put(plain, deflated); err != nil {
		return err
	}
	return st.flush()
}

// put writes bytes against a deadline: a reader that never reads is dropped.
// packed is their deflated form, if that is known already.
func (st *stream) put(plain, packed []byte) error {
	st.c.SetWriteDeadline(time.Now().Add(st.s.o.WriteTimeout))
	data := plain
	if st.gzip != nil {
		st.gzip.Add(plain)
		if data = packed; data == nil {
			data = compress.Blocks(plain)
		}
	}
	_, err := st.r.w.Write(data)
	return err
}

func (st *stream) flush() error { return st.c.Flush() }

// finish ends the stream in good order.
func (st *stream) finish() {
	st.c.SetWriteDeadline(time.Now().Add(st.s.o.WriteTimeout))
	if st.gzip != nil {
		st.r.w.Write(st.gzip.Append(nil))
	}
}

// wantsSSE reports whether a caller asks for server-sent events.
func wantsSSE(h http.Header) bool {
	for _, accept := range h["Accept"] {
		if strings.Contains(accept, "text/event-stream") {
			return true
		}
	}
	return false
}
