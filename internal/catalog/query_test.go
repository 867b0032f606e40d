package catalog

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

func stored(namespace, name string) rollcall.Change {
	q := &rollcall.NamedQuery{Namespace: namespace, Name: name}
	q.Normalize()
	return rollcall.Change{At: time.Unix(1_700_000_000, 0).UTC(), By: "op", Body: rollcall.QueryPut{Name: q.Key(), Query: q}}
}

// write applies changes as one entry and publishes it.
func write(t *testing.T, c *Catalog, rev rollcall.Revision, changes ...rollcall.Change) (*Snapshot, []Event) {
	t.Helper()
	for n := range changes {
		changes[n].Revision = rev
	}
	if err := c.Apply(rollcall.Entry{Log: "0123456789abcdef", Revision: rev, Changes: changes, Reset: rev == 0}); err != nil {
		t.Fatal(err)
	}
	return c.Publish()
}

// A query has a name without being a service, and whoever asks for that name is
// told when it comes, changes and goes.
func TestQuery(t *testing.T) {
	c := New()
	write(t, c, 0)
	key := rollcall.NewServiceKey("", "pay")
	s, events := write(t, c, 1, stored("", "Pay"))
	q := s.Query(key)
	if q == nil || q.Name != "Pay" || q.Revision != 1 || q.By != "op" || q.UpdatedAt.IsZero() {
		t.Fatalf("stored as %+v", q)
	}
	if s.Services() != 0 || s.View(key) != nil {
		t.Error("a query makes a service of its name")
	}
	if len(events) != 1 || events[0].Service != key || events[0].ID != "" || events[0].Was != "" || events[0].Revision != 1 {
		t.Errorf("events %+v", events)
	}
	again, _ := write(t, c, 2, stored("", "Pay"))
	if s.Query(key).Revision != 1 || again.Query(key).Revision != 2 {
		t.Error("a snapshot changed after it was published")
	}
	gone := rollcall.Change{Body: rollcall.QueryPut{Name: key}}
	none, events := write(t, c, 3, gone)
	if none.Query(key) != nil || none.queries != nil || again.Query(key) == nil || len(events) != 1 {
		t.Errorf("removed: %+v, events %+v", none.Query(key), events)
	}
	if _, events := write(t, c, 4, gone); len(events) != 0 {
		t.Errorf("removed again: events %+v", events)
	}
}

func TestQueries(t *testing.T) {
	c := New()
	write(t, c, 0)
	s, _ := write(t, c, 1, stored("b", "x"), stored("a", "z"), stored("", "q"), stored("a", "y"))
	list := func(namespace string, after rollcall.ServiceKey) (keys []string) {
		for q := range s.Queries(namespace, after) {
			keys = append(keys, q.Key().String())
		}
		return keys
	}
	for _, tt := range []struct {
		namespace string
		after     rollcall.ServiceKey
		want      []string
	}{
		{"", rollcall.ServiceKey{}, []string{"a/y", "a/z", "b/x", "default/q"}},
		{"", rollcall.NewServiceKey("a", "z"), []string{"b/x", "default/q"}},
		{"a", rollcall.ServiceKey{}, []string{"a/y", "a/z"}},
		{"a", rollcall.NewServiceKey("a", "y"), []string{"a/z"}},
		{"c", rollcall.ServiceKey{}, nil},
	} {
		if diff := cmp.Diff(tt.want, list(tt.namespace, tt.after)); diff != "" {
			t.Errorf("%q behind %v:\n%s", tt.namespace, tt.after, diff)
		}
	}
	if s.NamedQueries() != 4 {
		t.Errorf("%d queries", s.NamedQueries())
	}
}

// That a query of its name was stored takes nothing from what is known of a
// service's past, and the query is asked as it is now.
func TestPastOfQueriedService(t *testing.T) {
	c := New()
	write(t, c, 0)
	i := rollcall.Instance{Service: "pay", ID: "a"}
	i.Normalize()
	write(t, c, 1, rollcall.Change{At: time.Unix(1, 0), Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}})
	was, _ := write(t, c, 2, rollcall.Change{At: time.Unix(2, 0), Body: rollcall.InstanceRemove{Key: i.Key()}})
	now, events := write(t, c, 3, stored("", "pay"))
	key := i.Key().ServiceKey
	past, err := c.Past(now, key, map[rollcall.Key]string{{ServiceKey: key}: events[0].Was})
	if err != nil {
		t.Fatal(err)
	}
	if v := past.View(key); v == nil || v.Len() != 0 || v.Revision() != was.View(key).Revision() {
		t.Errorf("the service was known, and in the past it is %+v", v)
	}
	if past.Query(key) != now.Query(key) {
		t.Error("the past has another query")
	}
}

// Nor does it make a service known before it was.
func TestPastBeforeQueriedService(t *testing.T) {
	c := New()
	write(t, c, 0)
	i := rollcall.Instance{Service: "pay", ID: "a"}
	i.Normalize()
	write(t, c, 1, rollcall.Change{At: time.Unix(1, 0), Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}})
	now, events := write(t, c, 2, stored("", "pay"))
	key := i.Key().ServiceKey
	past, err := c.Past(now, key, map[rollcall.Key]string{i.Key(): "", {ServiceKey: key}: events[0].Was})
	if err != nil {
		t.Fatal(err)
	}
	if v := past.View(key); v != nil {
		t.Errorf("before its first instance the service was %+v", v)
	}
}

// A state that is read page by page copies the queries once, not for each.
func TestManyQueriesAreReadInProportion(t *testing.T) {
	changes := make([]rollcall.Change, 10_000)
	for n := range changes {
		changes[n] = stored("", "q"+time.Duration(n).String())
	}
	c := New()
	write(t, c, 0)
	s, _ := write(t, c, 1, changes...)
	state := slices.Collect(s.State())
	d := New()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for page := range slices.Chunk(state, 100) {
		if err := d.Apply(rollcall.Entry{Log: "0123456789abcdef", Revision: 1, Changes: page, Reset: true, More: true}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if bytes := (after.TotalAlloc - before.TotalAlloc) / uint64(len(changes)); bytes > 4000 {
		t.Errorf("%d bytes allocated for each query", bytes)
	}
}

func TestNoQueryCostsNothing(t *testing.T) {
	c := filled(t, 1, 1)
	s := c.Snapshot()
	key := rollcall.NewServiceKey("", "nothing")
	if n := testing.AllocsPerRun(100, func() { s.Query(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNoQuery(b *testing.B) {
	s := filled(b, 1, 1).Snapshot()
	key := rollcall.NewServiceKey("", "nothing")
	for b.Loop() {
		s.Query(key)
	}
}
