//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/grpcresolver"
	"github.com/rollcall-registry/rollcall/client/meter"
	"github.com/rollcall-registry/rollcall/test/process"
)

// wires are the protocols by which a client speaks to the registry.
var wires = []string{"grpc", "http"}

// over returns a server's address for clients that use a wire.
func over(wire string, p *process.Process) string {
	if wire == "grpc" {
		return "grpc://" + p.GRPC
	}
	return "http://" + p.Addr
}

// serve is the main function of one instance: it serves, registers, and on SIGTERM
// leaves as one does that wants no request to fail. Then it says how long it took
// until its callers knew.
func (o *orders) serve() error {
	l, err := net.Listen("tcp", cmp.Or(o.Listen, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	c, err := client.Dial(o.Registry)
	if err != nil {
		return err
	}
	defer c.Close()
	serve, shutdown := o.server()
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	at := netip.MustParseAddrPort(l.Addr().String())
	reg, err := c.Register(context.Background(), rollcall.Instance{
		Service: o.Service, ID: o.Name, Address: at.Addr().String(), Ports: map[string]uint16{cmp.Or(o.Protocol, "http"): at.Port()},
		Warmup: rollcall.Duration(time.Second), Lease: o.Lease,
	}, client.WithGrace(20*time.Second))
	if err != nil {
		return err
	}
	fmt.Println("ready", os.Getpid(), l.Addr())
	over := make(chan struct{})
	go func() { // ends with the process
		io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	select {
	case <-stop:
	case <-over: // and the test with it
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	err = reg.Close(ctx)
	fmt.Println(time.Since(began))
	err = errors.Join(err, shutdown(ctx)) // also if the registry could not be told
	if ended := <-served; ended != http.ErrServerClosed {
		err = errors.Join(err, ended)
	}
	return err
}

// server is what an instance runs: it answers with its name.
func (o *orders) server() (serve func(net.Listener) error, shutdown func(context.Context) error) {
	m := meter.New(meter.Options{Capacity: 100})
	if o.Protocol == "grpc" {
		s := grpc.NewServer(grpc.UnaryInterceptor(m.UnaryServerInterceptor()))
		grpc_health_v1.RegisterHealthServer(s, named{Server: health.NewServer(), name: o.Name})
		return s.Serve, func(context.Context) error {
			s.GracefulStop()
			return nil
		}
	}
	s := &http.Server{Handler: m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, o.Name)
	}))}
	return s.Serve, s.Shutdown
}

// named is gRPC's health service, which says who answers.
type named struct {
	*health.Server
	name string
}

// Check implements [grpc_health_v1.HealthServer].
func (n named) Check(ctx context.Context, q *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("who", n.name)); err != nil {
		return nil, err
	}
	return n.Server.Check(ctx, q)
}

// leave has an instance leave, waits until its process is gone and returns how long
// it took until its callers knew.
func (f *fleet) leave() (took time.Duration, err error) {
	f.cmd.Process.Signal(syscall.SIGTERM)
	line, err := f.out.ReadString('\n')
	if err == nil {
		took, err = time.ParseDuration(strings.TrimSpace(line))
	}
	f.once.Do(func() {}) // nothing is left to strike
	return took, errors.Join(err, f.cmd.Wait())
}

// tally is what became of a process's requests, and what it knows.
type tally struct {
	Sent     int
	Answered map[string]int // by instance
	Failed   map[string]int // by method
	Errors   []string       // the first ones
	P50, P99 time.Duration
	First    time.Duration // from the start of the process to the first answer

	View []string // ids
	Age  time.Duration
	Lost []string // who was in a view and then was not
}

// failures returns how many requests failed.
func (t *tally) failures() (n int) {
	for _, of := range t.Failed {
		n += of
	}
	return n
}

// traffic is the requests of one process to a service.
type traffic struct {
	service string
	send    func(ctx context.Context, method string) (who string, err error)
	began   time.Time // when the process was
	sub     *client.Subscription
	group   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	tally tally
	took  []time.Duration // some of them
	lost  map[string]bool
}

