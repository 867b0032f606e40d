package httpapi_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

func unzip(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// watcher is one stream, read record by record.
type watcher struct {
	w     *world
	resp  *http.Response
	lines *bufio.Reader
	stop  context.CancelFunc
	sse   bool
	spec  *spec
	id    string // of the last server-sent event that had one
}

type record struct {
	Type      string              `json:"type"`
	Namespace string              `json:"namespace"`
	Service   string              `json:"service"`
	Revision  rollcall.Revision   `json:"revision"`
	Token     string              `json:"token"`
	Instances []rollcall.Instance `json:"instances"`
	Instance  rollcall.Instance   `json:"instance"`
	ID        string              `json:"id"`
	IDs       []string            `json:"ids"`
	Status    string              `json:"status"`
	Reason    string              `json:"reason"`
	Effective []uint16            `json:"effective_weights"`
	Weights   map[string]uint16   `json:"weights"`
	text      string
}

func (r record) ids() (ids []string) {
	for _, i := range r.Instances {
		ids = append(ids, i.ID)
	}
	return ids
}

func (w *world) watch(path string, headers ...string) *watcher {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	w.t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, "GET", w.http.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s: %s\n%s", path, resp.Status, b)
	}
	var body io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			w.t.Fatal(err)
		}
	}
	sse := resp.Header.Get("Content-Type") == "text/event-stream"
	return &watcher{w: w, resp: resp, lines: bufio.NewReader(body), stop: stop, sse: sse, spec: newSpec(w.t)}
}

// read returns the next record.
func (s *watcher) read() (r record, err error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return r, err
		}
		if line = strings.TrimSuffix(line, "\n"); s.sse {
			if line == "" {
				if r.text == "" {
					continue
				}
				break
			}
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				s.id = id
				continue
			}
			var ok bool
			if id, ok := strings.CutPrefix(line, ": subscription="); ok && id == s.resp.Header.Get("X-Rollcall-Subscription") {
				continue
			}
			if line, ok = strings.CutPrefix(line, "data: "); !ok {
				return r, fmt.Errorf("a server-sent event has %q", line)
			}
		}
		r.text = line
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return r, fmt.Errorf("%w in %s", err, line)
		}
		if !s.sse {
			break
		}
	}
	s.spec.validate(s.w.t, "#/components/schemas/Record", []byte(r.text))
	if s.sse && r.Token != "" && s.id != r.Token {
		return r, fmt.Errorf("id %q with %s", s.id, r.text)
	}
	return r, nil
}

// next returns the next record and fails the test unless it is of a type.
func (s *watcher) next(want string) record {
	s.w.t.Helper()
	r, err := s.read()
	if err != nil {
		s.w.t.Fatalf("waiting for %s: %v", want, err)
	}
	if r.Type != want {
		s.w.t.Fatalf("got %s, want %s", r.text, want)
	}
	if !strings.HasPrefix(r.text, `{"type":"`) {
		s.w.t.Errorf("type is not first in %s", r.text)
	}
	return r
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		sse     bool
	}{
		{"ndjson", nil, false},
		{"sse", []string{"Accept", "text/event-stream"}, true},
		{"gzip", []string{"Accept-Encoding", "gzip"}, false},
		{"sse gzip", []string{"Accept", "text/event-stream", "Accept-Encoding", "gzip, deflate, br"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, httpapi.Options{})
			w.register("payments", "p-1", "p-2")
			s := w.watch("/api/v1/services/payments/watch", c.headers...)
			if s.sse != c.sse {
				t.Errorf("Content-Type %s", s.resp.Header.Get("Content-Type"))
			}
			first := s.next("snapshot")
			if !slices.Equal(first.ids(), []string{"p-1", "p-2"}) || first.Token == "" || first.Instances[0].Health == nil {
				t.Errorf("snapshot: %s", first.text)
			}
			w.register("payments", "p-3")
			put := s.next("put")
			if put.Instance.ID != "p-3" || put.Revision <= first.Revision || put.Token == "" || put.Service != "" {
				t.Errorf("put: %s", put.text)
			}
			w.do("POST", "/api/v1/services/payments/instances/p-1/drain", "").want(200)
			if r := s.next("remove"); r.ID != "p-1" || r.Reason != "not selected: draining: drain" {
				t.Errorf("remove: %s", r.text)
			}
			w.do("DELETE", "/api/v1/services/payments/instances/p-2", "").want(204)
			gone := s.next("remove")
			if gone.ID != "p-2" || gone.Reason != "deregistered" || gone.Revision <= put.Revision {
				t.Errorf("remove: %s", gone.text)
			}
			w.reg.EndStreams()
			if r, err := s.read(); err != io.EOF {
				t.Errorf("the stream ends with %v, %s", err, r.text)
			}
		})
	}
}

