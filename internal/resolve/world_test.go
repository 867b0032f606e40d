package resolve

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/index"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// universe is a catalog with soft state, in virtual time.
type universe struct {
	t     testing.TB
	now   time.Time
	c     *catalog.Catalog
	rev   rollcall.Revision
	world World
	rand  *rand.Rand

	queries int // that were stored
}

func newUniverse(t testing.TB) *universe {
	u := &universe{t: t, now: time.Unix(1_800_000_000, 0), c: catalog.New(), rand: rand.New(rand.NewPCG(1, 2))}
	now := func() time.Time { return u.now }
	var idx *index.Table
	soft := load.New(u.now, load.Options{Now: now, Moved: func(k rollcall.Key, p rollcall.Position) { idx.Move(k, p) }, Forgot: func(k rollcall.Key) { idx.Forget(k) }, Facts: func(key rollcall.Key) (load.Facts, bool) {
		i := u.c.Item(key)
		if i == nil {
			return load.Facts{}, false
		}
		return load.Facts{Capacity: record.Capacity(i.Record()), Locality: record.Locality(i.Record())}, true
	}})
	idx = index.New(index.Options{View: u.c.View, At: soft.Position})
	u.world = World{
		View: u.c.View, Soft: soft, Index: idx,
		Subsets: &Subsets{Now: now}, Ready: &Ready{}, Now: now, Rand: u.rand.Float64,
	}
	u.apply(true)
	return u
}

// apply writes changes as one entry.
func (u *universe) apply(reset bool, bodies ...rollcall.Body) {
	u.t.Helper()
	u.rev++
	e := rollcall.Entry{Log: logID, Revision: u.rev, Reset: reset}
	for _, b := range bodies {
		e.Changes = append(e.Changes, rollcall.Change{At: u.now, Revision: u.rev, Body: b})
	}
	if err := u.c.Apply(e); err != nil {
		u.t.Fatal(err)
	}
	s, events := u.c.Publish()
	u.world.Index.Apply(s, events)
}

func (u *universe) put(is ...rollcall.Instance) {
	u.t.Helper()
	var bodies []rollcall.Body
	for _, i := range is {
		if i.Service == "" {
			i.Service = "s"
		}
		i.Normalize()
		bodies = append(bodies, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	}
	u.apply(false, bodies...)
}

func (u *universe) remove(ids ...string) {
	u.t.Helper()
	for _, id := range ids {
		u.apply(false, rollcall.InstanceRemove{Key: rollcall.NewKey("", "s", id)})
	}
}

// say has a source say something of instances of service s.
func (u *universe) say(slot rollcall.Slot, s rollcall.Status, hard bool, ids ...string) {
	u.t.Helper()
	u.apply(false, rollcall.HealthPut{Service: service, Slot: slot, Status: s, Hard: hard, IDs: ids})
}

func (u *universe) compile(q rollcall.Query) *Plan {
	u.t.Helper()
	p, err := NewCompiler().Compile(&q)
	if err != nil {
		u.t.Fatal(err)
	}
	return p
}

func (u *universe) ask(q rollcall.Query) *Result {
	u.t.Helper()
	r, err := u.compile(q).Evaluate(service, &u.world)
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

func idsOf(r *Result) (ids []string) {
	for _, e := range r.Endpoints {
		ids = append(ids, e.Item.ID())
	}
	return ids
}

// many returns n instances called prefix-0 and so on.
func many(prefix string, n int, with func(n int, i *rollcall.Instance)) (is []rollcall.Instance) {
	for k := range n {
		i := rollcall.Instance{ID: fmt.Sprintf("%s-%d", prefix, k)}
		if with != nil {
			with(k, &i)
		}
		is = append(is, i)
	}
	return is
}

func inZone(region, zone string) func(int, *rollcall.Instance) {
	return func(_ int, i *rollcall.Instance) { i.Locality = rollcall.Locality{Region: region, Zone: zone} }
}
