package catalog

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

var seed = flag.Uint64("seed", 0, "seed of the model test; 0 draws one")

// dump writes all that readers can see of a snapshot.
func dump(s *Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d: %d services, %d instances\n", s.Log(), s.Revision(), s.Services(), s.Instances())
	for v := range s.Views(rollcall.ServiceKey{}) {
		fmt.Fprintf(&b, "%v %q at %d, %d routable, panic %v, settings %v, orphans %d\n", v.Key(), v.Name(), v.Revision(), v.Routable(), v.Panic(), v.settings != nil, len(v.orphans))
		for i := range v.All() {
			b.WriteString(show(i))
		}
	}
	for q := range s.Queries("", rollcall.ServiceKey{}) {
		fmt.Fprintf(&b, "%+v\n", *q)
	}
	return b.String()
}

// show writes all that is known of an instance, "" for none.
func show(i *Item) string {
	if i == nil {
		return ""
	}
	inst := i.Instance()
	b := inst.AppendJSON(nil)
	if i.evidence != nil {
		b = fmt.Appendf(b, " %v", i.evidence.findings)
	}
	if o := i.Override(); o != nil {
		b = fmt.Appendf(b, " override %v", *o)
	}
	if i.Forced() {
		b = append(b, " forced"...)
	}
	return string(append(b, '\n'))
}

// model is a catalog as one would write it without a thought for speed.
type model struct {
	instances map[rollcall.Key]*modelInstance
	known     map[rollcall.ServiceKey]rollcall.Revision
	overrides map[rollcall.Key]*rollcall.Override
	gone      map[rollcall.Key]time.Time // since when an override waits
	panics    map[rollcall.ServiceKey]float64
	queries   map[rollcall.ServiceKey]*rollcall.NamedQuery
}

type modelInstance struct {
	record                rollcall.Record
	revision, incarnation rollcall.Revision
	findings              map[rollcall.Slot]rollcall.Finding
}

// has reports whether the instance has the check of another registration. In what
// the generator makes, an interval of 10 s is the default.
func (i *modelInstance) has(check rollcall.Check, in rollcall.Record) bool {
	a, _ := record.Unpack(rollcall.Key{}, i.record)
	b, _ := record.Unpack(rollcall.Key{}, in)
	return slices.ContainsFunc(a.Checks, func(c rollcall.Check) bool {
		if c.Name != check.Name || c.Type != check.Type {
			return false
		}
		if c.Type == rollcall.CheckTTL {
			return c.TTL == check.TTL
		}
		return a.Address == b.Address && maps.Equal(a.Ports, b.Ports) && max(c.Interval, ten) == max(check.Interval, ten)
	})
}

const ten = rollcall.Duration(10 * time.Second)

func (m *model) apply(c rollcall.Change) {
	switch b := c.Body.(type) {
	case rollcall.InstancePut:
		old := m.instances[b.Key]
		n := &modelInstance{b.Record, c.Revision, b.Incarnation, map[rollcall.Slot]rollcall.Finding{}}
		if n.incarnation == 0 {
			n.incarnation = c.Revision
		}
		for _, check := range record.Checks(b.Record) {
			slot := rollcall.CheckSlot(check.Name)
			n.findings[slot] = rollcall.Finding{Slot: slot, Status: rollcall.Starting, Reason: "no result yet"}
			if old != nil && old.has(check, b.Record) {
				n.findings[slot] = old.findings[slot]
			}
		}
		if old != nil && old.incarnation == n.incarnation {
			for slot, f := range old.findings {
				if _, isCheck := slot.Check(); !isCheck {
					n.findings[slot] = f
				}
			}
		}
		if old == nil && c.At.Sub(m.gone[b.Key]) > KnownFor {
			delete(m.overrides, b.Key)
		}
		m.instances[b.Key] = n
		m.known[b.Key.ServiceKey] = c.Revision
	case rollcall.InstanceRemove:
		if m.instances[b.Key] != nil {
			delete(m.instances, b.Key)
			m.gone[b.Key] = c.At
			m.known[b.Key.ServiceKey] = c.Revision
		}
	case rollcall.HealthPut:
		for _, id := range b.IDs {
			i := m.instances[rollcall.Key{ServiceKey: b.Service, ID: id}]
			if i == nil {
				continue
			}
			old, found := i.findings[b.Slot]
			_, isCheck := b.Slot.Check()
			if isCheck && !found || !isCheck && !found && b.Status == rollcall.Healthy || found && old.Status == b.Status && old.Reason == b.Reason && old.Hard == b.Hard {
				continue
			}
			m.known[b.Service] = c.Revision
			if b.Status == rollcall.Healthy && !isCheck {
				delete(i.findings, b.Slot)
				continue
			}
			i.findings[b.Slot] = rollcall.Finding{Slot: b.Slot, Status: b.Status, Reason: b.Reason, Hard: b.Hard}
		}
	case rollcall.OverridePut:
		if m.instances[b.Key] == nil {
			if c.At.Sub(m.gone[b.Key]) > KnownFor {
				delete(m.overrides, b.Key)
			}
			if b.Override != nil {
				m.gone[b.Key] = c.At
			}
		}
		if b.Override == nil && m.overrides[b.Key] == nil {
			return
		}
		m.known[b.Key.ServiceKey] = c.Revision
		m.overrides[b.Key] = b.Override
	case rollcall.SettingsPut:
		m.known[b.Service] = c.Revision
		m.panics[b.Service] = *b.Settings.Panic
	case rollcall.QueryPut:
		if delete(m.queries, b.Name); b.Query != nil {
			q := *b.Query
			q.Revision, q.UpdatedAt, q.By = c.Revision, c.At, c.By
			m.queries[b.Name] = &q
		}
	}
}

