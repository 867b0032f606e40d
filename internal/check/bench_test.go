//go:build unix

package check

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/egress"
)

// What is probed in benchmarks is another process, this program again, so that
// the figures are those of the prober alone.
const targetsVar = "ROLLCALL_CHECK_TARGETS"

func TestMain(m *testing.M) {
	if os.Getenv(targetsVar) != "" {
		if err := beTargets(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beTargets serves all of loopback over HTTP, TCP and gRPC until standard input
// ends.
func beTargets() error {
	var listeners [3]net.Listener
	for n := range listeners {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		listeners[n] = l
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
	}
	web := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	go web.Serve(listeners[0])
	go func() {
		for {
			c, err := listeners[1].Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	go s.Serve(listeners[2])
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// startTargets returns what targets of their own process listen on.
func startTargets(b *testing.B) (ports map[string]uint16) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), targetsVar+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	ports = map[string]uint16{}
	r := bufio.NewReader(out)
	for _, name := range []string{"http", "tcp", "grpc"} {
		var p uint16
		if _, err := fmt.Fscanln(r, &p); err != nil {
			b.Fatal(err)
		}
		ports[name] = p
	}
	return ports
}

// used returns the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// address returns the nth address of loopback.
func address(n int) string { return fmt.Sprintf("127.%d.%d.%d", 1+n>>16&63, n>>8&255, n&255) }

// BenchmarkProbe measures one probe after another; cpu-µs is the processor time
// of each.
func BenchmarkProbe(b *testing.B) {
	ports := startTargets(b)
	p := &prober{policy: egress.New(egress.Options{})}
	for _, typ := range []rollcall.CheckType{"http", "tcp", "grpc"} {
		measure(b, string(typ), func(ctx context.Context, n int) Outcome {
			c := check(typ, "")
			return p.probe(ctx, rollcall.Key{}, &Target{Address: address(n), Ports: ports, Vouched: true}, &c)
		})
	}
}

func measure(b *testing.B, name string, probe func(context.Context, int) Outcome) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		before := used(b)
		for n := 0; b.Loop(); n++ {
			ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
			if o := probe(ctx, n%20000); o.Status != rollcall.Healthy {
				b.Fatal(o)
			}
			cancel()
		}
		b.ReportMetric(float64((used(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}

// BenchmarkOthers measures what probes could be made with instead: net/http, on
// a connection for each probe and on one that is kept, and a gRPC client, made
// for each probe and kept.
func BenchmarkOthers(b *testing.B) {
	ports := startTargets(b)
	get := func(transport *http.Transport) func(context.Context, int) Outcome {
		c := http.Client{Transport: transport}
		return func(ctx context.Context, n int) Outcome {
			r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s:%d/", address(n%100), ports["http"]), nil)
			if err != nil {
				return failed(err)
			}
			resp, err := c.Do(r)
			if err != nil {
				return failed(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
			return judgeHTTP(resp, body)
		}
	}
	measure(b, "net/http", get(&http.Transport{DisableKeepAlives: true}))
	measure(b, "net/http-kept", get(&http.Transport{MaxIdleConns: 200}))
	conns := map[string]*grpc.ClientConn{}
	connect := func(n int) *grpc.ClientConn {
		c, err := grpc.NewClient(fmt.Sprintf("passthrough:///%s:%d", address(n), ports["grpc"]), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	ask := func(ctx context.Context, c *grpc.ClientConn) Outcome {
		if _, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			return failed(err)
		}
		return Outcome{Status: rollcall.Healthy}
	}
	measure(b, "grpc", func(ctx context.Context, n int) Outcome {
		c := connect(n)
		defer c.Close()
		return ask(ctx, c)
	})
	measure(b, "grpc-kept", func(ctx context.Context, n int) Outcome {
		a := address(n % 100)
		if conns[a] == nil {
			conns[a] = connect(n % 100)
			b.Cleanup(func() { conns[a].Close() })
		}
		return ask(ctx, conns[a])
	})
}

// BenchmarkRunner runs 20,000 checks, half of them over HTTP, a quarter each over
// TCP and gRPC, every ten seconds; an operation is one such interval. cores is the
// processor time of the whole process in proportion to what passed.
func BenchmarkRunner(b *testing.B) {
	const checks, interval = 20000, 10 * time.Second
	ports := startTargets(b)
	failures := make(chan Result, checks)
	r := New(Options{Report: func(res Result) {
		if res.Status != rollcall.Healthy {
			select {
			case failures <- res:
			default:
			}
		}
	}})
	for n := range checks {
		c := check([...]rollcall.CheckType{"http", "tcp", "http", "grpc"}[n%4], "")
		r.Set(key(fmt.Sprint(n)), Target{Address: address(n), Ports: ports, Vouched: true, Checks: []rollcall.Check{c}})
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	probes := func() (n uint64) {
		for _, k := range r.Stats().Probes {
			n += k
		}
		return n
	}
	pass(interval * 2) // the first probes, and the next, are closer together
	before, begun, made, tardy := used(b), time.Now(), probes(), r.Stats().Late
	for b.Loop() {
		pass(interval)
	}
	cpu, wall, n := used(b)-before, time.Since(begun), probes()-made
	b.ReportMetric(cpu.Seconds()/wall.Seconds(), "cores")
	b.ReportMetric(float64(cpu.Microseconds())/float64(n), "cpu-µs/probe")
	b.ReportMetric(float64(n)/wall.Seconds(), "probes/s")
	b.ReportMetric(float64(r.Stats().Late-tardy), "late")
	cancel()
	<-done
	if len(failures) > 0 {
		b.Errorf("%d failures, among them %+v; %v", len(failures), <-failures, r.Stats().Probes)
	}
}

func pass(d time.Duration) { <-time.After(d) }
