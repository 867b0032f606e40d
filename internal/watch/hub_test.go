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
	"weak"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

var wide = limits{events: 1 << 30, bytes: 1 << 30, age: time.Hour}

// next takes what is there already, nil if there is nothing.
func next(t *testing.T, s *Subscription) *Batch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b, err := s.Next(ctx)
	if err != nil && err != context.Canceled {
		t.Fatal(err)
	}
	return b
}

func (w *world) subscribe(topic Topic, sel Selection, after rollcall.Revision) *Subscription {
	token := rollcall.Token{}
	if after != 0 {
		token = rollcall.Token{Log: w.log, Revision: after}
	}
	return w.hub.Subscribe(topic, sel, token, Reader{})
}

func TestBookmarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		sub := w.subscribe(topicA, selections[2], 0) // sees version 1
		defer sub.Close()
		next(t, sub)
		bookmark := func(want rollcall.Revision) {
			t.Helper()
			start := time.Now()
			b, err := sub.Next(t.Context())
			if err != nil || b.Type != Bookmark || b.Revision != want {
				t.Fatalf("%+v, %v; want a bookmark at %d", b, err, want)
			}
			if d := time.Since(start); d != BookmarkEvery {
				t.Errorf("the bookmark came after %v", d)
			}
		}
		bookmark(0)
		w.write(put("b", "1", "1"))
		w.publish()
		bookmark(1) // others change

		// What is not selected neither wakes nor delays.
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 9 {
				time.Sleep(900 * time.Millisecond)
				w.write(put("a", "1", "2"))
				w.publish()
			}
		}()
		bookmark(6)
		bookmark(10)
		<-done

		// What is comes at once.
		go func() {
			time.Sleep(BookmarkEvery - 1)
			w.write(put("a", "2", "1"))
			w.publish()
		}()
		b, err := sub.Next(t.Context())
		if err != nil || b.Type != Changes || b.Revision != 11 || len(b.Changes) != 1 {
			t.Fatalf("%+v, %v; want the change at 11", b, err)
		}
		bookmark(11)

		// A bookmark can be resumed from, and says that it can.
		w.write(put("b", "2", "1"))
		w.publish()
		bookmark(12)
		again := w.subscribe(topicA, selections[2], 12)
		defer again.Close()
		w.write(put("a", "3", "1"))
		w.publish()
		if b := next(t, again); b == nil || b.Type != Changes || b.Revision != 13 || len(b.Changes) != 1 {
			t.Errorf("%+v, want the change at 13", b)
		}
	})
}

func TestNextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		a, b := w.subscribe(topicA, all, 0), w.subscribe(topicB, all, 0)
		next(t, a)
		next(t, b)
		errs := make(chan error, 2)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, err := a.Next(ctx); errs <- err }()
		synctest.Wait()
		cancel()
		if err := <-errs; err != context.Canceled {
			t.Errorf("canceled, Next returned %v", err)
		}
		go func() { _, err := b.Next(t.Context()); errs <- err }()
		synctest.Wait()
		w.hub.Close()
		if err := <-errs; err != ErrClosed {
			t.Errorf("closed, Next returned %v", err)
		}
		late := w.subscribe(rollcall.NewServiceKey("", "late"), all, 0)
		if b, err := late.Next(t.Context()); err != nil || b.Type != Snapshot {
			t.Errorf("after the end: %+v, %v; want what there is", b, err)
		}
		for _, s := range []*Subscription{a, b, late} {
			if _, err := s.Next(t.Context()); err != ErrClosed {
				t.Errorf("after the end Next returned %v", err)
			}
			s.Close()
		}
	})
}

// TestOthersAreNotWoken looks at the channel that a watcher waits on.
func TestOthersAreNotWoken(t *testing.T) {
	w := newWorld(t, wide)
	woken := func(wake <-chan struct{}) bool {
		select {
		case <-wake:
			return true
		default:
			return false
		}
	}
	names := []Topic{topicA, topicB, {Namespace: "default"}, {Namespace: "other"}, {}}
	want := []bool{true, false, true, false, true}
	var wakes []<-chan struct{}
	for _, name := range names {
		sub := w.subscribe(name, all, 0)
		defer sub.Close()
		next(t, sub)
		_, wake, _ := sub.poll(true)
		wakes = append(wakes, wake)
	}
	w.publish() // nothing
	for i, wake := range wakes {
		if woken(wake) {
			t.Errorf("%v was woken by nothing", names[i])
		}
	}
	w.write(put("a", "1", "1"))
	w.publish()
	for i, wake := range wakes {
		if woken(wake) != want[i] {
			t.Errorf("%v was woken: %v", names[i], !want[i])
		}
	}
}

