// Package stream tells one watcher over HTTP what its subscription tells it, as
// lines of JSON (NDJSON) or as server-sent events, compressed or not. A stream
// keeps no buffer: a batch is encoded, and deflated, once for all who watch alike
// ([watch.Batch.Memo]), a snapshot once per view ([catalog.View.Memo]).
package stream

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi/compress"
	"github.com/rollcall-registry/rollcall/internal/httpapi/delivery"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Options are what all streams of a server have in common.
type Options struct {
	// Item appends an instance as records show it.
	Item func([]byte, *catalog.Item, *catalog.Shown) []byte
	// Weight returns an instance's effective weight.
	Weight func(*catalog.Item) uint16
	// Generation returns that of the soft state that a service's instances are
	// shown with, if that is known.
	Generation func(context.Context, rollcall.ServiceKey) (g uint64, ok bool)
	// Timeout is how long a reader may take for what it is sent.
	Timeout time.Duration
}

// Stream is one watcher's connection. It belongs to the goroutine of its
// request.
type Stream struct {
	o     *Options
	w     http.ResponseWriter
	r     *http.Request
	c     *http.ResponseController
	plan  *resolve.Plan
	topic rollcall.ServiceKey // no service: all of a namespace, or of all
	many  bool                // records say which service they are about
	sse   bool
	log   rollcall.LogID
	id    string            // of its subscription
	key   string            // of what is shared with others
	gzip  *compress.Trailer // nil: not compressed
}

// Reader returns who reads the stream that answers a request.
func Reader(r *http.Request) watch.Reader {
	who := watch.Reader{Door: "http", From: r.RemoteAddr, Delivered: delivery.Of(r.Context())}
	if wantsSSE(r.Header) {
		who.Door = "sse"
	}
	return who
}

// New returns the stream that answers a request to watch q, which plan is of and
// the subscription with an id about, and sets the answer's headers.
func New(o *Options, w http.ResponseWriter, r *http.Request, q *rollcall.Query, plan *resolve.Plan, id string) *Stream {
	st := &Stream{o: o, w: w, r: r, c: http.NewResponseController(w), plan: plan, sse: wantsSSE(r.Header), id: id}
	if q.Service != "" {
		st.topic = q.Key()
	} else {
		st.topic.Namespace = strings.ToLower(q.Namespace)
	}
	st.many = q.Service == ""
	st.of(q.After.Log)
	h := w.Header()
	h["Content-Type"] = []string{"application/x-ndjson"}
	if st.sse {
		h["Content-Type"] = []string{"text/event-stream"}
	}
	h["Vary"] = []string{"Accept, Accept-Encoding"}
	h.Set("X-Rollcall-Subscription", id)
	h.Set("X-Accel-Buffering", "no") // asks proxies to pass records on at once
	if compress.Accepted(r.Header) {
		h["Content-Encoding"] = []string{"gzip"}
		st.gzip = new(compress.Trailer)
	}
	return st
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

// of notes which log the stream's tokens are of.
func (st *Stream) of(log rollcall.LogID) {
	st.log = log
	st.key = "http watch " + string(log)
	if st.sse {
		st.key = "http sse " + string(log)
	}
}

// Class says what the stream is about: service, namespace or all.
func (st *Stream) Class() string {
	switch {
	case st.topic.Service != "":
		return "service"
	case st.topic.Namespace != "":
		return "namespace"
	}
	return "all"
}

func (st *Stream) records() *records {
	return &records{sse: st.sse, many: st.many, topic: st.topic, log: st.log, item: st.o.Item, weigh: st.o.Weight}
}

// Start begins the answer. One that resumes may have nothing to tell for a
// while, but its client should know that it is there.
func (st *Stream) Start(resumed bool) error {
	st.w.WriteHeader(http.StatusOK)
	if st.gzip != nil {
		if _, err := io.WriteString(st.w, compress.Header); err != nil {
			return err
		}
	}
	if st.sse { // whose readers in browsers see no headers
		if err := st.put([]byte(": subscription="+st.id+"\n\n"), nil); err != nil {
			return err
		}
	}
	if resumed {
		return st.flush()
	}
	return nil
}

// Tell writes a batch.
func (st *Stream) Tell(b *watch.Batch) error {
	if b.Result != nil {
		return st.result(b)
	}
	switch b.Type {
	case watch.Weights:
		plain := b.Memo(st.key, func() []byte {
			e := st.records()
			e.weighed(b)
			return e.buf
		})
		return st.write(plain, nil)
	case watch.Snapshot, watch.Reset:
		return st.whole(b)
	case watch.Bookmark:
		e := st.records()
		e.bookmark(b.Revision)
		return st.write(e.buf, nil)
	}
	plain := b.Memo(st.key, func() []byte {
		e := st.records()
		e.changes(b)
		return e.buf
	})
	if st.gzip == nil {
		return st.write(plain, nil)
	}
	return st.write(plain, b.Memo("gzip "+st.key, func() []byte { return compress.Blocks(plain) }))
}

// result writes a batch about a result, which is this watcher's alone.
func (st *Stream) result(b *watch.Batch) error {
	if b.Result.Log != st.log {
		st.of(b.Result.Log)
	}
	e := st.records()
	e.generation, e.many = b.Result.Generation, b.Result.Named
	switch b.Type {
	case watch.Snapshot, watch.Reset:
		e.result(b)
	case watch.Bookmark:
		e.bookmark(b.Revision)
	case watch.Weights:
		e.weighed(b)
	default:
		e.changes(b)
	}
	return st.write(e.buf, nil)
}

// whole writes a snapshot or reset.
func (st *Stream) whole(b *watch.Batch) error {
	if log := b.State.Log(); log != st.log {
		st.of(log)
	}
	if st.topic.Service == "" {
		return st.everything(b)
	}
	v := b.State.View(st.topic)
	if v == nil {
		e := st.records()
		e.view(b.Type, b.Revision, nil, st.plan)
		return st.write(e.buf, nil)
	}
	// The view has been as it is since its own revision. A record that says so
	// is the same for all who come while it is.
	encode := func() []byte {
		e := st.records()
		e.view(b.Type, v.Revision(), v, st.plan)
		return e.buf
	}
	generation, ok := st.o.Generation(st.r.Context(), st.topic)
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

// chunk is how much of a snapshot of everything is made at a time.
const chunk = 32 << 10

// everything writes a snapshot or reset of many services, which may be large,
// piece by piece.
func (st *Stream) everything(b *watch.Batch) error {
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
			if e.buf = st.o.Item(e.buf, i, nil); len(e.buf) >= chunk {
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
func (st *Stream) write(plain, deflated []byte) error {
	if err := st.put(plain, deflated); err != nil {
		return err
	}
	return st.flush()
}

// put writes bytes against a deadline: a reader that never reads is dropped.
// packed is their deflated form, if that is known already.
func (st *Stream) put(plain, packed []byte) error {
	st.c.SetWriteDeadline(time.Now().Add(st.o.Timeout))
	data := plain
	if st.gzip != nil {
		st.gzip.Add(plain)
		if data = packed; data == nil {
			data = compress.Blocks(plain)
		}
	}
	_, err := st.w.Write(data)
	return err
}

func (st *Stream) flush() error { return st.c.Flush() }

// Finish ends the stream in good order.
func (st *Stream) Finish() {
	st.c.SetWriteDeadline(time.Now().Add(st.o.Timeout))
	if st.gzip != nil {
		st.w.Write(st.gzip.Append(nil))
	}
}