func TestWatchHealth(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	s := w.watch("/api/v1/services/payments/watch?health=any")
	s.next("snapshot")
	long := strings.Repeat("x", 512)
	w.do("PUT", "/api/v1/services/payments/instances/p-1/override", `{"status":"unhealthy","reason":"`+long+`"}`).want(200)
	r := s.next("health")
	if !slices.Equal(r.IDs, []string{"p-1"}) || r.Status != "unhealthy" || !strings.HasPrefix(r.Reason, "override: xxx") || r.Token == "" || r.Effective != nil {
		t.Errorf("health: %s", r.text)
	}
	if len(r.text) > 300 {
		t.Errorf("a health record of %d bytes: %s", len(r.text), r.text)
	}
	w.do("DELETE", "/api/v1/services/payments/instances/p-1/override", "").want(200)
	if r := s.next("health"); r.Status != "healthy" || r.Reason != "" || !slices.Equal(r.Effective, []uint16{100}) {
		t.Errorf("health: %s", r.text)
	}
}

// Changes that a watcher has not read yet come as one batch: verdicts that are
// alike share a record, revisions do not fall, and only the last record has a
// token.
func TestBatch(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1", "p-2", "p-3", "p-4")
	start := w.watch("/api/v1/services/payments/watch?health=any")
	token := start.next("snapshot").Token
	for _, id := range []string{"p-1", "p-2", "p-4"} {
		w.do("PUT", "/api/v1/services/payments/instances/"+id+"/override", `{"status":"degraded"}`).want(200)
		if id == "p-2" {
			w.do("DELETE", "/api/v1/services/payments/instances/p-3", "").want(204)
		}
	}
	for _, many := range []bool{false, true} {
		path, headers := "/api/v1/services/payments/watch?health=any&after="+token, []string{}
		if many {
			path, headers = "/api/v1/watch?health=any", []string{"Last-Event-ID", token}
		}
		s := w.watch(path, headers...)
		gone := s.next("remove")
		if gone.ID != "p-3" || gone.Token != "" {
			t.Errorf("remove: %s", gone.text)
		}
		r := s.next("health")
		if !slices.Equal(r.IDs, []string{"p-1", "p-2", "p-4"}) || r.Revision < gone.Revision || r.Token == "" || !slices.Equal(r.Effective, []uint16{50, 50, 50}) {
			t.Errorf("health: %s", r.text)
		}
		if named := r.Service == "payments" && r.Namespace == "default" && gone.Service == "payments"; named != many {
			t.Errorf("of %d services: %s", 1, r.text)
		}
	}
}

func TestWatchMany(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("a", "a-1")
	w.register("b", "b-1")
	w.do("PUT", "/api/v1/services/c/instances/c-1?namespace=Shop", `{"address":"10.0.0.1"}`).want(201)
	all := w.watch("/api/v1/watch")
	if got := all.next("snapshot").ids(); !slices.Equal(got, []string{"a-1", "b-1", "c-1"}) {
		t.Errorf("everything is %v", got)
	}
	shop := w.watch("/api/v1/watch?namespace=shop", "Accept-Encoding", "gzip")
	if got := shop.next("snapshot").ids(); !slices.Equal(got, []string{"c-1"}) {
		t.Errorf("a namespace is %v", got)
	}
	w.register("a", "a-2")
	if r := all.next("put"); r.Service != "a" || r.Namespace != "default" || r.Instance.ID != "a-2" {
		t.Errorf("put: %s", r.text)
	}
	w.do("DELETE", "/api/v1/services/c/instances/c-1?namespace=shop", "").want(204)
	if r := shop.next("remove"); r.Service != "c" || r.Namespace != "shop" || r.ID != "c-1" {
		t.Errorf("remove: %s", r.text)
	}
}

