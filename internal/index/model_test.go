package index

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0 is a new one")

func random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

var service = rollcall.NewServiceKey("", "s")

// world is a catalog of one service with its table, and where instances moved.
type world struct {
	t        testing.TB
	catalog  *catalog.Catalog
	table    *Table
	moved    map[rollcall.Key]rollcall.Position
	revision rollcall.Revision
	reset    bool // the next entry begins a log
}

func newWorld(t testing.TB, least int) *world {
	w := &world{t: t, catalog: catalog.New(), moved: map[rollcall.Key]rollcall.Position{}, reset: true}
	at := func(k rollcall.Key) (p rollcall.Position, ok bool) { p, ok = w.moved[k]; return }
	w.table = New(Options{View: w.catalog.View, At: at, Least: least})
	return w
}

func key(id string) rollcall.Key { return rollcall.Key{ServiceKey: service, ID: id} }

// apply applies changes in one entry, and publishes it.
func (w *world) apply(bodies ...rollcall.Body) {
	w.t.Helper()
	w.publish(w.draft(bodies...))
}

func (w *world) draft(bodies ...rollcall.Body) (*catalog.Snapshot, []catalog.Event) {
	w.t.Helper()
	w.revision++
	e := rollcall.Entry{Log: "0123456789abcdef", Revision: w.revision, Reset: w.reset}
	w.reset = false
	for _, b := range bodies {
		e.Changes = append(e.Changes, rollcall.Change{At: time.Unix(int64(w.revision), 0), Revision: w.revision, Body: b})
	}
	if err := w.catalog.Apply(e); err != nil {
		w.t.Fatal(err)
	}
	return w.catalog.Publish()
}

func (w *world) publish(s *catalog.Snapshot, events []catalog.Event) { w.table.Apply(s, events) }

func put(i rollcall.Instance) rollcall.Body {
	i.Service = "s"
	i.Normalize()
	return rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
}

func remove(id string) rollcall.Body { return rollcall.InstanceRemove{Key: key(id)} }

func health(s rollcall.Status, ids ...string) rollcall.Body {
	return rollcall.HealthPut{Service: service, Slot: rollcall.SlotStatus, Status: s, IDs: ids}
}

func (w *world) move(id string, p rollcall.Position) {
	if geo.Valid(p) {
		w.moved[key(id)] = p
	}
	w.table.Move(key(id), p)
}

func (w *world) forget(id string) {
	delete(w.moved, key(id))
	w.table.Forget(key(id))
}

func (w *world) of() *Service {
	v := w.catalog.View(service)
	if v == nil {
		return nil
	}
	return w.table.Of(v)
}

// holds is what a term means.
func (t *Term) holds(i *catalog.Item) bool {
	var v rollcall.Value
	if t.Field == Metadata {
		if m, ok := record.Metadata(i.Record(), t.Name); ok {
			v = rollcall.String(m)
		}
	} else {
		v = record.Capability(i.Record(), t.Name)
	}
	if t.Any == nil {
		return v.Matches(t.Text)
	}
	for _, a := range t.Any {
		if v.Kind() != rollcall.KindNone && (v.Equal(a) || slices.ContainsFunc(v.List(), a.Equal)) {
			return true
		}
	}
	return false
}

type distance struct {
	id     string
	square float64
}

// nearest is what an index should find, by looking through the view.
func (w *world) nearest(p geo.Point, k int, match func(*catalog.Item) bool) (all []string) {
	var ds []distance
	for i := range w.catalog.View(service).All() {
		at, ok := w.moved[i.Key()]
		if !ok {
			if r := record.Position(i.Record()); r != nil {
				at, ok = *r, true
			}
		}
		if ok && geo.Valid(at) && match(i) {
			ds = append(ds, distance{i.ID(), geo.Square(p, geo.At(at))})
		}
	}
	slices.SortFunc(ds, func(a, b distance) int { return cmp.Or(cmp.Compare(a.square, b.square), cmp.Compare(a.id, b.id)) })
	for _, d := range ds[:min(k, len(ds))] {
		all = append(all, fmt.Sprintf("%s %.6f", d.id, geo.Kilometres(d.square)))
	}
	return all
}

// asked runs the query on the index and returns it in the same form. Which of
// those equally near are found is not told by ids, so they are left to the caller.
func asked(near []Near) (all []string) {
	for _, n := range near {
		all = append(all, fmt.Sprintf("%s %.6f", n.Item.ID(), n.Kilometres))
	}
	return all
}

