package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// observer watches a query and writes down what it is told.
type observer struct {
	t    *testing.T
	r    *registry.Registry
	sub  watch.Feed
	last *watch.Batch
	sees map[string]bool
}

func observe(t *testing.T, r *registry.Registry, q rollcall.Query) *observer {
	t.Helper()
	q.Caller = "web-1"
	sub, _, err := r.Watch(t.Context(), &q, watch.Reader{Door: "sse"})
	if err != nil {
		t.Fatal(err)
	}
	return &observer{t: t, r: r, sub: sub, sees: map[string]bool{}}
}

func (o *observer) close() { o.sub.Close() }

// token is where the watch can be taken up again.
func (o *observer) token() rollcall.Token {
	return rollcall.Token{Log: o.last.Result.Log, Revision: o.last.Revision, Generation: o.last.Result.Generation}
}

// told returns what comes within a time, bookmarks apart, and how long the first of
// it took.
func (o *observer) told(within time.Duration) (said string, took time.Duration) {
	o.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(o.t.Context(), within)
	defer cancel()
	var all []string
	for {
		b, err := o.sub.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				o.t.Fatal(err)
			}
			return strings.Join(all, "; "), took
		}
		o.sub.Sent()
		o.last = b
		if b.Type == watch.Bookmark {
			continue
		}
		if all == nil {
			took = time.Since(began)
		}
		all = append(all, o.text(b))
	}
}

func (o *observer) text(b *watch.Batch) string {
	switch b.Type {
	case watch.Snapshot, watch.Reset:
		clear(o.sees)
		var ids []string
		for _, s := range b.Result.Shown {
			o.sees[s.Item.Key().Service+"/"+s.Item.ID()] = true
			ids = append(ids, s.Item.ID())
		}
		return [...]string{watch.Snapshot: "snapshot", watch.Reset: "reset"}[b.Type] + " " + strings.Join(ids, " ")
	case watch.Weights:
		return "weights"
	}
	var parts []string
	for _, c := range b.Changes {
		if c.Kind == watch.Remove {
			delete(o.sees, c.Service.Service+"/"+c.ID)
		} else {
			o.sees[c.Service.Service+"/"+c.ID] = true
		}
		parts = append(parts, [...]string{watch.Put: "put", watch.Health: "health", watch.Remove: "remove"}[c.Kind]+" "+c.ID)
	}
	return strings.Join(parts, ", ")
}

func (o *observer) want(within time.Duration, what, want string) (took time.Duration) {
	o.t.Helper()
	got, took := o.told(within)
	if got != want {
		o.t.Errorf("%s: told %q, want %q", what, got, want)
	}
	return took
}

func driver(id string, km float64) rollcall.Instance {
	i := payments(id)
	i.Position = &rollcall.Position{Lat: km / 111.2, Lon: 0}
	i.Lease.Mode = rollcall.LeaseNone
	return i
}