// dead reports whether an unhealthy instance is known to be out of order.
func (m *model) dead(key rollcall.Key) bool {
	for _, f := range m.instances[key].findings {
		if f.Hard && f.Status == rollcall.Unhealthy {
			return true
		}
	}
	return m.overrides[key] != nil
}

func (m *model) compare(t *testing.T, s *Snapshot) {
	t.Helper()
	if s.Instances() != len(m.instances) || s.Services() != len(m.known) {
		t.Fatalf("%d instances of %d services, want %d of %d", s.Instances(), s.Services(), len(m.instances), len(m.known))
	}
	if diff := cmp.Diff(m.queries, s.queries, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("named queries:\n%s", diff)
	}
	for key, rev := range m.known {
		v := s.View(key)
		if v == nil || v.Revision() != rev {
			t.Fatalf("view %v: %+v, want revision %d", key, v, rev)
		}
		routable, counted, n := 0, 0, 0
		maybe := map[string]bool{} // unhealthy, but not known to be dead
		for k, want := range m.instances {
			if k.ServiceKey != key {
				continue
			}
			n++
			i := v.Get(k.ID)
			if i == nil {
				t.Fatalf("%v is missing", k)
			}
			findings := slices.Collect(maps.Values(want.findings))
			slices.SortFunc(findings, func(a, b rollcall.Finding) int { return strings.Compare(string(a.Slot), string(b.Slot)) })
			status, reason := rollcall.Judge(findings, m.overrides[k])
			switch {
			case status.Routable():
				routable++
				counted++
			case status == rollcall.Suspect:
				counted++
			case status == rollcall.Unhealthy && !m.dead(k):
				counted++
				maybe[k.ID] = true
			}
			got := fmt.Sprint(i.Record() == want.record, i.Revision(), i.Incarnation(), i.Status(), i.Reason())
			if want := fmt.Sprint(true, want.revision, want.incarnation, status, reason); got != want {
				t.Fatalf("%v: %s, want %s", k, got, want)
			}
		}
		if v.Len() != n || v.Routable() != routable {
			t.Fatalf("view %v: %d instances, %d routable, want %d, %d", key, v.Len(), v.Routable(), n, routable)
		}
		below, ok := m.panics[key]
		if !ok {
			below = DefaultPanic
		}
		panics := counted > 1 && float64(routable) < below*float64(counted)
		if v.Panic() != panics {
			t.Fatalf("view %v: panic %v with %d of %d routable", key, v.Panic(), routable, counted)
		}
		for i := range v.All() {
			if i.Forced() != (panics && maybe[i.ID()]) {
				t.Fatalf("%v: forced %v, panic %v", i.Key(), i.Forced(), panics)
			}
		}
	}
}

// generator makes changes that a registry could have asked for.
type generator struct {
	rng *rand.Rand
	now time.Time
}

func (g *generator) pick(ss ...string) string { return ss[g.rng.IntN(len(ss))] }

func (g *generator) key() rollcall.Key {
	return rollcall.NewKey("", fmt.Sprintf("s%d", g.rng.IntN(12)), fmt.Sprintf("i%d", g.rng.IntN(30)))
}