func TestBatchesAreShared(t *testing.T) {
	w := newWorld(t, wide)
	one, two, three := w.subscribe(topicA, all, 0), w.subscribe(topicA, all, 0), w.subscribe(topicA, selections[1], 0)
	w.write(put("a", "1", "1"))
	w.publish()
	behind := w.subscribe(topicA, all, 1)
	for _, s := range []*Subscription{one, two, three} {
		if b := next(t, s); b.Type != Snapshot {
			t.Fatalf("%+v", b)
		}
	}
	w.write(put("a", "2", "1"))
	w.publish()
	b1, b2, b3, b4 := next(t, one), next(t, two), next(t, three), next(t, behind)
	if b1 != b2 {
		t.Error("two that missed the same got two batches")
	}
	if b1 == b3 || b1 == b4 {
		t.Error("two that see differently, or missed other things, got one batch")
	}
	builds := 0
	for range 3 {
		if got := b1.Memo("k", func() []byte { builds++; return []byte("data") }); string(got) != "data" {
			t.Errorf("the memo is %q", got)
		}
	}
	b1.Memo("other", func() []byte { builds++; return nil })
	b1.Memo("other", func() []byte { builds++; return nil })
	if builds != 2 {
		t.Errorf("%d builds, want 2", builds)
	}
}

// TestSharingIsBounded: whoever resumes from everywhere makes the hub keep no
// more than a few times the history.
func TestSharingIsBounded(t *testing.T) {
	w := newWorld(t, wide)
	const events = 600
	for n := range events {
		w.write(put("a", fmt.Sprint(n), "1"))
		w.publish()
	}
	for after := rollcall.Revision(1); after < events; after++ {
		s := w.subscribe(topicA, all, after)
		if b := next(t, s); len(b.Changes) != events-int(after) {
			t.Fatalf("%d changes after %d", len(b.Changes), after)
		}
		s.Close()
	}
	kept := 0
	for _, m := range w.hub.topics[topicA].shared {
		kept += len(m.batch.Changes)
	}
	if kept > 4*events {
		t.Errorf("%d changes are kept for a history of %d events", kept, events)
	}
}

// TestLaggardsPinNothing: what a watcher has not fetched yet, and can not any
// more, is not kept for it.
func TestLaggardsPinNothing(t *testing.T) {
	w := newWorld(t, limits{events: 10, bytes: 1 << 30, age: time.Hour})
	lazy, lagging := w.subscribe(topicA, all, 0), w.subscribe(topicA, all, 0)
	defer lazy.Close()
	defer lagging.Close()
	next(t, lazy)
	next(t, lagging)
	w.write(put("a", "gone", "1"))
	w.publish()
	next(t, lagging) // makes a batch with it
	item := weak.Make(w.c.Snapshot().Item(rollcall.NewKey("", "a", "gone")))
	w.write(remove("a", "gone"))
	w.publish()
	for n := range 20 {
		w.write(put("a", fmt.Sprint(n), "1"))
		w.publish()
	}
	w.published = nil
	runtime.GC()
	if item.Value() != nil {
		t.Error("an instance that nobody can be told of any more is kept")
	}
	if b := next(t, lazy); b == nil || b.Type != Reset || b.State.Instances() != 20 {
		t.Errorf("%+v, want a reset", b)
	}
}

