package balance

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall/client/balancer"
)

// prequal is the policy as it was published.
type prequal struct {
	*local
	pool      []probed
	recent    [128]int32 // what probes said was in flight
	count     int
	threshold int32
	oldest    bool // whether the next one removed is the oldest, or the worst
}

// probed is an answer in the pool, the oldest first.
type probed struct {
	server, inFlight int32
	latency, at      time.Duration
	uses             int
}

const (
	prequalPool     = 16
	prequalProbes   = 3
	prequalAge      = time.Second
	prequalQuantile = 0.84
	prequalDelta    = 1.0 // how much the pool may grow by reuse
)

func newPrequal(s *sim, r *rand.Rand, _ string) policy {
	return &prequal{local: newLocal(s, r, nil)}
}

func (p *prequal) pick() (int32, balancer.Pick) {
	p.pool = slices.DeleteFunc(p.pool, func(a probed) bool { return p.now-a.at > prequalAge || p.servers[a.server].dead })
	if len(p.pool) < 2 {
		return p.random(), balancer.Pick{}
	}
	best := 0
	for i := range p.pool {
		if p.less(&p.pool[i], &p.pool[best]) {
			best = i
		}
	}
	a := &p.pool[best]
	server := a.server
	a.inFlight++
	if a.uses--; a.uses <= 0 {
		p.pool = slices.Delete(p.pool, best, best+1)
	}
	p.remove()
	return server, balancer.Pick{}
}

func (p *prequal) less(a, b *probed) bool {
	ha, hb := a.inFlight > p.threshold, b.inFlight > p.threshold
	switch {
	case ha != hb:
		return hb
	case ha:
		return a.inFlight < b.inFlight
	}
	return a.latency < b.latency
}

// remove takes the oldest or, every other time, the worst out of the pool.
func (p *prequal) remove() {
	if len(p.pool) == 0 {
		return
	}
	p.oldest = !p.oldest
	out := 0
	if !p.oldest {
		for i := range p.pool {
			if p.less(&p.pool[out], &p.pool[i]) {
				out = i
			}
		}
	}
	p.pool = slices.Delete(p.pool, out, out+1)
}

func (p *prequal) done(int32, balancer.Pick, time.Duration, bool) {}

// probes draws three, each another.
func (p *prequal) probes(to []int32) []int32 {
	for len(to) < min(prequalProbes, len(p.up)) {
		if s := p.random(); !slices.Contains(to, s) {
			to = append(to, s)
		}
	}
	return to
}

func (p *prequal) answer(server, inFlight int32, latency time.Duration) {
	p.recent[p.count%len(p.recent)] = inFlight
	p.count++
	if p.count%8 == 0 {
		sorted := p.recent
		n := min(p.count, len(sorted))
		slices.Sort(sorted[:n])
		p.threshold = sorted[int(prequalQuantile*float64(n-1))]
	}
	if len(p.pool) >= prequalPool {
		p.pool = slices.Delete(p.pool, 0, 1)
	}
	p.pool = append(p.pool, probed{server, inFlight, latency, p.now, p.reuse()})
}

// reuse returns how often an answer may be used, rounded at random.
func (p *prequal) reuse() int {
	share := 1 - float64(prequalPool)/float64(len(p.up))
	uses := max(1, (1+prequalDelta)/(share*prequalProbes-1))
	whole := int(uses)
	if p.rand.Float64() < uses-float64(whole) {
		whole++
	}
	return whole
}
