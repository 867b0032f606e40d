package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

func (w *world) reader(topic Topic, sel Selection, after rollcall.Revision, who Reader) *Subscription {
	token := rollcall.Token{}
	if after != 0 {
		token = rollcall.Token{Log: w.log, Revision: after}
	}
	s := w.hub.Subscribe(topic, sel, token, who)
	w.t.Cleanup(s.Close)
	return s
}

// counts is a barrier that does not wait.
func (w *world) counts(service Topic, rev rollcall.Revision) (acknowledged, pending int) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := w.hub.Barrier(ctx, service, rev)
	return b.Acknowledged, b.Pending
}

func (w *world) wantCounts(rev rollcall.Revision, acknowledged, pending int) {
	w.t.Helper()
	if a, p := w.counts(topicA, rev); a != acknowledged || p != pending {
		w.t.Errorf("at revision %d: %d acknowledged and %d pending, want %d and %d", rev, a, p, acknowledged, pending)
	}
}

// waiting begins a barrier that waits, in a bubble.
func (w *world) waiting(ctx context.Context, rev rollcall.Revision) <-chan rollcall.Barrier {
	done := make(chan rollcall.Barrier, 1)
	go func() { done <- w.hub.Barrier(ctx, topicA, rev) }()
	synctest.Wait()
	return done
}

func isDone(t *testing.T, done <-chan rollcall.Barrier, acknowledged, pending int) {
	t.Helper()
	synctest.Wait()
	select {
	case b := <-done:
		if b.Acknowledged != acknowledged || b.Pending != pending {
			t.Errorf("it ended with %+v, want %d acknowledged and %d pending", b, acknowledged, pending)
		}
	default:
		t.Error("the barrier still waits")
	}
}

func waits(t *testing.T, done <-chan rollcall.Barrier) {
	t.Helper()
	synctest.Wait()
	select {
	case b := <-done:
		t.Fatalf("the barrier ended with %+v", b)
	default:
	}
}

// What is sent to whom nobody can ask counts; what is only handed out does not.
func TestSentIsAcknowledged(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	s := w.reader(topicA, all, 0, Reader{Door: "test"})
	w.wantCounts(1, 0, 1) // it has not been told of anything yet
	next(t, s)
	w.wantCounts(1, 0, 1)
	s.Sent()
	w.wantCounts(1, 1, 0)
	w.write(put("a", "2", "1"))
	w.publish()
	w.wantCounts(1, 1, 0)
	w.wantCounts(2, 0, 1)
	next(t, s)
	w.wantCounts(2, 0, 1)
	s.Sent()
	w.wantCounts(2, 1, 0)
}

// A barrier counts those who watch the service, its namespace and everything,
// and nobody else.
func TestWhoIsWaitedFor(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"), put("b", "1", "1"))
	w.publish()
	who := Reader{Door: "test"}
	for _, topic := range []Topic{topicA, {Namespace: "default"}, {}} {
		w.reader(topic, selections[2], 0, who)
	}
	for _, topic := range []Topic{topicB, {Namespace: "other"}} {
		w.reader(topic, all, 0, who)
	}
	w.reader(topicA, all, 0, Reader{Caller: "nobody"})
	w.wantCounts(1, 0, 3)
	if n := len(w.hub.Watchers(topicA)); n != 3 {
		t.Errorf("%d watchers are listed, want 3", n)
	}
	if n := len(w.hub.Watchers(rollcall.NewServiceKey("", "none"))); n != 2 {
		t.Errorf("%d watchers of a service that is not there are listed, want 2", n)
	}
}

// Whom nothing is left to be told has what is not theirs, but not before they
// have acknowledged all that was.
func TestCurrentIsEnough(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	s := w.reader(topicA, selections[2], 1, Reader{Door: "test"}) // sees version 1
	w.wantCounts(1, 1, 0)                                         // it resumed from there
	w.write(put("a", "2", "2"))
	w.publish()
	w.wantCounts(2, 0, 1) // who knows what it has not looked at?
	next(t, s)
	w.wantCounts(2, 1, 0)

	w.write(put("a", "3", "1"))
	w.publish()
	w.write(put("a", "4", "2"))
	w.publish()
	if b := next(t, s); b.Revision != 4 || b.Changes[0].Revision != 3 {
		t.Fatalf("%+v", b)
	}
	w.wantCounts(4, 0, 1)
	w.wantCounts(3, 0, 1)
	w.wantCounts(2, 0, 1) // what is under way may change that, too
	if err := s.Ack(3); err != nil {
		t.Fatal(err)
	}
	w.wantCounts(4, 1, 0)
}

