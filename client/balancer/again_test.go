package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"
)

var errRefused = fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})

// fail has requests fail at an instance until it is ejected, and returns how many did.
func fail(t *testing.T, b *Balancer, c *clock, id string, err error) (failures int) {
	t.Helper()
	for range 10_000 {
		request(t, b, c, func(got string) (time.Duration, error) {
			if got != id {
				return 50 * time.Millisecond, nil
			}
			failures++
			return 50 * time.Millisecond, err
		})
		if slices.Contains(b.Ejected(), id) {
			return failures
		}
	}
	t.Fatalf("%s is not ejected after %d failures", id, failures)
	return 0
}

// TestHardEvidence: where nobody is there it shows sooner than where it goes badly.
func TestHardEvidence(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("connection refused"), 5},
		{errRefused, 2},
		{&net.OpError{Op: "dial", Err: errors.New("no route to host")}, 2},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, 5}, // a time-out is no evidence
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 5},
	} {
		b, c := fixed(Options{Probes: -1}, some(2)...)
		if got := fail(t, b, c, "1", test.err); got != test.want {
			t.Errorf("%v: ejected after %d failures, want %d", test.err, got, test.want)
		}
	}
}

// TestFirstFailureBehindAnEjection: it ejects again, for longer, and while it is waited
// for nothing else is sent; a success ends that.
func TestFirstFailureBehindAnEjection(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(4)...)
	fail(t, b, c, "1", errDown)
	for n := 2; n < 5; n++ {
		c.now += time.Duration(n-1)*ejectFor*11/10 + time.Second
		if len(b.Ejected()) != 0 {
			t.Fatalf("ejection %d is not over", n-1)
		}
		if got := fail(t, b, c, "1", errDown); got != 1 {
			t.Errorf("ejection %d took %d failures, want 1", n, got)
		}
	}
	c.now += 4*ejectFor*11/10 + time.Second
	var first Pick
	for first.b == nil {
		if p, _ := b.Pick(); p.ID() == "1" {
			first = p
		} else {
			p.Done(nil)
		}
	}
	if got := picks(t, b, c, 100, always(time.Millisecond)); got["1"] != 0 {
		t.Errorf("%d requests follow the first one back", got["1"])
	}
	c.now += tryFor // it may be a stream, which says nothing for long
	if got := picks(t, b, c, 1000, func(string) (time.Duration, error) { return 50 * time.Millisecond, nil }); got["1"] == 0 {
		t.Error("one that goes on for long keeps all others away")
	}
	first.Done(nil)
	if got := fail(t, b, c, "1", errDown); got != 5 {
		t.Errorf("ejected after %d failures behind a success, want 5", got)
	}
}

// TestFailuresFromBefore: what was sent before an ejection is over does not begin the
// next one.
func TestFailuresFromBefore(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(1)...)
	var sent []Pick
	for range 20 {
		p, _ := b.Pick()
		sent = append(sent, p)
	}
	for _, p := range sent[:5] {
		p.Done(errDown)
	}
	c.now += ejectFor*11/10 + time.Second
	for _, p := range sent[5:] {
		p.Done(errDown)
	}
	if len(b.Ejected()) != 0 {
		t.Error("ejected by what was sent before")
	}
}

func TestPickOther(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(5)...)
	not := func(ids ...string) func(Pick) bool {
		return func(p Pick) bool { return !slices.Contains(ids, p.ID()) }
	}
	for range 200 {
		if p, ok := b.PickOther(not("0", "1", "3")); !ok || p.ID() != "2" && p.ID() != "4" {
			t.Fatalf("picked %s", p.ID())
		} else {
			p.Done(nil)
		}
	}
	fail(t, b, c, "4", errDown)
	for range 100 {
		p, _ := b.PickOther(not("0", "1", "3"))
		if p.Done(nil); p.ID() != "2" {
			t.Fatalf("picked %s, which is ejected, before another", p.ID())
		}
	}
	if p, _ := b.PickOther(not("0", "1", "2", "3")); p.ID() != "4" {
		t.Errorf("picked %s, want the only other, though it is ejected", p.ID())
	}
	if p, ok := b.PickOther(not("0", "1", "2", "3", "4")); !ok {
		t.Error("picked nobody")
	} else {
		p.Done(nil)
	}
	b.Update(nil)
	if _, ok := b.PickOther(not()); ok {
		t.Error("picked one of nobody")
	}
}

// TestLoaded: what replies say is as good as a probe's answer, if there are no probes.
func TestLoaded(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(4)...)
	got := map[string]int{}
	for range 400 {
		p, _ := b.Pick()
		got[p.ID()]++
		inFlight, latency := 2, time.Millisecond
		if p.ID() == "3" {
			inFlight, latency = 90, time.Second
		}
		p.Loaded(inFlight, latency)
		c.now += time.Millisecond
		p.Done(nil)
	}
	if got["3"] > 20 {
		t.Errorf("the one that says it is hot got %d of 400", got["3"])
	}
	if _, due := b.Probe(); due {
		t.Error("a probe is due")
	}
}

// TestCancel: who did not wait has seen neither a failure nor an answer.
func TestCancel(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(1)...)
	for range 20 {
		p, _ := b.Pick()
		c.now += time.Second
		p.Cancel()
	}
	e := b.endpoints["0"]
	if e.inFlight.Load() != 0 || e.latency.value() != 0 || len(b.Ejected()) != 0 {
		t.Errorf("in flight %d, latency %v", e.inFlight.Load(), e.latency.value())
	}
}

func TestPayload(t *testing.T) {
	b, _ := fixed(Options{Probes: -1}, Endpoint{ID: "a", Weight: 1, Payload: new(1)})
	p, _ := b.Pick()
	b.Update([]Endpoint{{ID: "a", Weight: 1, Payload: new(2)}})
	if got := *p.Payload().(*int); got != 2 {
		t.Errorf("payload %d", got)
	}
	if took := p.Done(nil); took != 0 {
		t.Errorf("it took %v", took)
	}
}

// TestRanksStay: the order of those who stay is the same whoever comes and goes.
func TestRanksStay(t *testing.T) {
	b, _ := fixed(Options{Probes: -1}, some(50)...)
	line := func() (ids []string) {
		for _, e := range b.set.Load().members {
			if len(e.id) == 1 {
				ids = append(ids, e.id)
			}
		}
		return ids
	}
	before := line()
	b.Update(some(200))
	b.Update(some(30))
	if got := line(); !slices.Equal(got, before) || len(got) != 10 {
		t.Errorf("order %v, before %v", got, before)
	}
}

// TestOneSlowRequest: it keeps others away for a while only.
func TestOneSlowRequest(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(3)...)
	slow := time.Second
	took := func(id string) (time.Duration, error) {
		if id == "1" && slow > 0 {
			slow = 0
			return time.Second, nil
		}
		return 10 * time.Millisecond, nil
	}
	if got := picks(t, b, c, 200, took); got["1"] > 10 {
		t.Errorf("%d of 200 follow a slow one", got["1"])
	}
	c.now += 10 * time.Minute
	if got := picks(t, b, c, 3000, took); got["1"] < 500 {
		t.Errorf("%d of 3,000 much later, want about 1,000", got["1"])
	}
}
