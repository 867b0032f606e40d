package modeltest

import (
	"errors"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// TestValidators breaks each promise in turn: its validator must say so.
func TestValidators(t *testing.T) {
	const log = rollcall.LogID("0123456789abcdef")
	start := time.Unix(1_700_000_000, 0).UTC()
	h, c := newHistory(), catalog.New()
	if err := c.Apply(rollcall.Entry{Log: log, Reset: true}); err != nil {
		t.Fatal(err)
	}
	empty, _ := c.Publish()
	snapshots := []*catalog.Snapshot{empty}
	write := func(bodies ...rollcall.Body) {
		e := rollcall.Entry{Log: log, Revision: rollcall.Revision(len(snapshots))}
		for _, b := range bodies {
			if p, ok := b.(rollcall.InstancePut); ok {
				p.Incarnation = e.Revision
				b = p
			}
			e.Changes = append(e.Changes, rollcall.Change{At: start, Revision: e.Revision, Why: "test", Body: b})
		}
		h.add(e)
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		s, _ := c.Publish()
		snapshots = append(snapshots, s)
	}
	put := func(service, id, version string) rollcall.InstancePut {
		i := rollcall.Instance{Service: service, ID: id, Version: version}
		i.Normalize()
		return rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
	}
	a := rollcall.NewServiceKey("", "a")
	write(put("a", "1", "1"))                                  // 1
	write(put("a", "1", "2"), put("a", "2", "2"))              // 2
	write(put("b", "1", "1"))                                  // 3
	write(rollcall.InstanceRemove{Key: put("a", "2", "").Key}) // 4
	write(put("a", "3", "5"))
	write(put("a", "4", "6"))
	change := func(kind watch.Kind, r rollcall.Revision, service, id string) watch.Change {
		key := rollcall.NewKey("", service, id)
		return watch.Change{Kind: kind, Revision: r, Service: key.ServiceKey, ID: id, Item: snapshots[r].Item(key), Why: "test"}
	}
	changes := func(r rollcall.Revision, cs ...watch.Change) *watch.Batch {
		return &watch.Batch{Type: watch.Changes, Revision: r, Changes: cs}
	}
	state := func(kind watch.Type, said, is rollcall.Revision) *watch.Batch {
		return &watch.Batch{Type: kind, Revision: said, State: snapshots[is]}
	}
	bookmark := func(r rollcall.Revision) *watch.Batch { return &watch.Batch{Type: watch.Bookmark, Revision: r} }
	one := change(watch.Put, 1, "a", "1")
	first, second := change(watch.Put, 2, "a", "1"), change(watch.Put, 2, "a", "2")
	five, six := change(watch.Put, 5, "a", "3"), change(watch.Put, 6, "a", "4")
	gone := change(watch.Remove, 4, "a", "2")
	health, why := first, first
	health.Kind, why.Why = watch.Health, "another"

	for name, tt := range map[string]struct {
		batches []*watch.Batch
		want    promise // "" if all are kept
	}{
		"all is well":              {[]*watch.Batch{state(watch.Snapshot, 0, 0), changes(1, one), changes(2, first, second), bookmark(3), changes(4, gone), bookmark(4)}, ""},
		"merged":                   {[]*watch.Batch{state(watch.Snapshot, 0, 0), changes(4, first)}, ""},
		"begins with a reset":      {[]*watch.Batch{state(watch.Reset, 0, 0)}, begins},
		"begins with changes":      {[]*watch.Batch{changes(1, one)}, begins},
		"two snapshots":            {[]*watch.Batch{state(watch.Snapshot, 0, 0), state(watch.Snapshot, 1, 1)}, begins},
		"a reset for no reason":    {[]*watch.Batch{state(watch.Snapshot, 0, 0), state(watch.Reset, 1, 1)}, resumable},
		"another state":            {[]*watch.Batch{state(watch.Snapshot, 2, 1)}, whole},
		"the same again":           {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(1, one)}, ordered},
		"out of order":             {[]*watch.Batch{state(watch.Snapshot, 4, 4), changes(6, six, five)}, ordered},
		"an old change":            {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, one, first, second)}, unique},
		"twice in a batch":         {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, first, first, second)}, unique},
		"half a revision":          {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, first)}, unsplit},
		"one left out":             {[]*watch.Batch{state(watch.Snapshot, 0, 0), changes(4)}, coalesced},
		"a removal left out":       {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, first, second), bookmark(4)}, bookmarked},
		"a bookmark of the past":   {[]*watch.Batch{state(watch.Snapshot, 1, 1), bookmark(0)}, bookmarked},
		"a bookmark of the future": {[]*watch.Batch{state(watch.Snapshot, 4, 4), bookmark(9)}, bookmarked},
		"of another service":       {[]*watch.Batch{state(watch.Snapshot, 2, 2), changes(3, change(watch.Put, 3, "b", "1"))}, relevant},
		"an older revision":        {[]*watch.Batch{state(watch.Snapshot, 0, 0), changes(2, one, second)}, truthful},
		"other words":              {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, why, second)}, truthful},
		"a put told as health":     {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(2, health, second)}, truthful},
		"what cancelled out":       {[]*watch.Batch{state(watch.Snapshot, 1, 1), changes(4, first, gone)}, coalesced},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stream{history: h, topic: a, sees: anything, reaches: func(rollcall.Revision) bool { return true }, tested: map[promise]int{}}
			var err error
			for _, b := range tt.batches {
				if err = s.take(b, start); err != nil {
					break
				}
			}
			var got promise
			if b, ok := errors.AsType[*broken](err); ok {
				got = b.promise
			}
			if got != tt.want || (err != nil) != (tt.want != "") {
				t.Errorf("%v, want %q broken", err, tt.want)
			}
		})
	}

	s := &stream{history: h, topic: a, sees: anything, reaches: func(rollcall.Revision) bool { return true }, tested: map[promise]int{}}
	for n, tt := range []struct {
		batch *watch.Batch
		after time.Duration
		want  promise
	}{{state(watch.Snapshot, 4, 4), 0, current}, {changes(6, five, six), 0, ""}, {bookmark(6), 6 * time.Second, timely}} {
		err := s.take(tt.batch, start)
		var got promise
		if b, ok := errors.AsType[*broken](s.idle(start.Add(tt.after))); ok {
			got = b.promise
		}
		if err != nil || got != tt.want {
			t.Errorf("batch %d: %v, %q broken, want %q", n, err, got, tt.want)
		}
	}
}
