package grpcresolver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/internal/orca"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"rollcall:///payments":                          "default/payments  ",
		"rollcall:payments":                             "default/payments  ",
		"rollcall:///shop/payments":                     "shop/payments  ",
		"rollcall:///payments?port=admin":               "default/payments admin ",
		"rollcall:///payments?filter=cap.gpu%20%3E%202": "default/payments  filter=cap.gpu+%3E+2",
		"rollcall:///payments?cap.gpu=2&meta.team=a":    "default/payments  cap.gpu=2&meta.team=a",
		"rollcall://payments":                           "a target is written",
		"rollcall://me@/payments":                       "a target is written",
		"rollcall:///":                                  "a target is written",
		"rollcall:///a/b/c":                             "service",
		"rollcall:///-/payments":                        "namespace",
		"rollcall:///payments?prot=grpc":                "prot: is not known",
		"rollcall:///payments?a=%zz":                    "invalid URL escape",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		q, port, err := parse(u)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", in, err, want)
			}
			continue
		}
		if got := q.Key().String() + " " + port + " " + q.Selection(); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestPort(t *testing.T) {
	for _, c := range []struct {
		ports map[string]uint16
		name  string
		want  uint16
	}{
		{map[string]uint16{"grpc": 1, "default": 2}, "", 1},
		{map[string]uint16{"http": 1, "default": 2}, "", 2},
		{map[string]uint16{"http": 1}, "", 1},
		{map[string]uint16{"http": 1, "admin": 2}, "", 0},
		{map[string]uint16{"grpc": 1, "admin": 2}, "admin", 2},
		{map[string]uint16{"grpc": 1}, "admin", 0},
	} {
		if got, ok := portOf(&rollcall.Instance{Ports: c.ports}, c.name); got != c.want || ok != (c.want != 0) {
			t.Errorf("%v, %q: %d, %v", c.ports, c.name, got, ok)
		}
	}
}

