package resolve

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func names(prefix string, n int) (ns []string) {
	for k := range n {
		ns = append(ns, fmt.Sprintf("%s-%03d", prefix, k))
	}
	return ns
}

// moved counts how many of b are not in a.
func moved(a, b []int32, of, now []string) (n int) {
	was := map[string]bool{}
	for _, i := range a {
		was[of[i]] = true
	}
	for _, i := range b {
		if !was[now[i]] {
			n++
		}
	}
	return n
}

// TestDealOut: nobody has many more callers than the others, each caller has as
// many as it should, and each once.
func TestDealOut(t *testing.T) {
	for _, tt := range []struct{ callers, ids, size int }{
		{1, 100, 20}, {3, 100, 20}, {10, 100, 20}, {100, 100, 20}, {100, 103, 20}, {333, 50, 12}, {40, 21, 20}, {1000, 200, 20}, {20, 2000, 20},
	} {
		callers, ids := names("web", tt.callers), names("i", tt.ids)
		dealt := dealOut(callers, ids, tt.size)
		counts := make([]int, tt.ids)
		for _, c := range callers {
			mine := slices.Clone(dealt[c])
			slices.Sort(mine)
			if len(slices.Compact(mine)) != tt.size {
				t.Errorf("%+v: %s has %d", tt, c, len(mine))
			}
			for _, i := range mine {
				counts[i]++
			}
		}
		mean := float64(tt.callers*tt.size) / float64(tt.ids)
		if most := float64(slices.Max(counts)); most > max(1, 1.25*mean, math.Ceil(mean)) {
			t.Errorf("%+v: one has %v callers, the mean is %v", tt, most, mean)
		}
	}
}

// TestSubsetChurn: an instance or a caller more or less moves about one member of a
// subset at most, and few of all subsets.
func TestSubsetChurn(t *testing.T) {
	const callers, ids, size = 100, 120, 20
	cs, is := names("web", callers), names("i", ids)
	before := dealOut(cs, is, size)
	var all, worst, steps int
	for k := 0; k < ids; k += 7 {
		fewer := slices.Delete(slices.Clone(is), k, k+1)
		after := dealOut(cs, fewer, size)
		for _, c := range cs {
			n := moved(before[c], after[c], is, fewer)
			all += n
			worst = max(worst, n)
		}
		steps++
	}
	had := float64(callers) * size / ids // how many lost a member
	if perStep := float64(all) / float64(steps); perStep > 2.5*had || worst > 3 {
		t.Errorf("an instance less moves %.1f members, of the %.1f that had it, and up to %d of one subset", perStep, had, worst)
	} else {
		t.Logf("an instance less moves %.1f members, of the %.1f that had it, and up to %d of one subset", perStep, had, worst)
	}
	all, worst, steps = 0, 0, 0
	for k := 0; k < callers; k += 9 {
		fewer := slices.Delete(slices.Clone(cs), k, k+1)
		after := dealOut(fewer, is, size)
		for _, c := range fewer {
			n := moved(before[c], after[c], is, is)
			all += n
			worst = max(worst, n)
		}
		steps++
	}
	if perCaller := float64(all) / float64(steps) / callers; perCaller > 0.5 || worst > 4 {
		t.Errorf("a caller less moves %.2f members of a subset of another, up to %d", perCaller, worst)
	} else {
		t.Logf("a caller less moves %.2f members of a subset of another, up to %d", perCaller, worst)
	}
}

// TestSubsets: as queries see them.
func TestSubsets(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 100, nil)...)
	subset := func(caller string) []string {
		u.now = u.now.Add(time.Second)
		return idsOf(u.ask(rollcall.Query{Subset: caller}))
	}
	for _, c := range names("web", 50) {
		subset(c)
	}
	// In whatever order they came.
	was := map[string][]string{}
	for _, c := range names("web", 50) {
		was[c] = subset(c)
		if len(was[c]) != DefaultSubset || !slices.IsSorted(was[c]) {
			t.Fatalf("%s has %v", c, was[c])
		}
	}
	u.world.Subsets = &Subsets{Now: u.world.Now} // a restart
	back := names("web", 50)
	slices.Reverse(back)
	for _, c := range back {
		subset(c)
	}
	for _, c := range back {
		if got := subset(c); !slices.Equal(got, was[c]) {
			t.Errorf("after a restart %s has %v, before %v", c, got, was[c])
		}
	}
	// Who is out is replaced by one.
	out := was["web-000"][0]
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, out)
	got := subset("web-000")
	still := 0
	for _, id := range got {
		if slices.Contains(was["web-000"], id) {
			still++
		}
	}
	if len(got) != DefaultSubset || still < DefaultSubset-2 || slices.Contains(got, out) {
		t.Errorf("without %s: %v, before %v", out, got, was["web-000"])
	}
	// Who asks no more is forgotten.
	u.now = u.now.Add(subsetFor + time.Second)
	u.world.Subsets.Sweep()
	if n := len(u.world.Subsets.deals); n != 0 {
		t.Errorf("%d queries are remembered", n)
	}
	// Of few there is no choice.
	few := newUniverse(t)
	few.put(many("a", 15, nil)...)
	if got := idsOf(few.ask(rollcall.Query{Subset: "web-1"})); len(got) != 15 {
		t.Errorf("of 15 a subset has %d", len(got))
	}
	if got := idsOf(few.ask(rollcall.Query{Subset: "web-1", SubsetSize: 12})); len(got) != 12 {
		t.Errorf("a subset of 12 has %d", len(got))
	}
}

// TestSubsetOfZones: a subset keeps to the caller's zone as its traffic does.
func TestSubsetOfZones(t *testing.T) {
	u := newUniverse(t)
	u.put(many("a", 40, inZone("eu", "a"))...)
	u.put(many("b", 40, inZone("eu", "b"))...)
	q := rollcall.Query{Near: "zone:eu/a", Subset: "web-1"}
	if r := u.ask(q); share(r, "a-") != 1 || len(r.Endpoints) != DefaultSubset {
		t.Errorf("%v", idsOf(r))
	}
	var dead []string
	for k := range 20 {
		dead = append(dead, fmt.Sprintf("a-%d", k))
	}
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, dead...)
	r := u.ask(q)
	near := 0
	for _, id := range idsOf(r) {
		if id[0] == 'a' {
			near++
		}
	}
	if math.Abs(share(r, "a-")-0.7) > 0.01 || len(r.Endpoints) != DefaultSubset || near != 14 {
		t.Errorf("with half of the zone dead %.2f of the traffic stays in it, to %d of %d", share(r, "a-"), near, len(r.Endpoints))
	}
}

func BenchmarkDealOut(b *testing.B) {
	for _, n := range []int{100, 1000} {
		callers, ids := names("web", n), names("i", n)
		b.Run(fmt.Sprintf("callers=%d/instances=%d", n, n), func(b *testing.B) {
			for b.Loop() {
				dealOut(callers, ids, DefaultSubset)
			}
		})
	}
}