func TestAck(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	s := w.reader(topicA, all, 0, Reader{Door: "test"})
	next(t, s)
	s.Sent()
	w.wantCounts(1, 1, 0)
	if err := w.hub.Ack("nobody", 1); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("an unknown subscription: %v", err)
	}
	if err := w.hub.Ack(s.ID(), 2); !errors.Is(err, rollcall.ErrInvalid) {
		t.Errorf("what it was not told: %v", err)
	}
	if err := w.hub.Ack(s.ID(), 1); err != nil {
		t.Fatal(err)
	}
	// From here on sending does not count.
	w.write(put("a", "2", "1"))
	w.publish()
	next(t, s)
	s.Sent()
	w.wantCounts(2, 0, 1)
	if err := w.hub.Ack(s.ID(), 1); err != nil { // again, and late
		t.Fatal(err)
	}
	w.wantCounts(2, 0, 1)
	if err := w.hub.Ack(s.ID(), 2); err != nil {
		t.Fatal(err)
	}
	w.wantCounts(2, 1, 0)
	if id := w.reader(topicA, all, 0, Reader{}).ID(); id != "" {
		t.Errorf("nobody is called %s", id)
	}
}

// Who said that it acknowledges counts for nothing else, also before the first time.
func TestAcksFromTheBeginning(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	delivered := Reader{Door: "test", Acks: true, Delivered: func() bool { return true }}
	for n, who := range []Reader{{Door: "test", Acks: true}, delivered} {
		s := w.reader(topicA, all, 0, who)
		next(t, s)
		s.Sent()
		w.wantCounts(1, n, 1)
		if err := s.Ack(1); err != nil {
			t.Fatal(err)
		}
		w.wantCounts(1, n+1, 0)
	}
}

// A service's state is told of with the revision that it has been so since, and
// that is what is acknowledged.
func TestAckOfAnOldView(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.write(put("b", "1", "1"))
	w.publish()
	s := w.reader(topicA, all, 0, Reader{Door: "test"})
	next(t, s)
	if err := s.Ack(1); err != nil {
		t.Fatal(err)
	}
	w.wantCounts(2, 1, 0)
	if ws := w.hub.Watchers(topicA); ws[0].Revision != 2 {
		t.Errorf("%+v, want it current as of 2", ws)
	}
}

// Every event that ends a wait ends it at once, and only for whom it is.
func TestBarrierIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.write(put("a", "1", "1"))
		w.publish()
		who := Reader{Door: "test"}
		sends, acks := w.reader(topicA, all, 1, who), w.reader(Topic{}, all, 1, who)
		leaves := w.hub.Subscribe(topicA, all, rollcall.Token{}, who)
		passes := w.reader(topicA, selections[2], 1, who)
		w.write(put("a", "2", "2"))
		w.publish()
		next(t, sends)
		next(t, acks)
		start := time.Now()
		done := w.waiting(t.Context(), 2)
		sends.Sent()
		waits(t, done)
		w.reader(topicA, all, 0, who) // comes too late to be waited for
		if err := w.hub.Ack(acks.ID(), 2); err != nil {
			t.Fatal(err)
		}
		waits(t, done)
		leaves.Close()
		waits(t, done)
		next(t, passes)
		isDone(t, done, 3, 0)
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}

		// One that has no end but its time.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done = w.waiting(ctx, 2)
		time.Sleep(30*time.Second - 1)
		waits(t, done)
		time.Sleep(time.Nanosecond)
		isDone(t, done, 3, 1)
		done = w.waiting(t.Context(), 2)
		w.hub.Close()
		isDone(t, done, 3, 1)
	})
}

// Where delivery can be asked for, it is: every 5 ms, while somebody waits.
func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.write(put("a", "1", "1"))
		w.publish()
		var asked atomic.Int64
		var arrived atomic.Bool
		who := Reader{Door: "test", Delivered: func() bool { asked.Add(1); return arrived.Load() }}
		s := w.reader(topicA, all, 0, who)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := w.waiting(ctx, 1)
		time.Sleep(time.Second + time.Millisecond)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times before anything was sent", n)
		}
		next(t, s)
		s.Sent()
		time.Sleep(time.Second)
		waits(t, done)
		if n := asked.Load(); n != int64(time.Second/lookEvery) {
			t.Errorf("asked %d times in a second", n)
		}
		arrived.Store(true)
		start := time.Now()
		if b := <-done; b.Acknowledged != 1 || time.Since(start) > lookEvery {
			t.Errorf("%+v, %v after it arrived", b, time.Since(start))
		}
		n := asked.Load()
		time.Sleep(time.Minute)
		if asked.Load() != n {
			t.Error("asked though nobody waits")
		}

		// What is sent after the question was asked is not what was asked about.
		w.write(put("a", "2", "1"))
		w.publish()
		w.wantCounts(2, 0, 1)
		next(t, s)
		w.wantCounts(2, 0, 1)
		s.Sent()
		w.wantCounts(2, 1, 0)

		// Who acknowledges by himself is not asked.
		w.write(put("a", "3", "1"))
		w.publish()
		next(t, s)
		s.Sent()
		if err := s.Ack(2); err != nil {
			t.Fatal(err)
		}
		n = asked.Load()
		w.wantCounts(3, 0, 1)
		if asked.Load() != n {
			t.Error("asked though the reader says by himself")
		}
	})
}

