package catalog

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestPutOverWhatWasFound: an item that replaces another has its record, its own terms
// and what is still found, and the one before stays as it was in the snapshot before.
func TestPutOverWhatWasFound(t *testing.T) {
	c := New()
	at := time.Unix(1_700_000_000, 0).UTC()
	i := rollcall.Instance{
		Service: "s", ID: "i", Address: "10.0.0.1", Weight: new(uint16(0)), Warmup: 5e9, Metadata: map[string]string{"team": "x"},
		Checks: []rollcall.Check{{Name: "up", Type: rollcall.CheckTTL, TTL: 10e9}},
	}
	i.Normalize()
	apply := func(rev rollcall.Revision, body rollcall.Body) *Item {
		t.Helper()
		e := rollcall.Entry{Reset: rev == 0, Revision: rev}
		if body != nil {
			e.Changes = []rollcall.Change{{At: at.Add(time.Duration(rev) * time.Second), Revision: rev, Body: body}}
		}
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		s, _ := c.Publish()
		item := s.Item(i.Key())
		if item != nil && (item.Terms() != record.Terms(item.Record()) || record.Warmup(item.Terms()) != time.Duration(i.Warmup)) {
			t.Fatalf("at %d: terms %q of %q", rev, item.Terms(), item.Record())
		}
		return item
	}
	apply(0, nil)
	first := apply(1, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	failed := apply(2, rollcall.HealthPut{Service: i.Key().ServiceKey, Slot: rollcall.CheckSlot("up"), Status: rollcall.Unhealthy, IDs: []string{"i"}})
	i.Warmup = 6e9
	again := apply(3, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	if again.Status() != rollcall.Unhealthy || !again.Since().Equal(failed.Since()) || !cmp.Equal(again.Findings(), failed.Findings()) {
		t.Errorf("%v since %v: %v, want what was found of the one before", again.Status(), again.Since(), again.Findings())
	}
	if first.Status() != rollcall.Starting || record.Warmup(first.Terms()) != 5*time.Second || !first.Idle() || again.Record() != record.Pack(&i) {
		t.Errorf("the one before has become %v with %v", first.Status(), record.Warmup(first.Terms()))
	}
}

// TestItemKeepsItsTextAlone: an item keeps what has nothing else in it, and a copy of
// what is a part of more.
func TestItemKeepsItsTextAlone(t *testing.T) {
	page := strings.Repeat("x", 100) + "i" + "\x1a\x01a"
	shared := rollcall.InstancePut{Key: rollcall.NewKey("", "s", page[100:101]), Record: rollcall.Record(page[101:])}
	own := shared
	own.Text = strings.Clone(page[100:])
	for name, put := range map[string]*rollcall.InstancePut{"shared": &shared, "own": &own} {
		var i Item
		i.write(put)
		if i.ID() != put.Key.ID || i.Record() != put.Record {
			t.Errorf("%s: %q with %q", name, i.ID(), i.Record())
		}
		if p := unsafe.StringData(i.text); p == unsafe.StringData(page[100:]) || (p == unsafe.StringData(own.Text)) != (put == &own) {
			t.Errorf("%s: its text is in the wrong memory", name)
		}
	}
}