// TestResume lists tokens and what they lead to.
func TestResume(t *testing.T) {
	old := rollcall.NewServiceKey("", "old")
	for _, tt := range []struct {
		name    string
		topic   Topic
		token   rollcall.Token
		want    Type
		changes int
	}{
		{"no token", topicA, rollcall.Token{}, Snapshot, 0},
		{"another log", topicA, rollcall.Token{Log: second, Revision: 6}, Reset, 0},
		{"from the future", topicA, rollcall.Token{Log: first, Revision: 7}, Reset, 0},
		{"trimmed", topicA, rollcall.Token{Log: first, Revision: 1}, Reset, 0},
		{"just not trimmed", topicA, rollcall.Token{Log: first, Revision: 2}, Changes, 1},
		{"current", topicA, rollcall.Token{Log: first, Revision: 3}, Bookmark, 0},
		{"current, of the newest", topicA, rollcall.Token{Log: first, Revision: 6}, Bookmark, 0},
		{"current, though trimmed", old, rollcall.Token{Log: first, Revision: 1}, Bookmark, 0},
		{"before all", old, rollcall.Token{Log: first}, Reset, 0},
		{"unknown service", rollcall.NewServiceKey("", "x"), rollcall.Token{Log: first, Revision: 2}, Bookmark, 0},
		{"unknown service, trimmed", rollcall.NewServiceKey("", "x"), rollcall.Token{Log: first, Revision: 1}, Reset, 0},
		{"namespace", Topic{Namespace: "default"}, rollcall.Token{Log: first, Revision: 2}, Changes, 2},
		{"everything, trimmed", Topic{}, rollcall.Token{Log: first, Revision: 1}, Reset, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, limits{events: 4, bytes: 1 << 30, age: time.Hour})
				for _, s := range []string{"old", "a", "a", "b", "b", "b"} { // 1 to 6; 3 to 6 are in the history
					w.write(put(s, "1", fmt.Sprint(w.rev)))
					w.publish()
				}
				s := w.hub.Subscribe(tt.topic, all, tt.token, Reader{})
				defer s.Close()
				b, err := s.Next(t.Context())
				if err != nil || b.Type != tt.want || len(b.Changes) != tt.changes {
					t.Errorf("type %d with %d changes, %v; want type %d with %d", b.Type, len(b.Changes), err, tt.want, tt.changes)
				}
				if b.Type != Changes && b.Revision != 6 {
					t.Errorf("it is as of %d", b.Revision)
				}
			})
		})
	}
}

// TestThroughAReset: between the last state before a reset and the one after it
// there is nothing to resume from, whoever saw it.
func TestThroughAReset(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	sub := w.subscribe(topicA, all, 0)
	defer sub.Close()
	next(t, sub)
	w.rev += 10 // of which this member saw nothing
	w.restart(first)
	if b := next(t, sub); b == nil || b.Type != Changes || b.Revision != 12 || len(b.Changes) != 1 {
		t.Errorf("%+v, want the difference", b)
	}
	for after, want := range map[rollcall.Revision]Type{1: Reset, 5: Reset, 11: Reset} {
		s := w.subscribe(topicA, all, after)
		if b := next(t, s); b == nil || b.Type != want {
			t.Errorf("after %d: %+v, want type %d", after, b, want)
		}
		s.Close()
	}
	s := w.subscribe(topicA, all, 12)
	defer s.Close()
	if b := next(t, s); b == nil || b.Type != Bookmark {
		t.Errorf("after the reset: %+v, want no more than that it is current", b)
	}
	if b := next(t, s); b != nil {
		t.Errorf("after that: %+v, want nothing", b)
	}
}

// TestGap: nobody resumes from where the events of a publication do not reach
// back to.
func TestGap(t *testing.T) {
	w := newWorld(t, wide)
	for v := range 4 { // revisions 1 to 4
		w.write(put("a", "1", fmt.Sprint(v)))
		if v < 2 {
			w.publish()
		}
	}
	s, events := w.c.Publish()
	w.hub.Publish(s, events[1:], 3)
	for after, want := range map[rollcall.Revision]Type{1: Reset, 2: Reset, 3: Changes} {
		s := w.subscribe(topicA, all, after)
		if b := next(t, s); b == nil || b.Type != want {
			t.Errorf("after %d: %+v, want type %d", after, b, want)
		}
		s.Close()
	}
}