// What was acknowledged of another log says nothing, and one that fell behind
// has what a reset tells once it has that.
func TestBarrierAfterReset(t *testing.T) {
	w := newWorld(t, limits{events: 2, bytes: 1 << 30, age: time.Hour})
	w.write(put("a", "1", "1"))
	w.publish()
	s := w.reader(topicA, all, 1, Reader{Door: "test"})
	for range 5 {
		w.write(put("a", "2", "1"), put("a", "3", "1"))
		w.publish()
	}
	w.wantCounts(6, 0, 1)
	if b := next(t, s); b.Type != Reset {
		t.Fatalf("%+v", b)
	}
	w.wantCounts(6, 0, 1)
	s.Sent()
	w.wantCounts(6, 1, 0)

	w.log, w.rev = second, 3
	w.apply(rollcall.Entry{Reset: true, Changes: []rollcall.Change{{Body: put("a", "1", "1"), Revision: 3}}})
	w.publish()
	if b := next(t, s); b.Type != Reset || b.State.Log() != second {
		t.Fatalf("%+v", b)
	}
	w.wantCounts(3, 0, 1)
	s.Sent()
	w.wantCounts(3, 1, 0)
}

func TestWatchers(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"), put("a", "2", "1"))
	w.publish()
	one := w.reader(topicA, all, 1, Reader{Caller: "web-2", Door: "http", From: "10.0.0.1:7"})
	w.reader(topicA, all, 0, Reader{Caller: "web-1", Door: "sse"})
	w.write(put("b", "1", "1"))
	w.publish()
	for range 3 {
		w.write(put("a", "1", fmt.Sprint(w.rev)), put("a", "2", fmt.Sprint(w.rev)))
		w.publish()
	}
	want := []rollcall.Watcher{
		{Caller: "web-1", Door: "sse", Lag: 4},
		{Caller: "web-2", Door: "http", From: "10.0.0.1:7", Revision: 1, Lag: 3},
	}
	id := cmpopts.IgnoreFields(rollcall.Watcher{}, "Subscription")
	got := w.hub.Watchers(topicA)
	if diff := cmp.Diff(want, got, id); diff != "" {
		t.Error(diff)
	}
	if got[1].Subscription != one.ID() || len(one.ID()) < 16 || got[0].Subscription == one.ID() {
		t.Errorf("%q and %q, want %q", got[0].Subscription, got[1].Subscription, one.ID())
	}
	next(t, one)
	one.Sent()
	want[1].Revision, want[1].Lag = 5, 0
	if diff := cmp.Diff(want, w.hub.Watchers(topicA), id); diff != "" {
		t.Error(diff)
	}
}

// Nobody stays behind in a hub: readers leave in any order.
func TestReadersLeave(t *testing.T) {
	w := newWorld(t, wide)
	var subs []*Subscription
	for range 10 {
		subs = append(subs, w.hub.Subscribe(topicA, all, rollcall.Token{}, Reader{Door: "test"}))
	}
	for _, n := range []int{3, 0, 9, 5, 1, 8, 2, 7, 4, 6} {
		id := subs[n].ID()
		subs[n].Close()
		subs[n] = nil
		var left []string
		for _, s := range subs {
			if s != nil {
				left = append(left, s.ID())
			}
		}
		var got []string
		for _, r := range w.hub.Watchers(topicA) {
			got = append(got, r.Subscription)
		}
		slices.Sort(left)
		slices.Sort(got)
		if !slices.Equal(left, got) {
			t.Fatalf("%v are left, want %v", got, left)
		}
		if err := w.hub.Ack(id, 0); err == nil {
			t.Error("one that left acknowledges")
		}
	}
	if len(w.hub.topics) != 0 || len(w.hub.readers) != 0 {
		t.Errorf("%d topics and %d readers are left", len(w.hub.topics), len(w.hub.readers))
	}
}

// BenchmarkBarrier is of a barrier for 1,000 watchers that wait to be told: from
// the change until all have it.
func BenchmarkBarrier(b *testing.B) {
	for _, ask := range []bool{false, true} {
		b.Run(fmt.Sprintf("asked=%v", ask), func(b *testing.B) {
			w := newWorld(b, wide)
			w.write(put("a", "1", "1"))
			w.publish()
			who := Reader{Door: "test"}
			if ask {
				who.Delivered = func() bool { return true }
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ready := make(chan struct{}, 1000)
			for range 1000 {
				s := w.reader(topicA, all, 0, who)
				go func() {
					for {
						batch, err := s.Next(ctx)
						if err != nil {
							return
						}
						s.Sent()
						if batch.Type == Snapshot {
							ready <- struct{}{}
						}
					}
				}()
			}
			for range 1000 {
				<-ready
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				w.write(put("a", "1", fmt.Sprint(n)))
				w.publish()
				if got := w.hub.Barrier(ctx, topicA, w.rev); got.Acknowledged != 1000 {
					b.Fatal(got)
				}
			}
		})
	}
}

// BenchmarkBarrierAtOnce is of one for 1,000 watchers that have it already.
func BenchmarkBarrierAtOnce(b *testing.B) {
	w := newWorld(b, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	for range 1000 {
		w.reader(topicA, all, 1, Reader{Door: "test"})
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := w.hub.Barrier(context.Background(), topicA, 1); got.Acknowledged != 1000 {
			b.Fatal(got)
		}
	}
}
