package watch

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

// A barrier waits until the last of those who were told before it began may keep it no
// longer; what was told of other services, or is told later, does not matter to it.
func TestBarrierWaitsForWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.write(put("a", "1", "1"))
		w.publish()
		took := func(acknowledged int, want time.Duration) {
			t.Helper()
			start := time.Now()
			b := w.hub.Barrier(t.Context(), topicA, w.rev)
			if over := time.Since(start) - want; b.Acknowledged != acknowledged || b.Pending != 0 || over < 0 || over > tick {
				t.Errorf("%+v after %v, want %d acknowledged after %v", b, time.Since(start), acknowledged, want)
			}
		}
		took(0, 0)
		w.hub.Told(Topic{Service: "other"}, time.Hour)
		took(0, 0)

		w.hub.Told(topicA, time.Second)
		took(1, time.Second+travel)
		took(0, 0) // nobody keeps it

		// The largest counts, whatever came after it.
		w.hub.Told(topicA, 30*time.Second)
		time.Sleep(3 * time.Second)
		w.hub.Told(topicA, time.Second)
		took(1, 27*time.Second+travel)

		// What may not be kept may yet be under way.
		w.hub.Told(topicA, 0)
		took(1, travel)
		w.hub.Told(topicA, -time.Hour)
		took(1, travel)

		// Others are told of what is new.
		w.hub.Told(topicA, 2*time.Second)
		done := w.waiting(t.Context(), w.rev)
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			w.hub.Told(topicA, 2*time.Second)
		}
		isDone(t, done, 1, 0)

		// Nobody has to wait for it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if b := w.hub.Barrier(ctx, topicA, w.rev); b.Pending != 1 || b.Acknowledged != 0 || b.Elapsed != rollcall.Duration(time.Second) {
			t.Errorf("%+v when its time was over", b)
		}
		done = w.waiting(t.Context(), w.rev)
		w.hub.Close()
		isDone(t, done, 0, 1)
	})
}

// A barrier that begins while an answer is under way does not miss it, as long as who
// answers does as [Hub.Told] says.
func TestNoAnswerUnderWayIsMissed(t *testing.T) {
	w := newWorld(t, wide)
	for round := range 300 {
		services := make([]Topic, 100)
		for n := range services {
			services[n].Service = fmt.Sprint(round, "-", n)
		}
		var door sync.WaitGroup
		var begun atomic.Bool
		sent := make([]rollcall.Revision, len(services))
		door.Go(func() {
			for n, service := range services {
				before := w.hub.Revision()
				sent[n] = w.c.Snapshot().Revision()
				begun.Store(true)
				w.hub.Told(service, time.Hour)
				if w.hub.Revision() != before {
					sent[n] = w.c.Snapshot().Revision()
				}
			}
		})
		w.write(put("a", "1", fmt.Sprint(round)))
		for !begun.Load() {
			runtime.Gosched()
		}
		w.publish()
		waited := make([]bool, len(services))
		for n, service := range services {
			b := w.hub.barrier(service, w.rev)
			waited[n] = b.kept != nil
			b.end()
		}
		door.Wait()
		for n := range services {
			if sent[n] < w.rev && !waited[n] {
				t.Fatalf("round %d: revision %d was sent and nobody waits for it at %d", round, sent[n], w.rev)
			}
		}
	}
}

// Services of which nobody keeps anything are forgotten; and nothing is lost where that
// happens while one is told of again.
func TestWhatWasToldIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(time.Now)
		kept := func() (n int) {
			h.told.services.Range(func(any, any) bool { n++; return true })
			return n
		}
		for n := range 1000 {
			h.Told(Topic{Service: fmt.Sprint(n)}, time.Second)
		}
		old := h.Keeping(Topic{Service: "7"})
		h.Told(topicA, time.Minute)
		time.Sleep(idle)
		h.Sweep()
		if got := kept(); got != 1001 {
			t.Errorf("%d services, want all 1001", got)
		}
		time.Sleep(2 * time.Second)
		h.Sweep()
		if got := kept(); got != 1 {
			t.Errorf("%d services, want the one that is kept", got)
		}
		if is := h.Keeping(Topic{Service: "7"}); old.Told(time.Second) || !is.Told(time.Second) {
			t.Error("what was forgotten takes in more, or what came after it does not")
		}
	})
}

