package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// put registers an instance, or replaces it.
func (w *world) put(service, id, body string) {
	w.t.Helper()
	if r := w.do("PUT", "/api/v1/services/"+service+"/instances/"+id, body); r.StatusCode > 201 {
		w.t.Fatalf("%s/%s: %s", service, id, r.body)
	}
}

// drivers registers one at each of some longitudes on the equator, in order.
func (w *world) drivers(lons map[string]float64) {
	w.t.Helper()
	for id, lon := range lons {
		w.put("drivers", id, fmt.Sprintf(`{"address":"10.0.0.1","position":{"lat":0,"lon":%v}}`, lon))
	}
}

func (w *world) answer(path string) (a rollcall.Answer) {
	w.t.Helper()
	if err := json.Unmarshal(w.do("GET", path, "").want(200).body, &a); err != nil {
		w.t.Fatal(err)
	}
	return a
}

func ids(is []rollcall.Instance) (all []string) {
	for _, i := range is {
		all = append(all, i.ID)
	}
	return all
}

// A watcher of a filter is told of who begins to match and of who stops, and of
// nobody else, in whatever form it is told.
func TestWatchFilter(t *testing.T) {
	for name, headers := range map[string][]string{
		"ndjson": nil, "sse": {"Accept", "text/event-stream"}, "gzip": {"Accept-Encoding", "gzip"},
		"sse gzip": {"Accept", "text/event-stream", "Accept-Encoding", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, httpapi.Options{})
			gpu := func(id string, n int) {
				w.put("jobs", id, fmt.Sprintf(`{"address":"10.0.0.1","capabilities":{"gpu":%d}}`, n))
			}
			gpu("j-1", 2)
			gpu("j-2", 1)
			s := w.watch("/api/v1/services/jobs/watch?filter="+url.QueryEscape("cap.gpu >= 2"), headers...)
			if r := s.next("snapshot"); !slices.Equal(r.ids(), []string{"j-1"}) {
				t.Errorf("snapshot: %s", r.text)
			}
			gpu("j-2", 4)
			if r := s.next("put"); r.Instance.ID != "j-2" || r.Token == "" {
				t.Errorf("one that begins to match: %s", r.text)
			}
			gpu("j-3", 1)
			w.do("PATCH", "/api/v1/services/jobs/instances/j-3", `{"version":"2"}`, "Content-Type", "application/merge-patch+json").want(200)
			gpu("j-1", 1)
			gone := s.next("remove")
			if gone.ID != "j-1" || gone.Token == "" {
				t.Errorf("one that stops matching: %s", gone.text)
			}
			w.do("PUT", "/api/v1/services/jobs/instances/j-2/override", `{"status":"degraded"}`).want(200)
			if r := s.next("health"); !slices.Equal(r.Effective, []uint16{50}) {
				t.Errorf("health: %s", r.text)
			}
			w.do("DELETE", "/api/v1/services/jobs/instances/j-2", "").want(204)
			if r := s.next("remove"); r.ID != "j-2" || r.Reason != "deregistered" {
				t.Errorf("remove: %s", r.text)
			}
		})
	}
}