// TestModel compares an index with the view, while instances come, change, move
// and go, and queries with it.
func TestModel(t *testing.T) {
	for n := range 8 {
		t.Run(strconv.Itoa(n), func(t *testing.T) { testModel(t, 20<<n) })
	}
}

func testModel(t *testing.T, instances int) {
	r := random(t)
	w := newWorld(t, 8)
	id := func() string { return fmt.Sprintf("i-%03d", r.IntN(instances)) }
	values := []rollcall.Value{
		rollcall.Number(2), rollcall.Number(-0.5), rollcall.Number(math.Copysign(0, -1)), rollcall.Number(0), rollcall.Bool(true), rollcall.Bool(false),
		rollcall.String("2"), rollcall.String("true"), rollcall.String("v8"), rollcall.String(""), rollcall.Strings("v8", "2", "v8"),
		rollcall.List(rollcall.Number(2), rollcall.Bool(true)), rollcall.List(),
	}
	value := func() rollcall.Value { return values[r.IntN(len(values))] }
	names := []string{"a", "b", "c"}
	instance := func() rollcall.Instance {
		i := rollcall.Instance{ID: id(), Capabilities: map[string]rollcall.Value{}, Metadata: map[string]string{}}
		for _, name := range names {
			if r.IntN(4) > 0 {
				i.Capabilities[name] = value()
			}
			if r.IntN(4) > 0 {
				i.Metadata[name] = value().Text()
			}
		}
		if r.IntN(8) > 0 {
			p := uniform(r)
			i.Position = &p
		}
		return i
	}
	texts := []string{"2", "2.0", "0x1p1", "-0", "0", "true", "false", "v8", "", "NaN", "1e999", `["v8"]`}
	term := func() Term {
		tm := Term{Field: []string{Capability, Metadata}[r.IntN(2)], Name: names[r.IntN(len(names))]}
		if r.IntN(2) == 0 {
			tm.Text = texts[r.IntN(len(texts))]
			return tm
		}
		tm.Any = []rollcall.Value{}
		for range r.IntN(4) {
			tm.Any = append(tm.Any, value())
		}
		return tm
	}
	change := func() {
		var bodies []rollcall.Body
		for range 1 + r.IntN(20) {
			switch r.IntN(6) {
			case 0:
				bodies = append(bodies, remove(id()))
			case 1:
				bodies = append(bodies, health(rollcall.Statuses()[r.IntN(len(rollcall.Statuses()))], id(), id()))
			case 2:
				bodies = append(bodies, rollcall.SettingsPut{Service: service, Settings: &rollcall.Settings{}})
			default:
				bodies = append(bodies, put(instance()))
			}
		}
		w.apply(bodies...)
	}
	query := func(s *Service) {
		var terms []Term
		for range r.IntN(3) {
			terms = append(terms, term())
		}
		status := r.IntN(4)
		text := ""
		if r.IntN(2) == 0 {
			text = fmt.Sprint(terms, status)
		}
		match := func(i *catalog.Item) bool {
			return (status == 0 || i.Usable()) && !slices.ContainsFunc(terms, func(tm Term) bool { return !tm.holds(i) })
		}
		var want []string
		for i := range w.catalog.View(service).All() {
			if match(i) {
				want = append(want, i.ID())
			}
		}
		var got []string
		for _, i := range s.Select(terms, match) {
			if w.catalog.Item(i.Key()) != i {
				t.Fatalf("%s is not what the catalog has", i.ID())
			}
			got = append(got, i.ID())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v selects %v, want %v", terms, got, want)
		}
		p, k := geo.At(uniform(r)), r.IntN(30)
		near := s.Nearest(p, k, terms, text, match)
		for _, n := range near {
			if w.catalog.Item(n.Item.Key()) != n.Item {
				t.Fatalf("%s is not what the catalog has", n.Item.ID())
			}
		}
		if diff := gocmp.Diff(w.nearest(p, k, match), asked(near)); diff != "" {
			t.Fatalf("%d nearest by %v as %q (-want +got)\n%s", k, terms, text, diff)
		}
	}
	now := time.Unix(0, 0)
	for range 400 {
		switch r.IntN(8) {
		case 0, 1:
			change()
		case 2, 3:
			for range r.IntN(100) {
				w.move(id(), uniform(r))
			}
		case 4:
			w.forget(id())
		case 5:
			now = now.Add(time.Duration(r.IntN(15)) * time.Minute)
			w.table.Sweep(now)
		default:
			if s := w.of(); s != nil {
				query(s)
			}
		}
	}
}
