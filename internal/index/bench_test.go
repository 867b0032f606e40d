package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/cities"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const million = 1_000_000

// uniform returns a position anywhere on the earth.
func uniform(r *rand.Rand) rollcall.Position {
	return rollcall.Position{Lat: math.Asin(2*r.Float64()-1) * 180 / math.Pi, Lon: 360*r.Float64() - 180}
}

// clustered returns a position within some kilometres of a city: half of them of one
// of a hundred cities, the others of any of ten thousand.
func clustered(r *rand.Rand) rollcall.Position {
	c := cities.Cities[r.IntN(len(cities.Cities))]
	if r.IntN(2) == 0 {
		c = cities.Cities[r.IntN(100)*len(cities.Cities)/100]
	}
	spread := 0.05 // degrees
	lat := c.Latitude + spread*r.NormFloat64()
	lon := c.Longitude + spread*r.NormFloat64()/max(0.1, math.Cos(lat*math.Pi/180))
	return rollcall.Position{Lat: max(-90, min(90, lat)), Lon: math.Remainder(lon, 360)}
}

// selective are capabilities by how many instances in a thousand have them.
var selective = map[string]int{"half": 500, "tenth": 100, "hundredth": 10, "thousandth": 1}

// fleet is a service of many instances, its table and its index.
type fleet struct {
	catalog *catalog.Catalog
	table   *Table
	service *Service
	at      []rollcall.Position
	keys    []rollcall.Key
	built   time.Duration
	bytes   float64 // of the index, an instance
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func newFleet(t testing.TB, n int, where func(*rand.Rand) rollcall.Position) *fleet {
	r := rand.New(rand.NewPCG(1, 2))
	f := &fleet{catalog: catalog.New(), at: make([]rollcall.Position, n), keys: make([]rollcall.Key, n)}
	for from := 0; from < n; from += 10_000 {
		e := rollcall.Entry{Log: "0123456789abcdef", Revision: 7, Reset: true, More: from+10_000 < n}
		for i := from; i < min(n, from+10_000); i++ {
			f.at[i] = where(r)
			in := rollcall.Instance{
				Service: "drivers", ID: fmt.Sprintf("driver-%07x", i), Address: "10.1.2.3", Ports: map[string]uint16{"http": 8080},
				Version: "2.4.1", Node: fmt.Sprintf("host-%d", i/50), Position: &f.at[i],
				Locality:     rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a"},
				Capabilities: map[string]rollcall.Value{"seats": rollcall.Number(float64(2 + r.IntN(6))), "kinds": rollcall.Strings("taxi", "van")},
				Metadata:     map[string]string{"team": "rides", "depot": fmt.Sprint(i % 97), "plate": fmt.Sprint(i)},
			}
			for name, share := range selective {
				in.Capabilities[name] = rollcall.Bool(r.IntN(1000) < share)
			}
			in.Normalize()
			f.keys[i] = in.Key()
			e.Changes = append(e.Changes, rollcall.Change{At: time.Unix(1, 0), Revision: 7, Body: rollcall.InstancePut{Key: f.keys[i], Record: record.Pack(&in)}})
		}
		if err := f.catalog.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	f.table = New(Options{View: f.catalog.View, Least: 1})
	s, events := f.catalog.Publish()
	f.table.Apply(s, events)
	before := heap()
	start := time.Now()
	f.service = f.table.Of(f.catalog.View(f.keys[0].ServiceKey))
	f.built = time.Since(start)
	f.bytes = float64(heap()-before) / float64(n)
	return f
}

// quantiles reports those of durations, and the rate that they make one by one.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	us := func(q float64) float64 {
		return float64(took[min(len(took)-1, int(q*float64(len(took))))].Nanoseconds()) / 1000
	}
	b.ReportMetric(us(0.5), "p50-µs")
	b.ReportMetric(us(0.99), "p99-µs")
	b.ReportMetric(us(1), "max-µs")
}

func has(name string) ([]Term, func(*catalog.Item) bool) {
	v := rollcall.Bool(true)
	return []Term{{Field: Capability, Name: name, Any: []rollcall.Value{v}}}, func(i *catalog.Item) bool {
		return i.Usable() && record.Capability(i.Record(), name).Equal(v)
	}
}

func near(i int, f *fleet) geo.Point { return geo.At(f.at[(i*7919)%len(f.at)]) }

var worlds = []struct {
	name  string
	where func(*rand.Rand) rollcall.Position
}{{"uniform", uniform}, {"cities", clustered}}

