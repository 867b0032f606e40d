package balancer

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Endpoint is one instance as the registry describes it.
type Endpoint struct {
	ID string
	// Weight is the effective weight that the registry published; 0 takes no new
	// requests while anybody has more.
	Weight uint16
	// Registered is the weight that the instance was registered with, before warm-up
	// and load: what it counts for in its ring. 0 is Weight.
	Registered uint16
	Locality   rollcall.Locality
	// Down is set for instances that are not routable. They are never picked; they
	// count in the capacity that their ring would have.
	Down bool
	// Payload, unless nil, is what [Pick.Payload] returns. All payloads of a balancer
	// are of one type.
	Payload any
}

// Options say who the caller is. The zero value is a caller without a locality
// that probes.
type Options struct {
	// Locality is where the caller is. Without a region and zone all instances are
	// alike.
	Locality rollcall.Locality
	// Probes is how many probes are due for each pick, 3 if it is 0. If it is
	// negative there are none.
	Probes float64
	// Now returns the time since a fixed moment. It never goes back. The default is
	// the process's monotonic clock.
	Now func() time.Duration
	// Rand returns 64 random bits, and may be called from several goroutines. The
	// default is that of math/rand/v2.
	Rand func() uint64
}

// Balancer picks instances of one service. All methods may be called by any
// number of goroutines. Pick and Done take no lock and allocate nothing, unless an
// instance is ejected.
type Balancer struct {
	locality rollcall.Locality
	now      func() time.Duration
	rand     func() uint64
	offset   uint64 // where on the line the order begins: another for each caller
	perPick  int64  // how many thousandths of a probe are due for each pick

	set    atomic.Pointer[set]
	turn   atomic.Uint64 // the last one that was picked for
	ahead  atomic.Uint64 // the last one that was probed for
	aside  atomic.Uint64 // how many others were probed
	due    atomic.Int64  // thousandths of probes
	failed average       // share of requests to the whole service

	answers answers

	mu        sync.Mutex // guards what follows; taken by Update and to eject
	endpoints map[string]*endpoint
	order     []*endpoint // all of them, by rank
	updates   uint64
}

// New returns a balancer that knows of no instance yet.
func New(o Options) *Balancer {
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Duration { return time.Since(start) }
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Probes == 0 {
		o.Probes = probesPerPick
	}
	b := &Balancer{
		locality: o.Locality, now: o.Now, rand: o.Rand,
		offset: o.Rand(), perPick: int64(1000 * max(o.Probes, 0)),
		endpoints: map[string]*endpoint{},
	}
	b.set.Store(&set{})
	return b
}

// Update replaces the instances that are picked from. What is known of those that
// stay is kept. The slice is not kept.
func (b *Balancer) Update(endpoints []Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.updates++
	before := len(b.order)
	for _, of := range endpoints {
		e := b.endpoints[of.ID]
		if e == nil {
			e = &endpoint{id: of.ID, rank: b.rand()}
			b.endpoints[of.ID] = e
			b.order = append(b.order, e)
		}
		if of.Payload != nil {
			e.payload.Store(of.Payload)
		}
		e.of, e.update = of, b.updates
	}
	b.order = slices.DeleteFunc(b.order, func(e *endpoint) bool {
		gone := e.update != b.updates
		if gone {
			e.out.Store(true)
			delete(b.endpoints, e.id)
		}
		return gone
	})
	if len(b.order) > before || !slices.IsSortedFunc(b.order, byRank) {
		slices.SortFunc(b.order, byRank)
	}
	b.set.Store(newSet(b.order, b.locality))
}

func byRank(a, b *endpoint) int { return cmp.Compare(a.rank, b.rank) }

// Pick chooses the instance for a request; its Done must be called when the
// request is over. It reports false if there is none to choose.
func (b *Balancer) Pick() (Pick, bool) {
	p, ok := b.pick()
	if ok && p.e.out.Load() { // it has just left, and Settle has not seen this one
		p.Cancel()
		return b.PickOther(func(Pick) bool { return true })
	}
	return p, ok
}

func (b *Balancer) pick() (Pick, bool) {
	s := b.set.Load()
	if len(s.members) == 0 {
		return Pick{}, false
	}
	now := b.now()
	turn := b.turn.Add(1)
	e := s.at(turn*golden + b.offset)
	if b.perPick > 0 && b.due.Load() < mostDue {
		b.due.Add(b.perPick)
	}
	if len(s.members) > 1 {
		e = b.choose(s, e, turn, now)
	}
	return b.send(e, now), true
}

func (b *Balancer) send(e *endpoint, now time.Duration) Pick {
	if e.until.Load() != 0 && e.inRow.Load() >= ejectAfter-1 {
		e.tried.Store(int64(now))
	}
	e.inFlight.Add(1)
	e.probed.used()
	return Pick{b: b, e: e, at: now}
}

// PickOther is [Balancer.Pick] for a request that is sent again: it chooses whom other
// accepts, if there is anybody. What other is given is not under way yet.
func (b *Balancer) PickOther(other func(Pick) bool) (p Pick, ok bool) {
	for range again {
		if p, ok = b.pickOther(other); !ok || !p.e.out.Load() {
			return p, ok
		}
		p.Cancel()
	}
	return b.pickOther(other)
}

