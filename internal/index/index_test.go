package index

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// line returns instances from n on, a degree apart on the equator.
func line(from, to int) (bodies []rollcall.Body) {
	for n := from; n < to; n++ {
		bodies = append(bodies, put(rollcall.Instance{
			ID: name(n), Position: &rollcall.Position{Lon: float64(n % 180)},
			Capabilities: map[string]rollcall.Value{"n": rollcall.Number(float64(n)), "even": rollcall.Bool(n%2 == 0)},
		}))
	}
	return bodies
}

func name(n int) string { return fmt.Sprintf("i-%04d", n) }

func anything(*catalog.Item) bool { return true }

var origin = geo.At(rollcall.Position{})

func ids(near []Near) string {
	var s []string
	for _, n := range near {
		s = append(s, n.Item.ID())
	}
	return strings.Join(s, " ")
}

func expect(t *testing.T, near []Near, want string) {
	t.Helper()
	if got := ids(near); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestSmallServicesHaveNone(t *testing.T) {
	w := newWorld(t, 0)
	w.apply(line(0, DefaultLeast-1)...)
	if w.of() != nil {
		t.Error("a small service has an index")
	}
	w.apply(line(0, DefaultLeast)...)
	if w.of() == nil {
		t.Error("a big service has none")
	}
}

func TestShrunk(t *testing.T) {
	w := newWorld(t, 100)
	w.apply(line(0, 1000)...)
	old := w.of()
	if old == nil {
		t.Fatal("no index")
	}
	for n := 1000; n > 250; n-- {
		w.apply(remove(name(n - 1)))
	}
	if w.of() != old {
		t.Error("the index of a service that shrank somewhat is another")
	}
	w.apply(remove(name(249)))
	if s := w.of(); s == nil || s == old {
		t.Errorf("the index of a service that shrank to a quarter is kept, or is none: %v", s)
	}
	for n := 249; n > 24; n-- {
		w.apply(remove(name(n - 1)))
	}
	if w.of() != nil {
		t.Error("a service far below the threshold has an index")
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t, 100)
	w.apply(line(0, 1000)...)
	s := w.of()
	terms := []Term{{Field: Capability, Name: "n", Text: "1"}}
	s.Select(terms, anything)
	start := time.Unix(1e9, 0)
	w.table.Sweep(start)
	w.of()
	w.table.Sweep(start.Add(9 * time.Minute))
	w.table.Sweep(start.Add(18 * time.Minute))
	if w.table.get(service) != s {
		t.Fatal("an index that was used nine minutes ago is gone")
	}
	if len(s.columns) != 0 {
		t.Error("a column that nobody used is kept")
	}
	w.table.Sweep(start.Add(19 * time.Minute))
	if w.table.get(service) != nil {
		t.Error("an index that was used ten minutes ago is kept")
	}
	if w.of() == s {
		t.Error("an index that was given up is in use")
	}
}

// TestAhead is that nobody is answered from before the view that he has.
func TestAhead(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	s := w.of()
	next, events := w.draft(put(rollcall.Instance{ID: "new", Position: &rollcall.Position{Lon: -0.1}}))
	if w.of() != nil {
		t.Error("a view is answered for by an index that is behind it")
	}
	w.publish(next, events)
	if w.of() != s {
		t.Error("an index that has caught up is not used")
	}
	expect(t, s.Nearest(origin, 3, nil, "", anything), "i-0000 new i-0001")

	// One that is made between publication and events has what was published.
	w.table.drop(s)
	next, events = w.draft(remove("new"))
	if s = w.of(); s == nil {
		t.Fatal("an index that was made from the view does not answer for it")
	}
	expect(t, s.Nearest(origin, 2, nil, "", anything), "i-0000 i-0001")
	w.publish(next, events)
	expect(t, s.Nearest(origin, 2, nil, "", anything), "i-0000 i-0001")

	// What it was made from does not go back to what came before.
	w.table.drop(s)
	first, before := w.draft(put(rollcall.Instance{ID: "new", Position: &rollcall.Position{}}))
	next, events = w.draft(remove("new"))
	s = w.of()
	w.publish(first, before)
	expect(t, s.Nearest(origin, 2, nil, "", anything), "i-0000 i-0001")
	w.publish(next, events)
	expect(t, s.Nearest(origin, 2, nil, "", anything), "i-0000 i-0001")
}

func TestReset(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	old := w.of()
	w.revision, w.reset = 0, true
	w.apply(line(50, 100)...)
	s := w.of()
	if s == nil || s == old {
		t.Fatalf("after a reset the index is %v", s)
	}
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0050")
}

// TestWhileMade is that what happens while an index is made is in it, and that the
// apply loop and those who move do not wait for it.
func TestWhileMade(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	view := w.table.o.View
	making, proceed := make(chan struct{}), make(chan struct{})
	w.table.o.View = func(k rollcall.ServiceKey) *catalog.View {
		v := view(k)
		close(making)
		<-proceed
		return v
	}
	v := w.catalog.View(service)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if s := w.table.Of(v); s == nil {
				t.Error("who waited for an index has none")
			} else {
				expect(t, s.Nearest(origin, 4, nil, "", anything), "i-0009 new i-0001 i-0003")
			}
		})
	}
	<-making
	w.apply(remove("i-0000"), put(rollcall.Instance{ID: "new", Position: &rollcall.Position{Lon: -0.5}}))
	w.apply(put(rollcall.Instance{ID: "gone", Position: &rollcall.Position{}}))
	w.apply(remove("gone"))
	w.move("i-0009", rollcall.Position{})
	w.move("i-0002", rollcall.Position{Lon: 90})
	w.move("unknown", rollcall.Position{})
	close(proceed)
	wg.Wait()
}