// TestAnotherLog: watchers who are connected are told to begin anew, even if
// the other log holds the same, and its revisions are lower.
func TestAnotherLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		for n := range 4 {
			w.write(put("a", fmt.Sprint(n), "1"))
			w.publish()
		}
		sub := w.subscribe(topicA, all, 0)
		defer sub.Close()
		next(t, sub)
		got := make(chan *Batch)
		go func() {
			b, _ := sub.Next(t.Context())
			got <- b
		}()
		synctest.Wait()
		w.restart(second)
		if b := <-got; b.Type != Reset || b.Revision != 2 || b.State.Log() != second || b.State.Instances() != 4 {
			t.Fatalf("%+v, want a reset to the other log", b)
		}
		if b, err := sub.Next(t.Context()); err != nil || b.Type != Bookmark || b.Revision != 2 {
			t.Errorf("%+v, %v; want a bookmark in the other log", b, err)
		}
		w.write(put("a", "new", "1"))
		w.publish()
		if b := next(t, sub); b == nil || b.Type != Changes || b.Revision != 3 {
			t.Errorf("%+v, want the change in the other log", b)
		}
		w.hub.check(t)
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	w := newWorld(t, limits{events: 1, bytes: 1 << 30, age: time.Hour})
	var subs []*Subscription
	for n := range 100 {
		subs = append(subs, w.subscribe(rollcall.NewServiceKey("", fmt.Sprint(n)), all, 0))
	}
	w.write(put("a", "1", "1"))
	w.publish()
	if n := w.hub.Subscribers(); n != 100 {
		t.Errorf("%d subscribers", n)
	}
	for _, s := range subs {
		s.Close()
	}
	if n := len(w.hub.topics); n != 3 || w.hub.Subscribers() != 0 {
		t.Errorf("%d topics are left, with %d subscribers; want those of the one event", n, w.hub.Subscribers())
	}
	w.hub.check(t)
}

// bench returns a hub and what publishes one change of service a.
func bench(b *testing.B) (h *Hub, publish func()) {
	w := newWorld(b, limits{HistoryEvents, HistoryBytes, HistoryAge})
	w.write(put("a", "1", "1"))
	s, _ := w.c.Publish()
	before := s.Item(rollcall.NewKey("", "a", "1"))
	w.write(status("a", rollcall.Degraded, "1"))
	s, events := w.c.Publish()
	w.hub.Publish(s, events, 0)
	after := s.Item(rollcall.NewKey("", "a", "1"))
	rev := s.Revision()
	return w.hub, func() {
		rev++
		before, after = after, before
		w.hub.Publish(s, []catalog.Event{{Revision: rev, Service: topicA, ID: "1", Before: before, After: after}}, 0)
	}
}

// watchers lets n subscriptions wait for service a. got counts batches.
func watchers(b *testing.B, h *Hub, n int) (got *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	got = new(atomic.Int64)
	for range n {
		s := h.Subscribe(topicA, all, rollcall.Token{}, Reader{})
		wg.Go(func() {
			defer s.Close()
			for {
				if _, err := s.Next(ctx); err != nil {
					return
				}
				got.Add(1)
			}
		})
	}
	for got.Load() < int64(n) {
		runtime.Gosched()
	}
	got.Store(0)
	return got, func() {
		cancel()
		wg.Wait()
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 1, 1000, 10_000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			h, publish := bench(b)
			_, stop := watchers(b, h, n)
			b.ReportAllocs()
			for b.Loop() {
				publish()
			}
			b.StopTimer()
			stop()
		})
	}
}

// BenchmarkDelivery measures from one publication until all have its batch.
func BenchmarkDelivery(b *testing.B) {
	for _, n := range []int{1, 100, 9500} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			h, publish := bench(b)
			got, stop := watchers(b, h, n)
			b.ReportAllocs()
			for b.Loop() {
				publish()
				for got.Load() < int64(n) {
					runtime.Gosched()
				}
				got.Store(0)
			}
			b.StopTimer()
			stop()
		})
	}
}

// BenchmarkCatchUp measures the merge for a watcher that missed many changes.
func BenchmarkCatchUp(b *testing.B) {
	for _, n := range []int{1, 101, 10_001} {
		b.Run(fmt.Sprintf("missed=%d", n), func(b *testing.B) {
			h, publish := bench(b)
			s := h.Subscribe(topicA, all, rollcall.Token{}, Reader{})
			defer s.Close()
			s.first = nil
			for range n {
				publish()
			}
			t, cursor := s.topic, s.cursor
			b.ReportAllocs()
			for b.Loop() {
				s.cursor = cursor
				t.unshare()
				if got, _, _ := s.poll(true); got == nil {
					b.Fatal("nothing")
				}
			}
		})
	}
}
