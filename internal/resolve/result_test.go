package resolve

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// compileNamed compiles a query of a named query's name.
func (u *universe) compileNamed(nq rollcall.NamedQuery, q rollcall.Query) *Plan {
	u.t.Helper()
	u.queries++
	nq.Revision = rollcall.Revision(u.queries)
	nq.Normalize()
	if err := nq.Validate(rollcall.DefaultLimits()); err != nil {
		u.t.Fatal(err)
	}
	p, err := NewCompiler().CompileNamed(&nq, &q)
	if err != nil {
		u.t.Fatal(err)
	}
	return p
}

func (u *universe) askNamed(nq rollcall.NamedQuery, q rollcall.Query) *Result {
	u.t.Helper()
	r, err := u.compileNamed(nq, q).Evaluate(rollcall.NewServiceKey("", nq.Name), &u.world)
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

func TestWeigh(t *testing.T) {
	u := newUniverse(t)
	u.put(many("w", 6, func(n int, i *rollcall.Instance) { i.Weight = new([]uint16{100, 100, 100, 0, 1, 65535}[n]) })...)
	u.say(rollcall.SlotStatus, rollcall.Degraded, false, "w-1")
	u.say(rollcall.SlotStatus, rollcall.Suspect, false, "w-2", "w-4")
	want := map[string]uint16{"w-0": 100, "w-1": 50, "w-2": 10, "w-3": 0, "w-4": 1, "w-5": 65535}
	for _, e := range u.ask(rollcall.Query{Filter: "true"}).Endpoints {
		if e.Weight != want[e.Item.ID()] {
			t.Errorf("%s weighs %d, want %d", e.Item.ID(), e.Weight, want[e.Item.ID()])
		}
	}
	if w := Weigh(u.c.Item(rollcall.NewKey("", "s", "w-2")), nil, true); w != 100 {
		t.Errorf("in a panic a suspect weighs %d, want all of it", w)
	}
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "w-0")
	if w := Weigh(u.c.Item(rollcall.NewKey("", "s", "w-0")), nil, false); w != 0 {
		t.Errorf("the dead weighs %d", w)
	}
}

func TestSplit(t *testing.T) {
	u := newUniverse(t)
	version := func(v string) func(int, *rollcall.Instance) {
		return func(_ int, i *rollcall.Instance) { i.Version = v }
	}
	u.put(many("old", 30, version("1.0"))...)
	u.put(many("new", 2, version("2.0"))...)
	split := rollcall.NamedQuery{Name: "pay", Service: "s", Split: []rollcall.Split{
		{Percent: 90, QueryTarget: rollcall.QueryTarget{Filter: `version == "1.0"`}},
		{Percent: 10, QueryTarget: rollcall.QueryTarget{Filter: `version == "2.0"`}},
	}}
	r := u.askNamed(split, rollcall.Query{})
	if got := share(r, "new-"); math.Abs(got-0.1) > 0.001 || len(r.Endpoints) != 32 || r.Total != 32 {
		t.Errorf("2.0 has %v of the traffic, of %d instances", got, len(r.Endpoints))
	}
	// Picks follow it as well.
	counts := map[string]int{}
	for range 3000 {
		id := idsOf(u.askNamed(split, rollcall.Query{Pick: 1}))[0]
		counts[id[:3]]++
	}
	if got := float64(counts["new"]) / 3000; math.Abs(got-0.1) > 0.02 {
		t.Errorf("2.0 is picked %v of the time", got)
	}
	// With a limit each part keeps its share.
	if r := u.askNamed(split, rollcall.Query{Limit: 10}); len(r.Endpoints) != 10 || math.Abs(share(r, "new-")-0.1) > 0.001 {
		t.Errorf("with a limit 2.0 has %v of %d", share(r, "new-"), len(r.Endpoints))
	}
	if r := u.askNamed(split, rollcall.Query{Limit: 2}); len(r.Endpoints) != 2 || math.Abs(share(r, "new-")-0.1) > 0.001 {
		t.Errorf("with a limit of 2, 2.0 has %v of %d", share(r, "new-"), len(r.Endpoints))
	}
	// What nobody takes the others do.
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "new-0", "new-1")
	if r := u.askNamed(split, rollcall.Query{}); len(r.Endpoints) != 30 || share(r, "old-") != 1 {
		t.Errorf("without 2.0 there are %d", len(r.Endpoints))
	}
	// An instance is in the first part that it matches.
	both := rollcall.NamedQuery{Name: "pay", Service: "s", Split: []rollcall.Split{
		{Percent: 50, QueryTarget: rollcall.QueryTarget{Filter: `id == "old-0"`}}, {Percent: 50},
	}}
	if r := u.askNamed(both, rollcall.Query{}); math.Abs(share(r, "old-0")-0.5) > 0.001 || len(r.Endpoints) != 30 {
		t.Errorf("old-0 has %v, of %d", share(r, "old-0"), len(r.Endpoints))
	}
}