func (g *generator) check(name string) rollcall.Check {
	c := rollcall.Check{Name: name, Type: rollcall.CheckTTL, TTL: rollcall.Duration(1+g.rng.IntN(2)) * rollcall.Duration(time.Second)}
	if g.rng.IntN(2) == 0 {
		c = rollcall.Check{Name: name, Type: rollcall.CheckTCP, Interval: []rollcall.Duration{0, ten, 2 * ten}[g.rng.IntN(3)]}
	}
	c.DeregisterAfter = rollcall.Duration(g.rng.IntN(2)) * ten
	return c
}

func (g *generator) change(m *model) rollcall.Change {
	g.now = g.now.Add(time.Duration(g.rng.IntN(int(time.Minute))))
	c := rollcall.Change{At: g.now, By: "test"}
	key := g.key()
	switch n := g.rng.IntN(22); {
	case n < 9:
		i := rollcall.Instance{
			Service: strings.ToUpper(key.Service), ID: key.ID, Version: g.pick("1", "2", "3"),
			Address: g.pick("10.0.0.1", "10.0.0.2"),
		}
		for _, name := range []string{"a", "b"} {
			if g.rng.IntN(3) == 0 {
				i.Checks = append(i.Checks, g.check(name))
			}
		}
		if g.rng.IntN(2) == 0 {
			i.Ports = map[string]uint16{"http": uint16(80 + g.rng.IntN(2))}
		}
		i.Normalize()
		put := rollcall.InstancePut{Key: key, Record: record.Pack(&i)}
		if old := m.instances[key]; old != nil && g.rng.IntN(2) == 0 {
			put.Incarnation, put.RegisteredAt = old.incarnation, g.now.Add(-time.Hour)
		}
		c.Body = put
	case n < 12:
		c.Body = rollcall.InstanceRemove{Key: key}
	case n < 17:
		put := rollcall.HealthPut{
			Service: key.ServiceKey, Reason: g.pick("", "no renewal", "full"), Hard: g.rng.IntN(3) == 0,
			Slot:   rollcall.Slot(g.pick("lease", "status", "drain", "check/a", "check/b")),
			Status: rollcall.Statuses()[g.rng.IntN(6)],
		}
		if put.Slot == rollcall.SlotLease {
			put.Status = []rollcall.Status{rollcall.Healthy, rollcall.Unhealthy}[g.rng.IntN(2)]
		}
		for range 1 + g.rng.IntN(10) {
			put.IDs = append(put.IDs, g.key().ID)
		}
		slices.Sort(put.IDs)
		put.IDs = slices.Compact(put.IDs)
		c.Body = put
	case n < 19:
		put := rollcall.OverridePut{Key: key}
		if g.rng.IntN(2) == 0 {
			put.Override = &rollcall.Override{Status: rollcall.Unhealthy, Reason: "by hand", By: "op", Since: g.now}
		}
		c.Body = put
	case n < 21: // also of names that no service has
		put := rollcall.QueryPut{Name: rollcall.NewServiceKey("", fmt.Sprintf("s%d", g.rng.IntN(16)))}
		if g.rng.IntN(2) == 0 {
			put.Query = &rollcall.NamedQuery{Name: strings.ToUpper(put.Name.Service), Service: key.Service, Limit: g.rng.IntN(2)}
			put.Query.Normalize()
		}
		c.Body = put
	default:
		c.Body = rollcall.SettingsPut{Service: key.ServiceKey, Settings: &rollcall.Settings{Panic: new([]float64{0, 0.5, 1}[g.rng.IntN(3)])}}
	}
	return c
}

// stampsOf returns the stamps of all services that a generator makes up.
func stampsOf(c *Catalog) map[rollcall.ServiceKey]uint64 {
	all := map[rollcall.ServiceKey]uint64{}
	for n := range 16 {
		key := rollcall.NewServiceKey("", fmt.Sprintf("s%d", n))
		all[key] = c.Stamp(key).Load()
	}
	return all
}

// wantStamps compares stamps with those from before something was published: that of a
// service has grown if it is another, and all have if a query is.
func wantStamps(t *testing.T, c *Catalog, was *Snapshot, stamps map[rollcall.ServiceKey]uint64) {
	t.Helper()
	is, queried := c.Snapshot(), false
	for key := range stamps {
		queried = queried || is.Query(key) != was.Query(key)
	}
	for key, before := range stamps {
		if (queried || is.View(key) != was.View(key)) && c.Stamp(key).Load() <= before {
			t.Fatalf("%v changed at %d, and its stamp is %d as before", key, is.Revision(), before)
		}
	}
}

