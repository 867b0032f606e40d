package balancer

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func anybody(Pick) bool { return true }

// TestOverTwice: a second Done, which is a mistake, does not make an instance look idle
// for ever.
func TestOverTwice(t *testing.T) {
	b := New(Options{Probes: -1})
	b.Update([]Endpoint{{ID: "a", Weight: 1}})
	p, _ := b.Pick()
	p.Done(nil)
	p.Done(nil)
	if n := p.e.inFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestSettleWaitsForWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Probes: -1})
		two := []Endpoint{{ID: "a", Weight: 1}, {ID: "b", Weight: 1}}
		b.Update(two)
		var picks [2]Pick
		for i := range picks {
			for {
				p, _ := b.Pick()
				if p.ID() == two[i].ID {
					picks[i] = p
					break
				}
				p.Cancel()
			}
		}
		was := b.Mark()
		b.Settle(t.Context(), was, anybody) // nobody has left
		two[0].Down = true
		b.Update(two)
		if b.Mark() == was {
			t.Error("an update left the mark as it was")
		}
		b.Settle(t.Context(), was, func(p Pick) bool { return p.ID() != "a" }) // not meant
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if b.Settle(ctx, was, anybody); time.Since(start) != time.Second {
			t.Errorf("gave up after %v", time.Since(start))
		}
		done := make(chan struct{})
		go func() { defer close(done); b.Settle(t.Context(), was, anybody) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("settled with a request under way")
		default:
		}
		picks[0].Done(nil)
		<-done // although one is under way to who stayed
		b.Update(nil)
		picks[1].Cancel()
		b.Settle(t.Context(), was, anybody)
	})
}

// TestPickDuringAnUpdate: who is known to leave is not picked from the old set.
func TestPickDuringAnUpdate(t *testing.T) {
	b := New(Options{Probes: -1})
	b.Update([]Endpoint{{ID: "a", Weight: 1}, {ID: "b", Weight: 1}})
	b.endpoints["a"].out.Store(true)
	for range 100 {
		p, _ := b.Pick()
		if p.ID() == "a" {
			t.Fatal("picked")
		}
		p.Done(nil)
		if p, _ = b.PickOther(anybody); p.ID() == "a" {
			t.Fatal("picked as another")
		}
		p.Done(nil)
	}
	if n := b.endpoints["a"].inFlight.Load(); n != 0 {
		t.Errorf("%d under way to it", n)
	}
}

// TestNothingIsSentToWhoLeft: once an update has settled no pick is held, or made, of
// who left with it.
func TestNothingIsSentToWhoLeft(t *testing.T) {
	b := New(Options{Probes: -1})
	all := some(4)
	b.Update(all)
	var gone [4]atomic.Bool
	number := map[string]int{}
	for i, e := range all {
		number[e.ID] = i
	}
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p, ok := b.Pick()
				if other, found := b.PickOther(func(o Pick) bool { return o.ID() != p.ID() }); found {
					if gone[number[other.ID()]].Load() {
						t.Errorf("picked another, %s, which has left", other.ID())
					}
					other.Done(nil)
				}
				if ok && gone[number[p.ID()]].Load() {
					t.Errorf("picked %s, which has left", p.ID())
				}
				p.Cancel()
			}
		})
	}
	for n := range 40 {
		i := n % len(all)
		was := b.Mark()
		all[i].Down = true
		b.Update(all)
		b.Settle(t.Context(), was, anybody)
		gone[i].Store(true)
		runtime.Gosched()
		gone[i].Store(false)
		all[i].Down = false
		b.Update(all)
	}
	close(stop)
	callers.Wait()
}
