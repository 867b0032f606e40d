package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

func putQuery(t *testing.T, r *registry.Registry, q rollcall.NamedQuery) *rollcall.NamedQuery {
	t.Helper()
	ctx := auth.With(t.Context(), auth.Principal{Name: "op", Door: "http"})
	is, _, err := r.PutQuery(ctx, &q, 0)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestNamedQuery(t *testing.T) {
	r := start(t, memory.New())
	ctx := auth.With(t.Context(), auth.Principal{Name: "op", Door: "http"})
	q := &rollcall.NamedQuery{Name: "Pay", Failover: []rollcall.QueryTarget{{Service: "pay-dr"}}}
	is, created, err := r.PutQuery(ctx, q, 0)
	if err != nil || !created || is.Revision != 1 || is.By != "op" || is.UpdatedAt.IsZero() || is.Service != "Pay" || is.Failover[0].Namespace != "default" {
		t.Fatalf("%+v, created %v, %v", is, created, err)
	}
	if q.Service != "" || q.Failover[0].Namespace != "" {
		t.Errorf("the caller's own is changed: %+v", q)
	}
	key := is.Key()
	if got, err := r.Query(ctx, key); err != nil || got != is {
		t.Errorf("read as %+v, %v", got, err)
	}
	// The same again, however it is written, is no change.
	if again, created, err := r.PutQuery(ctx, &rollcall.NamedQuery{Namespace: "Default", Name: "pay", Service: "Pay", Failover: q.Failover}, 0); err != nil || created || again != is {
		t.Errorf("again: %+v, created %v, %v", again, created, err)
	}
	if _, _, err := r.PutQuery(ctx, &rollcall.NamedQuery{Name: "pay"}, 7); !errors.Is(err, rollcall.ErrPrecondition) {
		t.Errorf("with another revision: %v", err)
	}
	is, created, err = r.PutQuery(ctx, &rollcall.NamedQuery{Name: "pay"}, 1)
	if err != nil || created || is.Revision != 2 || is.Name != "Pay" || is.Failover != nil {
		t.Errorf("replaced by %+v, created %v, %v", is, created, err)
	}
	if err := r.DeleteQuery(ctx, key, 1); !errors.Is(err, rollcall.ErrPrecondition) {
		t.Errorf("deleted with another revision: %v", err)
	}
	if err := r.DeleteQuery(ctx, key, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Query(ctx, key); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
	if err := r.DeleteQuery(ctx, key, 0); err != nil {
		t.Errorf("deleted again: %v", err)
	}
	if err := r.DeleteQuery(ctx, key, 2); !errors.Is(err, rollcall.ErrPrecondition) {
		t.Errorf("deleted again with a revision: %v", err)
	}
	es, _, err := r.Events(ctx, rollcall.EventFilter{Service: "pay"}, "", 10)
	var types []string
	for _, e := range es {
		types = append(types, e.Type)
		if e.By != "op" || e.Via != "http" || e.At.IsZero() || e.ID != "" {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"query_removed", "query", "query"}, types); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNamedQueryIsChecked(t *testing.T) {
	r := run(t, unguarded(memory.New()))
	for _, q := range []rollcall.NamedQuery{{Name: "a", Filter: "("}, {Name: "a b"}, {Name: "a", Split: []rollcall.Split{{Percent: 1}}}} {
		if _, _, err := r.PutQuery(t.Context(), &q, 0); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if qs, _, err := r.Queries(t.Context(), "", "", 10); len(qs) > 0 || err != nil {
		t.Errorf("stored %v, %v", qs, err)
	}
}

func TestQueriesInPages(t *testing.T) {
	r := start(t, memory.New())
	for _, name := range []string{"b", "C", "a"} {
		putQuery(t, r, rollcall.NamedQuery{Name: name})
		putQuery(t, r, rollcall.NamedQuery{Namespace: "Shop", Name: name})
	}
	list := func(namespace string, limit int) (names []string) {
		after := ""
		for pages := 0; ; pages++ {
			qs, next, err := r.Queries(t.Context(), namespace, after, limit)
			if err != nil || len(qs) > limit || pages > 6 {
				t.Fatalf("%d queries, %q, %v", len(qs), next, err)
			}
			for _, q := range qs {
				names = append(names, q.Namespace+"/"+q.Name)
			}
			if after = next; after == "" {
				return names
			}
		}
	}
	all := []string{"default/a", "default/b", "default/C", "Shop/a", "Shop/b", "Shop/C"}
	for limit := 1; limit <= 7; limit++ {
		if diff := cmp.Diff(all, list("", limit)); diff != "" {
			t.Errorf("in pages of %d:\n%s", limit, diff)
		}
	}
	if diff := cmp.Diff(all[3:], list("shop", 2)); diff != "" {
		t.Error(diff)
	}
	if _, _, err := r.Queries(t.Context(), "", "x", 1); !errors.Is(err, rollcall.ErrInvalid) {
		t.Errorf("a cursor of one's own: %v", err)
	}
}

// Of many who replace the same revision at once, one does.
func TestOneReplacesAQuery(t *testing.T) {
	r := start(t, memory.New())
	was := putQuery(t, r, rollcall.NamedQuery{Name: "pay"})
	var won atomic.Int32
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			_, _, err := r.PutQuery(t.Context(), &rollcall.NamedQuery{Name: "pay", Limit: n + 1}, was.Revision)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, rollcall.ErrPrecondition) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d replaced it", won.Load())
	}
}

// Queries are in the log, and in what a log begins with once it has forgotten.
func TestQueriesOutliveARestart(t *testing.T) {
	for name, forget := range map[string]bool{"replayed": false, "from a checkpoint": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.New()
				var was rollcall.NamedQuery
				during(t, log, func(r *registry.Registry) {
					was = *putQuery(t, r, rollcall.NamedQuery{
						Name: "Pay", Filter: "cap.ok", MinRoutable: 2, Split: []rollcall.Split{{Percent: 100, QueryTarget: rollcall.QueryTarget{Service: "p"}}},
					})
					putQuery(t, r, rollcall.NamedQuery{Name: "gone"})
					if err := r.DeleteQuery(t.Context(), rollcall.NewServiceKey("", "gone"), 0); err != nil {
						t.Fatal(err)
					}
					if forget {
						checkpoint(t, r, log)
					}
				})
				during(t, log, func(r *registry.Registry) {
					qs, _, err := r.Queries(t.Context(), "", "", 10)
					if err != nil || len(qs) != 1 {
						t.Fatalf("%d queries, %v", len(qs), err)
					}
					if diff := cmp.Diff(was, *qs[0]); diff != "" {
						t.Error(diff)
					}
				})
			})
		})
	}
}