// TestWatchNearest: a watcher of the nearest is told when they are others, and of
// nothing else.
func TestWatchNearest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			for n := range 5 {
				register(t, r, driver(fmt.Sprintf("d-%d", n), float64(10*(n+1))))
			}
			register(t, r, rollcall.Instance{Service: "other", ID: "o"})
			q := rollcall.Query{Service: "payments", Near: "0,0", Limit: 2}
			o := observe(t, r, q)
			defer o.close()
			o.want(100*time.Millisecond, "at first", "snapshot d-0 d-1")

			renew := func(id string, rep rollcall.Report) {
				t.Helper()
				if _, err := r.Renew(t.Context(), rollcall.NewKey("", "payments", id), &rep); err != nil {
					t.Fatal(err)
				}
			}
			renew("d-0", rollcall.Report{Position: &rollcall.Position{Lat: 0.01}, Load: &rollcall.Load{Utilization: 0.9, RPS: 10}})
			renew("d-1", rollcall.Report{Position: &rollcall.Position{Lat: 0.005}})
			o.want(20*time.Second, "they change places, and one works hard", "")

			far := driver("d-4", 50)
			far.Version = "2"
			register(t, r, far)
			register(t, r, rollcall.Instance{Service: "other", ID: "o-2"})
			o.want(20*time.Second, "what is not near changes", "")

			renew("d-3", rollcall.Report{Position: &rollcall.Position{Lat: 0.001}})
			if took := o.want(20*time.Second, "one comes near", "remove d-0, put d-3"); took > 1100*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if err := r.Deregister(t.Context(), rollcall.NewKey("", "payments", "d-3"), 0); err != nil {
				t.Fatal(err)
			}
			if took := o.want(20*time.Second, "and is gone", "remove d-3, put d-0"); took > time.Millisecond {
				t.Errorf("who is not there any more was listed for %v", took)
			}
			if b, err := r.Drain(t.Context(), rollcall.NewKey("", "payments", "d-1"), true, 0); err != nil || b.Pending != 1 {
				t.Errorf("a drain that does not wait: %+v, %v", b, err)
			}
			o.want(5*time.Second, "one drains", "remove d-1, put d-2")
			if b, err := r.Drain(t.Context(), rollcall.NewKey("", "payments", "d-1"), true, time.Second); err != nil || b.Pending != 0 || b.Acknowledged != 1 {
				t.Errorf("a drain that all know of: %+v, %v", b, err)
			}

			// Taken up again: nothing if nothing is new, else all of it.
			after := o.token()
			q.After = after
			again := observe(t, r, q)
			again.want(4*time.Second, "taken up again", "weights")
			again.close()
			register(t, r, driver("d-9", 1))
			again = observe(t, r, q)
			defer again.close()
			again.want(4*time.Second, "taken up late", "reset d-9 d-0")
		})
	})
}

// TestPollNearest: so does a long poll.
func TestPollNearest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			for n := range 3 {
				register(t, r, driver(fmt.Sprintf("d-%d", n), float64(10*(n+1))))
			}
			ask := func(q rollcall.Query) (ids []string, token rollcall.Token, took time.Duration) {
				t.Helper()
				q.Service = "payments"
				began := time.Now()
				a, err := r.Resolve(t.Context(), &q)
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range itemsOf(a) {
					ids = append(ids, i.ID())
				}
				return ids, a.Token(), time.Since(began)
			}
			for _, q := range []rollcall.Query{{Near: "0,0", Limit: 1}, {Subset: "web-1"}, {Filter: "load.utilization < 0.5 || id == 'd-0'"}} {
				_, token, _ := ask(q)
				q.After, q.Wait = token, 10*time.Second
				far := driver("d-2", 30)
				far.Metadata = map[string]string{"at": time.Now().String()}
				go func() {
					time.Sleep(time.Second)
					if q.Subset == "" { // of which it would be one
						register(t, r, far)
					}
				}()
				if _, same, took := ask(q); same != token || took != 10*time.Second {
					t.Errorf("%s: after %v the token is %v, was %v", q.Values().Encode(), took, same, token)
				}
				near := driver("d-0", 10)
				near.Metadata = map[string]string{"at": time.Now().String()}
				go func() {
					time.Sleep(2 * time.Second)
					register(t, r, near)
				}()
				ids, other, took := ask(q)
				if other == token || took < 2*time.Second || took > 2100*time.Millisecond || !slices.Contains(ids, "d-0") {
					t.Errorf("%s: after %v %v with %v, was %v", q.Values().Encode(), took, ids, other, token)
				}
			}
		})
	})
}

