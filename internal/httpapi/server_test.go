package httpapi_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// world is a server on a registry of its own, over real sockets.
type world struct {
	t       testing.TB
	reg     *registry.Registry
	handler *httpapi.Server
	http    *httptest.Server
	client  *http.Client
}

func newWorld(t testing.TB, o httpapi.Options) *world {
	t.Helper()
	reg := newRegistry(t)
	if o.Sessions == nil {
		o.Sessions = &sessions{reg: reg}
	}
	return serve(t, reg, httpapi.New(reg, o))
}

// newRegistry runs a registry for the length of the test.
func newRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	reg := registry.New(registry.Options{
		Log: memory.New(), Logger: slog.New(slog.DiscardHandler), Version: "test", Store: "memory",
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() {
		reg.EndStreams()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	if err := reg.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	reg.Serving()
	return reg
}

func serve(t testing.TB, reg *registry.Registry, h *httpapi.Server) *world {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	limits := httpapi.HTTPServer(h)
	limits.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Config = limits
	s.Start()
	w := &world{t: t, reg: reg, handler: h, http: s, client: &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		if reg != nil {
			reg.EndStreams()
		}
		w.client.CloseIdleConnections()
		s.CloseClientConnections()
		s.Close()
	})
	return w
}

// do sends a request; headers are name, value, ….
func (w *world) do(method, path, body string, headers ...string) *response {
	w.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, w.http.URL+path, r)
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
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return &response{w.t, resp, b}
}

type response struct {
	t testing.TB
	*http.Response
	body []byte
}

// want fails the test unless the status is code.
func (r *response) want(code int) *response {
	r.t.Helper()
	if r.StatusCode != code {
		r.t.Fatalf("%s %s: %d, want %d\n%s", r.Request.Method, r.Request.URL, r.StatusCode, code, r.body)
	}
	return r
}

// problem fails the test unless the answer is a problem document that blames
// field, and returns its detail.
func (r *response) problem(code int, field string) string {
	r.t.Helper()
	r.want(code)
	var p struct {
		Type, Title, Detail, Field string
		Status                     int
	}
	if err := json.Unmarshal(r.body, &p); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" || p.Status != code || p.Title == "" {
		r.t.Errorf("%s: %s", ct, r.body)
	}
	if p.Field != field {
		r.t.Errorf("%s %s blames %q, want %q: %s", r.Request.Method, r.Request.URL, p.Field, field, p.Detail)
	}
	return p.Detail
}

// register registers instances of a service, id by id.
func (w *world) register(service string, ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		w.do("PUT", "/api/v1/services/"+service+"/instances/"+id, `{"address":"10.0.0.1","port":8080}`).want(201)
	}
}

func TestOneTableOfRoutes(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	if got := w.do("PUT", "/api/v1/services/payments", "").problem(405, ""); !strings.Contains(got, "GET, HEAD") {
		t.Errorf("405 says %q", got)
	}
	if got := w.do("POST", "/api/v1/services/payments/instances/p-1", "{}").want(405).Header.Get("Allow"); got != "DELETE, GET, HEAD, PATCH, PUT" {
		t.Errorf("Allow: %s", got)
	}
	for _, path := range []string{"/", "/api/v1", "/api/v1/nothing", "/api/v1/services/", "/api/v1/services/a/b", "/metrics", "/debug/pprof/"} {
		if got := w.do("GET", path, "").problem(404, ""); !strings.Contains(got, "openapi.json") {
			t.Errorf("404 of %s says %q", path, got)
		}
	}
}

// The mux cleans paths by redirecting, which would turn a request for an empty
// name into one for something else.
func TestPathsAreTakenLiterally(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	for _, path := range []string{
		"/api/v1/services//instances/p-1", "/api/v1/services/x/../payments", "/api/v1/services/./payments",
		"/api/v1//services/payments", "/api/v1/services/payments/instances/..", "/api//v1/services/pay%2Fments",
	} {
		w.do("GET", path, "").want(404)
	}
	for _, id := range []string{"..", ".", "a/b", "a//b", "%2F", " ", "a?b#c", ".hidden"} {
		path := "/api/v1/services/odd/instances/" + escape(id)
		var got rollcall.Instance
		r := w.do("PUT", path, `{"address":"10.0.0.1"}`).want(201)
		if err := json.Unmarshal(r.body, &got); err != nil || got.ID != id {
			t.Errorf("PUT %s registered %q, %v; want %q", path, got.ID, err, id)
		}
		w.do("GET", path, "").want(200)
		w.do("DELETE", path, "").want(204)
		w.do("GET", path, "").want(404)
	}
}

