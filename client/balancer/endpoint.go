package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

// endpoint is what a caller knows of an instance. It outlives the sets it is in.
type endpoint struct {
	id     string
	rank   uint64      // its place on the line: another for each caller
	weight float       // relative to the mean of those in the set
	out    atomic.Bool // it is not in the set
	ring   atomic.Int32

	payload atomic.Value

	inFlight atomic.Int32
	empty    atomic.Pointer[chan struct{}] // to be closed when it is 0, unless it is in a set
	inRow    atomic.Int32                  // failures
	until    atomic.Int64                  // when an ejection ends
	tried    atomic.Int64                  // when the last request was sent that may end one for good
	latency  average                       // nanoseconds
	failed   average                       // share of requests
	probed   answer
	pooled   atomic.Bool

	// Guarded by Balancer.mu.
	times  int    // ejections in a row
	update uint64 // the last that had it
	of     Endpoint
}

func (e *endpoint) ejected(now time.Duration) bool { return e.until.Load() > int64(now) }

// shunned reports whether an endpoint is ejected, is back from that and was only just
// given its first request, or fails much more often than the whole service does.
func (e *endpoint) shunned(all *average, now time.Duration) bool {
	if until := e.until.Load(); until > int64(now) || until != 0 && e.inRow.Load() >= ejectAfter-1 && int64(now)-e.tried.Load() < int64(tryFor) {
		return true
	}
	if e.failed.bits.Load() == 0 { // most never fail
		return false
	}
	f := e.failed.fade(now)
	return f > shunFloor && f > shunTimes*all.fade(now)
}

// cost is how long a request would take, as far as the caller can tell from its
// own: latency times those in flight, relative to weight, and one more. A latency that
// nobody has seen again counts for less and less, so that one slow request does not
// keep all others away.
func (e *endpoint) cost(now time.Duration) float64 {
	latency, age := unpack(e.latency.bits.Load(), now)
	latency *= float64(decay) / float64(decay+age)
	return max(latency, 1) * (1 + float64(e.inFlight.Load())/e.weight.load())
}

// average is an exponentially weighted moving average over time: 32 bits of time
// in milliseconds, and 32 of a float. Zero is unknown.
type average struct{ bits atomic.Uint64 }

func pack(v float64, now time.Duration) uint64 {
	return uint64(uint32(now/time.Millisecond))<<32 | uint64(math.Float32bits(float32(v)))
}

func unpack(bits uint64, now time.Duration) (v float64, age time.Duration) {
	age = time.Duration(int32(uint32(now/time.Millisecond)-uint32(bits>>32))) * time.Millisecond
	return float64(math.Float32frombits(uint32(bits))), max(age, 0)
}

// add takes a value in, with the share that the time since the last one leaves it
// but at least so much.
func (a *average) add(v, least float64, now time.Duration) {
	for {
		old := a.bits.Load()
		mean := v
		if old != 0 {
			was, age := unpack(old, now)
			share := max(least, -math.Expm1(-age.Seconds()/decay.Seconds()))
			mean = was + share*(v-was)
		}
		if a.bits.CompareAndSwap(old, pack(mean, now)) {
			return
		}
	}
}

// outcome takes in whether a request failed. While none did nothing is written.
func (a *average) outcome(failed bool, least float64, now time.Duration) {
	old := a.bits.Load()
	if old == 0 {
		if !failed {
			return
		}
		a.bits.CompareAndSwap(0, pack(0, now))
	}
	v := 0.0
	if failed {
		v = 1
	}
	a.add(v, least, now)
	if !failed && math.Float32frombits(uint32(a.bits.Load())) < 1e-3 {
		a.bits.Store(0)
	}
}

// value returns the average as it was last, 0 if it is unknown.
func (a *average) value() float64 {
	return float64(math.Float32frombits(uint32(a.bits.Load())))
}

// fade returns the average less what time has taken of it: what nobody has seen
// again is forgotten.
func (a *average) fade(now time.Duration) float64 {
	bits := a.bits.Load()
	if bits == 0 {
		return 0
	}
	v, age := unpack(bits, now)
	return v * math.Exp(-age.Seconds()/decay.Seconds())
}

// mix scrambles 64 bits (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