func TestFailover(t *testing.T) {
	u := newUniverse(t)
	dr := func(n int, i *rollcall.Instance) { i.Service = "dr"; i.Version = fmt.Sprint(n) }
	u.put(many("s", 3, nil)...)
	u.put(many("dr", 3, dr)...)
	nq := rollcall.NamedQuery{Name: "pay", Service: "s", MinRoutable: 2, Failover: []rollcall.QueryTarget{
		{Service: "none"}, {Service: "dr", Filter: `version != "0"`}, {Service: "dr"},
	}}
	want := func(what, ids string, failover int) {
		t.Helper()
		r := u.askNamed(nq, rollcall.Query{})
		if got := strings.Join(idsOf(r), " "); got != ids || r.Failover != failover {
			t.Errorf("%s: %s from target %d, want %s from %d", what, got, r.Failover, ids, failover)
		}
	}
	want("all is well", "s-0 s-1 s-2", 0)
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "s-0")
	want("two are enough", "s-1 s-2", 0)
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "s-1")
	want("one is not", "dr-1 dr-2", 2)
	if got := strings.Join(idsOf(u.askNamed(nq, rollcall.Query{Filter: `version == "1"`})), " "); got != "dr-1" {
		t.Errorf("with the caller's own condition: %s", got)
	}
	u.apply(false, rollcall.InstanceRemove{Key: rollcall.NewKey("", "dr", "dr-1")})
	u.apply(false, rollcall.InstanceRemove{Key: rollcall.NewKey("", "dr", "dr-2")})
	want("nobody has two: the first that has most", "s-2", 0)
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "s-2")
	want("the only one left", "dr-0", 3)
	u.say(rollcall.SlotStatus, rollcall.Healthy, false, "s-0", "s-1", "s-2")
	want("back", "s-0 s-1 s-2", 0)
}

// What a named query says stands only where the caller says nothing else, and what
// could never be asked is not stored.
func TestNamedDefaults(t *testing.T) {
	u := newUniverse(t)
	u.put(many("s", 40, nil)...)
	nq := rollcall.NamedQuery{Name: "pay", Service: "s", SubsetSize: 12, Limit: 30}
	for _, tt := range []struct {
		q    rollcall.Query
		want int
	}{
		{rollcall.Query{}, 30}, {rollcall.Query{Caller: "web"}, 12}, {rollcall.Query{Subset: "web"}, 12}, {rollcall.Query{Subset: "web", SubsetSize: 20}, 20},
		{rollcall.Query{Limit: 5}, 5}, {rollcall.Query{Caller: "web", Health: "any"}, 30}, {rollcall.Query{Caller: "web", Pick: 1}, 1},
	} {
		if r := u.askNamed(nq, tt.q); len(r.Endpoints) != tt.want {
			t.Errorf("%s: %d, want %d", tt.q.Values().Encode(), len(r.Endpoints), tt.want)
		}
	}
	for field, nq := range map[string]rollcall.NamedQuery{
		"filter": {Filter: "("}, "near": {Near: "x"}, "subset_size": {SubsetSize: 5}, "failover[1].filter": {Failover: []rollcall.QueryTarget{{}, {Filter: "cap."}}},
		"split[0].near": {Split: []rollcall.Split{{Percent: 100, QueryTarget: rollcall.QueryTarget{Near: "1"}}}},
	} {
		nq.Name = "pay"
		nq.Normalize()
		if e, ok := errors.AsType[*rollcall.Error](NewCompiler().Check(&nq)); !ok || e.Field != field {
			t.Errorf("%+v, want something wrong with %s", e, field)
		}
	}
}

// TestPicksAreSpread: picks follow the weights, though nothing is reported.
func TestPicksAreSpread(t *testing.T) {
	for _, n := range []int{3, 16, 17, 100} {
		u := newUniverse(t)
		u.put(many("a", n, func(k int, i *rollcall.Instance) { i.Weight = new(uint16(100 + 200*(k%2))) })...)
		plan := u.compile(rollcall.Query{Pick: 1})
		counts := map[string]float64{}
		const each = 200
		for range each * n {
			r, err := plan.Evaluate(service, &u.world)
			if err != nil {
				t.Fatal(err)
			}
			counts[r.Endpoints[0].Item.ID()]++
		}
		heavy := n / 2
		unit := each * float64(n) / float64(n-heavy+3*heavy)
		for k := range n {
			want := unit * float64(1+2*(k%2))
			if got := counts[fmt.Sprintf("a-%d", k)]; math.Abs(got-want) > 0.1*want+2 {
				t.Errorf("of %d: a-%d was picked %v times, want %.0f", n, k, got, want)
			}
		}
	}
}

