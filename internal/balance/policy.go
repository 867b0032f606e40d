package balance

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall/client/balancer"
)

// Policy is a way to choose instances.
type Policy struct {
	Name    string
	weigher func(s *sim) weigher
	caller  func(s *sim, r *rand.Rand, zone string) policy
	delay   time.Duration // until a choice is made
}

// policy is what one caller knows and does.
type policy interface {
	update(weights []uint16) // servers that are not listed are still in it
	pick() (server int32, pick balancer.Pick)
	done(server int32, pick balancer.Pick, latency time.Duration, failed bool)
	probes(to []int32) []int32 // appends whom to probe after a pick
	answer(server, inFlight int32, latency time.Duration)
}

// Policies returns those that are compared, ours last.
func Policies() []Policy {
	simple := func(pick func(*local) int32) func(*sim, *rand.Rand, string) policy {
		return func(s *sim, r *rand.Rand, _ string) policy { return newLocal(s, r, pick) }
	}
	return []Policy{
		{Name: "round robin", weigher: equal, caller: simple((*local).roundRobin)},
		{Name: "random", weigher: equal, caller: simple((*local).random)},
		{Name: "weighted round robin", weigher: weighted, caller: simple((*local).stride)},
		{Name: "least request", weigher: equal, caller: simple((*local).leastRequest)},
		{Name: "P2C", weigher: equal, caller: simple((*local).twoChoices)},
		{Name: "Peak-EWMA", weigher: equal, caller: simple((*local).peakEWMA)},
		{Name: "Prequal", weigher: equal, caller: newPrequal},
		Ours(),
	}
}

// Ours returns what package balancer does with probes.
func Ours() Policy {
	return Policy{Name: "Rollcall", weigher: rollcalls, caller: func(s *sim, r *rand.Rand, zone string) policy { return newOurs(s, r, zone, 0) }}
}

// Unprobed returns what package balancer does with servers that answer no probes.
func Unprobed() Policy {
	return Policy{Name: "Rollcall, no probes", weigher: rollcalls, caller: func(s *sim, r *rand.Rand, zone string) policy { return newOurs(s, r, zone, -1) }}
}

// local is what a caller knows without probes.
type local struct {
	*sim
	rand     *rand.Rand
	choose   func(*local) int32
	rank     []uint64
	up       []int32 // servers that are listed
	weights  []uint16
	most     uint16
	next     uint64
	inFlight []int32
	latency  []float64
	seen     []time.Duration
}

func newLocal(s *sim, r *rand.Rand, choose func(*local) int32) *local {
	n := len(s.servers)
	rank := make([]uint64, n)
	for i := range rank {
		rank[i] = r.Uint64()
	}
	return &local{sim: s, rand: r, choose: choose, rank: rank, next: r.Uint64() >> 32, inFlight: make([]int32, n), latency: make([]float64, n), seen: make([]time.Duration, n)}
}

func (l *local) update(weights []uint16) {
	l.up, l.most = l.up[:0], 0
	for i := range l.servers {
		if sv := &l.servers[i]; sv.listed && !sv.dead {
			l.up = append(l.up, int32(i))
			l.most = max(l.most, weights[i])
		}
	}
	// Each caller has an order of its own.
	slices.SortFunc(l.up, func(a, b int32) int { return cmp.Compare(l.rank[a], l.rank[b]) })
	l.weights = weights
}

func (l *local) pick() (int32, balancer.Pick) {
	s := l.choose(l)
	l.inFlight[s]++
	return s, balancer.Pick{}
}

func (l *local) done(s int32, _ balancer.Pick, latency time.Duration, _ bool) {
	l.inFlight[s]--
	took := float64(latency)
	if old := l.latency[s]; took > old {
		l.latency[s] = took
	} else {
		keep := math.Exp(-(l.now - l.seen[s]).Seconds() / 10)
		l.latency[s] = keep*old + (1-keep)*took
	}
	l.seen[s] = l.now
}

func (l *local) probes(to []int32) []int32          { return to }
func (l *local) answer(_, _ int32, _ time.Duration) {}

func (l *local) random() int32 { return l.up[l.rand.IntN(len(l.up))] }

func (l *local) roundRobin() int32 {
	l.next++
	return l.up[l.next%uint64(len(l.up))]
}

// stride is gRPC's static-stride scheduler: a server is left out in as many of its
// turns as its weight is below the greatest.
func (l *local) stride() int32 {
	for {
		l.next++
		n := uint64(len(l.up))
		i, generation := l.up[l.next%n], l.next/n
		w, most := uint64(l.weights[i]), uint64(l.most)
		offset := uint64(i) * (1 << 15)
		if (w*generation+offset)%most >= most-w {
			return i
		}
	}
}

// leastRequest looks at all, beginning anywhere.
func (l *local) leastRequest() int32 {
	begin := l.rand.IntN(len(l.up))
	best := l.up[begin]
	for n := range l.up {
		if i := l.up[(begin+n)%len(l.up)]; l.inFlight[i] < l.inFlight[best] {
			best = i
		}
	}
	return best
}

func (l *local) two() (a, b int32) {
	i, j := l.rand.IntN(len(l.up)), l.rand.IntN(len(l.up)-1)
	if j >= i {
		j++
	}
	return l.up[i], l.up[j]
}

func (l *local) twoChoices() int32 {
	a, b := l.two()
	if l.inFlight[b] < l.inFlight[a] {
		return b
	}
	return a
}

// peakEWMA compares two by latency times requests in flight (Finagle's; one that is
// not known yet is as good as can be).
func (l *local) peakEWMA() int32 {
	a, b := l.two()
	cost := func(i int32) float64 {
		return l.latency[i] * math.Exp(-(l.now-l.seen[i]).Seconds()/10) * float64(l.inFlight[i]+1)
	}
	if cost(b) < cost(a) {
		return b
	}
	return a
}
