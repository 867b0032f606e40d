package demo

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// An instance that is a process does what it is ordered: it fails, stays where it is,
// goes where it is sent, and leaves without an error when it is drained.
func TestProcessObeys(t *testing.T) {
	s := rollcalltest.Start(t)
	f := &fleet{program: program(t), registry: s.Addr}
	defer f.end()
	o := orders{Work: rollcall.Duration(time.Millisecond), Moves: true, Instances: []rollcall.Instance{{
		Service: "rides", ID: "d-1", Capacity: 4, Position: &rollcall.Position{Lat: 52, Lon: 13},
	}}}
	if err := f.start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	p, err := f.of("d-1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	find := func() *target {
		ans, err := c.Resolve(t.Context(), rollcall.Query{Service: "rides"})
		if err != nil || len(ans.Instances) != 1 {
			t.Fatalf("%v, %v", ans.Instances, err)
		}
		return targetOf(&ans.Instances[0])
	}
	caller := &caller{http: http.DefaultClient}
	if err := caller.get(t.Context(), find().url); err != nil {
		t.Error(err)
	}

	yes := true
	p.order(order{Hold: &yes, Fail: &yes})
	n, err := p.await(t.Context(), newsHeld)
	if err != nil {
		t.Fatal(err)
	}
	if at := n.Positions["d-1"]; kilometres(at, rollcall.Position{Lat: 52, Lon: 13}) > 20 {
		t.Errorf("it is at %v", at)
	}
	if err := caller.get(t.Context(), find().url); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("it was told to fail: %v", err)
	}

	p.order(order{Go: map[string]rollcall.Position{"d-1": {Lat: 1, Lon: 2}}})
	if _, err := p.await(t.Context(), newsThere); err != nil {
		t.Fatal(err)
	}
	ans, err := c.Resolve(t.Context(), rollcall.Query{Service: "rides", Near: "1,2", Limit: 1})
	if err != nil || len(ans.Instances) != 1 || ans.Instances[0].Distance == nil || *ans.Instances[0].Distance > 0.1 {
		t.Errorf("%+v, %v", ans.Instances, err)
	}

	p.order(order{Drain: true})
	if n, err := p.await(t.Context(), newsDrained); err != nil || n.Barrier.Pending != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	<-p.exited
	if !p.cmd.ProcessState.Success() {
		t.Errorf("%v", p.cmd.ProcessState)
	}
	if _, err := c.Instance(t.Context(), rollcall.NewKey("", "rides", "d-1")); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("it is registered still: %v", err)
	}
}

// A process ends when its parent has, which closes its input.
func TestServeEndsWithItsInput(t *testing.T) {
	s := rollcalltest.Start(t)
	in, orders := io.Pipe()
	out := make(chan error)
	ready, says := io.Pipe()
	go func() { out <- Serve(context.Background(), in, says) }()
	io.WriteString(orders, `{"registry":"`+s.Addr+`","work":"1ms","instances":[{"service":"x","id":"x-1"}]}`+"\n")
	if _, err := ready.Read(make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	orders.Close()
	if err := <-out; err != nil {
		t.Error(err)
	}
}

func TestServeRefusesNonsense(t *testing.T) {
	for _, in := range []string{"", "{", `{"registry":"ftp://x"}` + "\n"} {
		if err := Serve(t.Context(), strings.NewReader(in), io.Discard); err == nil {
			t.Errorf("%q is no orders", in)
		}
	}
}

// What an instance reports follows from its requests: four of 250 ms in half a
// second are two at once on average.
func TestLoadIsThatOfItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := &served{capacity: 4, since: now, took: []float64{250, 250, 250, 250}, errors: 1, inFlight: 3}
		time.Sleep(500 * time.Millisecond) // virtual
		l := s.load(time.Now())
		if math.Abs(l.Utilization-0.5) > 1e-9 || l.RPS != 8 || l.Errors != 2 || l.InFlight != 3 || l.LatencyP50 != 250 || l.LatencyP99 != 250 {
			t.Errorf("%+v", l)
		}
		time.Sleep(time.Second) // virtual
		if l := s.load(time.Now()); l.Utilization != 0 || l.RPS != 0 || l.LatencyP50 != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// A drained instance waits until nobody has called for a while.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &served{work: 200 * time.Millisecond, slow: 1, id: "x-1"}
		began := time.Now()
		quiet := make(chan struct{})
		go func() {
			s.quiet(t.Context())
			close(quiet)
		}()
		time.Sleep(quietFor / 2) // virtual
		s.serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		ended := time.Now()
		<-quiet
		if waited := time.Since(ended); waited < quietFor || time.Since(began) > 3*quietFor {
			t.Errorf("it ended %v after the last request", waited)
		}
	})
}
