package history

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

// event is the nth event, one a second, of three services in turn.
func event(n int) rollcall.Event {
	return rollcall.Event{
		Revision: rollcall.Revision(n), At: epoch.Add(time.Duration(n) * time.Second), Type: "registered",
		Namespace: []string{"default", "other"}[n%2], Service: []string{"a", "B", "c"}[n%3], ID: fmt.Sprint(n % 5),
	}
}

func filled(n int) *History {
	h := new(History)
	for i := range n {
		h.Add(event(i))
	}
	return h
}

// list pages through all that matches.
func list(t testing.TB, h *History, f rollcall.EventFilter, limit int) (revisions []int) {
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
			revisions = append(revisions, int(e.Revision))
		}
		if next == "" {
			return revisions
		}
		if pages > 2*Capacity {
			t.Fatal("the listing does not end")
		}
		after = next
	}
}

func TestFilters(t *testing.T) {
	h := filled(30)
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
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
		{"id", rollcall.EventFilter{ID: "3"}, func(n int) bool { return n%5 == 3 }},
		{"since, inclusive", rollcall.EventFilter{Since: at(20)}, func(n int) bool { return n >= 20 }},
		{"until, exclusive", rollcall.EventFilter{Until: at(20)}, func(n int) bool { return n < 20 }},
		{"a time between", rollcall.EventFilter{Since: at(10), Until: at(12).Add(1)}, func(n int) bool { return n >= 10 && n <= 12 }},
		{"all at once", rollcall.EventFilter{Namespace: "default", Service: "a", ID: "1", Since: at(1), Until: at(20)}, func(n int) bool { return n == 6 }},
		{"nothing", rollcall.EventFilter{Service: "x"}, func(int) bool { return false }},
		{"an empty time", rollcall.EventFilter{Since: at(5), Until: at(5)}, func(int) bool { return false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []int
			for n := 29; n >= 0; n-- {
				if tt.want(n) {
					want = append(want, n)
				}
			}
			for _, limit := range []int{1, 2, 3, 29, 30, 31, 1000} {
				if got := list(t, h, tt.f, limit); !slices.Equal(got, want) {
					t.Errorf("in pages of %d: %v, want %v", limit, got, want)
				}
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	h := new(History)
	if got := list(t, h, rollcall.EventFilter{}, 10); got != nil {
		t.Errorf("%v", got)
	}
}

func TestCursors(t *testing.T) {
	h := filled(10)
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
	if err != nil || len(es) != 4 || es[0].Revision != 5 || es[3].Revision != 2 {
		t.Errorf("%+v, %v; want 5 to 2", es, err)
	}
}

// TestWrapAround fills the ring up and writes over its oldest.
func TestWrapAround(t *testing.T) {
	h := filled(Capacity - 1)
	_, next, err := h.Events(rollcall.EventFilter{}, "", 3)
	if err != nil {
		t.Fatal(err)
	}
	total := Capacity - 1
	for _, more := range []int{0, 1, 1, 1, Capacity / 2, Capacity} {
		for range more {
			h.Add(event(total))
			total++
		}
		got := list(t, h, rollcall.EventFilter{}, 70_001)
		if n := min(total, Capacity); len(got) != n || got[0] != total-1 || got[n-1] != total-n {
			t.Fatalf("of %d: %d events from %d to %d", total, len(got), got[0], got[len(got)-1])
		}
		for i := range got[1:] {
			if got[i] != got[i+1]+1 {
				t.Fatalf("%d comes after %d", got[i+1], got[i])
			}
		}
	}
	// The page that the first cursor stood for is gone: the listing ends.
	if es, next, err := h.Events(rollcall.EventFilter{}, next, 3); err != nil || len(es) != 0 || next != "" {
		t.Errorf("%d events, next %q, %v", len(es), next, err)
	}
}

// TestAtOnce lists while events are added.
func TestAtOnce(t *testing.T) {
	h := filled(Capacity)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range 5_000 {
			h.Add(event(Capacity + n))
		}
	})
	for range 3 {
		wg.Go(func() {
			for range 4 {
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
	}
	wg.Wait()
}

func BenchmarkAdd(b *testing.B) {
	h := filled(Capacity)
	e := event(1)
	b.ReportAllocs()
	for b.Loop() {
		h.Add(e)
	}
}

// BenchmarkEvents looks for what is not there.
func BenchmarkEvents(b *testing.B) {
	h := filled(Capacity)
	for name, f := range map[string]rollcall.EventFilter{"service": {Service: "x"}, "id": {ID: "x"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.Events(f, "", 100)
			}
		})
	}
}
