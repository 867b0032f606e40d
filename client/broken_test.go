package client_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// The tests here have connections break between a client and a real server.

// proxy passes connections on, until it cuts them.
type proxy struct {
	net.Listener
	to      string
	passing sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	taken  int // how many connections were
	closed bool
}

// startProxy passes connections on to an address until the test ends.
func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to}
	p.passing.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			p.pass(near)
		}
	})
	t.Cleanup(func() {
		p.die()
		p.passing.Wait()
	})
	return p
}

func (p *proxy) pass(near net.Conn) {
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		near.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken++
	if p.conns = append(p.conns, near, far); p.closed {
		p.cutAll()
		return
	}
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		p.passing.Go(func() {
			io.Copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
}

func (p *proxy) cutAll() {
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// die breaks all connections and takes no more.
func (p *proxy) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.Listener.Close()
	p.cutAll()
}

// connected returns how many connections were made.
func (p *proxy) connected() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// through returns a proxy to where a server speaks p, and the address of it.
func (p protocol) through(t *testing.T, s *rollcalltest.Server) (*proxy, string) {
	t.Helper()
	scheme, to, ok := strings.Cut(p.address(s), "://")
	if !ok {
		scheme, to = "http", s.Addr
	}
	x := startProxy(t, to)
	return x, scheme + "://" + x.Listener.Addr().String()
}

// watched collects what a watch tells, until the test ends.
type watched struct {
	mu     sync.Mutex
	known  map[string]rollcall.Instance
	events []client.Event
}

func follow(t *testing.T, c *client.Client, q rollcall.Query) *watched {
	w := &watched{known: map[string]rollcall.Instance{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range c.Watch(ctx, q) {
			if err != nil {
				return
			}
			w.add(ev)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *watched) add(ev client.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev)
	switch ev.Type {
	case client.EventSnapshot, client.EventReset:
		clear(w.known)
		for _, i := range ev.Instances {
			w.known[i.ID] = i
		}
	case client.EventPut:
		w.known[ev.Instance.ID] = *ev.Instance
	case client.EventRemove:
		delete(w.known, ev.ID)
	}
}

// versions returns the versions of who is known, by id.
func (w *watched) versions() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]string{}
	for id, i := range w.known {
		all[id] = i.Version
	}
	return all
}

func (w *watched) has(id string) bool {
	_, ok := w.versions()[id]
	return ok
}

// of returns the events that tell of an instance, and resets, as "type reason".
func (w *watched) of(id string) (told []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.events {
		if ev.Type == client.EventReset || ev.ID == id || slices.Contains(ev.IDs, id) || ev.Instance != nil && ev.Instance.ID == id {
			told = append(told, strings.TrimSpace(string(ev.Type)+" "+ev.Reason))
		}
	}
	return told
}

// operator returns an instance that needs no lease.
func operator(service, id, version string) rollcall.Instance {
	return rollcall.Instance{Service: service, ID: id, Version: version, Address: "10.0.0.1", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
}

// enter registers an instance that needs no lease.
func enter(t *testing.T, c *client.Client, service, id, version string) {
	t.Helper()
	if _, err := c.Put(t.Context(), operator(service, id, version)); err != nil {
		t.Fatal(err)
	}
}

// However often its connection breaks, a watcher is told each change once, or
// what several came to.
func TestWatchesOutliveBrokenConnections(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		wire, addr := p.through(t, srv)
		direct := dial(t, srv.Addr)
		enter(t, direct, "web", "first", "0")
		c := dial(t, addr)
		var all []*watched
		for range 3 {
			all = append(all, follow(t, c, rollcall.Query{Service: "web"}))
		}
		random := rand.New(rand.NewPCG(1, 2))
		for n := range 400 {
			id := fmt.Sprint("w-", random.IntN(20))
			if random.IntN(4) == 0 {
				if err := direct.Deregister(t.Context(), rollcall.NewKey("", "web", id)); err != nil {
					t.Fatal(err)
				}
			} else {
				enter(t, direct, "web", id, fmt.Sprint(n))
			}
			if n%80 == 40 {
				seen := wire.connected()
				wire.cut()
				until(t, func() bool { return wire.connected() > seen })
			}
		}
		want := map[string]string{}
		for i, err := range direct.Instances(t.Context(), rollcall.InstanceFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			want[i.ID] = i.Version
		}
		for _, w := range all {
			until(t, func() bool { return cmp.Equal(want, w.versions()) })
			w.mu.Lock()
			defer w.mu.Unlock()
			var last rollcall.Revision
			told := map[string]bool{}
			for _, ev := range w.events {
				if ev.Revision < last && ev.Type != client.EventWeights {
					t.Errorf("%s at %d after %d", ev.Type, ev.Revision, last)
				}
				last = max(last, ev.Revision)
				if ev.Type == client.EventReset {
					clear(told)
					if p == overGRPC { // whose records are whole
						t.Error("told from the beginning")
					}
				}
				if ev.Type == client.EventPut {
					key := fmt.Sprint(ev.Instance.ID, " ", ev.Instance.Version)
					if told[key] {
						t.Errorf("%s is told twice", key)
					}
					told[key] = true
				}
			}
		}
	})
}

// A watcher who does not keep up is told what it came to, and holds up nobody.
func TestSlowWatcherIsToldTheDifference(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		c, direct := dial(t, p.address(srv)), dial(t, srv.Addr)
		enter(t, direct, "web", "w", "0")
		quick := follow(t, c, rollcall.Query{Service: "web"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stuck, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		slow := &watched{known: map[string]rollcall.Instance{}}
		go func() {
			defer close(ended)
			for ev, err := range c.Watch(ctx, rollcall.Query{Service: "web"}) {
				if err != nil {
					return
				}
				if slow.add(ev); ev.Type == client.EventSnapshot {
					close(stuck)
					<-goOn
				}
			}
		}()
		<-stuck
		const changes = 1000
		for n := range changes {
			enter(t, direct, "web", "w", fmt.Sprint(n+1))
			if n%50 == 0 {
				until(t, func() bool { return quick.versions()["w"] == fmt.Sprint(n+1) })
			}
		}
		last := fmt.Sprint(changes)
		until(t, func() bool { return quick.versions()["w"] == last })
		close(goOn)
		until(t, func() bool { return slow.versions()["w"] == last })
		cancel()
		<-ended
		if told := slow.of("w"); p == overGRPC && len(told) > changes/2 || slices.Contains(told, "reset") {
			t.Errorf("told %d changes of %d", len(told), changes)
		}
	})
}

// A session whose stream breaks is resumed, and no watcher hears of it.
func TestBrokenSessionDoesNotFlap(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		wire, addr := p.through(t, srv)
		direct := dial(t, srv.Addr)
		inst := rollcall.Instance{Service: "web", ID: "w"}
		reg, err := dial(t, addr).Register(t.Context(), inst, client.WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		if mode := reg.Instance().Lease.Mode; mode != rollcall.LeaseSession {
			t.Fatalf("its lease is of mode %q", mode)
		}
		w := follow(t, direct, rollcall.Query{Service: "web", Health: rollcall.HealthAny})
		until(t, func() bool { return w.has("w") })
		for n := range 3 {
			seen := wire.connected()
			wire.cut()
			until(t, func() bool { return wire.connected() > seen })
			if err := reg.Report(t.Context(), rollcall.Report{Load: &rollcall.Load{RPS: float64(n)}}); err != nil {
				t.Error(err)
			}
		}
		enter(t, direct, "web", "marker", "1")
		until(t, func() bool { return w.has("marker") })
		if told := w.of("w"); len(told) != 0 {
			t.Errorf("told %q of it", told)
		}
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return !w.has("w") })
		if told := w.of("w"); !slices.Equal(told, []string{"remove deregistered"}) {
			t.Errorf("in the end told %q", told)
		}
	})
}