func TestMove(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	w.move("i-0090", rollcall.Position{Lon: -1}) // before there is an index
	s := w.of()
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0000")
	w.move("i-0050", rollcall.Position{})
	w.move("i-0000", rollcall.Position{Lat: 80})
	expect(t, s.Nearest(origin, 3, nil, "", anything), "i-0050 i-0001 i-0090")
	for _, p := range []rollcall.Position{{Lat: math.NaN()}, {Lat: 91}, {Lon: math.Inf(1)}} {
		w.move("i-0050", p)
	}
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0050")
	w.forget("i-0050")
	w.forget("i-0000")
	expect(t, s.Nearest(origin, 3, nil, "", anything), "i-0000 i-0001 i-0090")

	w.moved[key("i-0002")] = rollcall.Position{Lat: math.NaN()}
	w.table.Forget(key("i-0002"))
	expect(t, s.Nearest(geo.At(rollcall.Position{Lon: 2}), 1, nil, "", anything), "i-0002")
	delete(w.moved, key("i-0002"))

	// A slot that changes hands takes no move along.
	w.move("i-0050", rollcall.Position{Lon: -0.25})
	w.apply(remove("i-0050"))
	w.apply(put(rollcall.Instance{ID: "other", Position: &rollcall.Position{Lon: 170}}))
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0000")

	// Without a position it is nowhere, until it moves.
	w.apply(put(rollcall.Instance{ID: "i-0000"}))
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0001")
	w.move("i-0000", rollcall.Position{})
	expect(t, s.Nearest(origin, 1, nil, "", anything), "i-0000")
}

// TestAskedOnce is that a predicate with a name is asked once of an instance that
// stays as it is, one without only within a query.
func TestAskedOnce(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 1000)...)
	s := w.of()
	asked := map[string]int{}
	match := func(i *catalog.Item) bool {
		asked[i.ID()]++
		return record.Capability(i.Record(), "n").Number() >= 990
	}
	want := "i-0990 i-0991 i-0992"
	near := geo.At(rollcall.Position{Lon: 85})
	expect(t, s.Nearest(near, 3, nil, "n>=990", match), want)
	expect(t, s.Nearest(origin, 3, nil, "n>=990", match), want)
	if got := s.Nearest(origin, 11, nil, "n>=990", match); len(got) != 10 {
		t.Errorf("%d of ten are found", len(got))
	}
	for id, n := range asked {
		if n != 1 {
			t.Fatalf("%s was asked about %d times", id, n)
		}
	}
	s.mu.RLock()
	if v := s.verdictsOf("n>=990"); v.knows.Load() != 1000 || v.agree.Load() != 10 {
		t.Errorf("%d verdicts are known, %d agree", v.knows.Load(), v.agree.Load())
	}
	s.mu.RUnlock()

	clear(asked)
	w.apply(health(rollcall.Unhealthy, "i-0990"))
	w.apply(remove("i-0991"))
	expect(t, s.Nearest(near, 3, nil, "n>=990", match), "i-0990 i-0992 i-0993")
	if len(asked) != 1 || asked["i-0990"] != 1 {
		t.Errorf("asked about %v, but only i-0990 has changed", asked)
	}

	clear(asked)
	expect(t, s.Nearest(near, 1, nil, "", match), "i-0990")
	for id, n := range asked {
		if n != 1 {
			t.Fatalf("without a name: %s was asked about %d times", id, n)
		}
	}
}

