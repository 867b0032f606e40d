package catalog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// TestIndex compares the index with a map through random changes, with hashes
// that collide, while readers look for services that always have a view.
func TestIndex(t *testing.T) {
	var x index
	model := map[rollcall.ServiceKey]*View{}
	h := newHasher()
	hash := func(k rollcall.ServiceKey) uint64 { return h.of(k) % 50 }
	key := func(n int) rollcall.ServiceKey {
		return rollcall.ServiceKey{Namespace: fmt.Sprint("n", n%3), Service: fmt.Sprint("s", n)}
	}
	set := func(n int, v *View) {
		x.set(hash(key(n)), key(n), v)
		if model[key(n)] = v; v == nil {
			delete(model, key(n))
		}
	}
	const stable, n = 20, 400
	for i := range stable {
		set(i, &View{revision: 1})
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			last := make([]rollcall.Revision, stable)
			for i := r; !done.Load(); i++ {
				k := i % stable
				v := x.get(hash(key(k)), key(k))
				if v == nil || v.revision < last[k] {
					t.Errorf("%v: %+v after revision %d", key(k), v, last[k])
					return
				}
				last[k] = v.revision
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for step := range 20_000 {
		i := rng.IntN(n)
		if i < stable || rng.IntN(3) > 0 {
			set(i, &View{revision: rollcall.Revision(step + 2)})
		} else {
			set(i, nil)
		}
		if step%100 != 0 {
			continue
		}
		for i := range n {
			if got := x.get(hash(key(i)), key(i)); got != model[key(i)] {
				t.Fatalf("step %d: %v is %p, want %p", step, key(i), got, model[key(i)])
			}
		}
	}
	done.Store(true)
	wg.Wait()
}

// TestNewest: what the catalog says is newest is what it published, through
// resets and forgetting.
func TestNewest(t *testing.T) {
	c := New()
	put := func(rev rollcall.Revision, reset bool, services ...string) {
		e := rollcall.Entry{Log: "log", Revision: rev, Reset: reset}
		for _, s := range services {
			e.Changes = append(e.Changes, rollcall.Change{Revision: rev, Body: rollcall.SettingsPut{Service: rollcall.NewServiceKey("", s), Settings: &rollcall.Settings{}}})
		}
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		c.Publish()
	}
	check := func(want ...string) {
		t.Helper()
		known := map[string]bool{}
		for _, s := range want {
			known[s] = true
		}
		for _, s := range []string{"a", "b", "c", "d"} {
			key := rollcall.NewServiceKey("", s)
			if v := c.View(key); v != c.Snapshot().View(key) || (v != nil) != known[s] {
				t.Errorf("%s: %v, the snapshot has %v", s, v, c.Snapshot().View(key))
			}
		}
	}
	check()
	put(1, true, "a", "b")
	check("a", "b")
	put(2, false, "b", "c")
	check("a", "b", "c")
	put(9, true, "c", "d") // of another life of the log
	check("c", "d")
}
