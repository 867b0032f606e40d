package grpcapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// talker is a feed that always has something to say.
type talker struct {
	said   atomic.Int64
	closed chan struct{}
}

func (f *talker) Next(ctx context.Context) (*watch.Batch, error) {
	f.said.Add(1)
	return &watch.Batch{Type: watch.Bookmark, Revision: rollcall.Revision(f.said.Load())}, ctx.Err()
}

func (f *talker) Sent()      {}
func (f *talker) ID() string { return "talker" }
func (f *talker) Close()     { close(f.closed) }

// TestWhoDoesNotRead loses the stream after 30 s, and nobody else does.
func TestWhoDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed, s := &talker{closed: make(chan struct{})}, newFakeSession()
		core := &fakeCore{session: s, feed: func() watch.Feed { return feed }}
		c, _, stop := inMemory(t, core, grpcapi.Options{})
		defer stop()
		other, err := c.Renew(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stream, err := c.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		subscribe(t, stream, 1, &pb.Query{Service: "payments"})
		<-feed.closed
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("the watch ended after %v", d)
		}
		t.Logf("it was sent %d records", feed.said.Load())

		ctx, cancel := context.WithCancel(t.Context())
		session, err := c.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st := sitting{session, t}
		st.open("")
		var flood sync.WaitGroup
		flood.Go(func() {
			for st.Send(report(1)) == nil {
			}
		})
		time.Sleep(30*time.Second - 1)
		if got := s.noted(); len(got) > 0 {
			t.Errorf("too early the core was told %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := s.noted(); len(got) != 1 || got[0] != "leave" {
			t.Errorf("the core was told %q", got)
		}
		cancel() // nothing that it was sent since has reached it
		flood.Wait()

		if err := other.Send(&pb.RenewRequest{Renewals: []*pb.Renewal{{Service: "a", Id: "b"}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := other.Recv(); err != nil || m.Renewed != 1 {
			t.Errorf("another stream: %v, %v", m, err)
		}
	})
}

// TestLimits: what is too large or too much is said to be.
func TestLimits(t *testing.T) {
	c, _, stop := inMemory(t, &fakeCore{feed: func() watch.Feed { return silent{} }}, grpcapi.Options{MaxBatch: 3, MaxSubscriptions: 1})
	defer stop()
	long := strings.Repeat("x", 64<<10)
	four := []*pb.Instance{instance("1"), instance("2"), instance("3"), instance("4")}
	for name, call := range map[string]func() error{
		"too-large a query": func() error {
			_, err := c.Resolve(limit(t), &pb.ResolveRequest{Query: &pb.Query{Filter: long}})
			return err
		},
		"too-large an instance": func() error {
			_, err := c.Register(limit(t), &pb.RegisterRequest{Instances: []*pb.Instance{{Node: long}}})
			return err
		},
		"too-large a batch": func() error { _, err := c.Register(limit(t), &pb.RegisterRequest{Instances: four}); return err },
		"too-large a report": func() error {
			_, err := c.Report(limit(t), &pb.ReportRequest{Instances: []*pb.Outcome{{}, {}, {}, {}}})
			return err
		},
		"invalid batch": func() error {
			_, err := c.Register(limit(t), &pb.RegisterRequest{Instances: four[:2], IfMatch: 1})
			return err
		},
		"invalid empty": func() error { _, err := c.Register(limit(t), &pb.RegisterRequest{}); return err },
		"invalid wait": func() error {
			_, err := c.Resolve(limit(t), &pb.ResolveRequest{Query: &pb.Query{Wait: int64(time.Hour)}})
			return err
		},
		"invalid drain": func() error { _, err := c.Drain(limit(t), &pb.DrainRequest{Wait: int64(time.Hour)}); return err },
	} {
		want, _, _ := strings.Cut(name, " ")
		if kind, _, _ := wrong(call()); kind != want {
			t.Errorf("%s: %v", name, call())
		}
	}

	renew, err := c.Renew(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	var five []*pb.Renewal
	for n := range 5 {
		five = append(five, &pb.Renewal{Service: "payments", Id: fmt.Sprint(n)})
	}
	if err := renew.Send(&pb.RenewRequest{Renewals: five}); err != nil {
		t.Fatal(err)
	}
	if m, err := renew.Recv(); err != nil || m.Error.GetKind() != "too-large" {
		t.Errorf("five renewals: %v, %v", m, err)
	}

	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 1, &pb.Query{Service: "payments"})
	subscribe(t, stream, 2, &pb.Query{Service: "payments"})
	if m := next(t, stream); m.Subscription != 2 || m.GetEnded().GetKind() != "too-many-requests" {
		t.Errorf("two subscriptions: %v", m)
	}
	subscribe(t, stream, 1, &pb.Query{Service: "payments"})
	if _, err := stream.Recv(); codeOf(err) != codes.InvalidArgument {
		t.Errorf("a number that is taken: %v", err)
	}
}

func codeOf(err error) codes.Code { _, _, code := wrong(err); return code }

// silent is a feed that says nothing.
type silent struct{}

func (silent) Next(ctx context.Context) (*watch.Batch, error) { <-ctx.Done(); return nil, ctx.Err() }
func (silent) Sent()                                          {}
func (silent) ID() string                                     { return "silent" }
func (silent) Close()                                         {}

// TestUnexpectedErrors are logged, and not shown; those that panic, too.
func TestUnexpectedErrors(t *testing.T) {
	var log strings.Builder
	reg := prometheus.NewPedanticRegistry()
	core := &fakeCore{}
	c, _, stop := inMemory(t, core, grpcapi.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg})
	for _, fails := range []func() error{
		func() error { return errors.New("secret") },
		func() error { panic("secret") },
	} {
		core.resolve = fails
		_, err := c.Resolve(limit(t), &pb.ResolveRequest{})
		if kind, _, code := wrong(err); code != codes.Internal || kind != "unexpected" || strings.Contains(err.Error(), "secret") {
			t.Errorf("the client is told %v", err)
		}
	}
	core.feed = func() watch.Feed { panic("secret") }
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 1, &pb.Query{Service: "payments"})
	if _, err := stream.Recv(); codeOf(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("the client is told %v", err)
	}
	stop()
	if n := strings.Count(log.String(), "secret"); n < 3 {
		t.Errorf("the log says\n%s", log.String())
	}
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.String()
	for _, want := range []string{
		`rollcall_grpc_requests_total{code="Internal",method="Resolve"} 2`, `rollcall_grpc_requests_total{code="Internal",method="Watch"} 1`,
		`rollcall_grpc_requests_total{code="OK",method="Register"} 0`, `rollcall_grpc_streams{method="Watch"} 0`, `rollcall_grpc_watchers{class="service"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if problems, err := promlint.New(answer.Body).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestHealthAndReflection: of the server, and of one that stops.
func TestHealthAndReflection(t *testing.T) {
	s := rollcalltest.Start(t)
	_, conn := dial(t, s.GRPC)
	health, err := grpc_health_v1.NewHealthClient(conn).Watch(limit(t), &grpc_health_v1.HealthCheckRequest{Service: "rollcall.v1.Registry"})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := health.Recv(); err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", h, err)
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []*grpc_reflection_v1.ServerReflectionRequest{
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "rollcall.v1.Registry"}},
	} {
		if err := stream.Send(q); err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil || m.GetErrorResponse() != nil || !strings.Contains(m.String(), "rollcall.v1.Registry") && m.GetFileDescriptorResponse() == nil {
			t.Errorf("%v, %v", m, err)
		}
	}
	start := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		if h, err := health.Recv(); err == nil && h.Status != want {
			t.Errorf("while it stops: %v, %v", h, err)
		}
	}
}

// TestUnknownMethods are none of the metrics' labels.
func TestUnknownMethods(t *testing.T) {
	s := rollcalltest.Start(t)
	_, conn := dial(t, s.GRPC)
	for _, name := range []string{"/rollcall.v1.Registry/Nothing", "/nobody/Nothing"} {
		if err := conn.Invoke(limit(t), name, &pb.Gone{}, &pb.Gone{}); codeOf(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingIsCompressed: messages cannot become larger than they came.
func TestNothingIsCompressed(t *testing.T) {
	if encoding.GetCompressor("gzip") != nil {
		t.Error("the server takes gzip: what it makes of a message has to be bounded")
	}
}

// TestWhoDoesNotSend loses the call after 10 s.
func TestWhoDoesNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _, stop := connected(t, &fakeCore{}, grpcapi.Options{})
		defer stop()
		start := time.Now()
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, pb.Registry_Register_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(pb.RegisterResponse)); err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestManyOfNothing: the smallest messages there are cost no more than is in proportion to
// them, and one of many that is too large is refused before it is decoded.
func TestManyOfNothing(t *testing.T) {
	conn, _, stop := connected(t, &fakeCore{}, grpcapi.Options{}, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	defer stop()
	const size = 3 << 20
	of := func(field string) []byte { return bytes.Repeat([]byte(field), size/len(field)) }
	within := func(b []byte) []byte {
		large := append([]byte("\x22\x80\x80\xc0\x01"), b...) // a report, or a port
		n := len(large)
		return append([]byte{0x0a, 0, 0x0a, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n >> 21)}, large...)
	}
	for _, tt := range []struct {
		name, method string
		b            []byte
	}{
		{"renewals", pb.Registry_Renew_FullMethodName, of("\x0a\x00")},
		{"checks of a renewal", pb.Registry_Renew_FullMethodName, within(of("\x1a\x00"))},
		{"outcomes", pb.Registry_Report_FullMethodName, of("\x22\x00")},
		{"instances", pb.Registry_Register_FullMethodName, of("\x0a\x00")},
		{"ports of an instance", pb.Registry_Register_FullMethodName, within(of("\x0a\x00"))},
		{"a query", pb.Registry_Resolve_FullMethodName, of("\x0a\x00")},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stream, err := conn.NewStream(limit(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, tt.method)
		if err != nil {
			t.Fatal(err)
		}
		var answer []byte
		if err = stream.SendMsg(tt.b); err == nil {
			stream.CloseSend()
			err = stream.RecvMsg(&answer)
		}
		runtime.ReadMemStats(&after)
		if kind, _, _ := wrong(err); kind != "too-large" && !bytes.Contains(answer, []byte("too-large")) {
			t.Errorf("%s: %v, %q", tt.name, err, answer)
		}
		if got := (after.TotalAlloc - before.TotalAlloc) / uint64(len(tt.b)); got > 10 {
			t.Errorf("%s: each byte of it cost %d", tt.name, got)
		}
	}
}

// TestStopsBeforeItServes: a server that is stopped while it starts is no failure.
func TestStopsBeforeItServes(t *testing.T) {
	s := grpcapi.New(&fakeCore{}, grpcapi.Options{})
	s.End()
	s.Shutdown(t.Context())
	if err := s.Serve(bufconn.Listen(1)); err != nil {
		t.Error(err)
	}
}
