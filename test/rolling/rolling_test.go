// Package rolling restarts the instances of a service, one after the other, while it
// is called. Larger than in every run of the tests:
//
//	go test ./test/rolling -instances 20 -rate 2000 -rounds 3
package rolling

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/grpcresolver"
	"github.com/rollcall-registry/rollcall/client/meter"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

var (
	instances = flag.Int("instances", 5, "how many instances there are")
	rate      = flag.Int("rate", 400, "requests a second")
	rounds    = flag.Int("rounds", 2, "how often each is restarted")
)

const service = "payments"

// server is what an instance runs.
type server struct {
	serve func(net.Listener) error
	// shutdown stops it once the requests that are under way are answered.
	shutdown func(context.Context) error
}

// instance is one that is up.
type instance struct {
	server
	c      *client.Client
	reg    *client.Registration
	served chan error
}

// start starts an instance, as a process of its own would.
func start(t *testing.T, addr, port string, build func(*meter.Meter) server) *instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := meter.New(meter.Options{Capacity: 100})
	i := &instance{server: build(m), served: make(chan error, 1)}
	go func() { i.served <- i.serve(l) }()
	if i.c, err = client.Dial(addr); err != nil {
		t.Fatal(err)
	}
	i.reg, err = i.c.Register(t.Context(), rollcall.Instance{
		Service: service, Address: "127.0.0.1", Ports: map[string]uint16{port: uint16(l.Addr().(*net.TCPAddr).Port)},
		Warmup: rollcall.Duration(time.Second), Lease: rollcall.Lease{Mode: rollcall.LeaseSession},
	}, client.WithGrace(10*time.Second), client.WithLoad(m.Load))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// stop stops an instance as one does that wants no request to fail: it leaves the
// registry, which takes until all its callers know, and then the network.
func (i *instance) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := i.reg.Close(ctx); err != nil {
		t.Errorf("leaving: %v", err)
	}
	if err := i.shutdown(ctx); err != nil {
		t.Errorf("shutting down: %v", err)
	}
	if err := <-i.served; err != nil && err != http.ErrServerClosed {
		t.Errorf("serving: %v", err)
	}
	i.c.Close()
}

// load is the calls of a service, at a rate. None may fail.
type load struct {
	t     *testing.T
	call  func(n int) error
	stop  context.CancelFunc
	mu    sync.Mutex // guards what follows
	calls int
	fails int
	more  *sync.Cond // when calls grows
	group sync.WaitGroup
}

func begin(t *testing.T, call func(n int) error) *load {
	const workers = 64
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, call: call, stop: stop}
	l.more = sync.NewCond(&l.mu)
	for w := range workers {
		l.group.Go(func() {
			tick := time.NewTicker(time.Second * workers / time.Duration(*rate))
			defer tick.Stop()
			for n := w; ; n += workers + 1 {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					l.one(n)
				}
			}
		})
	}
	return l
}

func (l *load) one(n int) {
	err := l.call(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.more.Broadcast()
	if err != nil {
		if l.fails++; l.fails <= 20 {
			l.t.Errorf("%v: %v", time.Now().Format("15:04:05.000000"), err)
		}
	}
}

// last waits until the calls of a time have ended.
func (l *load) last(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for until := l.calls + int(float64(*rate)*d.Seconds()); l.calls < until; {
		l.more.Wait()
	}
}

// end returns how many calls there were.
func (l *load) end() int {
	l.stop()
	l.group.Wait()
	if l.fails > 0 {
		l.t.Errorf("%d of %d calls failed", l.fails, l.calls)
	}
	return l.calls
}

// roll restarts all instances, several times.
func roll(t *testing.T, addr, port string, build func(*meter.Meter) server, call func(n int) error) (calls int) {
	var up []*instance
	for range *instances {
		up = append(up, start(t, addr, port, build))
	}
	l := begin(t, call)
	l.last(200 * time.Millisecond)
	for range *rounds {
		for n := range up {
			up[n].stop(t)
			up[n] = start(t, addr, port, build)
			l.last(100 * time.Millisecond)
		}
	}
	calls = l.end()
	for _, i := range up {
		i.stop(t)
	}
	return calls
}

// counts is a base transport that counts what goes through it.
type counts struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *counts) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// TestHTTP: of the requests one in two may not be carried out twice. All speak gRPC to
// the registry.
func TestHTTP(t *testing.T) {
	addr := "grpc://" + rollcalltest.Start(t).GRPC
	c, err := client.Dial(addr, client.WithCaller("web-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	base := &counts{RoundTripper: &http.Transport{
		MaxIdleConnsPerHost: 100,
		IdleConnTimeout:     300 * time.Millisecond, // or Shutdown waits for those that were never used
	}}
	web := &http.Client{Transport: c.Transport(base), Timeout: 10 * time.Second}
	var mu sync.Mutex
	served := map[string]int{}
	build := func(m *meter.Meter) server {
		s := &http.Server{Handler: m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			served[r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()]++
			mu.Unlock()
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
		}))}
		return server{s.Serve, s.Shutdown}
	}
	body := bytes.Repeat([]byte("x"), 1000)
	calls := roll(t, addr, "http", build, func(n int) error {
		req, err := http.NewRequest([]string{"GET", "POST"}[n%2], "http://payments/charge", bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := web.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s, %d bytes: %v", resp.Status, len(got), err)
		}
		return nil
	})
	report(t, calls, int(base.n.Load()), served)
}

// TestGRPC: none may be carried out twice. All speak HTTP to the registry.
func TestGRPC(t *testing.T) {
	addr := rollcalltest.Start(t).Addr
	c, err := client.Dial(addr, client.WithCaller("web-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := grpc.NewClient("rollcall:///payments", grpcresolver.DialOption(c), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	health := healthpb.NewHealthClient(conn)
	var mu sync.Mutex
	served, carriedOut := map[string]int{}, 0
	count := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		mu.Lock()
		p, _ := peer.FromContext(ctx)
		served[p.LocalAddr.String()]++
		carriedOut++
		mu.Unlock()
		return h(ctx, req)
	}
	build := func(m *meter.Meter) server {
		s := grpc.NewServer(grpc.ChainUnaryInterceptor(m.UnaryServerInterceptor(), count))
		healthpb.RegisterHealthServer(s, grpchealth.NewServer())
		return server{s.Serve, func(context.Context) error { s.GracefulStop(); return nil }}
	}
	calls := roll(t, addr, "grpc", build, func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := health.Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	})
	report(t, calls, carriedOut, served)
}

// report logs how it went, and checks that everybody served.
func report(t *testing.T, calls, sent int, served map[string]int) {
	var each []string
	for _, n := range served {
		each = append(each, fmt.Sprint(n))
	}
	slices.Sort(each)
	t.Logf("%d calls, sent %d times, to %d instances: %s", calls, sent, len(served), strings.Join(each, " "))
	if want := *instances * *rounds; len(served) < want {
		t.Errorf("%d instances served; %d were there to", len(served), want)
	}
}