// call is the main function of a caller: it sends requests at a rate, whatever
// becomes of those before, every other a POST, and answers "count" with a tally.
func (o *orders) call() error {
	began := time.Now()
	opts := []client.Option{client.WithCaller(o.Name), client.WithAcks()}
	if o.Cache != "" {
		opts = append(opts, client.WithCacheDir(o.Cache))
	}
	c, err := client.Dial(o.Registry, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	send, err := o.sender(c)
	if err != nil {
		return err
	}
	t := &traffic{service: o.Service, send: send, began: began, took: make([]time.Duration, 0, 2000), lost: map[string]bool{}}
	t.tally.Answered, t.tally.Failed = map[string]int{}, map[string]int{}
	if t.sub, err = c.Subscribe(rollcall.Query{Service: o.Service}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if _, err := t.sub.Ready(ctx); err != nil {
		return err
	}
	t.one("GET")
	fmt.Println("ready", os.Getpid(), "-")
	var background sync.WaitGroup
	background.Go(func() { t.look(ctx) })
	background.Go(func() { t.run(ctx, o.Rate) })
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "stop" {
			stop()
			background.Wait()
			t.group.Wait()
		}
		text, err := json.Marshal(t.count())
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	}
	return nil
}

// sender returns how requests are sent.
func (o *orders) sender(c *client.Client) (func(context.Context, string) (string, error), error) {
	if o.Protocol != "grpc" {
		return overHTTP(c, o.Service), nil
	}
	var opts []grpcresolver.Option
	if o.Idempotent {
		opts = append(opts, grpcresolver.Idempotent(grpc_health_v1.Health_Check_FullMethodName))
	}
	conn, err := grpc.NewClient("rollcall:///"+o.Service, grpcresolver.DialOption(c, opts...), grpc.WithTransportCredentials(insecure.NewCredentials()))
	return func(ctx context.Context, _ string) (string, error) {
		var header metadata.MD
		_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
		return strings.Join(header.Get("who"), ","), err
	}, err
}

// overHTTP returns how to send a request to a service by its name.
func overHTTP(c *client.Client, service string) func(context.Context, string) (string, error) {
	web := &http.Client{Transport: c.Transport(&http.Transport{MaxIdleConnsPerHost: 100})}
	return func(ctx context.Context, method string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+service+"/charge", strings.NewReader("something to charge"))
		if err != nil {
			return "", err
		}
		resp, err := web.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		who, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return string(who), err
	}
}

// run sends requests until ctx ends.
func (t *traffic) run(ctx context.Context, rate int) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for began, sent := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for due := int(now.Sub(began).Seconds() * float64(rate)); sent < due; sent++ {
				t.group.Go(func() { t.one([]string{"GET", "POST"}[sent%2]) })
			}
		}
	}
}

// one sends one request.
func (t *traffic) one(method string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	began := time.Now()
	who, err := t.send(ctx, method)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.Sent++
	if len(t.took) < cap(t.took) {
		t.took = append(t.took, now.Sub(began))
	} else {
		t.took[rand.N(len(t.took))] = now.Sub(began)
	}
	if err == nil {
		t.tally.First = cmp.Or(t.tally.First, now.Sub(t.began))
		t.tally.Answered[who]++
		return
	}
	if t.tally.Failed[method]++; len(t.tally.Errors) < 10 {
		t.tally.Errors = append(t.tally.Errors, now.Format("15:04:05.000 ")+err.Error())
	}
}

// look notes who is lost from views, until ctx ends.
func (t *traffic) look(ctx context.Context) {
	for was := t.sub.View(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.sub.Changed(was):
		}
		now := t.sub.View()
		t.mu.Lock()
		for _, i := range was.Instances() {
			if now.Instance(i.ID) == nil {
				t.lost[i.ID] = true
			}
		}
		t.mu.Unlock()
		was = now
	}
}

// count returns the tally.
func (t *traffic) count() tally {
	v := t.sub.View()
	t.mu.Lock()
	defer t.mu.Unlock()
	is := t.tally
	is.Answered, is.Failed, is.Errors = maps.Clone(is.Answered), maps.Clone(is.Failed), slices.Clone(is.Errors)
	is.P50, is.P99, _ = spread(slices.Clone(t.took))
	is.Lost, is.Age = slices.Sorted(maps.Keys(t.lost)), v.Age()
	for _, i := range v.Instances() {
		is.View = append(is.View, i.ID)
	}
	return is
}

// tallyOf asks a caller how its requests went. order is "count", or "stop" to have it
// end them before.
func tallyOf(t *testing.T, f *fleet, order string) (is tally) {
	t.Helper()
	line, err := f.order(order)
	if err == nil {
		err = json.Unmarshal([]byte(line), &is)
	}
	if err != nil {
		t.Fatalf("a caller answers %q: %v", line, err)
	}
	return is
}

// cacheDir is a directory of a caller's own.
func cacheDir(t *testing.T) string { return filepath.Join(t.TempDir(), "views") }