// The nearest: who is not there any more is replaced at once, who comes nearer is
// told of within about a second, and what happens to others is not told.
func TestWatchNearest(t *testing.T) {
	const query = "near=0,0&limit=2"
	for name, headers := range map[string][]string{
		"ndjson": nil, "sse gzip": {"Accept", "text/event-stream", "Accept-Encoding", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, httpapi.Options{})
			w.drivers(map[string]float64{"a": 1, "b": 2, "c": 3, "d": 4})
			s := w.watch("/api/v1/services/drivers/watch?"+query, headers...)
			first := s.next("snapshot")
			if !slices.Equal(first.ids(), []string{"a", "b"}) || first.Instances[0].Distance == nil {
				t.Fatalf("snapshot: %s", first.text)
			}
			w.drivers(map[string]float64{"e": 5})
			w.do("DELETE", "/api/v1/services/drivers/instances/d", "").want(204)
			w.do("POST", "/api/v1/services/drivers/instances/b/drain", "").want(200)
			gone, put := s.next("remove"), s.next("put")
			if gone.ID != "b" || gone.Token != "" || gone.Reason != "not selected: draining: drain" {
				t.Errorf("remove: %s", gone.text)
			}
			if put.Instance.ID != "c" || put.Token == "" || put.Instance.Distance == nil || *put.Instance.Distance < 333 || *put.Instance.Distance > 334 {
				t.Errorf("put: %s", put.text)
			}
			w.drivers(map[string]float64{"e": -1})
			gone, put = s.next("remove"), s.next("put")
			if gone.ID != "c" || gone.Reason != "no longer selected" || put.Instance.ID != "e" {
				t.Errorf("another is nearer: %s%s", gone.text, put.text)
			}
			s.stop()

			// It goes on where it was, unless who is near has changed since.
			s = w.watch("/api/v1/services/drivers/watch?"+query+"&after="+put.Token, headers...)
			s.next("weights") // all are told again
			w.do("DELETE", "/api/v1/services/drivers/instances/a", "").want(204)
			if r := s.next("remove"); r.ID != "a" {
				t.Errorf("resumed with nothing missed: %s", r.text)
			}
			s.stop()
			s = w.watch("/api/v1/services/drivers/watch?"+query, append(headers, "Last-Event-ID", put.Token)...)
			if r := s.next("reset"); !slices.Equal(r.ids(), []string{"e", "c"}) || r.Token == put.Token {
				t.Errorf("resumed with something missed: %s", r.text)
			}
			// One that moves without registering anew counts as well.
			w.drivers(map[string]float64{"f": 20})
			w.do("POST", "/api/v1/services/drivers/instances/f/heartbeat", `{"position":{"lat":0,"lon":0.1}}`).want(200)
			if gone, put := s.next("remove"), s.next("put"); gone.ID != "c" || put.Instance.ID != "f" {
				t.Errorf("after a move: %s%s", gone.text, put.text)
			}
		})
	}
}

// A long poll of the nearest answers when they are others, and else says the same
// token again.
func TestPollNearest(t *testing.T) {
	const path = "/api/v1/services/drivers?near=0,0&limit=2"
	w := newWorld(t, httpapi.Options{})
	w.drivers(map[string]float64{"a": 1, "b": 2, "c": 3})
	first := w.answer(path)
	if a := w.answer(path + "&after=" + first.Token.String() + "&wait=10ms"); a.Token != first.Token || !slices.Equal(ids(a.Instances), []string{"a", "b"}) {
		t.Errorf("nothing happened, and it answers %v with %v", a.Token, ids(a.Instances))
	}
	// Others wake nobody.
	w.drivers(map[string]float64{"d": 4})
	if a := w.answer(path + "&after=" + first.Token.String() + "&wait=1100ms"); a.Token != first.Token || a.Revision <= first.Revision {
		t.Errorf("one more is far away, and it answers %v", a.Token)
	}
	answered := make(chan rollcall.Answer)
	go func() {
		defer close(answered)
		answered <- w.answer(path + "&after=" + first.Token.String() + "&wait=20s")
	}()
	w.do("DELETE", "/api/v1/services/drivers/instances/b", "").want(204)
	if a := <-answered; a.Token == first.Token || !slices.Equal(ids(a.Instances), []string{"a", "c"}) {
		t.Errorf("one is gone, and it answers %v with %v", a.Token, ids(a.Instances))
	}
}

// Of a subset, too: who leaves it is replaced, and others are nobody's business.
func TestWatchSubset(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	var all []string
	for n := range 30 {
		all = append(all, fmt.Sprintf("p-%02d", n))
	}
	w.register("payments", all...)
	s := w.watch("/api/v1/services/payments/watch?subset=web-1&subset_size=12")
	r := s.next("snapshot")
	mine := r.ids()
	if len(mine) != 12 {
		t.Fatalf("%d in a subset of 12", len(mine))
	}
	if a := w.answer("/api/v1/services/payments?subset=web-1&subset_size=12"); !slices.Equal(ids(a.Instances), mine) || a.Token.String() != r.Token || a.Total != 30 {
		t.Errorf("resolved are %d of %v, watched %v", a.Total, ids(a.Instances), mine)
	}
	var others []string
	for _, id := range all {
		if !slices.Contains(mine, id) {
			others = append(others, id)
		}
	}
	w.do("PATCH", "/api/v1/services/payments/instances/"+others[0], `{"version":"2"}`, "Content-Type", "application/merge-patch+json").want(200)
	w.do("DELETE", "/api/v1/services/payments/instances/"+mine[0], "").want(204)
	if r := s.next("remove"); r.ID != mine[0] {
		t.Errorf("remove: %s", r.text)
	}
	if r := s.next("put"); !slices.Contains(others, r.Instance.ID) || r.Token == "" {
		t.Errorf("put: %s", r.text)
	}
}