func TestOutcome(t *testing.T) {
	sent := func(code codes.Code) balancer.DoneInfo {
		return balancer.DoneInfo{Err: status.Error(code, ""), BytesSent: true}
	}
	for name, c := range map[string]struct {
		info balancer.DoneInfo
		took time.Duration
		want string
	}{
		"success":           {balancer.DoneInfo{BytesSent: true}, 0, "good"},
		"end of a stream":   {balancer.DoneInfo{Err: io.EOF, BytesSent: true}, time.Second, "good"},
		"long stream":       {balancer.DoneInfo{BytesSent: true}, time.Hour, "nothing"},
		"not sent":          {balancer.DoneInfo{}, 0, "nothing"},
		"broken connection": {balancer.DoneInfo{Err: status.Error(codes.Unavailable, "")}, 0, "nothing"},
		"cancelled":         {sent(codes.Canceled), 0, "nothing"},
		"not found":         {sent(codes.NotFound), 0, "good"},
		"unauthenticated":   {sent(codes.Unauthenticated), 0, "good"},
		"unavailable":       {sent(codes.Unavailable), 0, "bad"},
		"late":              {sent(codes.DeadlineExceeded), 0, "bad"},
		"internal":          {sent(codes.Internal), 0, "bad"},
		"unknown":           {sent(codes.Unknown), 0, "bad"},
		"exhausted":         {sent(codes.ResourceExhausted), 0, "bad"},
		"lost data":         {sent(codes.DataLoss), 0, "bad"},
	} {
		got := "bad"
		switch err := outcome(c.info, c.took); {
		case err == nil:
			got = "good"
		case errors.Is(err, context.Canceled):
			got = "nothing"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// fleet is a registry and servers that are registered there.
type fleet struct {
	t  *testing.T
	c  *client.Client
	mu sync.Mutex
	// calls counts those that each server has had.
	calls map[string]int
}

func newFleet(t *testing.T) *fleet {
	c, err := client.Dial(rollcalltest.Start(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &fleet{t: t, c: c, calls: map[string]int{}}
}

// add starts a server; answer, unless nil, is asked before each call is answered.
func (f *fleet) add(id string, answer func(context.Context) error) {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		f.mu.Lock()
		f.calls[id]++
		f.mu.Unlock()
		if answer != nil {
			if err := answer(ctx); err != nil {
				return nil, err
			}
		}
		return h(ctx, req)
	}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	f.t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	f.put(id, l.Addr().(*net.TCPAddr).Port)
}

func (f *fleet) put(id string, port int) {
	f.t.Helper()
	if _, err := f.c.Put(f.t.Context(), rollcall.Instance{
		Service: "payments", ID: id, Address: "127.0.0.1", Ports: map[string]uint16{"grpc": uint16(port), "admin": 1},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) dial(target string, opts ...Option) healthpb.HealthClient {
	f.t.Helper()
	conn, err := grpc.NewClient(target, DialOption(f.c, opts...), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return healthpb.NewHealthClient(conn)
}

func (f *fleet) count(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[id]
}

var check = &healthpb.HealthCheckRequest{}

// until calls until that is as wanted.
func until(t *testing.T, h healthpb.HealthClient, enough func(error) bool) {
	t.Helper()
	for t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := h.Check(ctx, check)
		cancel()
		if enough(err) {
			return
		}
	}
}

func TestCallsGoToAllInstances(t *testing.T) {
	f := newFleet(t)
	var authority []string
	f.add("a", func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		authority = md.Get(":authority")
		return nil
	})
	f.add("b", nil)
	f.add("c", nil)
	h := f.dial("rollcall:///default/payments")
	until(t, h, func(err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		return f.count("a") > 0 && f.count("b") > 0 && f.count("c") > 0
	})
	if diff := cmp.Diff([]string{"payments"}, authority); diff != "" {
		t.Error(diff)
	}
	// Who drains gets no more calls; the one that is under way ends as it would.
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.add("slow", func(context.Context) error {
		once.Do(func() { close(entered) })
		<-leave
		return nil
	})
	ended := make(chan error)
	calling, stop := true, make(chan struct{})
	go func() {
		for calling {
			_, err := h.Check(t.Context(), check)
			select {
			case <-entered:
				calling = false
			default:
			}
			if err != nil || !calling {
				ended <- err
			}
		}
		close(stop)
	}()
	<-entered
	if _, err := f.c.Drain(t.Context(), rollcall.NewKey("", "payments", "slow"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := h.Check(t.Context(), check); err != nil {
			t.Error(err)
		}
	}
	if n := f.count("slow"); n != 1 {
		t.Errorf("%d calls to who drains", n)
	}
	close(leave)
	if err := <-ended; err != nil {
		t.Errorf("a call under way: %v", err)
	}
	<-stop
}

func TestUnknownService(t *testing.T) {
	f := newFleet(t)
	h := f.dial("rollcall:///payments")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := h.Check(ctx, check)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "payments") || strings.Contains(err.Error(), "zero addresses") {
		t.Errorf("%v", err)
	}
	t.Log(err)
	f.add("a", nil)
	if _, err := h.Check(ctx, check, grpc.WaitForReady(true)); err != nil {
		t.Errorf("once it is there: %v", err)
	}
	if err := f.c.Deregister(ctx, rollcall.NewKey("", "payments", "a")); err != nil {
		t.Fatal(err)
	}
	until(t, h, func(err error) bool {
		return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "payments has no instances")
	})
}

func TestNoSuchPort(t *testing.T) {
	f := newFleet(t)
	f.add("a", nil)
	_, err := f.dial("rollcall:///payments?port=grcp").Check(t.Context(), check)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `has no port "grcp"`) {
		t.Errorf("%v", err)
	}
	_, err = f.dial("rollcall://payments").Check(t.Context(), check)
	if err == nil || !strings.Contains(err.Error(), "a target is written") {
		t.Errorf("%v", err)
	}
}

// TestWhoCannotBeReached: calls go to the others, whoever's turn it is.
func TestWhoCannotBeReached(t *testing.T) {
	f := newFleet(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	f.put("gone", l.Addr().(*net.TCPAddr).Port)
	f.add("a", nil)
	h := f.dial("rollcall:///payments")
	for range 100 {
		if _, err := h.Check(t.Context(), check); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count("a"); n != 100 {
		t.Errorf("%d calls", n)
	}
}

// TestTwoAtOneAddress: both are the same server, and can be picked.
func TestTwoAtOneAddress(t *testing.T) {
	f := newFleet(t)
	f.add("a", nil)
	port := f.portOf("a")
	f.put("b", port)
	h := f.dial("rollcall:///payments")
	for range 20 {
		if _, err := h.Check(t.Context(), check); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fleet) portOf(id string) int {
	i, err := f.c.Instance(f.t.Context(), rollcall.NewKey("", "payments", id))
	if err != nil {
		f.t.Fatal(err)
	}
	return int(i.Ports["grpc"])
}

func TestIdempotent(t *testing.T) {
	f := newFleet(t)
	n := 0
	f.add("a", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n++; n%2 == 1 {
			return status.Error(codes.Unavailable, "not now")
		}
		return nil
	})
	if _, err := f.dial("rollcall:///payments").Check(t.Context(), check); status.Code(err) != codes.Unavailable {
		t.Errorf("sent again, or what: %v", err)
	}
	n = 0
	for _, name := range []string{"grpc.health.v1.Health", "/grpc.health.v1.Health/Check"} {
		if _, err := f.dial("rollcall:///payments", Idempotent(name)).Check(t.Context(), check); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBusyInstancesAreLeftAlone: by what they say in trailers.
func TestBusyInstancesAreLeftAlone(t *testing.T) {
	f := newFleet(t)
	says := func(r orca.Report) func(context.Context) error {
		return func(ctx context.Context) error {
			return grpc.SetTrailer(ctx, metadata.Pairs(orca.Trailer, string(r.Binary(nil))))
		}
	}
	f.add("busy", says(orca.Report{InFlight: 100, Latency: 1000, Probed: true}))
	for _, id := range []string{"b", "c", "d"} {
		f.add(id, says(orca.Report{InFlight: 1, Latency: 1, Probed: true}))
	}
	h := f.dial("rollcall:///payments")
	until(t, h, func(error) bool { return f.count("busy") > 0 })
	before := f.count("busy")
	for range 200 {
		if _, err := h.Check(t.Context(), check); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count("busy") - before; n > 20 {
		t.Errorf("%d of 200 calls to who is busy", n)
	}
}

// TestOtherResolvers: the balancer says that it is not for them.
func TestOtherResolvers(t *testing.T) {
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:1", grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"rollcall":{}}]}`), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), check); err == nil || !strings.Contains(err.Error(), errNoSubscription.Error()) {
		t.Errorf("%v", err)
	}
}

func BenchmarkPick(b *testing.B) {
	c, err := client.Dial(rollcalltest.Start(b).Addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(b.Context(), rollcall.Instance{Service: "payments", ID: "a", Address: "127.0.0.1", Ports: map[string]uint16{"grpc": 1}}); err != nil {
		b.Fatal(err)
	}
	sub, err := c.Subscribe(rollcall.Query{Service: "payments"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := sub.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	p := &picker{sub: sub, conns: map[string]conn{"a": {fixed{}, connectivity.Ready}}, ready: 1}
	b.ReportAllocs()
	for b.Loop() {
		r, err := p.Pick(balancer.PickInfo{})
		if err != nil {
			b.Fatal(err)
		}
		r.Done(balancer.DoneInfo{BytesSent: true})
	}
}

// fixed is the connection to one instance.
type fixed struct{}

func (fixed) Pick(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, nil }
