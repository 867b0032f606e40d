package load

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	freshFor    = 5_000  // ms that a reported in-flight count is believed
	leastStay   = 100    // ms that a request is taken to last, at least
	lateFor     = 10_000 // ms: how long picks count where nothing is reported (τ)
	latencyOver = 10_000 // ms: τ of the latency
)

// Instance is what is known of one instance. Its exported methods take no lock
// and cost some nanoseconds; the numbers of one report may be seen before the
// others of it.
//
// The registry's own picks are one number that decays: where there is a fresh
// report, since that report and as requests end; else over the last 10 s.
type Instance struct {
	of *soft
	id string

	mu    sync.Mutex   // guards load, first, placed, position, from and window
	heard atomic.Int64 // ms: when it last reported; 0: never
	first int64        // ms: since when it has reported without a gap
	load  rollcall.Load

	inFlight atomic.Uint32 // float32: what it reported
	used     atomic.Uint32 // float32: its utilisation; negative: unknown
	latency  atomic.Uint32 // float32, ms: peak-EWMA of its median; 0: unknown
	capacity atomic.Uint32 // that of facts
	picks    atomic.Uint64 // when, in units of 10 ms, and a float32

	gone   atomic.Bool
	asked  atomic.Bool // for its facts
	listed atomic.Bool // for the sweeps
	queued atomic.Bool // set under the lock of the queue
	facts  atomic.Pointer[Facts]

	from, window int64 // ms: when it began to warm up, and how long that takes; 0: it does not

	placed         bool // position is where it has moved
	position       rollcall.Position
	before, behind *Instance // in the queue, whose lock guards them
}

// Key returns the instance's key.
func (i *Instance) Key() rollcall.Key { return rollcall.Key{ServiceKey: i.of.key, ID: i.id} }

// Gone reports whether the instance was dropped: whoever wants what is known of
// the one that is registered now asks for another handle.
func (i *Instance) Gone() bool { return i.gone.Load() }

// Picked says that one more request was sent to the instance by this registry's
// own choice.
func (i *Instance) Picked(now time.Time) {
	ms := i.of.t.millis(now)
	lasts, _ := i.lasts(ms)
	for {
		was := i.picks.Load()
		n, at := left(was, ms, lasts)
		if i.picks.CompareAndSwap(was, uint64(at)<<32|uint64(math.Float32bits(n+1))) {
			return
		}
	}
}

// InFlight returns how many requests the instance is likely to be serving. If it
// said so within 5 s, that is fresh: what it said, and what was picked since then
// that has likely not ended, which is an exponential guess by its median latency,
// at least 100 ms. Else it is what was picked of late (τ = 10 s).
func (i *Instance) InFlight(now time.Time) (n float64, fresh bool) {
	ms := i.of.t.millis(now)
	lasts, fresh := i.lasts(ms)
	own, _ := left(i.picks.Load(), ms, lasts)
	if fresh {
		own += math.Float32frombits(i.inFlight.Load())
	}
	return float64(own), fresh
}

// Latency returns the instance's median latency in milliseconds, by the rule of
// peak-EWMA with τ = 10 s: it rises at once and falls slowly.
func (i *Instance) Latency() (ms float64, ok bool) {
	f := math.Float32frombits(i.latency.Load())
	return float64(f), f > 0
}

// Utilization returns the share of its capacity that the instance last said is in
// use, or that follows from its in-flight count.
func (i *Instance) Utilization() (u float64, ok bool) {
	f := math.Float32frombits(i.used.Load())
	return float64(max(0, f)), f >= 0 && i.heard.Load() != 0
}

// lasts returns the τ of picks, in milliseconds, and whether there is a fresh
// report.
func (i *Instance) lasts(ms int64) (tau float32, fresh bool) {
	heard := i.heard.Load()
	if heard == 0 || ms-heard > freshFor {
		return lateFor, false
	}
	return max(leastStay, math.Float32frombits(i.latency.Load())), true
}

