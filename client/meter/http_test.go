package meter

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

func TestHandlerTellsTheLoad(t *testing.T) {
	m := New(Options{Capacity: 10})
	answers := map[string]http.HandlerFunc{
		"/none":  func(http.ResponseWriter, *http.Request) {},
		"/write": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"/copy":  func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, strings.NewReader("hello")) },
		"/fail":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"/flush": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"/early": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
		},
	}
	s := httptest.NewServer(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) })))
	defer s.Close()
	for path := range answers {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		r, err := orca.Parse(resp.Header.Get(orca.Header))
		if err != nil || !r.Probed || r.InFlight > 1 {
			t.Errorf("%s: %q: %v", path, resp.Header.Get(orca.Header), err)
		}
	}
	s.Close() // all handlers have ended
	l := m.measure(m.now())
	if l.Errors == 0 || l.Errors >= l.RPS || l.InFlight != 0 {
		t.Errorf("one of %d failed: %+v", len(answers), l)
	}
}

func TestPanicIsAFailure(t *testing.T) {
	m, c := at(Options{Capacity: 1})
	func() {
		defer func() { recover() }()
		m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).ServeHTTP(httptest.NewRecorder(), nil)
	}()
	c.pass(fresh)
	if l := m.Load(); l.Errors == 0 || l.InFlight != 0 {
		t.Errorf("%+v", l)
	}
}

func TestFailures(t *testing.T) {
	for status, want := range map[int]bool{200: false, 404: false, 429: false, 500: true, 501: false, 503: true, 505: false, 0: false} {
		if failure(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
	for code, want := range map[codes.Code]bool{codes.OK: false, codes.NotFound: false, codes.Canceled: false, codes.Internal: true, codes.Unavailable: true} {
		if fault(status.Error(code, "")) != want {
			t.Errorf("%v: %v", code, !want)
		}
	}
	if !fault(errors.New("odd")) {
		t.Error("an error without a status is no failure")
	}
}

func TestHijack(t *testing.T) {
	m := New(Options{})
	s := httptest.NewServer(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})))
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Error(resp.Status)
	}
}

// TestTrailers: also on a stream, which ends when its caller cancels it.
func TestTrailers(t *testing.T) {
	m := New(Options{Capacity: 10})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(m.UnaryServerInterceptor()), grpc.StreamInterceptor(m.StreamServerInterceptor()))
	healthpb.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := healthpb.NewHealthClient(conn)
	told := func(md metadata.MD) {
		t.Helper()
		if len(md[orca.Trailer]) != 1 {
			t.Fatalf("trailer %v", md)
		}
		if r, err := orca.ParseBinary([]byte(md[orca.Trailer][0])); err != nil || !r.Probed {
			t.Errorf("%+v: %v", r, err)
		}
	}
	var md metadata.MD
	if _, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Trailer(&md)); err != nil {
		t.Fatal(err)
	}
	told(md)
	if _, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "odd"}, grpc.Trailer(&md)); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	told(md)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := h.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	if n := m.Load().InFlight; n != 1 {
		t.Errorf("%d in flight with a stream open", n)
	}
	cancel()
	conn.Close()
	s.GracefulStop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := m.Load().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func BenchmarkHandler(b *testing.B) {
	serve := func(h http.Handler) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		}
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	b.Run("bare", serve(h))
	b.Run("metered", serve(New(Options{Capacity: 100}).Handler(h)))
}