// TestModel applies random changes to a catalog and to a naive model and
// compares them at every revision, compares what events tell with what changed,
// restores the state now and then, and looks whether snapshots that were kept
// are as they were.
func TestModel(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	g := &generator{rand.New(rand.NewPCG(*seed, 0)), time.Unix(1_700_000_000, 0).UTC()}
	m := &model{map[rollcall.Key]*modelInstance{}, map[rollcall.ServiceKey]rollcall.Revision{}, map[rollcall.Key]*rollcall.Override{}, map[rollcall.Key]time.Time{}, map[rollcall.ServiceKey]float64{}, map[rollcall.ServiceKey]*rollcall.NamedQuery{}}
	const id = rollcall.LogID("0123456789abcdef")
	c := New()
	apply := func(c *Catalog, e rollcall.Entry) {
		t.Helper()
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	apply(c, rollcall.Entry{Log: id, Reset: true})
	c.Publish()

	seen := map[rollcall.Key]*Item{} // as the events tell
	type kept struct {
		s    *Snapshot
		dump string
	}
	var snapshots []kept
	for rev := rollcall.Revision(1); rev <= 3000; rev++ {
		e := rollcall.Entry{Log: id, Revision: rev}
		for range 1 + g.rng.IntN(4) {
			ch := g.change(m)
			ch.Revision = rev
			m.apply(ch)
			e.Changes = append(e.Changes, ch)
		}
		apply(c, e)
		if g.rng.IntN(3) == 0 {
			continue // published together with the next
		}
		was, stamps := c.Snapshot(), stampsOf(c)
		s, events := c.Publish()
		if s.Revision() != rev || c.Snapshot() != s {
			t.Fatalf("published revision %d, want %d", s.Revision(), rev)
		}
		m.compare(t, s)
		wantStamps(t, c, was, stamps)
		for _, e := range events {
			key := rollcall.Key{ServiceKey: e.Service, ID: e.ID}
			if e.ID == "" {
				continue
			}
			if seen[key] != e.Before {
				t.Fatalf("event %+v does not go on from %+v", e, seen[key])
			}
			seen[key] = e.After
		}
		for key, i := range seen {
			if s.Item(key) != i {
				t.Fatalf("%v: the events end with %+v, the snapshot has %+v", key, i, s.Item(key))
			}
		}
		switch g.rng.IntN(50) {
		case 0:
			snapshots = append(snapshots, kept{s, dump(s)})
		case 1:
			// What comes out of a snapshot as a state gives the same snapshot, in
			// pages of any size, on top of anything.
			d := New()
			if g.rng.IntN(2) == 0 && len(snapshots) > 0 {
				for page := range slices.Chunk(slices.Collect(snapshots[0].s.State()), 7) {
					apply(d, rollcall.Entry{Log: "fedcba9876543210", Revision: 5, Changes: page, Reset: true, More: true})
				}
				apply(d, rollcall.Entry{Log: "fedcba9876543210", Revision: 5, Reset: true})
				d.Publish()
			}
			before, follows := d.Snapshot(), d.Synced()
			for page := range slices.Chunk(slices.Collect(s.State()), 1+g.rng.IntN(50)) {
				apply(d, rollcall.Entry{Log: id, Revision: rev, Changes: page, Reset: true, More: true})
				if d.Publish(); d.Snapshot() != before {
					t.Fatal("half a reset shows")
				}
			}
			apply(d, rollcall.Entry{Log: id, Revision: rev, Reset: true})
			stamps := stampsOf(d)
			got, events := d.Publish()
			wantStamps(t, d, before, stamps)
			if diff := cmp.Diff(dump(s), dump(got)); diff != "" {
				t.Fatalf("state at %d restored differs:\n%s", rev, diff)
			}
			told := map[rollcall.Key]bool{}
			for _, e := range events {
				told[rollcall.Key{ServiceKey: e.Service, ID: e.ID}] = true
			}
			for key := range m.queries {
				was, is := before.Query(key), got.Query(key)
				differs := was == nil || was.Revision != is.Revision || !was.Same(is)
				if told[rollcall.Key{ServiceKey: key}] != (follows && differs) {
					t.Fatalf("query %v: a reset tells it: %v; it was %+v and is %+v", key, !differs, was, is)
				}
			}
			for key := range seen {
				if was, is := show(before.Item(key)), show(got.Item(key)); told[key] != (follows && was != is) {
					t.Fatalf("%v: a reset tells it: %v; it was\n%sand is\n%s", key, told[key], was, is)
				}
			}
		}
	}
	for _, k := range snapshots {
		if diff := cmp.Diff(k.dump, dump(k.s)); diff != "" {
			t.Errorf("snapshot %d changed after it was published:\n%s", k.s.Revision(), diff)
		}
	}
	if len(snapshots) == 0 {
		t.Error("no snapshot was kept")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	c := filled(t, 1000, 3)
	key := rollcall.NewServiceKey("", "service-500")
	if n := testing.AllocsPerRun(100, func() {
		if c.Snapshot().View(key) == nil {
			t.Fatal("missing")
		}
	}); n != 0 {
		t.Errorf("%v allocations a look-up, want none", n)
	}
}

// TestDropEvents: what is read without being published takes bounded memory,
// also where one change makes many events, and its end is told whole.
func TestDropEvents(t *testing.T) {
	const ids, keep = 50, 120
	c := filled(t, 1, ids)
	c.PanicBelow(0) // which would make events of its own
	health := rollcall.HealthPut{Service: rollcall.NewServiceKey("", "service-0"), Slot: rollcall.SlotLease}
	for n := range ids {
		health.IDs = append(health.IDs, fmt.Sprintf("i-%d", n))
	}
	rev := c.Snapshot().Revision()
	since := rollcall.Revision(0)
	for n := range 100 {
		rev++
		health.Status = []rollcall.Status{rollcall.Unhealthy, rollcall.Healthy}[n%2]
		if err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: time.Unix(2, 0), Revision: rev, Body: health}}}); err != nil {
			t.Fatal(err)
		}
		since = max(since, c.DropEvents(keep))
	}
	s, events := c.Publish()
	if s.Revision() != rev || len(events) < keep || len(events) >= 2*keep {
		t.Errorf("at %d: %d events, want %d or more, but not twice as many", s.Revision(), len(events), keep)
	}
	told := map[rollcall.Revision]int{}
	for _, e := range events {
		told[e.Revision]++
	}
	for r := since + 1; r <= rev; r++ {
		if told[r] != ids {
			t.Errorf("complete behind %d, but %d events of %d", since, told[r], r)
		}
	}
	if since < rev-2*keep/ids {
		t.Errorf("complete behind %d, at %d", since, rev)
	}
}