// BenchmarkNearest is ten nearest of a million with a filter that leaves a part:
// one that the index has a column for, and one that it has to ask about, which it
// has done before.
func BenchmarkNearest(b *testing.B) {
	for _, world := range worlds {
		f := newFleet(b, million, world.where)
		for _, name := range []string{"half", "tenth", "hundredth", "thousandth"} {
			terms, match := has(name)
			for _, how := range []struct {
				name  string
				terms []Term
				text  string
			}{{"terms", terms, "terms " + name}, {"verdicts", nil, name}, {"terms, unnamed", terms, ""}} {
				b.Run(fmt.Sprintf("%s/%s/%s", world.name, name, how.name), func(b *testing.B) {
					if how.terms == nil { // all have been asked about
						f.service.Nearest(near(0, f), 10, nil, how.text, match)
						f.service.mu.RLock()
						v := f.service.verdictsOf(how.text)
						for slot, i := range f.service.items {
							v.set(uint32(slot), match(i))
						}
						f.service.mu.RUnlock()
					}
					f.service.Nearest(near(0, f), 10, how.terms, how.text, match)
					var took []time.Duration
					for i := 0; b.Loop(); i++ {
						start := time.Now()
						if got := f.service.Nearest(near(i, f), 10, how.terms, how.text, match); len(got) != 10 {
							b.Fatalf("%d found", len(got))
						}
						took = append(took, time.Since(start))
					}
					quantiles(b, took)
				})
			}
		}
		b.Run(world.name+"/build", func(b *testing.B) {
			for b.Loop() {
			}
			b.ReportMetric(f.built.Seconds(), "s")
			b.ReportMetric(f.bytes, "B/instance")
		})
	}
}

// BenchmarkMove is positions that move a little, alone and while queries run.
func BenchmarkMove(b *testing.B) {
	f := newFleet(b, million, clustered)
	r := rand.New(rand.NewPCG(3, 4))
	step := func() (rollcall.Key, rollcall.Position) {
		i := r.IntN(len(f.at))
		p := &f.at[i]
		p.Lat = max(-90, min(90, p.Lat+1e-3*(r.Float64()-0.5)))
		p.Lon = math.Remainder(p.Lon+1e-3*(r.Float64()-0.5), 360)
		return f.keys[i], *p
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			f.table.Move(step())
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "moves/s")
	})
	terms, match := has("hundredth")
	for i := range 20_000 {
		f.service.Nearest(near(i, f), 10, terms, "hundredth", match)
	}
	points := make([]geo.Point, 10_000)
	for i := range points {
		points[i] = near(i, f)
	}
	for _, rate := range []float64{200_000, math.Inf(1)} {
		b.Run(fmt.Sprintf("at %v a second, with queries", rate), func(b *testing.B) {
			var moves atomic.Int64
			var stop atomic.Bool
			var wg sync.WaitGroup
			start := time.Now()
			wg.Go(func() {
				for n := 0; !stop.Load(); {
					if float64(n) > rate*time.Since(start).Seconds() {
						runtime.Gosched()
						continue
					}
					for range 20 {
						f.table.Move(step())
						n++
					}
					moves.Store(int64(n))
				}
			})
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				begin := time.Now()
				f.service.Nearest(points[i%len(points)], 10, terms, "hundredth", match)
				took = append(took, time.Since(begin))
			}
			stop.Store(true)
			wg.Wait()
			quantiles(b, took)
			b.ReportMetric(float64(moves.Load())/time.Since(start).Seconds(), "moves/s")
		})
	}
}

// BenchmarkCrossing is the same query answered in either way, by how many
// candidates there are: where one becomes better than the other is what fewer says.
func BenchmarkCrossing(b *testing.B) {
	f := newFleet(b, million, clustered)
	s := f.service
	r := rand.New(rand.NewPCG(5, 6))
	for _, k := range []int{1, 10, 100} {
		for _, candidates := range []int{1000, 2000, 4000, 8000, 16_000} {
			var few set
			for few.size < uint32(candidates) {
				few.add(uint32(r.IntN(million)), million)
			}
			all := narrowed{{sets: []*set{&few}, size: candidates}}
			j := jury{match: func(*catalog.Item) bool { return true }, now: true}
			for name, search := range map[string]func([]geo.Near, geo.Point, int, narrowed, *jury) []geo.Near{"each": s.each, "walk": s.walk} {
				b.Run(fmt.Sprintf("%d of %d/%s", k, candidates, name), func(b *testing.B) {
					var found []geo.Near
					for i := 0; b.Loop(); i++ {
						found = search(found, near(i, f), k, all, &j)
					}
				})
			}
		}
	}
}

// BenchmarkColumn is the first query that names a capability or metadata pair: of
// two values, of 97, and of one that no two instances share.
func BenchmarkColumn(b *testing.B) {
	f := newFleet(b, million, uniform)
	for _, c := range []struct{ field, name string }{{Capability, "half"}, {Metadata, "depot"}, {Metadata, "plate"}} {
		b.Run(c.name, func(b *testing.B) {
			f.service.columns = nil
			before := heap()
			start := time.Now()
			f.service.Select([]Term{{Field: c.field, Name: c.name, Text: "1"}}, func(*catalog.Item) bool { return false })
			took := time.Since(start)
			size := heap() - before
			for b.Loop() {
			}
			b.ReportMetric(took.Seconds(), "s")
			b.ReportMetric(float64(size)/million, "B/instance")
		})
	}
}
