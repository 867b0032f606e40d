package figures

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// T3: a look-up in process takes at most 1.3 times as long as one in a bare map behind an
// atomic pointer, and allocates nothing.
var lookup = Figure{
	Name: "lookup",
	What: "look-ups of a service's view in process, by random keys",
	Rows: []report.Row{lookupRow(1000), lookupRow(10_000)},
	Run: func(b *Bench) error {
		for _, n := range []int{1000, 10_000} {
			row := lookupRow(n).Name
			err := b.Interleave(row, Params{"services": n}, b.lookupSide("rollcall", n), b.lookupSide("map", n))
			if err != nil {
				return err
			}
		}
		return nil
	},
}

func lookupRow(services int) report.Row {
	return report.Row{Name: fmt.Sprintf("lookup-%d", services), Unit: "look-ups", Goals: []report.Goal{
		report.Slower("map", 1.3), report.AtMost("allocations", 0),
	}}
}

// lookups is the work of a child.
type lookups struct {
	Map      bool
	Services int
	Length   time.Duration
}

func (b *Bench) lookupSide(name string, services int) Side {
	return Side{name, func(w load.Window) (s report.Sample, err error) {
		err = child.Run("lookup", lookups{name == "map", services, w.Length}, &s)
		return s, err
	}}
}

// lookupWork is the role that does it.
func lookupWork(config []byte) (any, error) {
	var c lookups
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	testing.Init()
	if err := flag.Set("test.benchtime", c.Length.String()); err != nil {
		return nil, err
	}
	cat, keys, err := someServices(c.Services)
	if err != nil {
		return nil, err
	}
	find := func(k rollcall.ServiceKey) *catalog.View { return cat.View(k) }
	if c.Map {
		bare := map[rollcall.ServiceKey]*catalog.View{}
		for v := range cat.Snapshot().Views(rollcall.ServiceKey{}) {
			bare[v.Key()] = v
		}
		var published atomic.Pointer[map[rollcall.ServiceKey]*catalog.View]
		published.Store(&bare)
		find = func(k rollcall.ServiceKey) *catalog.View { return (*published.Load())[k] }
	}
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if find(keys[i%len(keys)]) == nil {
				b.Fatal("missing")
			}
		}
	})
	perSecond := float64(r.N) / r.T.Seconds()
	return report.Sample{
		Seconds: r.T.Seconds(), PerSecond: perSecond, GoodPerSecond: perSecond,
		More: map[string]float64{"ns": 1e9 / perSecond, "allocations": float64(r.AllocsPerOp())},
	}, nil
}

// someServices returns a catalog of services with an instance each, and their names many
// times over in random order.
func someServices(n int) (*catalog.Catalog, []rollcall.ServiceKey, error) {
	c := catalog.New()
	e := rollcall.Entry{Log: rollcall.NewLogID(), Revision: rollcall.Revision(n), Reset: true}
	for i := range n {
		e.Changes = append(e.Changes, rollcall.Change{
			At: time.Unix(1_700_000_000, 0), Revision: rollcall.Revision(i + 1),
			Body: rollcall.InstancePut{Key: rollcall.NewKey("default", fmt.Sprintf("service-%05d", i), "i-1")},
		})
	}
	if err := c.Apply(e); err != nil {
		return nil, nil, err
	}
	c.Publish()
	keys := make([]rollcall.ServiceKey, 1<<16)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range keys {
		keys[i] = rollcall.NewServiceKey("default", fmt.Sprintf("service-%05d", rng.IntN(n)))
	}
	return c, keys, nil
}