// filled returns a catalog with services of so many instances each.
func filled(t testing.TB, services, instances int) *Catalog {
	t.Helper()
	c := New()
	if err := c.Apply(rollcall.Entry{Reset: true}); err != nil {
		t.Fatal(err)
	}
	rev := rollcall.Revision(0)
	for s := range services {
		for n := range instances {
			i := rollcall.Instance{Service: fmt.Sprintf("service-%d", s), ID: fmt.Sprintf("i-%d", n), Address: "10.0.0.1"}
			i.Normalize()
			rev++
			err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{
				At: time.Unix(1, 0), Revision: rev, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)},
			}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Publish()
	return c
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		c := filled(b, n, 1)
		keys := make([]rollcall.ServiceKey, 1024)
		bare := map[rollcall.ServiceKey]*View{}
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range keys {
			keys[i] = rollcall.NewServiceKey("", fmt.Sprintf("service-%d", rng.IntN(n)))
		}
		for v := range c.Snapshot().Views(rollcall.ServiceKey{}) {
			bare[v.Key()] = v
		}
		b.Run(fmt.Sprintf("catalog/services=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if c.View(keys[i%1024]) == nil {
					b.Fatal("missing")
				}
			}
		})
		b.Run(fmt.Sprintf("map/services=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if bare[keys[i%1024]] == nil {
					b.Fatal("missing")
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, instances := range []int{1, 100, 20_000} {
		b.Run(fmt.Sprintf("instances=%d", instances), func(b *testing.B) {
			c := filled(b, 100, instances)
			rev := c.Snapshot().Revision()
			i := rollcall.Instance{Service: "service-50", ID: "i-0", Address: "10.0.0.1"}
			i.Normalize()
			rec := record.Pack(&i)
			b.ReportAllocs()
			for b.Loop() {
				rev++
				c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{
					At: time.Unix(1, 0), Revision: rev, Body: rollcall.InstancePut{Key: i.Key(), Record: rec},
				}}})
				c.Publish()
			}
		})
	}
}