// TestAskedUnlocked is that a predicate holds nobody up: here it waits for a change
// and a move itself.
func TestAskedUnlocked(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 1000)...)
	s := w.of()
	for _, text := range []string{"", "named"} {
		changed := false
		near := s.Nearest(origin, 2, nil, text, func(i *catalog.Item) bool {
			if !changed {
				changed = true
				w.apply(remove("i-0000"))
				w.move("i-0555", rollcall.Position{})
			}
			return i.ID() != "i-0001"
		})
		if changed = false; ids(near) != "i-0555 i-0180" && ids(near) != "i-0180 i-0360" {
			t.Errorf("found %s", ids(near))
		}
		w.apply(line(0, 1)...)
		w.forget("i-0555")
	}
}

// TestRestless is that a query ends although an instance changes whenever it was
// asked about.
func TestRestless(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	s := w.of()
	asked := 0
	near := s.Nearest(origin, 1, nil, "restless", func(i *catalog.Item) bool {
		if i.ID() != "i-0000" {
			return true
		}
		if asked++; asked > 100 {
			t.Fatal("the query does not end")
		}
		if s.mu.TryLock() { // it is not asked with the lock held
			s.mu.Unlock()
			w.apply(health([]rollcall.Status{rollcall.Suspect, rollcall.Degraded}[asked%2], "i-0000"))
		}
		return true
	})
	if expect(t, near, "i-0000"); asked != 34 {
		t.Errorf("it was asked about %d times", asked)
	}
}

func TestTexts(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	s := w.of()
	for n := range 3 * texts {
		s.Nearest(origin, 1, nil, "often", anything)
		s.Nearest(origin, 1, nil, strconv.Itoa(n), anything)
	}
	if len(s.verdicts) != texts || s.verdicts["often"] == nil || s.verdicts["0"] != nil {
		t.Errorf("%d texts are remembered, among them the first: %v; the one that is often used: %v", len(s.verdicts), s.verdicts["0"] != nil, s.verdicts["often"] != nil)
	}
}

func TestColumns(t *testing.T) {
	w := newWorld(t, 10)
	w.apply(line(0, 100)...)
	s := w.of()
	even := []Term{{Field: Capability, Name: "even", Text: "true"}}
	for n := range 3 * columns {
		s.Select(even, anything)
		s.Select([]Term{{Field: Metadata, Name: strconv.Itoa(n), Text: "1"}}, anything)
	}
	if len(s.columns) != columns || s.find(Capability, "even") == nil || s.find(Metadata, "0") != nil {
		t.Errorf("%d columns; of one that is often used %v", len(s.columns), s.find(Capability, "even"))
	}
	// Names whose values all differ leave room for little else.
	apart := put(rollcall.Instance{ID: "apart", Metadata: map[string]string{"x": "1"}})
	w.apply(apart)
	for n := range 100 {
		w.apply(put(rollcall.Instance{ID: name(n), Metadata: map[string]string{"a": name(n), "b": name(n), "c": name(n)}}))
	}
	for _, meta := range []string{"a", "x", "b", "c"} {
		s.Select([]Term{{Field: Metadata, Name: meta, Text: "1"}}, anything)
	}
	if s.find(Metadata, "a") != nil || s.find(Metadata, "b") == nil || s.find(Metadata, "c") == nil || s.find(Metadata, "x") == nil {
		t.Errorf("of three columns with 100 values each, and one with one, %d are kept", len(s.columns))
	}
	w.apply(line(0, 100)...)
	// What terms leave is all that match is asked about.
	asked := 0
	s.Select([]Term{{Field: Capability, Name: "n", Text: "7.0"}}, func(*catalog.Item) bool { asked++; return true })
	if asked != 1 {
		t.Errorf("one instance has n=7, and %d were asked about", asked)
	}
	// Unknown fields leave all.
	if got := s.Select([]Term{{Field: "load", Name: "n", Text: "7"}}, anything); len(got) != 101 {
		t.Errorf("a term that an index cannot answer leaves %d of 101", len(got))
	}
}

