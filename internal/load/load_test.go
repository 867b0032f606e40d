package load

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var (
	started = time.UnixMilli(1_700_000_000_000)
	one     = rollcall.NewKey("", "a", "1")
	two     = rollcall.NewKey("", "a", "2")
	other   = rollcall.NewKey("", "b", "1")
	berlin  = rollcall.Position{Lat: 52.52, Lon: 13.40}
	paris   = rollcall.Position{Lat: 48.86, Lon: 2.35}
)

func wantPosition(t *testing.T, table *Table, key rollcall.Key, want *rollcall.Position) {
	t.Helper()
	if got, ok := table.Position(key); ok != (want != nil) || ok && got != *want {
		t.Errorf("%v is at %v, %v; want %v", key, got, ok, want)
	}
}

func wantMoved(t *testing.T, table *Table, n int, want map[rollcall.Key]rollcall.Position) {
	t.Helper()
	got := table.Moved(n)
	if len(got) != len(want) {
		t.Errorf("moved %v, want %v", got, want)
	}
	for key, p := range want {
		if got[key] != p {
			t.Errorf("%v moved to %v, want %v", key, got[key], p)
		}
	}
}

func TestPositions(t *testing.T) {
	table := New(started, Options{})
	wantPosition(t, table, one, nil)
	wantMoved(t, table, 10, nil)
	table.Move(one, paris)
	table.Move(one, berlin)
	table.Move(other, paris)
	wantPosition(t, table, one, &berlin)
	wantPosition(t, table, two, nil)
	wantMoved(t, table, 10, map[rollcall.Key]rollcall.Position{one: berlin, other: paris})
	wantMoved(t, table, 10, nil) // they were taken
	wantPosition(t, table, one, &berlin)

	table.Logged(one, berlin)
	wantPosition(t, table, one, &berlin) // somebody may read the log of before
	table.Move(one, paris)
	table.Logged(one, berlin) // an older one
	wantPosition(t, table, one, &paris)
	wantMoved(t, table, 10, map[rollcall.Key]rollcall.Position{one: paris})
	table.Logged(two, berlin) // of which nothing is known

	table.Drop(other)
	wantPosition(t, table, other, nil)
	table.Move(other, berlin)
	table.Drop(other)
	wantMoved(t, table, 10, nil)
}

// TestLoggedByAnother: a position may reach the log with another change before
// it is taken. Then there is nothing to be written any more, least of all a
// position that nobody was at.
func TestLoggedByAnother(t *testing.T) {
	table := New(started, Options{})
	table.Move(one, berlin)
	table.Logged(one, berlin)
	wantMoved(t, table, 10, nil)
	wantPosition(t, table, one, &berlin)
}

func TestMovedIsBounded(t *testing.T) {
	table := New(started, Options{})
	for n := range 10 {
		table.Move(rollcall.NewKey("", "a", fmt.Sprint(n)), berlin)
	}
	seen := map[rollcall.Key]bool{}
	for _, want := range []int{4, 4, 2, 0} {
		got := table.Moved(4)
		if len(got) != want {
			t.Errorf("%d were taken, want %d", len(got), want)
		}
		for key := range got {
			if seen[key] {
				t.Errorf("%v was taken twice", key)
			}
			seen[key] = true
		}
	}
}

func TestLoads(t *testing.T) {
	table := New(started, Options{})
	if _, ok := table.Load(one); ok {
		t.Error("a load that nobody reported")
	}
	want := rollcall.Load{Utilization: 0.5, InFlight: 7}
	table.Report(one, rollcall.Load{RPS: 1})
	table.Report(one, want)
	if got, ok := table.Load(one); !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
	if g := table.Generation(one.ServiceKey); g != 0 {
		t.Errorf("a load has generation %d", g)
	}
	table.Drop(one)
	if _, ok := table.Load(one); ok {
		t.Error("dropped, it is still there")
	}
}

func TestGenerations(t *testing.T) {
	raised := map[rollcall.ServiceKey]int{}
	table := New(started, Options{Raised: func(service rollcall.ServiceKey) { raised[service]++ }})
	if g := table.Generation(one.ServiceKey); g != 0 {
		t.Errorf("nothing has generation %d", g)
	}
	last := uint64(started.UnixMilli())
	for _, step := range []func(){
		func() { table.Move(one, berlin) },
		func() { table.Move(one, berlin) },
		func() { table.Move(two, paris) },
	} {
		step()
		if g := table.Generation(one.ServiceKey); g <= last {
			t.Errorf("generation %d comes after %d", g, last)
		} else {
			last = g
		}
	}
	if g := table.Generation(other.ServiceKey); g != 0 {
		t.Errorf("the other service has generation %d", g)
	}
	// A number that was given out stands for one state, also of another service
	// and after what it was for is gone.
	table.Move(other, berlin)
	if g := table.Generation(other.ServiceKey); g <= last {
		t.Errorf("generation %d comes after %d", g, last)
	}
	if raised[one.ServiceKey] != 3 || raised[other.ServiceKey] != 1 {
		t.Errorf("who was told of generations: %v", raised)
	}
	table.Moved(10)
	table.Logged(one, berlin)
	table.Drop(two)
	if g := table.Generation(one.ServiceKey); g != last {
		t.Errorf("generation %d, want %d as before", g, last)
	}
	table.Drop(other)
	if g := table.Generation(other.ServiceKey); g != 0 || raised[other.ServiceKey] != 2 {
		t.Errorf("generation %d of nothing, told %d times", g, raised[other.ServiceKey])
	}
	later := New(started.Add(time.Hour), Options{})
	later.Move(one, berlin)
	if later.Generation(one.ServiceKey) <= last {
		t.Error("after a restart generations repeat")
	}
}

func TestAtOnce(t *testing.T) {
	table := New(started, Options{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 500 {
				key := rollcall.NewKey("", fmt.Sprint(n%7), fmt.Sprint(w))
				p := rollcall.Position{Lat: 1 + float64(n)/500, Lon: 1}
				table.Move(key, p)
				table.Report(key, rollcall.Load{InFlight: n})
				table.Load(key)
				table.Generation(key.ServiceKey)
				for _, p := range table.Moved(3) {
					if p.Lon != 1 {
						t.Errorf("somebody moved to %v", p)
					}
				}
				if got, ok := table.Position(key); ok && got.Lon != 1 {
					t.Errorf("%v is at %v", key, got)
				}
				table.Logged(key, p)
				if n%50 == 0 {
					table.Drop(key)
				}
			}
		})
	}
	wg.Wait()
}

// TestRaised: whoever keeps what follows from a generation hears that it is another, also
// of the end of a service.
func TestRaised(t *testing.T) {
	raised := map[rollcall.ServiceKey]int{}
	table := New(started, Options{Raised: func(s rollcall.ServiceKey) { raised[s]++ }})
	for n, do := range []func(){
		func() { table.Handle(one); table.find(one.ServiceKey).changed() },
		func() { table.find(one.ServiceKey).changed() },
		func() { table.Drop(one) },
	} {
		before := table.Generation(one.ServiceKey)
		do()
		if got := raised[one.ServiceKey]; got != n+1 || table.Generation(one.ServiceKey) == before {
			t.Errorf("generation %d is %d now, and was raised %d times; want %d", before, table.Generation(one.ServiceKey), got, n+1)
		}
	}
	if table.Drop(one); raised[one.ServiceKey] != 3 || len(raised) != 1 {
		t.Errorf("raised %v", raised)
	}
}