func TestNothingToldIsLostToSweep(t *testing.T) {
	h := NewHub(time.Now)
	stop := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.Sweep()
			}
		}
	})
	for n := range 2000 {
		service := Topic{Service: fmt.Sprint("s", n%7)}
		k, _ := h.told.services.LoadOrStore(service, &Keeping{told: &h.told})
		k.(*Keeping).until.CompareAndSwap(0, -int64(time.Hour)) // as if it were long ago
		var tellers sync.WaitGroup
		for range 3 {
			tellers.Go(func() { h.Told(service, time.Hour) })
		}
		tellers.Wait()
		if left, _ := h.told.left(service); left < time.Minute {
			t.Fatalf("%v are left of an hour", left)
		}
		k, _ = h.told.services.Load(service)
		k.(*Keeping).until.Store(-int64(time.Hour))
	}
	close(stop)
	sweeping.Wait()
}

// Those who keep it are one watcher, that has what the oldest answer says that is
// still kept.
func TestWhoeverKeepsItIsAWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.at.Store(time.Now().UnixNano())
		write := func(version string) {
			w.rev++
			w.apply(rollcall.Entry{Committed: time.Now(), Changes: []rollcall.Change{{Body: put("a", "1", version)}}})
			w.publish()
		}
		expect := func(want ...rollcall.Watcher) {
			t.Helper()
			if diff := cmp.Diff(want, w.hub.Watchers(topicA), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("watchers (-want +got):\n%s", diff)
			}
		}
		write("1")
		expect()
		w.hub.Told(topicA, 10*time.Second)
		time.Sleep(time.Minute)
		expect() // it was too long ago
		w.hub.Told(topicA, 10*time.Second)
		expect(rollcall.Watcher{Subscription: "dns", Door: "dns", Revision: w.rev})
		time.Sleep(time.Second)
		write("2")
		write("3")
		expect(rollcall.Watcher{Subscription: "dns", Door: "dns", Revision: w.rev - 2, Lag: 2})
		w.hub.Told(topicA, 10*time.Second)
		time.Sleep(10*time.Second + 2*travel)
		w.hub.Told(topicA, 10*time.Second)
		expect(rollcall.Watcher{Subscription: "dns", Door: "dns", Revision: w.rev})
		if err := w.hub.Ack("dns", w.rev); err == nil {
			t.Error("somebody acknowledges for all resolvers")
		}
	})
}

// What a caller passes is not kept: it may be a part of a packet.
func TestToldKeepsNothing(t *testing.T) {
	h := NewHub(time.Now)
	packet := []byte("payments")
	h.Told(Topic{Service: unsafe.String(&packet[0], len(packet))}, time.Hour)
	copy(packet, "xxxxxxxx")
	if left, _ := h.told.left(Topic{Service: "payments"}); left < time.Minute {
		t.Error("the service changed with the packet")
	}
	if n := testing.AllocsPerRun(100, func() { h.Told(topicA, time.Hour) }); n != 0 {
		t.Errorf("%v allocations for an answer", n)
	}
}

// BenchmarkTold is what each DNS answer pays for being waited for.
func BenchmarkTold(b *testing.B) {
	h := NewHub(time.Now)
	services := make([]Topic, 10_000)
	for n := range services {
		services[n] = Topic{Namespace: "default", Service: fmt.Sprint("service-", n)}
		h.Told(services[n], time.Second)
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Told(services[0], time.Second)
		}
	})
	b.Run("one by all", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				h.Told(services[0], time.Second)
			}
		})
	})
	b.Run("many by all", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for n := 0; p.Next(); n++ {
				h.Told(services[n%len(services)], time.Second)
			}
		})
	})
}