func TestSet(t *testing.T) {
	r := random(t)
	for _, slots := range []int{10, 5000, 100_000} {
		var s set
		truth := map[uint32]bool{}
		dense, lists := 0, 0
		for round := range 6 {
			for range slots / 20 {
				slot := r.Uint32N(uint32(slots))
				if s.has(slot) != truth[slot] {
					t.Fatalf("has(%d) = %v", slot, !truth[slot])
				}
				if round%3 != 2 {
					s.add(slot, slots)
					truth[slot] = true
				}
			}
			if round%3 == 2 {
				for slot := range truth {
					s.remove(slot, slots)
					s.remove(slot, slots)
					delete(truth, slot)
				}
			}
			if s.dense {
				dense++
			} else {
				lists++
			}
			if int(s.size) != len(truth) {
				t.Fatalf("size %d, want %d", s.size, len(truth))
			}
			var got []uint32
			s.each(func(slot uint32) bool { got = append(got, slot); return true })
			if len(got) != len(truth) || !slices.IsSorted(got) || slices.ContainsFunc(got, func(slot uint32) bool { return !truth[slot] }) {
				t.Fatalf("%v, want %v", got, truth)
			}
			words := make([]uint32, (slots+31)/32)
			s.into(words)
			for slot := range uint32(slots) {
				if hasBit(words, slot) != truth[slot] {
					t.Fatalf("bit %d is %v", slot, !truth[slot])
				}
			}
		}
		if slots >= 5000 && (dense == 0 || lists == 0) {
			t.Errorf("%d slots: %d times dense, %d times a list", slots, dense, lists)
		}
	}
}

// TestAtOnce runs changes, moves, sweeps and queries at once, for the race detector,
// and compares with the view at the end.
func TestAtOnce(t *testing.T) {
	w := newWorld(t, 100)
	const instances = 3000
	w.apply(line(0, instances)...)
	var mu sync.Mutex // of w.moved
	w.table.o.At = func(k rollcall.Key) (p rollcall.Position, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		p, ok = w.moved[k]
		return p, ok
	}
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	writers.Go(func() {
		r := random(t)
		for range rounds {
			n := r.IntN(instances - 20)
			w.apply(line(n, n+10)...)
			w.apply(remove(name(n)), health(rollcall.Suspect, name(n+1), name(n+2)))
			w.apply(put(rollcall.Instance{ID: name(n + 3)}))
		}
	})
	for part := range 2 {
		writers.Go(func() {
			r := random(t)
			for range 50 * rounds {
				k, p := key(name(2*r.IntN(instances/2)+part)), uniform(r)
				mu.Lock()
				w.moved[k] = p
				mu.Unlock()
				w.table.Move(k, p)
			}
		})
	}
	for part := range 3 {
		readers.Go(func() {
			r := random(t)
			for round := 0; !stop.Load(); round++ {
				s := w.of()
				if s == nil {
					continue
				}
				even := []Term{{Field: Capability, Name: "even", Any: []rollcall.Value{rollcall.Bool(true)}}}
				match := func(i *catalog.Item) bool { return i.Usable() && even[0].holds(i) }
				near := s.Nearest(geo.At(uniform(r)), 10, even, []string{"", "even"}[round%2], match)
				if len(near) != 10 || !slices.IsSortedFunc(near, Near.compare) || slices.ContainsFunc(near, func(n Near) bool { return !match(n.Item) }) {
					t.Errorf("found %v", ids(near))
				}
				s.Select(even, match)
				s.Select([]Term{{Field: Capability, Name: "n", Text: strconv.Itoa(round % instances)}}, anything)
				if part == 0 && round%10 == 0 {
					w.table.Sweep(time.Unix(int64(round)*120, 0))
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	s := w.of()
	for range 50 {
		p := geo.At(uniform(random(t)))
		if got, want := asked(s.Nearest(p, 20, nil, "all", anything)), w.nearest(p, 20, anything); !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	}
}