// escape percent-encodes all of a path's segment that is not alphanumeric.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		const hex = "0123456789ABCDEF"
		b.WriteString("%" + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
	}
	return b.String()
}

func TestEveryAnswerForbidsSniffing(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	for _, c := range []struct{ method, path, cache string }{
		{"GET", "/api/v1/services/payments", "no-cache"},
		{"GET", "/api/v1/services", "no-store"},
		{"GET", "/nothing", "no-store"},
		{"PUT", "/api/v1/status", "no-store"},
		{"GET", "/livez", "no-store"},
		{"POST", "/api/v1/services/payments/instances/p-1/heartbeat", "no-store"},
		{"DELETE", "/api/v1/services/payments/instances/p-1", "no-store"},
		{"GET", "/api/v1/services/payments?x=1", "no-store"},
	} {
		h := w.do(c.method, c.path, "").Header
		if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s %s: X-Content-Type-Options %q", c.method, c.path, got)
		}
		if got := h.Get("Cache-Control"); got != c.cache {
			t.Errorf("%s %s: Cache-Control %q, want %s", c.method, c.path, got, c.cache)
		}
	}
}

func TestHeadWorksWhereGetDoes(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	for _, path := range []string{
		"/api/v1/services/payments", "/api/v1/services", "/api/v1/services/payments/instances/p-1", "/api/v1/services/payments/watch",
		"/api/v1/watch", "/api/v1/events", "/api/v1/status", "/api/v1/backup", "/api/v1/openapi.json", "/livez", "/readyz",
	} {
		if r := w.do("HEAD", path, "").want(200); len(r.body) > 0 {
			t.Errorf("HEAD %s has a body", path)
		}
	}
	get := w.do("GET", "/api/v1/services/payments", "")
	if head := w.do("HEAD", "/api/v1/services/payments", ""); head.ContentLength != int64(len(get.body)) || head.Header.Get("ETag") != get.Header.Get("ETag") {
		t.Errorf("HEAD says %v, GET %v", head.Header, get.Header)
	}
}