// Whoever watches a name that a query comes to have is told that it means something
// else now; what the query asks for they are told when they come back.
func TestQueryAmongWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during(t, memory.New(), func(r *registry.Registry) {
			register(t, r, payments("p-1"))
			watching := func(after rollcall.Token) watch.Feed {
				t.Helper()
				sub, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments", After: after}, watch.Reader{Caller: "c", Door: "sse"})
				if err != nil {
					t.Fatal(err)
				}
				return sub
			}
			next := func(sub watch.Feed, want watch.Type) *watch.Batch {
				t.Helper()
				b, err := sub.Next(t.Context())
				if err != nil || b.Type != want {
					t.Fatalf("%+v, %v, want type %v", b, err, want)
				}
				sub.Sent()
				return b
			}
			sub := watching(rollcall.Token{})
			b := next(sub, watch.Snapshot)
			q := putQuery(t, r, rollcall.NamedQuery{Name: "payments"})
			if _, err := sub.Next(t.Context()); err != watch.ErrMoved {
				t.Fatalf("%v, want that the name means another query", err)
			}
			sub.Close()

			// A token of the service is none of the query.
			sub = watching(rollcall.Token{Log: b.State.Log(), Revision: b.Revision})
			defer sub.Close()
			next(sub, watch.Reset)
			register(t, r, payments("p-2"))
			b = next(sub, watch.Changes)
			if len(b.Changes) != 1 || b.Changes[0].ID != "p-2" {
				t.Fatalf("%+v", b.Changes)
			}
			if b, err := r.Seen(t.Context(), q.Key(), b.Revision, time.Second); err != nil || b.Pending != 0 || b.Acknowledged != 1 {
				t.Errorf("%+v, %v", b, err)
			}
			past := time.Now()
			time.Sleep(time.Second)
			putQuery(t, r, rollcall.NamedQuery{Name: "payments", Limit: 1})
			if b = next(sub, watch.Changes); len(b.Changes) != 1 || b.Changes[0].Kind != watch.Remove || b.Changes[0].ID != "p-2" {
				t.Errorf("with a limit of one: %+v", b.Changes)
			}
			if got := ids(t, r, rollcall.Query{Service: "payments", At: past}); !slices.Equal(got, []string{"p-1"}) {
				t.Errorf("of the past the query of today gives %v", got)
			}

			// And back to the service.
			if err := r.DeleteQuery(t.Context(), q.Key(), 0); err != nil {
				t.Fatal(err)
			}
			if b = next(sub, watch.Changes); len(b.Changes) != 1 || b.Changes[0].Kind != watch.Put || b.Changes[0].ID != "p-2" {
				t.Errorf("without the query: %+v", b.Changes)
			}
			token := rollcall.Token{Log: b.Result.Log, Revision: b.Revision, Generation: b.Result.Generation}
			back := watching(token)
			defer back.Close()
			next(back, watch.Reset)
		})
	})
}

// That the log takes no writes, or its reader is gone, holds nobody up for longer
// than they want to wait.
func TestQueryIsNotWaitedForForEver(t *testing.T) {
	log := &brokenLog{Log: memory.New()}
	r := start(t, log)
	log.set(true)
	if _, _, err := r.PutQuery(t.Context(), &rollcall.NamedQuery{Name: "a"}, 0); !errors.Is(err, rollcall.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	log.set(false)
	if _, _, err := r.PutQuery(t.Context(), &rollcall.NamedQuery{Name: "a"}, 0); err != nil {
		t.Errorf("and then: %v", err)
	}
	if err := registry.New(unguarded(memory.New())).DeleteQuery(context.Background(), rollcall.NewServiceKey("", "a"), 0); !errors.Is(err, rollcall.ErrNotSynced) || !strings.Contains(err.Error(), "reading") {
		t.Errorf("before the log was read: %v", err)
	}
}

// There is a most of queries, and those that are there can still be changed.
func TestMostQueries(t *testing.T) {
	log := memory.New()
	var b rollcall.Batch
	for n := range 10_000 {
		q := &rollcall.NamedQuery{Name: fmt.Sprintf("q%d", n)}
		q.Normalize()
		b.Changes = append(b.Changes, rollcall.Change{Body: rollcall.QueryPut{Name: q.Key(), Query: q}})
	}
	if _, err := log.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := start(t, log)
	if _, _, err := r.PutQuery(t.Context(), &rollcall.NamedQuery{Name: "more"}, 0); !errors.Is(err, rollcall.ErrConflict) {
		t.Errorf("one more: %v", err)
	}
	if is := putQuery(t, r, rollcall.NamedQuery{Name: "q7", Limit: 1}); is.Limit != 1 {
		t.Errorf("changed to %+v", is)
	}
}