// left returns what is left of picks, and the time to keep with it. Time is kept
// in 32 bits, which go round after 497 days; of two who pick at once the later
// may come first.
func left(picks uint64, ms int64, tau float32) (n float32, at uint32) {
	n, at = math.Float32frombits(uint32(picks)), uint32(picks>>32)
	const back = 6000 // a minute
	now := uint32(ms / 10)
	past := now - at
	if n == 0 {
		return 0, now
	}
	if past == 0 || past > math.MaxUint32-back {
		return n, at
	}
	return n * fade(float32(past)*10/tau), now
}

// fade returns e^-x for x ≥ 0, within 1 in 10,000: math.Exp would take more time
// than all else that a pick does.
func fade(x float32) float32 {
	if !(x < 40) {
		return 0
	}
	y := x * math.Log2E
	n := int32(y + .5)
	f := (float32(n) - y) * math.Ln2
	e := 1 + f*(1+f*(1./2+f*(1./6+f*(1./24))))
	return e * math.Float32frombits(uint32(127-n)<<23)
}

// know asks for the instance's facts, unless they are known.
func (i *Instance) know() {
	if i.of.t.o.Facts == nil || i.asked.Load() {
		return
	}
	i.asked.Store(true) // first: if they change meanwhile they are asked for again
	if f, ok := i.of.t.o.Facts(i.Key()); ok {
		known := f
		i.facts.Store(&known)
		i.capacity.Store(f.Capacity)
	} else {
		i.asked.Store(false)
	}
}

// report takes in a load; false if the instance is gone.
func (i *Instance) report(l rollcall.Load, ms int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.gone.Load() {
		return false
	}
	was := i.heard.Load()
	if was == 0 || ms-was > expiry {
		i.first = ms
	}
	i.load = l
	if p50 := float32(sane(l.LatencyP50)); p50 > 0 {
		if old := math.Float32frombits(i.latency.Load()); p50 < old {
			p50 = old + (p50-old)*float32(fading(ms-was, latencyOver))
		}
		i.latency.Store(math.Float32bits(p50))
	}
	used := float32(-1)
	if u, ok := utilization(&l, i.capacity.Load()); ok {
		used = float32(u)
	}
	i.used.Store(math.Float32bits(used))
	i.inFlight.Store(math.Float32bits(float32(max(0, l.InFlight))))
	i.picks.Store(0)
	i.heard.Store(ms)
	return true
}

// join has the sweeps look at the instance.
func (i *Instance) join() {
	s := i.of
	if !i.listed.Load() {
		s.mu.Lock()
		if !i.listed.Swap(true) {
			s.joined = append(s.joined, i)
		}
		first := !s.counted
		s.counted = true
		s.mu.Unlock()
		if first {
			s.t.mu.Lock()
			s.t.weighed = append(s.t.weighed, s)
			s.t.mu.Unlock()
		}
	}
	if !s.news.Load() {
		s.news.Store(true)
	}
}

// utilization returns the share of an instance's capacity in use: what it says,
// or what follows from its requests in flight. One that says neither, but serves
// requests, is unknown.
func utilization(l *rollcall.Load, capacity uint32) (u float64, ok bool) {
	switch u = sane(l.Utilization); {
	case u > 0:
		return u, true
	case capacity > 0:
		return float64(max(0, l.InFlight)) / float64(capacity), true
	}
	return 0, l.InFlight <= 0 && sane(l.RPS) == 0
}

// sane returns a number that can be counted with.
func sane(f float64) float64 {
	if !(f > 0 && f <= 1e12) {
		return 0
	}
	return f
}

// fading returns the share of what was that a new value takes the place of, so
// many milliseconds later, with a τ.
func fading(ms, tau int64) float64 { return 1 - math.Exp(-float64(max(0, ms))/float64(tau)) }
