package catalog

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestPast undoes random changes from their events and finds the states that there
// were.
func TestPast(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	g := &generator{rand.New(rand.NewPCG(*seed, 1)), time.Unix(1_700_000_000, 0).UTC()}
	m := &model{map[rollcall.Key]*modelInstance{}, map[rollcall.ServiceKey]rollcall.Revision{}, map[rollcall.Key]*rollcall.Override{}, map[rollcall.Key]time.Time{}, map[rollcall.ServiceKey]float64{}, map[rollcall.ServiceKey]*rollcall.NamedQuery{}}
	c := New()
	apply := func(e rollcall.Entry) []Event {
		t.Helper()
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		_, events := c.Publish()
		return events
	}
	apply(rollcall.Entry{Log: "0123456789abcdef", Reset: true})
	states := []*Snapshot{c.Snapshot()}
	type undo struct {
		key    rollcall.Key
		before string
	}
	var undos [][]undo
	for rev := rollcall.Revision(1); rev <= 600; rev++ {
		ch := g.change(m)
		ch.Revision = rev
		m.apply(ch)
		var us []undo
		for _, e := range apply(rollcall.Entry{Log: "0123456789abcdef", Revision: rev, Changes: []rollcall.Change{ch}}) {
			key := rollcall.Key{ServiceKey: e.Service, ID: e.ID}
			if e.ID == "" {
				us = append(us, undo{key, e.Was})
			} else if e.Change != nil { // what follows from a panic need not be told
				us = append(us, undo{key, e.Before.Image()})
			}
		}
		undos = append(undos, us)
		states = append(states, c.Snapshot())
	}
	// text leaves out what the past does not tell.
	text := func(s *Snapshot, of rollcall.ServiceKey) string {
		var b strings.Builder
		for v := range s.Views(rollcall.ServiceKey{}) {
			if of != (rollcall.ServiceKey{}) && v.Key() != of || v.Len() == 0 {
				continue
			}
			settings := v.Settings()
			fmt.Fprintf(&b, "%v panic %v %v\n", v.Key(), v.Panic(), settings.Panic != nil)
			for i := range v.All() {
				b.WriteString(show(i))
			}
		}
		return b.String()
	}
	for range 60 {
		back := g.rng.IntN(len(undos))
		var service rollcall.ServiceKey
		if g.rng.IntN(2) == 0 {
			service = g.key().ServiceKey
		}
		before := map[rollcall.Key]string{}
		for _, us := range undos[back:] {
			for _, u := range us {
				if _, ok := before[u.key]; !ok && (service == rollcall.ServiceKey{} || u.key.ServiceKey == service) {
					before[u.key] = u.before
				}
			}
		}
		got, err := c.Past(c.Snapshot(), service, before)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text(states[back], service), text(got, service)); diff != "" {
			t.Fatalf("%d revisions ago, of %q:\n%s", len(undos)-back, service, diff)
		}
	}
	if _, err := c.Past(c.Snapshot(), rollcall.ServiceKey{}, map[rollcall.Key]string{rollcall.NewKey("", "s0", "i"): "nonsense"}); err == nil {
		t.Error("nonsense was taken for an image")
	}
}

// pictured is an instance of which there is all that an image may hold.
func pictured(tb testing.TB) *Item {
	tb.Helper()
	i := rollcall.Instance{
		Service: "payments", ID: "p-1", Address: "10.0.0.1", Ports: map[string]uint16{"http": 8080},
		Metadata: map[string]string{"team": "checkout", "build": "4711"}, Checks: []rollcall.Check{{Name: "disk", Type: rollcall.CheckTTL, TTL: 1e9}},
	}
	i.Normalize()
	at := time.Unix(1_700_000_000, 0).UTC()
	c := New()
	if err := c.Apply(rollcall.Entry{Log: "0123456789abcdef", Revision: 1, Reset: true, Changes: []rollcall.Change{
		{At: at, Revision: 1, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}},
		{At: at, Revision: 1, Body: rollcall.HealthPut{Service: i.Key().ServiceKey, Slot: rollcall.SlotLease, Status: rollcall.Suspect, Reason: "silent", IDs: []string{"p-1"}}},
		{At: at, Revision: 1, Body: rollcall.OverridePut{Key: i.Key(), Override: &rollcall.Override{Status: rollcall.Draining, By: "me", Since: at}}},
	}}); err != nil {
		tb.Fatal(err)
	}
	c.Publish()
	return c.Snapshot().Item(i.Key())
}

// TestImageDoesNotAllocate where there is room for it.
func TestImageDoesNotAllocate(t *testing.T) {
	item := pictured(t)
	room := item.AppendImage([]byte("before "))
	if got := string(room); got != "before "+item.Image() {
		t.Errorf("%q is appended", got)
	}
	if n := testing.AllocsPerRun(1000, func() { room = item.AppendImage(room[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := (*Item)(nil).AppendImage(nil); got != nil {
		t.Errorf("%q of nothing", got)
	}
}

// BenchmarkImage packs what stood where something changed, as is done for each
// change.
func BenchmarkImage(b *testing.B) {
	item := pictured(b)
	var room []byte
	b.ReportAllocs()
	for b.Loop() {
		room = item.AppendImage(room[:0])
	}
}

func BenchmarkPast(b *testing.B) {
	const services, ids = 1000, 100
	c := filled(b, services, ids)
	s := c.Snapshot()
	before := map[rollcall.Key]string{}
	for v := range s.Views(rollcall.ServiceKey{}) {
		for i := range v.All() {
			if len(before) < services*ids/2 {
				before[i.Key()] = i.Image()
			}
		}
	}
	b.Run("instances=100000,changed=50000", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Past(s, rollcall.ServiceKey{}, before); err != nil {
				b.Fatal(err)
			}
		}
	})
}