// A snapshot of much is made piece by piece and is one record all the same.
func TestWatchMuch(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	var many []rollcall.Instance
	for n := range 1000 {
		many = append(many, rollcall.Instance{Service: fmt.Sprintf("s-%d", n%7), ID: fmt.Sprintf("i-%d", n), Address: "10.0.0.1"})
	}
	w.reg.RegisterMany(t.Context(), many)
	for _, encoding := range []string{"identity", "gzip"} {
		s := w.watch("/api/v1/watch", "Accept-Encoding", encoding)
		if got := s.next("snapshot"); len(got.Instances) != 1000 || len(got.text) < 100_000 {
			t.Errorf("%s: %d instances in %d bytes", encoding, len(got.Instances), len(got.text))
		}
	}
}

func TestResume(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	s := w.watch("/api/v1/services/payments/watch")
	token := s.next("snapshot").Token
	s.stop()
	w.register("payments", "p-2", "p-3")

	s = w.watch("/api/v1/services/payments/watch?after=" + token)
	if r := s.next("put"); r.Instance.ID != "p-2" || r.Token != "" {
		t.Errorf("resumed with %s", r.text)
	}
	if r := s.next("put"); r.Instance.ID != "p-3" || r.Token == "" {
		t.Errorf("resumed with %s", r.text)
	}
	// The address of an event source stays what it was; its header moves on.
	s = w.watch("/api/v1/services/payments/watch?after="+token, "Accept", "text/event-stream", "Last-Event-ID", s.w.token())
	s.next("bookmark") // at once, since nothing happened
	w.register("payments", "p-4")
	if r := s.next("put"); r.Instance.ID != "p-4" {
		t.Errorf("Last-Event-ID does not count: %s", r.text)
	}
	foreign := string(rollcall.NewLogID()) + "-1-0"
	s = w.watch("/api/v1/services/payments/watch?after=" + foreign)
	if r := s.next("reset"); len(r.Instances) != 4 || r.Token == "" {
		t.Errorf("a foreign token is answered with %s", r.text)
	}
	s = w.watch("/api/v1/services/payments/watch?after=" + foreign)
	if r := s.next("reset"); len(r.Instances) != 4 {
		t.Errorf("the second time, with %s", r.text)
	}
}

// token returns that of the newest state of payments.
func (w *world) token() string {
	var a rollcall.Answer
	if err := json.Unmarshal(w.do("GET", "/api/v1/services/payments", "").want(200).body, &a); err != nil {
		w.t.Fatal(err)
	}
	return a.Token.String()
}

// One may watch a service that is yet to come.
func TestWatchAhead(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	s := w.watch("/api/v1/services/payments/watch")
	if r := s.next("snapshot"); len(r.Instances) != 0 || !strings.Contains(r.text, `"instances":[]`) {
		t.Errorf("snapshot of nothing: %s", r.text)
	}
	w.register("payments", "p-1")
	if r := s.next("put"); r.Instance.ID != "p-1" {
		t.Errorf("put: %s", r.text)
	}
}

