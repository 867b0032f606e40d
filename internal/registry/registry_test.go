package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// unguarded returns the options of a registry that believes in silence at once,
// whoever else is silent.
func unguarded(log registry.Log) registry.Options {
	return registry.Options{Log: log, Logger: discard(), Defaults: rollcall.Settings{GuardShare: new(1.0), Panic: new(0.0)}}
}

// start runs a registry on a log for the length of the test.
func start(t testing.TB, log registry.Log) *registry.Registry {
	t.Helper()
	return run(t, unguarded(log))
}

// run runs a registry with options for the length of the test.
func run(t testing.TB, o registry.Options) *registry.Registry {
	t.Helper()
	r := registry.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if err := r.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	r.Serving()
	return r
}

func payments(id string) rollcall.Instance {
	return rollcall.Instance{Service: "payments", ID: id, Address: "10.0.0.1", Ports: map[string]uint16{"http": 8080}}
}

func register(t testing.TB, r *registry.Registry, i rollcall.Instance) rollcall.Instance {
	t.Helper()
	got, _, err := r.Register(t.Context(), i, 0)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ids returns the ids that a query is answered with.
func ids(t *testing.T, r *registry.Registry, q rollcall.Query) (ids []string) {
	t.Helper()
	a, err := r.Resolve(t.Context(), &q)
	if err != nil {
		t.Fatal(err)
	}
	items := itemsOf(a)
	for _, i := range items {
		ids = append(ids, i.ID())
	}
	return ids
}

func TestSilenceIsMarkedThenRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		register(t, r, payments("p-1"))
		q := rollcall.Query{Service: "payments"}
		sub, _, err := r.Watch(t.Context(), &q, watch.Reader{})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		begin := time.Now()
		next := func(want watch.Type) *watch.Batch {
			t.Helper()
			for {
				b, err := sub.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b.Type != watch.Bookmark || want == watch.Bookmark {
					if b.Type != want {
						t.Fatalf("batch of type %v, want %v", b.Type, want)
					}
					return b
				}
			}
		}
		next(watch.Snapshot)
		b := next(watch.Changes)
		if got := b.Changes[0]; got.Kind != watch.Remove || got.Item.Status() != rollcall.Unhealthy {
			t.Errorf("change %+v, want the instance to leave the answer, unhealthy", got)
		}
		if took := time.Since(begin); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("marked after %v, want TTL to TTL + 1 s", took)
		}
		if got := ids(t, r, q); got != nil {
			t.Errorf("resolve answers %v, want none", got)
		}
		if got := ids(t, r, rollcall.Query{Service: "payments", Health: "any"}); len(got) != 1 {
			t.Errorf("health=any answers %v, want the marked one", got)
		}

		// A renewal brings it back, without a new registration.
		key := rollcall.NewKey("", "payments", "p-1")
		if _, err := r.Renew(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		if got := next(watch.Changes).Changes[0]; got.Kind != watch.Put {
			t.Errorf("change %+v, want it back in the answer", got)
		}

		// Silence again, to the end.
		begin = time.Now()
		next(watch.Changes)
		time.Sleep(time.Minute + time.Second)
		if _, err := r.Instance(t.Context(), key); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("after %v: %v, want it to be removed", time.Since(begin), err)
		}
		if _, err := r.Renew(t.Context(), key, nil); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("renewal of a removed instance: %v", err)
		}
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestRenewDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("allocations cannot be counted under the race detector")
	}
	r := start(t, memory.New())
	register(t, r, payments("p-1"))
	ctx := t.Context()
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := r.Renew(ctx, p1, nil); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a renewal", allocs)
	}
}

func BenchmarkRenew(b *testing.B) {
	r := start(b, memory.New())
	keys := make([]rollcall.Key, 1000)
	is := make([]rollcall.Instance, len(keys))
	for n := range keys {
		is[n] = payments(fmt.Sprintf("p-%d", n))
		is[n].Service = fmt.Sprintf("payments-%d", n%10)
		keys[n] = is[n].Key()
	}
	r.RegisterMany(b.Context(), is)
	ctx := b.Context()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, err := r.Renew(ctx, keys[n%len(keys)], nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRegister(b *testing.B) {
	r := start(b, memory.New())
	ctx := b.Context()
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := payments(fmt.Sprintf("p-%d", n.Add(1)))
			i.Service = fmt.Sprintf("payments-%d", n.Load()%1000)
			if _, _, err := r.Register(ctx, i, 0); err != nil {
				b.Error(err)
			}
		}
	})
}

// itemsOf returns the instances of an answer.
func itemsOf(a *resolve.Answer) (items []*catalog.Item) {
	endpoints, _ := a.Endpoints()
	for n := range endpoints {
		items = append(items, endpoints[n].Item)
	}
	return items
}
