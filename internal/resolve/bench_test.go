package resolve

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// BenchmarkEvaluate works out answers that are not kept.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		u := newUniverse(b)
		u.put(many("a", n, func(k int, i *rollcall.Instance) {
			inZone("eu", fmt.Sprint("z", k%3))(k, i)
			i.Position = &rollcall.Position{Lat: float64(k%90) / 3, Lon: float64(k)/10 - 50}
			i.Capacity = 1 << 30
			i.Capabilities = map[string]rollcall.Value{"gpu": rollcall.Number(float64(k % 4))}
		})...)
		for _, q := range []rollcall.Query{
			{Pick: 1}, {Near: "zone:eu/z1"}, {Near: "zone:eu/z1", Pick: 1}, {Near: "10,10", Limit: 10}, {Subset: "web-1"}, {Filter: "cap.gpu >= 2"},
			{Filter: "cap.gpu >= 2", Pick: 1},
		} {
			plan := u.compile(q)
			b.Run(fmt.Sprintf("%s/instances=%d", plan.Text(), n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := plan.Evaluate(service, &u.world); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkNearest finds the ten nearest of a million that move, of which a filter
// leaves a part: the whole way that a query goes, apart from its door.
func BenchmarkNearest(b *testing.B) {
	const n = 1_000_000
	u := newUniverse(b)
	for from := 0; from < n; from += 10_000 {
		u.put(many(fmt.Sprint("a", from), 10_000, func(_ int, i *rollcall.Instance) {
			i.Position = &rollcall.Position{Lat: 180/math.Pi*math.Acos(2*u.rand.Float64()-1) - 90, Lon: 360*u.rand.Float64() - 180}
			i.Capabilities = map[string]rollcall.Value{
				"half": rollcall.Bool(u.rand.IntN(2) == 0), "one": rollcall.Bool(u.rand.IntN(100) == 0), "tenth": rollcall.Bool(u.rand.IntN(1000) == 0),
				"gpu": rollcall.Number(float64(u.rand.IntN(100))),
			}
		})...)
	}
	for _, filter := range []string{"", "cap.half == true", "cap.one == true", "cap.tenth == true", "cap.gpu < 1", "cap.gpu < 50"} {
		b.Run("filter="+filter, func(b *testing.B) {
			near := func() string {
				return fmt.Sprintf("%.4f,%.4f", 120*u.rand.Float64()-60, 360*u.rand.Float64()-180)
			}
			plans := make([]*Plan, 1000)
			c := NewCompiler()
			for k := range plans {
				var err error
				if plans[k], err = c.Compile(&rollcall.Query{Filter: filter, Near: near(), Limit: 10}); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := plans[0].Evaluate(service, &u.world); err != nil { // builds the index
				b.Fatal(err)
			}
			var took []time.Duration
			b.ReportAllocs()
			for k := 0; b.Loop(); k++ {
				began := time.Now()
				r, err := plans[k%len(plans)].Evaluate(service, &u.world)
				if err != nil || len(r.Endpoints) != 10 {
					b.Fatal(len(r.Endpoints), err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
}
