package resolve

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// truth answers the nearest with conditions the slow way.
func truth(u *universe, lat, lon float64, limit int, match func(*rollcall.Instance) bool) (ids []string) {
	type found struct {
		id   string
		tier int
		km   float64
	}
	var all []found
	from := geo.At(rollcall.Position{Lat: lat, Lon: lon})
	for i := range u.c.View(service).All() {
		inst := i.Instance()
		f := found{id: i.ID(), km: math.Inf(1)}
		switch {
		case i.Status() == rollcall.Suspect:
			f.tier = 1
		case i.Forced():
			f.tier = 2
		case !i.Status().Routable():
			continue
		}
		if !match(&inst) {
			continue
		}
		at := record.Position(i.Record())
		if p, moved := u.world.Soft.Position(i.Key()); moved {
			at = &p
		}
		if at != nil {
			f.km = geo.Kilometres(geo.Square(from, geo.At(*at)))
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.km, b.km), cmp.Compare(a.id, b.id))
	})
	for _, f := range all[:min(limit, len(all))] {
		ids = append(ids, f.id)
	}
	return ids
}

// TestNearestIsTrue changes, moves and asks at random, of a service that is big
// enough for an index and of a small one: what is answered is what a look at all
// instances gives.
func TestNearestIsTrue(t *testing.T) {
	for _, size := range []int{40, 1500} {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		u := newUniverse(t)
		instance := func(n int) rollcall.Instance {
			i := rollcall.Instance{ID: fmt.Sprintf("i-%d", n), Version: fmt.Sprintf("1.%d.0", rng.IntN(5))}
			if rng.IntN(20) > 0 {
				i.Position = &rollcall.Position{Lat: 180*rng.Float64() - 90, Lon: 360*rng.Float64() - 180}
			}
			i.Capabilities = map[string]rollcall.Value{"gpu": rollcall.Number(float64(rng.IntN(8)))}
			if rng.IntN(3) == 0 {
				i.Capabilities["codecs"] = rollcall.Strings("h264", "av1")
			}
			return i
		}
		var first []rollcall.Instance
		for n := range size {
			first = append(first, instance(n))
		}
		u.put(first...)
		filters := []struct {
			text  string
			match func(*rollcall.Instance) bool
		}{
			{"", func(*rollcall.Instance) bool { return true }},
			{"cap.gpu == 3", func(i *rollcall.Instance) bool { return i.Capabilities["gpu"].Number() == 3 }},
			{`"av1" in cap.codecs && cap.gpu < 2`, func(i *rollcall.Instance) bool {
				return i.Capabilities["codecs"].Matches("av1") && i.Capabilities["gpu"].Number() < 2
			}},
			{`semver(version) >= semver("1.3.0")`, func(i *rollcall.Instance) bool { return i.Version >= "1.3.0" }},
		}
		for step := range 300 {
			id := fmt.Sprintf("i-%d", rng.IntN(size+20))
			key := rollcall.NewKey("", "s", id)
			known := u.c.Item(key) != nil
			switch rng.IntN(6) {
			case 0:
				var n int
				fmt.Sscanf(id, "i-%d", &n)
				u.put(instance(n))
				u.world.Soft.Drop(key)
			case 1:
				if known {
					u.remove(id)
					u.world.Soft.Drop(key)
				}
			case 2:
				u.say(rollcall.SlotStatus, []rollcall.Status{rollcall.Healthy, rollcall.Suspect, rollcall.Unhealthy, rollcall.Draining}[rng.IntN(4)], false, id)
			default:
				if known {
					u.world.Soft.Move(key, rollcall.Position{Lat: 180*rng.Float64() - 90, Lon: 360*rng.Float64() - 180})
				}
			}
			f := filters[rng.IntN(len(filters))]
			lat, lon, limit := 180*rng.Float64()-90, 360*rng.Float64()-180, 1+rng.IntN(12)
			if rng.IntN(30) == 0 {
				limit = nearestAtMost // more than match: the suspect, and those without a position
			}
			r := u.ask(rollcall.Query{Filter: f.text, Near: fmt.Sprintf("%v,%v", lat, lon), Limit: limit})
			if got, want := idsOf(r), truth(u, lat, lon, limit, f.match); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: the %d nearest of %d with %q are\n%v, want\n%v", seed, step, limit, size, f.text, got, want)
			}
		}
	}
}

// TestConditionsAreTrue: whatever is looked up in an index is what matches one by
// one.
func TestConditionsAreTrue(t *testing.T) {
	u := newUniverse(t)
	u.put(many("i", 1000, func(n int, i *rollcall.Instance) {
		i.Capabilities = map[string]rollcall.Value{"n": rollcall.Number(float64(n % 7)), "even": rollcall.Bool(n%2 == 0)}
		i.Metadata = map[string]string{"team": fmt.Sprint("t", n%5)}
	})...)
	for _, q := range []rollcall.Query{
		{Capability: matches("n=3")}, {Capability: matches("n=3.0", "even=true")}, {Metadata: matches("team=t2")}, {Filter: `cap.n in [1, 2] && meta.team == "t1"`},
		{Capability: matches("n=3"), Filter: "cap.even"}, {Capability: matches("none=1")}, {Filter: "cap.n == 3 || cap.n == 4"},
	} {
		p := u.compile(q)
		got, total := p.Select(u.c.View(service), &u.world)
		var want []*catalog.Item
		for i := range u.c.View(service).All() {
			if p.Match(i) {
				want = append(want, i)
			}
		}
		if !slices.Equal(got, want) || total != len(want) {
			t.Errorf("%s: %d of %d, want %d", p.Text(), len(got), total, len(want))
		}
	}
}