func (b *Balancer) pickOther(other func(Pick) bool) (Pick, bool) {
	s := b.set.Load()
	if len(s.members) == 0 {
		return Pick{}, false
	}
	now := b.now()
	var last *endpoint
	for n := range 4*tries + len(s.members) {
		var e *endpoint
		if n < 4*tries {
			e = s.at(mix(b.turn.Add(1) ^ b.offset))
		} else { // chance did not find one
			e = s.members[n-4*tries]
		}
		if e.out.Load() || !other(Pick{b: b, e: e, at: now}) {
			continue
		}
		if !e.shunned(&b.failed, now) {
			return b.send(e, now), true
		}
		last = e
	}
	if last != nil {
		return b.send(last, now), true
	}
	return b.pick()
}

// choose returns the endpoint whose turn it is, or the one that takes the request
// instead of it.
func (b *Balancer) choose(s *set, e *endpoint, turn uint64, now time.Duration) *endpoint {
	said, fresh := e.probed.load(now)
	if e.shunned(&b.failed, now) {
		if other := b.answers.best(e, true, &b.failed, now); other != nil {
			return other
		}
		return b.better(s, e, turn, now, 0)
	}
	if !fresh {
		return b.better(s, e, turn, now, leaveFor)
	}
	if b.answers.hot(e, said) {
		if other := b.answers.best(e, false, &b.failed, now); other != nil && b.answers.less(other, e, now) {
			return other
		}
	}
	return e
}

// better compares an endpoint with another by what the caller's own requests have
// shown, and returns the other if the first is so many times as bad. Unless that
// is 0 they are in the same ring: how much leaves a ring is decided elsewhere.
func (b *Balancer) better(s *set, e *endpoint, turn uint64, now time.Duration, times float64) *endpoint {
	for try := range uint64(tries) {
		other := s.at(mix(turn<<2 + try + b.offset))
		if other == e || times > 0 && other.ring.Load() != e.ring.Load() || other.shunned(&b.failed, now) {
			continue
		}
		if e.cost(now) > times*other.cost(now) {
			return other
		}
		return e
	}
	return e
}

// Pick is a request that is under way.
type Pick struct {
	b  *Balancer
	e  *endpoint
	at time.Duration
}

// ID returns the instance that was chosen.
func (p Pick) ID() string { return p.e.id }

// Payload returns what the instance's endpoint was given, by the newest update.
func (p Pick) Payload() any { return p.e.payload.Load() }

// Loaded takes in what the reply said: how many requests the instance has in flight,
// and how long they take at that number. It is as good as the answer to a probe.
func (p Pick) Loaded(inFlight int, latency time.Duration) { Probe{p.b, p.e}.Answer(inFlight, latency) }

// Cancel says that the request is over and shows nothing: its caller did not wait
// for it. It takes the place of Done.
func (p Pick) Cancel() { p.e.over() }

// Done says that the request is over, and returns how long it took. Give it an error
// if the instance is to blame: it could not be reached, did not answer in time, or
// said that it failed. It must be called once.
func (p Pick) Done(err error) time.Duration {
	now := p.b.now()
	p.e.over()
	if took := float64(now - p.at); err == nil || took > p.e.latency.value() { // to fail at once is not to be fast
		p.e.latency.add(took, latencyLeast, now)
	}
	p.b.failed.outcome(err != nil, failedLeastAll, now)
	p.e.failed.outcome(err != nil, failedLeast, now)
	if err == nil {
		if p.e.inRow.Load() != 0 {
			p.e.inRow.Store(0)
		}
		return now - p.at
	}
	p.failed(err, now)
	return now - p.at
}

// failed counts a failure. What was sent before an ejection was over says nothing
// that was not known then.
func (p Pick) failed(err error, now time.Duration) {
	if until := p.e.until.Load(); until != 0 && int64(p.at) < until {
		return
	}
	count := int32(1)
	if hard(err) {
		count = hardCount
	}
	if p.e.inRow.Add(count) >= ejectAfter {
		p.b.eject(p.e, now)
	}
}

// hard reports whether an error shows that nobody is there, rather than that it
// goes badly.
func hard(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && !op.Timeout() || errors.Is(err, syscall.ECONNREFUSED)
}

// Ejected returns the IDs of instances that are left alone because of what this
// caller saw, in no order.
func (b *Balancer) Ejected() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for id, e := range b.endpoints {
		if e.ejected(now) {
			ids = append(ids, id)
		}
	}
	return ids
}

// eject leaves an endpoint alone for a while, unless too many are left alone
// already. The time grows with each ejection in a row.
func (b *Balancer) eject(e *endpoint, now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.ejected(now) || b.endpoints[e.id] != e {
		return
	}
	out := 0
	for _, other := range b.endpoints {
		if other.ejected(now) {
			out++
		}
	}
	if out >= max(1, int(ejectShare*float64(len(b.endpoints)))) {
		return
	}
	if now-time.Duration(e.until.Load()) > ejectMost {
		e.times = 0
	}
	e.times++
	length := min(time.Duration(e.times)*ejectFor, ejectMost)
	length += time.Duration(float64(length) * ejectJitter * (float64(b.rand()>>11)/(1<<52) - 1))
	e.inRow.Store(ejectAfter - 1) // the first failure behind it is one too many
	e.until.Store(int64(now + length))
}
