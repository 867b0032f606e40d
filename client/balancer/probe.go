package balancer

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Probe is a question to an instance that is due: how many requests do you have
// in flight, and how long do they take at that number?
type Probe struct {
	b *Balancer
	e *endpoint
}

// ID returns the instance to ask.
func (p Probe) ID() string { return p.e.id }

// Answer takes in what the instance said. One that does not answer needs no call.
func (p Probe) Answer(inFlight int, latency time.Duration) {
	now := p.b.now()
	p.e.probed.store(inFlight, latency, now)
	p.b.answers.add(p.e, now)
}

// Probe returns the next probe that is due, if any. Ask after each pick until it
// reports false; whoever makes the probes may bound them as they like.
func (b *Balancer) Probe() (Probe, bool) {
	s := b.set.Load()
	if len(s.members) < 2 {
		return Probe{}, false
	}
	for {
		due := b.due.Load()
		if due < 1000 {
			return Probe{}, false
		}
		if b.due.CompareAndSwap(due, due-1000) {
			break
		}
	}
	return Probe{b, b.next(s)}, true
}

// next returns whose turn comes, if that was not asked for yet, else another, in
// the same kind of order.
func (b *Balancer) next(s *set) *endpoint {
	turn := b.turn.Load()
	if ahead := b.ahead.Load(); ahead < turn+lookAhead {
		if next := max(ahead, turn) + 1; b.ahead.CompareAndSwap(ahead, next) {
			return s.at(next*golden + b.offset)
		}
	}
	return s.at(b.aside.Add(1)*golden + ^b.offset)
}

// answer is the last one of an endpoint: 32 bits of time in milliseconds, 12 of
// requests in flight, and 20 of latency in units of 16 µs.
type answer struct{ bits atomic.Uint64 }

const (
	flightBits, latencyBits = 12, 20
	latencyUnit             = 16 * time.Microsecond
)

// state is what an endpoint said of itself.
type state struct {
	inFlight int
	latency  time.Duration
}

func (a *answer) store(inFlight int, latency time.Duration, now time.Duration) {
	n := uint64(min(max(inFlight, 0), 1<<flightBits-1))
	l := uint64(min(max(latency, 0)/latencyUnit, 1<<latencyBits-1))
	a.bits.Store(uint64(uint32(now/time.Millisecond)+1)<<32 | n<<latencyBits | l)
}

// load returns the answer and whether it is recent enough to be believed.
func (a *answer) load(now time.Duration) (state, bool) {
	bits := a.bits.Load()
	age := time.Duration(int32(uint32(now/time.Millisecond)+1-uint32(bits>>32))) * time.Millisecond
	return state{
		inFlight: int(bits >> latencyBits & (1<<flightBits - 1)),
		latency:  time.Duration(bits&(1<<latencyBits-1)) * latencyUnit,
	}, bits != 0 && age <= probeAge
}

// used counts a request that was sent since the answer.
func (a *answer) used() {
	bits := a.bits.Load()
	if n := bits >> latencyBits & (1<<flightBits - 1); bits != 0 && n < 1<<flightBits-1 {
		a.bits.CompareAndSwap(bits, bits+1<<latencyBits)
	}
}

// answers are the last ones of all endpoints.
type answers struct {
	pool [poolSize]atomic.Pointer[endpoint] // whom the last were of, each once

	// The bounds that follow from the last answers: in flight relative to weight,
	// and nanoseconds of latency.
	hotFlight, turnFlight, turnLatency float

	mu        sync.Mutex // guards what follows
	next      int        // the slot in the pool that is the oldest
	flights   window
	latencies window
}

// float is one that is read and written by several goroutines.
type float struct{ bits atomic.Uint64 }

func (f *float) load() float64   { return math.Float64frombits(f.bits.Load()) }
func (f *float) store(v float64) { f.bits.Store(math.Float64bits(v)) }

// add takes in that an endpoint has answered.
func (a *answers) add(e *endpoint, now time.Duration) {
	said, _ := e.probed.load(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.pooled.CompareAndSwap(false, true) {
		if old := a.pool[a.next].Swap(e); old != nil {
			old.pooled.Store(false)
		}
		a.next = (a.next + 1) % poolSize
	}
	a.flights.add(float32(float64(said.inFlight) / e.weight.load()))
	a.latencies.add(float32(said.latency))
	a.hotFlight.store(a.flights.quantile(hotQuantile))
	a.turnFlight.store(a.flights.quantile(turnQuantile))
	a.turnLatency.store(turnLatency * a.latencies.quantile(0.5))
}

// hot reports whether an endpoint that said so does not get its turn.
func (a *answers) hot(e *endpoint, said state) bool {
	return float64(said.latency) > a.turnLatency.load() && float64(said.inFlight) > a.turnFlight.load()*e.weight.load()
}

func (a *answers) crowded(e *endpoint, said state) bool {
	return float64(said.inFlight) > a.hotFlight.load()*e.weight.load()
}

// best returns whom Prequal's rule chooses instead of an endpoint, if anybody: of
// those in the same ring or, if need be, of all.
func (a *answers) best(instead *endpoint, need bool, failed *average, now time.Duration) (best *endpoint) {
	for n := range a.pool {
		e := a.pool[n].Load()
		if e == nil || e == instead || e.out.Load() || !need && e.ring.Load() != instead.ring.Load() || e.shunned(failed, now) {
			continue
		}
		if _, fresh := e.probed.load(now); fresh && (best == nil || a.less(e, best, now)) {
			best = e
		}
	}
	return best
}

// less reports whether the first of two is to be preferred: who is cold before who
// is not, the cold by latency, the others by requests in flight.
func (a *answers) less(x, y *endpoint, now time.Duration) bool {
	sx, _ := x.probed.load(now)
	sy, _ := y.probed.load(now)
	crowded := a.crowded(x, sx)
	switch {
	case crowded != a.crowded(y, sy):
		return !crowded
	case crowded:
		return float64(sx.inFlight)/x.weight.load() < float64(sy.inFlight)/y.weight.load()
	}
	return sx.latency < sy.latency
}

// window holds the last values, in the order in which they came and sorted.
type window struct {
	last, sorted [recent]float32
	count        int
}

func (w *window) add(v float32) {
	n := min(w.count, recent)
	slot := &w.last[w.count%recent]
	w.count++
	if n == recent {
		i, _ := slices.BinarySearch(w.sorted[:], *slot)
		copy(w.sorted[i:], w.sorted[i+1:])
		n--
	}
	*slot = v
	i, _ := slices.BinarySearch(w.sorted[:n], v)
	copy(w.sorted[i+1:n+1], w.sorted[i:n])
	w.sorted[i] = v
}

func (w *window) quantile(q float64) float64 {
	return float64(w.sorted[int(q*float64(min(w.count, recent)-1))])
}