// TestWatchFailover: a watcher of a named query is told at once when another target
// answers.
func TestWatchFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			put := func(service, id string) {
				i := payments(id)
				i.Service, i.Lease.Mode = service, rollcall.LeaseNone
				register(t, r, i)
			}
			put("main", "m-1")
			put("main", "m-2")
			put("spare", "s-1")
			putQuery(t, r, rollcall.NamedQuery{Name: "pay", Service: "main", MinRoutable: 2, Failover: []rollcall.QueryTarget{{Service: "spare"}}})
			o := observe(t, r, rollcall.Query{Service: "pay"})
			defer o.close()
			o.want(time.Second, "at first", "snapshot m-1 m-2")
			put("spare", "s-2")
			o.want(20*time.Second, "a spare comes", "")
			override := func(id string, s rollcall.Status) {
				t.Helper()
				if err := r.Override(t.Context(), rollcall.NewKey("", "main", id), &rollcall.Override{Status: s}); err != nil {
					t.Fatal(err)
				}
			}
			override("m-1", rollcall.Unhealthy)
			if took := o.want(10*time.Second, "one dies", "remove m-1, remove m-2, put s-1, put s-2"); took > time.Millisecond {
				t.Errorf("the failover took %v", took)
			}
			if ws, err := r.Watchers(t.Context(), rollcall.NewServiceKey("", "spare")); err != nil || len(ws) != 1 || ws[0].Caller != "web-1" {
				t.Errorf("watchers of the spare: %+v, %v", ws, err)
			}
			override("m-1", rollcall.Healthy)
			if took := o.want(10*time.Second, "it is back", "remove s-1, remove s-2, put m-1, put m-2"); took > 1100*time.Millisecond {
				t.Errorf("the way back took %v", took)
			}
			putQuery(t, r, rollcall.NamedQuery{Name: "pay", Service: "third"})
			o.want(time.Second, "it asks for what is not there", "remove m-1, remove m-2")
			put("third", "t-1")
			o.want(time.Second, "and comes", "put t-1")
			if err := r.DeleteQuery(t.Context(), rollcall.NewServiceKey("", "pay"), 0); err != nil {
				t.Fatal(err)
			}
			o.want(time.Second, "the query is gone", "remove t-1")
		})
	})
}

// TestWatchWeights: weights reach watchers once they have moved, and never wake
// those whose instances they are not.
func TestWatchWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			for _, id := range []string{"p-1", "p-2", "p-3"} {
				i := payments(id)
				i.Lease.Mode = rollcall.LeaseNone
				register(t, r, i)
			}
			register(t, r, rollcall.Instance{Service: "other", ID: "o", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}})
			sub, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments", Filter: `id != "p-3"`}, watch.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			other, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "other"}, watch.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			next := func(sub watch.Feed, within time.Duration) *watch.Batch {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				for {
					b, err := sub.Next(ctx)
					if err != nil {
						return nil
					}
					if b.Type != watch.Bookmark {
						return b
					}
				}
			}
			next(sub, time.Second)
			next(other, time.Second)
			weights := map[string]uint16{}
			for range 30 { // seconds
				for n, id := range []string{"p-1", "p-2", "p-3"} {
					load := &rollcall.Load{Utilization: 0.3 * float64(n+1), RPS: 100}
					if _, err := r.Renew(t.Context(), rollcall.NewKey("", "payments", id), &rollcall.Report{Load: load}); err != nil {
						t.Fatal(err)
					}
				}
				if b := next(sub, time.Second); b != nil {
					if b.Type != watch.Weights || len(b.Weighed) == 0 {
						t.Fatalf("told %+v", b)
					}
					for _, w := range b.Weighed {
						weights[w.ID] = w.Weight
					}
				}
			}
			for b := next(sub, 2*time.Second); b != nil; b = next(sub, 2*time.Second) {
				for _, w := range b.Weighed {
					weights[w.ID] = w.Weight
				}
			}
			if weights["p-1"] <= 100 || weights["p-2"] >= 100 || weights["p-3"] != 0 {
				t.Errorf("weights %v; of p-1, which works least, more than 100, and nothing of p-3", weights)
			}
			if b := next(other, 10*time.Second); b != nil {
				t.Errorf("the watcher of another service is told %+v", b)
			}
			a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
			if err != nil {
				t.Fatal(err)
			}
			endpoints, _ := a.Endpoints()
			for _, e := range endpoints {
				if w, ok := weights[e.Item.ID()]; ok && w != e.Weight {
					t.Errorf("%s weighs %d in the answer, and watchers were told %d", e.Item.ID(), e.Weight, w)
				}
			}
			// Whoever comes back is told all of them again.
			again, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments", After: rollcall.Token{Log: a.Log, Revision: a.Revision}}, watch.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if b := next(again, time.Second); b == nil || b.Type != watch.Weights || len(b.Weighed) != 3 {
				t.Errorf("taken up again: %+v", b)
			}
		})
	})
}

