package load

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// waiting lists who waits to be logged, in order, and checks that the list can be
// walked both ways.
func waiting(t *testing.T, table *Table) (ids []string) {
	t.Helper()
	var last *Instance
	for i := table.queue.first; i != nil; last, i = i, i.behind {
		if i.before != last || !i.queued.Load() {
			t.Fatalf("%s is not where it should be", i.id)
		}
		ids = append(ids, i.id)
	}
	if table.queue.last != last {
		t.Fatal("the list has another end")
	}
	return ids
}

// Those that have waited longest are logged first, each once, and whoever is gone
// or logged does not wait any more: whatever happens, against a list.
func TestWaitingModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	table := New(started, Options{})
	var model []string
	at := map[string]float64{}
	for step := range 5000 {
		id := fmt.Sprint(random.IntN(20))
		key := rollcall.NewKey("", "a", id)
		p := rollcall.Position{Lat: float64(random.IntN(3))}
		leaves := func() { model = slices.DeleteFunc(model, func(s string) bool { return s == id }) }
		switch random.IntN(8) {
		default:
			table.Move(key, p)
			at[id] = p.Lat
			if !slices.Contains(model, id) {
				model = append(model, id)
			}
		case 0:
			table.Drop(key)
			delete(at, id)
			leaves()
		case 1:
			table.Forget(key)
			delete(at, id)
			leaves()
		case 2:
			table.Logged(key, p)
			if lat, ok := at[id]; ok && lat == p.Lat {
				leaves()
			}
		case 3:
			n := random.IntN(5)
			got := table.Moved(n)
			for _, id := range model[:min(n, len(model))] {
				if p, ok := got[rollcall.NewKey("", "a", id)]; !ok || p.Lat != at[id] {
					t.Fatalf("step %d: %s was not taken: %v", step, id, got)
				}
			}
			model = model[min(n, len(model)):]
		}
		if got := waiting(t, table); !slices.Equal(got, model) {
			t.Fatalf("step %d: %v wait, want %v", step, got, model)
		}
		for n := range 20 {
			lat, moved := at[fmt.Sprint(n)]
			if p, ok := table.Position(rollcall.NewKey("", "a", fmt.Sprint(n))); ok != moved || p.Lat != lat {
				t.Fatalf("step %d: %d is at %v, %v", step, n, p, ok)
			}
		}
	}
}

// Who keeps an index hears of each move, and of each place that counts no more.
func TestHooks(t *testing.T) {
	var heard []string
	table := New(started, Options{
		Moved:  func(k rollcall.Key, p rollcall.Position) { heard = append(heard, fmt.Sprint(k.ID, " to ", p.Lat)) },
		Forgot: func(k rollcall.Key) { heard = append(heard, "not "+k.ID) },
	})
	table.Move(one, berlin)
	table.Move(one, paris)
	table.Logged(one, paris) // it still is there
	table.Forget(one)
	table.Drop(one)
	table.Move(two, berlin)
	table.Forget(two)
	table.Forget(two)
	table.Move(two, paris)
	table.Drop(two)
	table.Drop(two)
	table.Report(two, rollcall.Load{})
	table.Drop(two)
	want := []string{"1 to 52.52", "1 to 48.86", "not 1", "2 to 52.52", "not 2", "2 to 48.86", "not 2"}
	if !slices.Equal(heard, want) {
		t.Errorf("%q, want %q", heard, want)
	}
}

// Nothing is left of a service whose instances are gone.
func TestNothingLeaks(t *testing.T) {
	table := New(started, Options{Now: newClock().o.Now})
	for n := range 1000 {
		key := rollcall.NewKey("", fmt.Sprint(n), "1")
		table.Move(key, berlin)
		table.Report(key, rollcall.Load{RPS: 1})
		table.Drop(key)
	}
	table.Tick(started)
	table.services.Range(func(k, _ any) bool {
		t.Errorf("%v is left", k)
		return false
	})
	if len(table.weighed) != 0 || waiting(t, table) != nil {
		t.Errorf("%d services and %d positions are left", len(table.weighed), len(waiting(t, table)))
	}
}
