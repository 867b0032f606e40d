package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const logA, logB = rollcall.LogID("aaaaaaaaaaaaaaaa"), rollcall.LogID("bbbbbbbbbbbbbbbb")

var epoch = time.Unix(1_700_000_000, 0).UTC()

func second(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// event is the nth event, one a second, of three services in turn.
func event(n int) Entry {
	return Entry{Log: logA, Image: fmt.Sprint("before ", n), Event: rollcall.Event{
		Revision: rollcall.Revision(n + 1), At: second(n), Type: "registered",
		Namespace: []string{"default", "other"}[n%2], Service: []string{"a", "B", "c"}[n%3], ID: fmt.Sprint(n % 5),
	}}
}

// open opens a history in which it is an hour after the epoch.
func open(t testing.TB, dir string, most int64) *History {
	t.Helper()
	h, err := Open(dir, Options{MaxBytes: most, Now: func() time.Time { return epoch.Add(1000 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func fill(h *History, from, to int) {
	for i := from; i < to; i++ {
		h.Add(event(i))
	}
}

// list pages through all that matches and returns when, in seconds, it was.
func list(t testing.TB, h *History, f rollcall.EventFilter, limit int) (seconds []int) {
	t.Helper()
	for after, pages := "", 0; ; pages++ {
		es, next, err := h.Events(f, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) > limit || next != "" && len(es) < limit {
			t.Fatalf("a page of %d, with next %q", len(es), next)
		}
		for _, e := range es {
			if e.Type == TypeGap {
				seconds = append(seconds, -1)
				continue
			}
			seconds = append(seconds, int(e.At.Sub(epoch)/time.Second))
		}
		if next == "" {
			return seconds
		}
		if after == next || pages > 1_000_000 {
			t.Fatal("the listing does not end")
		}
		after = next
	}
}

// down returns from-1 … to.
func down(from, to int) (ns []int) {
	for n := from - 1; n >= to; n-- {
		ns = append(ns, n)
	}
	return ns
}

// stored returns a history of events with some on disk, some in the tail and
// some in memory alone.
func stored(t *testing.T, n int) *History {
	h := open(t, t.TempDir(), 0)
	fill(h, 0, n/4)
	h.mu.Lock()
	h.seal()
	h.mu.Unlock()
	fill(h, n/4, n/2)
	if !h.flush() {
		t.Fatal("not written")
	}
	fill(h, n/2, n)
	return h
}

func TestFilters(t *testing.T) {
	memory := open(t, "", 0)
	fill(memory, 0, 30)
	for _, tt := range []struct {
		name string
		f    rollcall.EventFilter
		want func(n int) bool
	}{
		{"all", rollcall.EventFilter{}, func(int) bool { return true }},
		{"namespace", rollcall.EventFilter{Namespace: "other"}, func(n int) bool { return n%2 == 1 }},
		{"namespace in capitals", rollcall.EventFilter{Namespace: "OTHER"}, func(n int) bool { return n%2 == 1 }},
		{"service", rollcall.EventFilter{Service: "a"}, func(n int) bool { return n%3 == 0 }},
		{"service in another case", rollcall.EventFilter{Service: "A"}, func(n int) bool { return n%3 == 0 }},
		{"service written in capitals", rollcall.EventFilter{Service: "b"}, func(n int) bool { return n%3 == 1 }},
		{"id", rollcall.EventFilter{ID: "3"}, func(n int) bool { return n%5 == 3 }},
		{"since, inclusive", rollcall.EventFilter{Since: second(20)}, func(n int) bool { return n >= 20 }},
		{"until, exclusive", rollcall.EventFilter{Until: second(20)}, func(n int) bool { return n < 20 }},
		{"a time between", rollcall.EventFilter{Since: second(10), Until: second(12).Add(1)}, func(n int) bool { return n >= 10 && n <= 12 }},
		{"all at once", rollcall.EventFilter{Namespace: "default", Service: "a", ID: "1", Since: second(1), Until: second(20)}, func(n int) bool { return n == 6 }},
		{"nothing", rollcall.EventFilter{Service: "x"}, func(int) bool { return false }},
		{"an empty time", rollcall.EventFilter{Since: second(5), Until: second(5)}, func(int) bool { return false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []int
			for n := 29; n >= 0; n-- {
				if tt.want(n) {
					want = append(want, n)
				}
			}
			for name, h := range map[string]*History{"memory": memory, "disk": stored(t, 30)} {
				for _, limit := range []int{1, 2, 3, 29, 30, 31, 1000} {
					if got := list(t, h, tt.f, limit); !slices.Equal(got, want) {
						t.Errorf("%s, in pages of %d: %v, want %v", name, limit, got, want)
					}
				}
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		h := open(t, dir, 0)
		if got := list(t, h, rollcall.EventFilter{}, 10); got != nil {
			t.Errorf("%v", got)
		}
		log, rev := h.Last()
		if log != "" || rev != 0 || h.Len() != 0 || h.Bytes() != 0 || !h.Oldest().IsZero() {
			t.Errorf("%s at %d, %d entries, %d bytes, back to %v", log, rev, h.Len(), h.Bytes(), h.Oldest())
		}
	}
}

func TestCursors(t *testing.T) {
	h := stored(t, 10)
	for _, after := range []string{"x", "-1", "11", "1.5", "18446744073709551616", " 1"} {
		_, _, err := h.Events(rollcall.EventFilter{}, after, 5)
		if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Kind != rollcall.ErrInvalid || e.Field != "after" {
			t.Errorf("%q: %v, want an error about after", after, err)
		}
	}
	// A cursor stays where it is while events are added.
	es, next, err := h.Events(rollcall.EventFilter{}, "", 4)
	if err != nil || len(es) != 4 {
		t.Fatal(es, err)
	}
	h.Add(event(10), event(11))
	es, _, err = h.Events(rollcall.EventFilter{}, next, 4)
	if err != nil || len(es) != 4 || es[0].Revision != 6 || es[3].Revision != 3 {
		t.Errorf("%+v, %v; want 6 to 3", es, err)
	}
}

// TestMemoryIsBounded: without a disk the oldest blocks go.
func TestMemoryIsBounded(t *testing.T) {
	const most, total = 4 * blockSize, 50_000
	h := open(t, "", most)
	fill(h, 0, 10)
	_, next, err := h.Events(rollcall.EventFilter{}, "", 3)
	if err != nil {
		t.Fatal(err)
	}
	fill(h, 10, total)
	n := h.Len()
	if got := h.Bytes(); got > most+blockSize || got < most-blockSize {
		t.Errorf("%d bytes are kept, of %d", got, most)
	}
	if got := list(t, h, rollcall.EventFilter{}, 7001); !slices.Equal(got, down(total, total-n)) {
		t.Errorf("%d events of %d, from %d to %d", len(got), n, got[0], got[len(got)-1])
	}
	if got, want := h.Oldest(), second(total-n-1); !got.Equal(want) {
		t.Errorf("the past is known back to %v, want %v", got, want)
	}
	// The page that the first cursor stood for is gone: the listing ends.
	if es, next, err := h.Events(rollcall.EventFilter{}, next, 3); err != nil || len(es) != 0 || next != "" {
		t.Errorf("%d events, next %q, %v", len(es), next, err)
	}
	if h.Lost() != 0 {
		t.Errorf("%d events are lost", h.Lost())
	}
}

// TestAtOnce lists and looks back while events are added and written, and old
// ones removed.
func TestAtOnce(t *testing.T) {
	h := open(t, t.TempDir(), 200<<10)
	ctx, cancel := context.WithCancel(t.Context())
	var adding, running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	adding.Go(func() {
		for n := range 60_000 {
			h.Add(event(n))
		}
	})
	for range 2 {
		adding.Go(func() {
			for range 10 {
				last := -1
				for _, n := range list(t, h, rollcall.EventFilter{Service: "a"}, 1000) {
					if n%3 != 0 || last >= 0 && n != last-3 {
						t.Errorf("%d comes after %d", n, last)
						return
					}
					last = n
				}
			}
		})
		adding.Go(func() {
			for range 20 {
				at := h.Oldest()
				before, err := h.Since(at, rollcall.NewServiceKey("default", "a"))
				if e, ok := errors.AsType[*rollcall.Error](err); err != nil && (!ok || e.Field != "at") || len(before) > 5 {
					t.Errorf("since %v: %d images, %v", at, len(before), err)
				}
			}
		})
	}
	adding.Wait()
	cancel()
	running.Wait()
	if got := h.Bytes(); got > 200<<10+blockSize {
		t.Errorf("%d bytes of history", got)
	}
}

// TestWritesWithinASecond: what was added is durable a second later, and at once
// when Run ends.
func TestWritesWithinASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, 0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		h.Add(event(0))
		time.Sleep(flushEvery)
		synctest.Wait()
		if log, rev := h.Last(); log != logA || rev != 1 {
			t.Errorf("after a second %s at %d is durable", log, rev)
		}
		h.Add(event(1))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, rev := h.Last(); rev != 2 {
			t.Errorf("in the end %d is durable", rev)
		}
	})
	if got := list(t, open(t, dir, 0), rollcall.EventFilter{}, 10); !slices.Equal(got, down(2, 0)) {
		t.Errorf("read back: %v", got)
	}
}

// TestTooLarge: an entry that nothing could read back is a gap.
func TestTooLarge(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	fill(h, 0, 3)
	e := event(3)
	e.Image = strings.Repeat("x", maxEntry)
	h.Add(e, event(4))
	if !h.flush() {
		t.Fatal("not written")
	}
	if got := list(t, h, rollcall.EventFilter{}, 10); !slices.Equal(got, []int{4, -1, 2, 1, 0}) {
		t.Errorf("%v", got)
	}
	if got := h.Oldest(); !got.Equal(second(3)) {
		t.Errorf("the past is known back to %v", got)
	}
	e.Image = strings.Repeat("x", maxEntry-200)
	e.Revision = 9
	h.Add(e)
	if got := list(t, h, rollcall.EventFilter{}, 10); len(got) != 6 || got[0] != 3 {
		t.Errorf("%v", got)
	}
}

func BenchmarkAddMemory(b *testing.B) {
	h := open(b, "", 0)
	e := event(1)
	b.ReportAllocs()
	for b.Loop() {
		e.Revision++
		h.Add(e)
	}
}