// What instances say of themselves without a revision is in a snapshot, though
// snapshots are kept.
func TestSnapshotShowsSoftState(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	for n := 1.0; n < 4; n++ {
		w.do("POST", "/api/v1/services/payments/instances/p-1/heartbeat", fmt.Sprintf(`{"position":{"lat":%v,"lon":0}}`, n)).want(200)
		s := w.watch("/api/v1/services/payments/watch")
		if r := s.next("snapshot"); r.Instances[0].Position == nil || r.Instances[0].Position.Lat != n {
			t.Errorf("position is %v after %v was reported", r.Instances[0].Position, n)
		}
		s.stop()
		var a rollcall.Answer
		if err := json.Unmarshal(w.do("GET", "/api/v1/services/payments", "").want(200).body, &a); err != nil {
			t.Fatal(err)
		}
		if p := a.Instances[0].Position; p == nil || p.Lat != n || a.Token.Generation == 0 {
			t.Errorf("resolve says %v with token %v after %v was reported", p, a.Token, n)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	for _, c := range []struct {
		query, field string
		status       int
	}{
		{"wait=5s", "wait", 400},
		{"after=x", "after", 400},
		{"health=fine", "health", 400},
		{"nope=1", "nope", 400},
		{"min_revision=7", "min_revision", 501},
		{"max_age=5s", "max_age", 501},
		{"max_age=0s", "max_age", 400},
		{"max_age=-1s", "max_age", 400},
		{"consistent=1", "consistent", 501},
		{"consistent=1&max_age=1m&min_revision=1", "min_revision, max_age, consistent", 501},
	} {
		w.do("GET", "/api/v1/services/payments/watch?"+c.query, "").problem(c.status, c.field)
		w.do("GET", "/api/v1/watch?"+c.query, "").problem(c.status, c.field)
	}
	for query, field := range map[string]string{
		"limit=3": "near, limit, subset", "near=1,2": "near, limit, subset", "subset=web-1": "near, limit, subset", "pick=1": "pick",
		"filter=load.rps+%3E+3": "filter", "filter=cap.gpu+%3E": "filter", "near=x": "near",
	} {
		w.do("GET", "/api/v1/watch?"+query, "").problem(400, field)
	}
	w.do("GET", "/api/v1/services/payments/watch?pick=1", "").problem(400, "pick")
	w.register("payments", "p-2")
	w.do("GET", "/api/v1/services/payments/watch?near=instance:payments/p-1", "").problem(404, "near")
	w.do("GET", "/api/v1/watch", "", "Last-Event-ID", "x").problem(400, "Last-Event-ID")
	w.do("HEAD", "/api/v1/watch?caller=web-1&consistent=0&min_revision=0", "").want(200)
}

// A watcher that never reads is dropped, and does not hold up anybody.
func TestSlowReaderIsDropped(t *testing.T) {
	w := newWorld(t, httpapi.Options{WriteTimeout: 200 * time.Millisecond})
	big := map[string]string{}
	for n := range 60 {
		big[fmt.Sprint(n)] = strings.Repeat("x", 500)
	}
	var many []rollcall.Instance
	for n := range 400 {
		many = append(many, rollcall.Instance{Service: "payments", ID: fmt.Sprintf("p-%d", n), Address: "10.0.0.1", Metadata: big})
	}
	w.reg.RegisterMany(t.Context(), many)

	c, _ := w.raw("GET /api/v1/services/payments/watch HTTP/1.1\r\nHost: x\r\n\r\n")
	defer c.Close()
	deadline, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	watchers := func() int {
		st, err := w.reg.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Watchers
	}
	for seen := false; ; runtime.Gosched() { // until it came and went
		n := watchers()
		if seen = seen || n > 0; seen && n == 0 {
			break
		}
		if deadline.Err() != nil {
			t.Fatalf("the watcher is still there (came: %v)", seen)
		}
	}
	w.register("payments", "late")
}

// Watchers that idle cost little, and all of them are told.
func TestManyWatchers(t *testing.T) {
	n := connections()
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	conns := make([]net.Conn, 0, n)
	readers := make([]*bufio.Reader, 0, n)
	before := inUse()
	for range n {
		c, r := w.raw("GET /api/v1/services/payments/watch HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, c)
		readers = append(readers, r)
	}
	until := func(r *bufio.Reader, what string) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(line, what) {
				return
			}
		}
	}
	for i := range readers {
		conns[i].SetDeadline(time.Now().Add(time.Minute))
		until(readers[i], `"snapshot"`)
	}
	// Both ends are in this process: the reader's half has a buffer of 4 KiB.
	each := (inUse() - before) / uint64(n)
	t.Logf("%d watchers: %d bytes each, with the reader's half", n, each)
	if each > 40<<10 && n > 1000 {
		t.Errorf("a watcher costs %d bytes", each)
	}
	start := time.Now()
	w.register("payments", "p-2")
	for i := range readers {
		until(readers[i], `"p-2"`)
	}
	t.Logf("one change told to %d watchers in %v, readers included", n, time.Since(start).Round(time.Millisecond))
}

// inUse returns how much memory heap and stacks take.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