// What a named query selects may be of several services, and is told with which.
func TestWatchNamed(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("checkout", "c-1")
	w.do("PUT", "/api/v1/services/spare/instances/s-1?namespace=dr", `{"address":"10.9.0.1"}`).want(201)
	service := w.watch("/api/v1/services/checkout/watch")
	token := service.next("snapshot").Token

	// Who watches the service is sent to the query that has its name now.
	w.do("PUT", "/api/v1/queries/checkout", `{"failover":[{"namespace":"dr","service":"spare"}]}`).want(201)
	if r, err := service.read(); err != io.EOF {
		t.Errorf("the watch of the service goes on with %v, %s", err, r.text)
	}
	s := w.watch("/api/v1/services/checkout/watch?after=" + token)
	if r := s.next("reset"); !slices.Equal(r.ids(), []string{"c-1"}) {
		t.Errorf("reset: %s", r.text)
	}
	w.register("checkout", "c-2")
	if r := s.next("put"); r.Namespace != "default" || r.Service != "checkout" || r.Instance.ID != "c-2" {
		t.Errorf("put: %s", r.text)
	}
	w.do("DELETE", "/api/v1/services/checkout/instances/c-2", "").want(204)
	if r := s.next("remove"); r.Namespace != "default" || r.Service != "checkout" || r.ID != "c-2" {
		t.Errorf("remove: %s", r.text)
	}
	w.do("PUT", "/api/v1/services/checkout/instances/c-1/override", `{"status":"degraded"}`).want(200)
	if r := s.next("health"); r.Namespace != "default" || r.Service != "checkout" || !slices.Equal(r.IDs, []string{"c-1"}) || !slices.Equal(r.Effective, []uint16{50}) {
		t.Errorf("health: %s", r.text)
	}
	w.do("PUT", "/api/v1/services/checkout/instances/c-1/override", `{"status":"unhealthy"}`).want(200)
	gone, err := s.read()
	for err == nil && gone.Type == "weights" { // which may repeat what health told
		gone, err = s.read()
	}
	put := s.next("put")
	if gone.Type != "remove" || gone.ID != "c-1" || gone.Service != "checkout" || put.Instance.ID != "s-1" || put.Namespace != "dr" || put.Service != "spare" {
		t.Errorf("failed over: %s%s", gone.text, put.text)
	}
	if a := w.answer("/api/v1/services/checkout"); a.Service != "checkout" || a.Token.String() != put.Token {
		t.Errorf("resolved is %s of %s, watched %s", a.Token, a.Service, put.Token)
	}
}

// An answer that was made for one caller is packed like any other, and names no
// state that others could ask for.
func TestResultIsPacked(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	for n := range 20 {
		w.drivers(map[string]float64{fmt.Sprintf("d-%d", n): float64(n)})
	}
	plain := w.do("GET", "/api/v1/services/drivers?near=0,0", "").want(200)
	packed := w.do("GET", "/api/v1/services/drivers?near=0,0", "", "Accept-Encoding", "gzip").want(200)
	if packed.Header.Get("Content-Encoding") != "gzip" || string(unzip(t, packed.body)) != string(plain.body) {
		t.Errorf("packed as %q, %d bytes for %d", packed.Header.Get("Content-Encoding"), len(packed.body), len(plain.body))
	}
	for _, r := range []*response{plain, packed} {
		if r.Header.Get("Etag") != "" {
			t.Errorf("it has the tag %s", r.Header.Get("Etag"))
		}
	}
	var a rollcall.Answer
	if err := json.Unmarshal(plain.body, &a); err != nil {
		t.Fatal(err)
	}
	tag := `"` + a.Token.String() + `"`
	w.do("GET", "/api/v1/services/drivers?near=0,0", "", "If-None-Match", tag).want(200)
}