// TestWatchLoad: an expression over what instances report is followed.
func TestWatchLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			register(t, r, driver("d-1", 1))
			register(t, r, driver("d-2", 2))
			o := observe(t, r, rollcall.Query{Service: "payments", Filter: "load.utilization > 0.8"})
			defer o.close()
			o.want(time.Second, "at first", "snapshot ")
			if _, err := r.Renew(t.Context(), rollcall.NewKey("", "payments", "d-2"), &rollcall.Report{Load: &rollcall.Load{Utilization: 0.9}}); err != nil {
				t.Fatal(err)
			}
			if took := o.want(10*time.Second, "one works hard", "put d-2"); took > 1100*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	})
}

// TestWatchBeside: nearness to an instance follows it, and stays where it was last
// when it is gone.
func TestWatchBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			for n := range 4 {
				register(t, r, driver(fmt.Sprintf("d-%d", n), float64(10*n)))
			}
			me := driver("me", 0)
			me.Service = "riders"
			register(t, r, me)
			o := observe(t, r, rollcall.Query{Service: "payments", Near: "instance:riders/me", Limit: 2})
			defer o.close()
			o.want(time.Second, "at first", "snapshot d-0 d-1")
			me.Position = &rollcall.Position{Lat: 30 / 111.2}
			register(t, r, me)
			if took := o.want(5*time.Second, "registered elsewhere", "remove d-0, remove d-1, put d-3, put d-2"); took > 1100*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if err := r.Deregister(t.Context(), me.Key(), 0); err != nil {
				t.Fatal(err)
			}
			o.want(5*time.Second, "it is gone", "")
			if err := r.Deregister(t.Context(), rollcall.NewKey("", "payments", "d-3"), 0); err != nil {
				t.Fatal(err)
			}
			if took := o.want(5*time.Second, "and so is one of the answer", "remove d-3, put d-1"); took > time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	})
}

// TestWrittenThenRead: what a query's min_revision waits for includes what the name
// means.
func TestWrittenThenRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			register(t, r, driver("d-1", 1))
			spare := driver("s-1", 1)
			spare.Service = "spare"
			last := register(t, r, spare).Revision
			got := make(chan []string, 1)
			go func() { got <- ids(t, r, rollcall.Query{Service: "payments", MinRevision: last + 1}) }()
			time.Sleep(time.Second)
			putQuery(t, r, rollcall.NamedQuery{Name: "payments", Service: "spare"})
			if is := <-got; !slices.Equal(is, []string{"s-1"}) {
				t.Errorf("once the query is stored the name means %v", is)
			}
		})
	})
}

// TestRefusedWatches: what cannot be watched says why.
func TestRefusedWatches(t *testing.T) {
	r := start(t, memory.New())
	register(t, r, payments("p-1"))
	for _, q := range []rollcall.Query{
		{Service: "payments", Pick: 1}, {Service: "payments", At: time.Now()}, {Near: "0,0"}, {Namespace: "x", Limit: 3}, {Service: "payments", Filter: "nonsense"},
		{Service: "payments", Near: "instance:payments/none"},
	} {
		if sub, _, err := r.Watch(t.Context(), &q, watch.Reader{}); err == nil {
			sub.Close()
			t.Errorf("%s is watched", q.Values().Encode())
		}
	}
}

