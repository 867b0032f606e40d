package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// holding is a registry that takes its time to register many.
type holding struct {
	httpapi.Registry
	entered chan struct{}
	leave   chan struct{}
}

func (h *holding) Prepare(context.Context, *rollcall.Instance, string) (put rollcall.InstancePut, err error) {
	return put, nil
}

func (h *holding) RegisterPrepared(_ context.Context, puts []rollcall.InstancePut) []rollcall.Registration {
	h.entered <- struct{}{}
	<-h.leave
	return make([]rollcall.Registration, len(puts))
}

func (h *holding) RenewMany(_ context.Context, rs []rollcall.Renew) (int, []rollcall.Key, error) {
	return len(rs), nil, nil
}

func newHolding(t *testing.T, o httpapi.Options) (*holding, *world) {
	h := &holding{nil, make(chan struct{}), make(chan struct{})}
	o.MaxBody, o.MaxBatchBody, o.MaxLarge = 1000, 10_000, 15_000
	return h, serve(t, nil, httpapi.New(h, o))
}

func padded(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }

// post sends a body whose length is not said if chunked.
func (w *world) post(path, body string, chunked bool) int {
	var r io.Reader = strings.NewReader(body)
	if chunked {
		r = io.MultiReader(r)
	}
	resp, err := w.client.Post(w.http.URL+path, "application/json", r)
	if err != nil {
		w.t.Error(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// All large bodies together are bounded until they are done with; small ones
// have their place.
func TestLargeBodiesAreBounded(t *testing.T) {
	h, w := newHolding(t, httpapi.Options{BodyTimeout: 100 * time.Millisecond})
	const one, renew = `[{"service":"s","address":"10.0.0.1"}]`, `{"renew":[{"service":"s","id":"i"}]}`
	for _, chunked := range []bool{false, true} {
		first := make(chan int, 1)
		go func() { first <- w.post("/api/v1/instances", padded(one, 9000), chunked) }()
		<-h.entered
		got := w.do("POST", "/api/v1/heartbeats", padded(renew, 9000))
		if detail := got.problem(503, ""); got.Header.Get("Retry-After") == "" || !strings.Contains(detail, "15000 bytes") {
			t.Errorf("%v: %s", got.Header, detail)
		}
		for _, small := range []string{renew, padded(renew, 1000)} {
			w.do("POST", "/api/v1/heartbeats", small).want(200)
			if code := w.post("/api/v1/heartbeats", small, true); code != 200 {
				t.Errorf("a short body of unknown length is answered with %d", code)
			}
		}
		w.do("POST", "/api/v1/heartbeats", padded(renew, 5000)).want(200) // fits beside it
		h.leave <- struct{}{}
		if code := <-first; code != 200 {
			t.Errorf("the one that was first is answered with %d", code)
		}
		w.do("POST", "/api/v1/heartbeats", padded(renew, 9000)).want(200)
	}
}

// One that finds no room waits, and has all of its time to arrive then. Promises
// hold no room.
func TestLargeBodiesWait(t *testing.T) {
	h, w := newHolding(t, httpapi.Options{})
	for range 10 {
		w.raw("POST /api/v1/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n[")
	}
	const one = `[{"service":"s","address":"10.0.0.1"}]`
	done := make(chan int)
	for range 3 {
		go func() { done <- w.post("/api/v1/instances", padded(one, 9000), false) }()
	}
	for range 3 {
		<-h.entered
		select {
		case <-h.entered:
			t.Fatal("two of them have room for one")
		default:
		}
		h.leave <- struct{}{}
		if code := <-done; code != http.StatusOK {
			t.Error(fmt.Sprint("one that waited is answered with ", code))
		}
	}
}