func TestForeignHandlers(t *testing.T) {
	say := func(what string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, what) })
	}
	w := newWorld(t, httpapi.Options{Metrics: say("metrics"), Pprof: say("pprof")})
	for path, want := range map[string]string{"/metrics": "metrics", "/debug/pprof/heap": "pprof"} {
		if got := w.do("GET", path, "").want(200).body; string(got) != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// broken is a registry that fails or panics.
type broken struct {
	httpapi.Registry
	err error
}

func (b broken) Ready() error { return b.err }
func (b broken) Status(context.Context) (rollcall.ServerStatus, error) {
	return rollcall.ServerStatus{}, b.err
}
func (b broken) Backup(_ context.Context, w io.Writer) error {
	if b.err == nil {
		io.WriteString(w, "half a ")
		return errors.New("disk gone")
	}
	return b.err
}

func TestPanicsAreAnswered(t *testing.T) {
	var log bytes.Buffer
	w := serve(t, nil, httpapi.New(broken{}, httpapi.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	if got := w.do("GET", "/api/v1/services/payments", "").problem(500, ""); strings.Contains(got, "nil") {
		t.Errorf("the panic is shown: %s", got)
	}
	if !strings.Contains(log.String(), "a handler panicked") || !strings.Contains(log.String(), "resolve") {
		t.Errorf("log: %s", log.String())
	}
	w.do("GET", "/livez", "").want(200)
}

func TestUnforeseenErrorsAreLoggedNotShown(t *testing.T) {
	var log bytes.Buffer
	h := httpapi.New(broken{err: errors.New("password is hunter2")}, httpapi.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w := serve(t, nil, h)
	if got := w.do("GET", "/api/v1/status", "").problem(500, ""); strings.Contains(got, "hunter2") {
		t.Errorf("shown: %s", got)
	}
	if !strings.Contains(log.String(), "hunter2") {
		t.Errorf("not logged: %s", log.String())
	}
}

func TestBrokenBackupIsNotWhole(t *testing.T) {
	w := serve(t, nil, httpapi.New(broken{}, httpapi.Options{}))
	resp, err := w.client.Get(w.http.URL + "/api/v1/backup")
	if err != nil {
		return // cut before the headers were out
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("half a backup came as a whole one: %q", b)
	}
}

// Each sentinel has a problem type of its own, and the right status.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		kind   error
		name   string
		status int
		retry  string
	}{
		{rollcall.ErrInvalid, "invalid", 400, ""},
		{rollcall.ErrTooLarge, "too-large", 413, ""},
		{rollcall.ErrNotFound, "not-found", 404, ""},
		{rollcall.ErrConflict, "conflict", 409, ""},
		{rollcall.ErrPrecondition, "precondition-failed", 412, ""},
		{rollcall.ErrUnauthenticated, "unauthenticated", 401, ""},
		{rollcall.ErrForbidden, "forbidden", 403, ""},
		{rollcall.ErrTooMany, "too-many-requests", 429, "3"},
		{rollcall.ErrUnsupported, "not-implemented", 501, ""},
		{rollcall.ErrTimeout, "timed-out", 504, ""},
		{rollcall.ErrUnavailable, "log-unavailable", 503, "3"},
		{rollcall.ErrNotSynced, "not-synced", 503, "3"},
		{rollcall.ErrSettling, "settling", 503, "3"},
	} {
		err := &rollcall.Error{Kind: c.kind, Detail: "because", Field: "x", RetryAfter: 2500 * time.Millisecond}
		w := serve(t, nil, httpapi.New(broken{err: err}, httpapi.Options{}))
		r := w.do("GET", "/readyz", "")
		if got := r.problem(c.status, "x"); got != "x: because" {
			t.Errorf("%v: detail %q", c.kind, got)
		}
		if want := `{"type":"/problems/` + c.name + `"`; !bytes.HasPrefix(r.body, []byte(want)) {
			t.Errorf("%v: %s, want %s", c.kind, r.body, want)
		}
		if got := r.Header.Get("Retry-After"); got != c.retry {
			t.Errorf("%v: Retry-After %q, want %q", c.kind, got, c.retry)
		}
		w.http.Close()
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, httpapi.Options{Registerer: reg})
	w.register("payments", "p-1")
	w.do("GET", "/api/v1/services/payments", "").want(200)
	w.do("GET", "/api/v1/services/payments", "").want(200)
	w.do("GET", "/api/v1/services/none", "").want(404)
	stop := w.watch("/api/v1/services/payments/watch")
	stop.next("snapshot")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"rollcall_http_requests_total 201 registerInstance": 1,
		"rollcall_http_requests_total 200 resolve":          2,
		"rollcall_http_requests_total 404 resolve":          1,
		"rollcall_http_request_seconds resolve":             3,
		"rollcall_http_watchers service":                    1,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

// raw opens a connection to the server and writes text to it.
func (w *world) raw(text string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.http.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// TestKeptAnswers: what is given a second time, and unpacked, is what was given
// first, however long it is and in whatever form it was kept.
func TestKeptAnswers(t *testing.T) {
	for _, n := range []int{1, 10, 100, 600} {
		reg := newRegistry(t)
		h := httpapi.New(reg, httpapi.Options{})
		fleet(t, reg, "payments", n)
		answer := func(query string, headers ...string) string {
			b := &body{sink: sink{header: http.Header{}}}
			h.ServeHTTP(b, request(t, "GET", "/api/v1/services/payments"+query, "", headers...))
			if b.header.Get("Content-Encoding") != "gzip" {
				return string(b.all)
			}
			r, err := gzip.NewReader(bytes.NewReader(b.all))
			if err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(all)
		}
		for _, query := range []string{"", "?cap.gpu=2"} {
			first := answer(query)
			if got := strings.Count(first, `"id":`); query == "" && got != n {
				t.Fatalf("%d instances, want %d", got, n)
			}
			for range 2 {
				if answer(query) != first || answer(query, "Accept-Encoding", "gzip") != first {
					t.Fatalf("%d instances %s: another answer the second time", n, query)
				}
			}
		}
	}
}
