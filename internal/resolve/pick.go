package resolve

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

const (
	// drawnAtMost is how many instances, drawn by weight, one is chosen among
	// (Prequal's pool of probes).
	drawnAtMost = 16
	// slowTimes is from how many times the median latency on an instance of those
	// drawn may lose its turn.
	slowTimes = 2
	// golden is 2⁶⁴ divided by the golden ratio: what turns go on by is even over any
	// stretch of them.
	golden = 0x9E3779B97F4A7C15
)

// least is what a weight of 0 counts as, when nobody has more.
const least = 1e-9

// candidate is an instance that may be picked, and how busy it is.
type candidate struct {
	n       int     // of the endpoint
	busy    float64 // requests in flight, relative to its weight
	full    float64 // requests in flight, relative to its capacity; 0 if that is not known
	latency float64 // milliseconds, that it reports; 0 is not known
	fresh   bool    // busy is reported, not only this registry's own picks
}

// choose picks as many endpoints as are asked for, one after the other, and notes
// that they were. Where what is in flight was reported of late each has its turn by
// weight, and weights keep utilisation equal; one that is slow, and that not for
// being idle, leaves its turn to the least busy that is not. To go by latency alone
// would fill the fastest. Else it is the least busy of those drawn. Nothing goes to
// an instance at its capacity while another has room.
func (f *field) choose(count int, w *World) []Endpoint {
	now := w.Now()
	picked := make([]Endpoint, 0, count)
	var taken []int
	for len(picked) < min(count, len(f.endpoints)) {
		n := f.pick(now, w, taken)
		if f.handles[n].Picked(now); f.handles[n].Gone() {
			f.stale.Store(true)
		}
		picked = append(picked, f.endpoints[n])
		if count > 1 {
			taken = append(taken, n)
		}
	}
	return picked
}

// pick returns the index of the endpoint to use, which is none of those taken.
func (f *field) pick(now time.Time, w *World, taken []int) int {
	var room [drawnAtMost]candidate
	drawn, at := room[:0], 0
	if len(taken) == 0 {
		drawn, at = f.draw(now, drawn)
	}
	if !slices.ContainsFunc(drawn, func(c candidate) bool { return c.full < 1 }) && (len(f.endpoints) > drawnAtMost || len(taken) > 0) {
		drawn = f.all(now, drawn[:0], taken)
		at = int(w.Rand() * float64(len(drawn)))
	}
	return best(drawn, at).n
}

// draw looks at endpoints drawn by weight; at all of them if they are few. It takes
// one of each of equal parts of all weight, so that none is drawn twice by chance
// (systematic sampling). At is where the one is whose turn it is.
func (f *field) draw(now time.Time, into []candidate) (drawn []candidate, at int) {
	sum := f.sums[len(f.sums)-1]
	point := float64(f.turn.Add(golden)>>11) / (1 << 53) * sum
	whose := func(point float64) int {
		return min(sort.Search(len(f.sums), func(n int) bool { return f.sums[n] > point }), len(f.sums)-1)
	}
	turn := whose(point)
	if len(f.endpoints) <= drawnAtMost || sum == 0 {
		drawn = f.all(now, into, nil)
		return drawn, max(0, slices.IndexFunc(drawn, func(c candidate) bool { return c.n == turn }))
	}
	step := sum / drawnAtMost
	last := -1
	for p := math.Mod(point, step); p < sum && len(into) < drawnAtMost; p += step {
		n := whose(p)
		if n == last {
			continue
		}
		if last = n; n == turn {
			at = len(into)
		}
		into = append(into, f.look(n, now))
	}
	return into, at
}

// all looks at every endpoint that takes traffic and is not taken; if there is no
// such, at one that does not.
func (f *field) all(now time.Time, into []candidate, taken []int) []candidate {
	rest := -1
	for n := range f.endpoints {
		switch {
		case slices.Contains(taken, n):
		case f.endpoints[n].weight > 0:
			into = append(into, f.look(n, now))
		case rest < 0:
			rest = n
		}
	}
	if len(into) == 0 {
		into = append(into, f.look(rest, now))
	}
	return into
}

// look looks how busy one endpoint is.
func (f *field) look(n int, now time.Time) candidate {
	c := candidate{n: n}
	inFlight := 0.0
	inFlight, c.fresh = f.handles[n].InFlight(now)
	c.busy = inFlight / max(least, f.endpoints[n].weight)
	c.latency, _ = f.handles[n].Latency()
	if f.capacity[n] > 0 {
		c.full = inFlight / float64(f.capacity[n])
	}
	return c
}

// best returns the candidate to use, if it can be the one at at, which has its turn;
// among equals the first from there on. It reorders them.
func best(cs []candidate, at int) candidate {
	if at > 0 {
		slices.Reverse(cs[:at])
		slices.Reverse(cs[at:])
		slices.Reverse(cs)
	}
	if slices.ContainsFunc(cs, func(c candidate) bool { return c.full >= 1 }) {
		roomy := cs[:0:0]
		for _, c := range cs {
			if c.full < 1 {
				roomy = append(roomy, c)
			}
		}
		if len(roomy) == 0 {
			return slices.MinFunc(cs, func(a, b candidate) int { return cmp.Compare(a.full, b.full) })
		}
		cs = roomy
	}
	least := func(a, b candidate) int { return cmp.Compare(a.busy, b.busy) }
	var room [2][drawnAtMost]float64
	busy, latencies := room[0][:0], room[1][:0]
	for _, c := range cs {
		busy = append(busy, c.busy)
		if c.fresh && c.latency > 0 {
			latencies = append(latencies, c.latency)
		}
	}
	if 2*len(latencies) < len(cs) || len(cs) < 2 {
		return slices.MinFunc(cs, least)
	}
	slices.Sort(busy)
	slices.Sort(latencies)
	usual := latencies[len(latencies)/2]
	// What is in flight at who is slow stays there for longer.
	waits := slowTimes * usual * busy[len(busy)/2]
	slow := func(c candidate) bool {
		return c.fresh && c.latency > slowTimes*usual && c.latency*c.busy >= waits
	}
	if !slow(cs[0]) {
		return cs[0]
	}
	return slices.MinFunc(cs, func(a, b candidate) int {
		if aSlow := slow(a); aSlow != slow(b) {
			if aSlow {
				return 1
			}
			return -1
		}
		return least(a, b)
	})
}