// TestPickFullOnes: an instance at its capacity gets nothing while another has room.
func TestPickFullOnes(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 40, func(_ int, i *rollcall.Instance) { i.Capacity = 10 })...)
	for k := range 39 {
		u.world.Soft.Report(rollcall.NewKey("", "s", fmt.Sprintf("a-%d", k)), rollcall.Load{InFlight: 10, RPS: 100, LatencyP50: 1})
	}
	u.world.Soft.Report(rollcall.NewKey("", "s", "a-39"), rollcall.Load{InFlight: 5, RPS: 100, LatencyP50: 500})
	for n := range 5 {
		if got := idsOf(u.ask(rollcall.Query{Pick: 1})); got[0] != "a-39" {
			t.Errorf("pick %d went to %s, which is full", n, got[0])
		}
	}
	if got := idsOf(u.ask(rollcall.Query{Pick: 1})); got[0] == "a-39" && len(got) == 1 {
		t.Log("all are full: the least overloaded is as good as another") // which may be any
	}
}

// TestPickIsFast: of those that are not hot the fastest is picked, and its own
// picks make one hot.
func TestPickIsFast(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 10, nil)...)
	for k := range 10 {
		ms := 20.0
		if k == 3 {
			ms = 200
		}
		u.world.Soft.Report(rollcall.NewKey("", "s", fmt.Sprintf("a-%d", k)), rollcall.Load{InFlight: 2, RPS: 100, LatencyP50: ms})
	}
	counts := map[string]int{}
	for range 100 {
		counts[idsOf(u.ask(rollcall.Query{Pick: 1}))[0]]++
	}
	if counts["a-3"] > 5 {
		t.Errorf("the slow one was picked %d times of 100", counts["a-3"])
	}
	for k := range 10 {
		if id := fmt.Sprintf("a-%d", k); counts[id] > 25 {
			t.Errorf("%s was picked %d times of 100", id, counts[id])
		}
	}
}

// TestPickByTurns: where loads are reported picks follow the weights as well,
// though some are busier than others; one that is slow and idle has its turns.
func TestPickByTurns(t *testing.T) {
	for _, n := range []int{10, 40} {
		u := newUniverse(t)
		u.put(many("a", n, func(k int, i *rollcall.Instance) { i.Weight = new(uint16(100 + 100*(k%2))) })...)
		for k := range n {
			l := rollcall.Load{InFlight: 2 + 8*(k/2%2), RPS: 100, LatencyP50: 20}
			if k == 3 {
				l = rollcall.Load{RPS: 1, LatencyP50: 35}
			}
			u.world.Soft.Report(rollcall.NewKey("", "s", fmt.Sprintf("a-%d", k)), l)
		}
		counts := map[string]float64{}
		const each = 10
		for range each * 3 * n / 2 {
			counts[idsOf(u.ask(rollcall.Query{Pick: 1}))[0]]++
		}
		for k := range n {
			if got, want := counts[fmt.Sprintf("a-%d", k)], float64(each*(1+k%2)); math.Abs(got-want) > 3 {
				t.Errorf("of %d: a-%d was picked %v times, want %v", n, k, got, want)
			}
		}
	}
}

func TestPickMany(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 5, nil)...)
	u.say(rollcall.SlotStatus, rollcall.Suspect, false, "a-0")
	got := idsOf(u.ask(rollcall.Query{Pick: 3}))
	slices.Sort(got)
	if len(slices.Compact(got)) != 3 || slices.Contains(got, "a-0") {
		t.Errorf("three of the best are %v", got)
	}
	if r := u.ask(rollcall.Query{Pick: 100}); len(r.Endpoints) != 4 || r.Total != 5 {
		t.Errorf("there are %d of %d", len(r.Endpoints), r.Total)
	}
}

// TestKeptResults: what is kept never differs from what is worked out.
func TestKeptResults(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 20, inZone("eu", "a"))...)
	u.put(many("b", 20, inZone("eu", "b"))...)
	bare := u.world
	bare.Ready = nil
	plans := []*Plan{
		u.compile(rollcall.Query{Near: "zone:eu/a"}), u.compile(rollcall.Query{Filter: `id != "a-1"`, Limit: 3}),
		u.compileNamed(rollcall.NamedQuery{Name: "q", Service: "none", Failover: []rollcall.QueryTarget{{Service: "s"}}}, rollcall.Query{}),
	}
	for step := range 200 {
		id := fmt.Sprintf("%c-%d", 'a'+u.rand.IntN(2), u.rand.IntN(20))
		switch u.rand.IntN(4) {
		case 0:
			u.say(rollcall.SlotStatus, rollcall.Unhealthy, u.rand.IntN(2) == 0, id)
		case 1:
			u.say(rollcall.SlotStatus, rollcall.Healthy, false, id)
		case 2:
			u.world.Soft.Report(rollcall.NewKey("", "s", id), rollcall.Load{Utilization: 0.1 + u.rand.Float64(), RPS: 100})
			u.now = u.now.Add(3e9)
			u.world.Soft.Tick(u.now)
		}
		for n, p := range plans {
			kept, err := p.Evaluate(service, &u.world)
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := p.Evaluate(service, &bare)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(kept.Endpoints, fresh.Endpoints) || kept.Generation != fresh.Generation {
				t.Fatalf("step %d, plan %d: %v is kept for %v", step, n, idsOf(kept), idsOf(fresh))
			}
		}
	}
}