// Where one server of two dies, everything goes on at the other.
func TestServerOfTwoDies(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		first, a := p.through(t, srv)
		second, b := p.through(t, srv)
		direct := dial(t, srv.Addr)
		c := dial(t, a+","+b)
		reg, err := c.Register(t.Context(), rollcall.Instance{Service: "web", ID: "w"}, client.WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		beats := rollcall.Instance{Service: "web", ID: "beats", Lease: rollcall.Lease{Mode: rollcall.LeaseTTL}}
		beating, err := c.Register(t.Context(), beats, client.WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		mine := follow(t, c, rollcall.Query{Service: "web"})
		theirs := follow(t, direct, rollcall.Query{Service: "web", Health: rollcall.HealthAny})
		until(t, func() bool { return mine.has("w") && theirs.has("w") })
		if second.connected() != 0 {
			t.Error("the second server is asked although the first answers")
		}
		first.die()
		if err := beating.Report(t.Context(), rollcall.Report{}); err != nil {
			t.Error(err)
		}
		if _, err := c.Resolve(t.Context(), rollcall.Query{Service: "web"}); err != nil {
			t.Error(err)
		}
		until(t, func() bool { // what is on its way when the stream breaks is told to fail
			return reg.Report(t.Context(), rollcall.Report{Load: &rollcall.Load{RPS: 1}}) == nil
		})
		enter(t, direct, "web", "marker", "1")
		until(t, func() bool { return mine.has("marker") && theirs.has("marker") })
		if told := theirs.of("w"); len(told) != 0 {
			t.Errorf("told %q of who was there all the time", told)
		}
	})
}

// A registry that lost its log takes nobody away from who watches.
func TestWatcherKeepsWhatALostLogDoesNotHave(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		enter(t, dial(t, srv.Addr), "web", "old", "1")
		w := follow(t, dial(t, p.address(srv)), rollcall.Query{Service: "web"})
		until(t, func() bool { return w.has("old") })
		if err := srv.Stop(); err != nil {
			t.Fatal(err)
		}
		srv = rollcalltest.Run(t, server.Config{DataDir: t.TempDir(), HTTP: srv.Addr, GRPC: srv.GRPC})
		enter(t, dial(t, srv.Addr), "web", "new", "1")
		until(t, func() bool { return w.has("new") })
		if !w.has("old") {
			t.Error("who is not registered again yet is taken away")
		}
	})
}

// Operators' calls of a client of gRPC go over HTTP to the same place.
func TestOneAddressIsEnough(t *testing.T) {
	srv := rollcalltest.Start(t)
	wire, addr := overGRPC.through(t, srv)
	c := dial(t, addr)
	if s, err := c.Status(t.Context()); err != nil || !s.Synced {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Put(t.Context(), operator("web", "w", "1")); err != nil {
		t.Error(err)
	}
	if wire.connected() != 2 {
		t.Errorf("%d connections, want one of each protocol", wire.connected())
	}
	// It must not take long to find out that nobody is there.
	wire.die()
	began := time.Now()
	_, err := c.Resolve(t.Context(), rollcall.Query{Service: "web"})
	wantKind(t, err, client.ErrUnreachable)
	if time.Since(began) > 5*time.Second {
		t.Errorf("known after %v", time.Since(began))
	}
}