// The nearest of a service that has an index are found without counting the rest.
func TestTotalIsNotCounted(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	var all []rollcall.Instance
	for n := range 600 {
		all = append(all, rollcall.Instance{
			Service: "drivers", ID: fmt.Sprintf("d-%03d", n), Address: "10.0.0.1", Position: &rollcall.Position{Lon: float64(n) / 10},
		})
	}
	registerAll(t, w.reg, all)
	r := w.do("GET", "/api/v1/services/drivers?near=0,0&limit=3", "").want(200)
	newSpec(t).check(t, r, "")
	var a rollcall.Answer
	if err := json.Unmarshal(r.body, &a); err != nil {
		t.Fatal(err)
	}
	if a.Total != -1 || !slices.Equal(ids(a.Instances), []string{"d-000", "d-001", "d-002"}) {
		t.Errorf("%v of %d", ids(a.Instances), a.Total)
	}
}

// piped is an answer that is read while it is written, without sockets, so that
// time may be virtual.
type piped struct {
	header http.Header
	code   int
	*io.PipeWriter
}

func (p *piped) Header() http.Header              { return p.header }
func (p *piped) WriteHeader(code int)             { p.code = code }
func (p *piped) Flush()                           {}
func (p *piped) SetReadDeadline(time.Time) error  { return nil }
func (p *piped) SetWriteDeadline(time.Time) error { return nil }

// pipe watches a server that has no sockets. Stop it before the test ends.
func pipe(t *testing.T, h http.Handler, path string, headers ...string) *watcher {
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	p := &piped{header: http.Header{}, PipeWriter: w}
	go func() {
		defer close(done)
		h.ServeHTTP(p, request(t, "GET", path, "", headers...).WithContext(ctx))
		w.Close()
	}()
	s := &watcher{w: &world{t: t}, lines: bufio.NewReader(r), resp: &http.Response{Header: p.header}, spec: newSpec(t)}
	s.stop = func() { stop(); r.Close(); <-done }
	return s
}

// Who has room gets more, and watchers are told when it is noticeably so: in
// records of their own, which say of which service where that may differ.
func TestWeightsAreTold(t *testing.T) {
	for name, query := range map[string]string{
		"service": "services/payments/watch", "namespace": "watch?namespace=default", "nearest": "services/payments/watch?near=0,0",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := newRegistry(t)
				h := httpapi.New(reg, httpapi.Options{})
				for n := range 3 {
					registerAll(t, reg, []rollcall.Instance{{
						Service: "payments", ID: fmt.Sprintf("p-%d", n), Address: "10.0.0.1", Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
					}})
				}
				s := pipe(t, h, "/api/v1/"+query)
				defer s.stop()
				s.next("snapshot")
				told := make(chan record)
				go func() {
					for {
						r, err := s.read()
						if err != nil {
							close(told)
							return
						}
						if r.Type != "bookmark" {
							told <- r
						}
					}
				}()
				report := func() {
					for n := range 3 {
						load := fmt.Sprintf(`{"load":{"utilization":%v,"rps":100}}`, []float64{0.2, 0.5, 0.9}[n])
						b := &body{sink: sink{header: http.Header{}}}
						h.ServeHTTP(b, request(t, "POST", fmt.Sprintf("/api/v1/services/payments/instances/p-%d/heartbeat", n), load))
						if !strings.HasPrefix(string(b.all), `{"ttl"`) {
							t.Fatalf("heartbeat: %d %s", b.code, b.all)
						}
					}
				}
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				end := time.After(time.Minute)
				for {
					select {
					case <-tick.C:
						report()
					case <-end:
						t.Fatal("no weights within a minute")
					case r := <-told:
						if r.Type != "weights" {
							t.Fatalf("told %s", r.text)
						}
						if r.Weights["p-0"] <= r.Weights["p-2"] {
							t.Errorf("the busiest gets the most: %s", r.text)
						}
						if many := strings.Contains(r.text, `"service":"payments"`); many != (name == "namespace") {
							t.Errorf("of which service: %s", r.text)
						}
						return
					}
				}
			})
		})
	}
}