// TestWatchersAgree changes things at random: what watchers of all kinds of queries
// have been told adds up to what the query is answered with.
func TestWatchersAgree(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			service := func() string { return []string{"payments", "spare"}[rng.IntN(2)] }
			putQuery(t, r, rollcall.NamedQuery{Name: "pay", Service: "payments", MinRoutable: 3, Failover: []rollcall.QueryTarget{{Service: "spare"}}})
			putQuery(t, r, rollcall.NamedQuery{Name: "both", Service: "payments", Near: "zone:eu/z1", Split: []rollcall.Split{
				{Percent: 80}, {Percent: 20, QueryTarget: rollcall.QueryTarget{Service: "spare"}},
			}})
			queries := []rollcall.Query{
				{Service: "payments", Near: "0,0", Limit: 3}, {Service: "payments", Near: "zone:eu/z1"}, {Service: "payments", Limit: 2}, {Service: "payments", Subset: "web-1", SubsetSize: 12},
				{Service: "payments", Filter: "load.utilization < 0.5"}, {Service: "pay"}, {Service: "both"}, {Service: "both", Limit: 4, Filter: `version != "3"`},
			}
			var os []*observer
			for _, q := range queries {
				o := observe(t, r, q)
				defer o.close()
				os = append(os, o)
			}
			for step := range 150 {
				key := rollcall.NewKey("", service(), fmt.Sprintf("i-%d", rng.IntN(20)))
				switch rng.IntN(7) {
				case 0, 1, 2:
					i := driver(key.ID, 100*rng.Float64())
					i.Service, i.Version = key.Service, fmt.Sprint(rng.IntN(4))
					i.Locality = rollcall.Locality{Region: "eu", Zone: fmt.Sprintf("z%d", rng.IntN(3))}
					register(t, r, i)
				case 3:
					if err := r.Deregister(t.Context(), key, 0); err != nil {
						t.Fatal(err)
					}
				case 4:
					s := []rollcall.Status{rollcall.Healthy, rollcall.Unhealthy, rollcall.Suspect, rollcall.Draining}[rng.IntN(4)]
					if err := r.Override(t.Context(), key, &rollcall.Override{Status: s}); err != nil && !errors.Is(err, rollcall.ErrNotFound) {
						t.Fatal(err)
					}
				case 5, 6:
					rep := rollcall.Report{Position: &rollcall.Position{Lat: rng.Float64()}, Load: &rollcall.Load{Utilization: rng.Float64() + 0.01, RPS: 10}}
					if _, err := r.Renew(t.Context(), key, &rep); err != nil && !errors.Is(err, rollcall.ErrNotFound) {
						t.Fatal(err)
					}
				}
				for n, o := range os {
					if got, want := agrees(t, r, o, queries[n]); got != want {
						t.Fatalf("seed %d, step %d: %s: told %s, answered %s", seed, step, queries[n].Values().Encode(), got, want)
					}
				}
			}
		})
	})
}

// agrees returns what an observer has been told of and what the query is answered
// with, once they are the same or should be: weights, which zones spill over by, may
// have been published between the two.
func agrees(t *testing.T, r *registry.Registry, o *observer, q rollcall.Query) (told, answered string) {
	t.Helper()
	for range 4 {
		o.told(1200 * time.Millisecond)
		a, err := r.Resolve(t.Context(), &q)
		var ids []string
		switch {
		case err == nil:
			for _, i := range itemsOf(a) {
				ids = append(ids, i.Key().Service+"/"+i.ID())
			}
		case errors.Is(err, rollcall.ErrSettling):
			return "", "" // nothing is answered for now, and watchers keep what they have
		case !errors.Is(err, rollcall.ErrNotFound):
			t.Fatal(err)
		}
		slices.Sort(ids)
		told, answered = strings.Join(slices.Sorted(maps.Keys(o.sees)), " "), strings.Join(ids, " ")
		if told == answered {
			break
		}
	}
	return told, answered
}

// TestDrainElsewhere: a drain does not wait for those who do not have the instance.
func TestDrainElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			register(t, r, driver("d-1", 1))
			register(t, r, driver("d-2", 2))
			o := observe(t, r, rollcall.Query{Service: "payments", Near: "0,0", Limit: 1})
			o.want(100*time.Millisecond, "at first", "snapshot d-1")
			watching, done := context.WithCancel(t.Context())
			var reading sync.WaitGroup
			reading.Go(func() {
				for {
					if _, err := o.sub.Next(watching); err != nil {
						return
					}
					o.sub.Sent()
				}
			})
			began := time.Now()
			b, err := r.Drain(t.Context(), rollcall.NewKey("", "payments", "d-2"), true, 5*time.Second)
			if took := time.Since(began); err != nil || b.Pending != 0 || took > 100*time.Millisecond {
				t.Errorf("%+v, %v after %v", b, err, took)
			}
			done()
			reading.Wait()
			o.close()
		})
	})
}
