// Package balance compares ways to choose instances, in virtual time: what
// package balancer does with what is known from elsewhere, before servers that
// share their machines with others, under requests whose cost is heavy-tailed.
//
// A hundred callers send requests that arrive as a Poisson process, whatever
// becomes of earlier ones. A server works on all that it has in flight at once, in
// equal parts, each at the speed of a core at most; it may use the cores that the
// other tenants of its machine leave, and is sure of its allocation. Callers are
// independent: each has its own policy, which knows what its own requests and
// probes have shown it and what the registry publishes once a second. All policies
// see the same requests, costs, machines and tenants with the same seed. The model
// follows the testbed of Prequal's paper; its constants are in workload.go.
//
// Not modelled are: that a request costs more where a cache is cold, apart from
// new servers; memory, connections and their queues; retries; callers that send
// more than others; machines that are shared by two servers; isolation that is
// worse than it should be; probes that cost a server something; and a registry that
// is late.
package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall/client/balancer"
)

// World is what the policies are compared in.
type World struct {
	Servers, Callers int
	Load             float64 // of all allocations
	Settle, Window   time.Duration
	Calm             bool // no other tenants, and machines that are all alike
	Zones            []Zone
	Happenings       []Happening
}

// Zone is a share of servers and callers.
type Zone struct {
	Name  string
	Share float64
}

// Happening is something that happens to a server.
type Happening struct {
	At     time.Duration
	Server int
	What   func(*server)
}

// Testbed returns the world of the comparison at a load.
func Testbed(load float64) World {
	return World{Servers: servers, Callers: callers, Load: load, Settle: settle, Window: window}
}

// sim is a run.
type sim struct {
	World
	now      time.Duration
	queue    queue
	finishes *finishes
	servers  []server
	zones    []string // of callers
	policies []policy
	weigh    weigher
	registry *registry // nil: another
	delay    time.Duration
	reports  []Report
	probes   []int32

	arrivals, network, tenants *rand.Rand

	requests []request
	free     []int32
	deadline []job // requests in the order in which they are given up
	expired  int

	found Result
}

// request is one that is under way.
type request struct {
	caller, server int32
	gen            uint32
	rif            int32 // in flight at its server when it came
	sent, came     time.Duration
	cost           float64
	failed         bool
	pick           balancer.Pick
}

// Run simulates a policy in a world.
func Run(w World, p Policy, seed uint64) Result {
	s := newSim(w, p, seed)
	s.run()
	return s.result()
}

func newSim(w World, p Policy, seed uint64) *sim {
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	s := &sim{
		World: w, finishes: newFinishes(w.Servers), servers: make([]server, w.Servers), reports: make([]Report, w.Servers),
		arrivals: stream(1), network: stream(2), tenants: stream(3),
		zones: make([]string, w.Callers),
		found: Result{Policy: p.Name, World: w, Seed: seed, Sent: make([]int, w.Servers), of: map[string]int{}, away: map[string]int{}},
	}
	machines := stream(4)
	speeds := make([]float64, 0, w.Servers)
	for _, g := range generations {
		for range int(g.share * float64(w.Servers)) {
			speeds = append(speeds, g.speed)
		}
	}
	for len(speeds) < w.Servers {
		speeds = append(speeds, 1)
	}
	machines.Shuffle(len(speeds), func(i, j int) { speeds[i], speeds[j] = speeds[j], speeds[i] })
	for i := range s.servers {
		sv := &s.servers[i]
		*sv = server{speed: speeds[i], slow: 1, listed: true, zone: zone(w.Zones, i, w.Servers), tenants: tenantsLeast + (tenantsMost-tenantsLeast)*machines.Float64()}
		if w.Calm {
			sv.speed, sv.tenants = 1, 0
		}
		s.tenantsChange(int32(i))
	}
	for i, h := range w.Happenings {
		s.queue.push(event{at: h.At, kind: happens, a: int32(i)})
		if h.At == 0 {
			h.What(&s.servers[h.Server])
		}
	}
	s.weigh, s.delay = p.weigher(s), p.delay
	for i := range w.Callers {
		s.zones[i] = zone(w.Zones, i, w.Callers)
		s.policies = append(s.policies, p.caller(s, stream(100+uint64(i)), s.zones[i]))
	}
	s.queue.push(event{at: publish, kind: weightsPublished})
	s.tell()
	return s
}

// zone returns where the i-th of n is.
func zone(zones []Zone, i, n int) string {
	end := 0.0
	for _, z := range zones {
		if end += z.Share * float64(n); float64(i) < end-1e-9 {
			return z.Name
		}
	}
	return ""
}

// run lets happen what happens until all requests of the window are over.
func (s *sim) run() {
	end, gap := s.Settle+s.Window, s.gap()
	next := time.Duration(s.arrivals.ExpFloat64() * gap)
	marks := []time.Duration{s.Settle, s.Window, end}
	slices.Sort(marks)
	for {
		at, what := next, 0
		if len(s.queue.heap) > 0 && s.queue.heap[0].at < at {
			at, what = s.queue.heap[0].at, 1
		}
		finished, when := s.finishes.first()
		if when < at {
			at, what = when, 2
		}
		if late, ok := s.late(); ok && late < at {
			at, what = late, 3
		}
		for len(marks) > 0 && at >= marks[0] {
			s.mark(marks[0])
			marks = marks[1:]
		}
		if at >= end+deadline+time.Second {
			return
		}
		s.now = at
		switch what {
		case 0:
			next += time.Duration(s.arrivals.ExpFloat64() * gap)
			s.send()
		case 1:
			s.handle(s.queue.pop())
		case 2:
			s.finish(finished)
		case 3:
			s.giveUp()
		}
	}
}

// gap returns the nanoseconds between two requests on average.
func (s *sim) gap() float64 {
	capacity := 0.0
	for i := range s.servers {
		if s.servers[i].listed {
			capacity += allocation * s.servers[i].speed
		}
	}
	return 1e9 * meanCost / (s.Load * capacity)
}

func (s *sim) cost() float64 {
	for {
		if c := math.Exp(costSigma*s.arrivals.NormFloat64() - costSigma*costSigma/2); c <= costMost {
			return c * meanCost
		}
	}
}

func (s *sim) way() time.Duration {
	return min(time.Duration(float64(wayMedian)*math.Exp(waySigma*s.network.NormFloat64())), wayMost)
}

// send has a caller send a request, and the probes that go with it.
func (s *sim) send() {
	c, cost := s.arrivals.Int32N(int32(s.Callers)), s.cost()
	p := s.policies[c]
	to, pick := p.pick()
	id := s.request()
	r := &s.requests[id]
	r.caller, r.server, r.cost, r.pick, r.sent, r.failed = c, to, cost, pick, s.now, false
	s.deadline = append(s.deadline, job{id: id, gen: r.gen})
	if s.expired > 1<<14 {
		s.deadline, s.expired = slices.Delete(s.deadline, 0, s.expired), 0
	}
	s.queue.push(event{at: s.now + s.delay + s.way(), kind: requestArrives, a: id, b: int32(r.gen)})
	s.probes = p.probes(s.probes[:0])
	for _, server := range s.probes {
		s.queue.push(event{at: s.now + s.way(), kind: probeArrives, a: c, b: server})
	}
	s.found.sent(s, r)
}

func (s *sim) request() int32 {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.requests = append(s.requests, request{})
	return int32(len(s.requests) - 1)
}

func (s *sim) handle(e event) {
	switch e.kind {
	case requestArrives:
		s.arrive(e)
	case answerArrives:
		if r := &s.requests[e.a]; r.gen == uint32(e.b) {
			s.over(e.a, r.failed)
		}
	case probeArrives:
		sv := &s.servers[e.b]
		if sv.dead {
			return
		}
		e.at, e.kind, e.rif, e.lat = s.now+s.way(), probeReturns, sv.inFlight, sv.latency.at(sv.inFlight, s.now)
		s.queue.push(e)
	case probeReturns:
		s.policies[e.a].answer(e.b, e.rif, e.lat)
	case tenantsChange:
		s.tenantsChange(e.a)
	case weightsPublished:
		s.report()
		s.tell()
		s.queue.push(event{at: s.now + publish, kind: weightsPublished})
	case happens:
		h := s.Happenings[e.a]
		sv := &s.servers[h.Server]
		sv.advance(s.now)
		listed, dead := sv.listed, sv.dead
		h.What(sv)
		if sv.listed != listed {
			sv.started = s.now
		}
		if sv.dead && !dead {
			sv.jobs, sv.inFlight = nil, 0
		}
		s.finishes.set(int32(h.Server), sv.next())
		s.tell()
	}
}

// arrive has a request come to its server.
func (s *sim) arrive(e event) {
	r := &s.requests[e.a]
	if r.gen != uint32(e.b) {
		return
	}
	sv := &s.servers[r.server]
	sv.arrived++
	if sv.dead || sv.failing {
		sv.failed++
		r.failed = true
		sv.latency.add(1, time.Millisecond, s.now)
		s.queue.push(event{at: s.now + s.way(), kind: answerArrives, a: e.a, b: e.b})
		return
	}
	sv.advance(s.now)
	sv.inFlight++
	r.came, r.rif = s.now, sv.inFlight
	sv.push(job{sv.attained + sv.cost(r.cost, s.now), e.a, r.gen})
	s.schedule(r.server)
}

// schedule finds when the next request of a server is finished.
func (s *sim) schedule(i int32) {
	sv := &s.servers[i]
	for len(sv.jobs) > 0 && s.requests[sv.jobs[0].id].gen != sv.jobs[0].gen {
		sv.pop() // was given up
	}
	s.finishes.set(i, sv.next())
}

// finish has a server answer the first of its requests.
func (s *sim) finish(i int32) {
	sv := &s.servers[i]
	sv.advance(s.now)
	j := sv.pop()
	sv.inFlight--
	sv.done++
	r := &s.requests[j.id]
	sv.latency.add(r.rif, s.now-r.came, s.now)
	sv.took = append(sv.took, float32(s.now-r.came))
	s.queue.push(event{at: s.now + s.way(), kind: answerArrives, a: j.id, b: int32(j.gen)})
	r.came = -1
	s.schedule(i)
}

// late returns when the next request is given up.
func (s *sim) late() (time.Duration, bool) {
	for s.expired < len(s.deadline) { // most are over long before
		j := s.deadline[s.expired]
		if r := &s.requests[j.id]; r.gen == j.gen {
			return r.sent + deadline, true
		}
		s.expired++
	}
	s.deadline, s.expired = s.deadline[:0], 0
	return 0, false
}

func (s *sim) giveUp() {
	j := s.deadline[s.expired]
	r := &s.requests[j.id]
	sv := &s.servers[r.server]
	if r.came > 0 && !sv.dead {
		sv.advance(s.now)
		sv.inFlight--
		sv.failed++
	}
	server := r.server
	s.over(j.id, true)
	s.schedule(server)
}

// over has a request be over for its caller.
func (s *sim) over(id int32, failed bool) {
	r := &s.requests[id]
	s.policies[r.caller].done(r.server, r.pick, s.now-r.sent, failed)
	s.found.over(s, r, failed)
	r.gen++
	r.came = -1
	s.free = append(s.free, id)
}

// tenantsChange draws what a machine's other tenants want for a while.
func (s *sim) tenantsChange(i int32) {
	sv := &s.servers[i]
	sv.advance(s.now)
	want := sv.tenants + tenantsDeviation*s.tenants.NormFloat64()
	if s.Calm {
		want = 1
	}
	sv.cores = min(max(allocation, machine*(1-want)), machine)
	s.finishes.set(i, sv.next())
	s.queue.push(event{at: s.now + time.Duration(s.tenants.ExpFloat64()*float64(tenantsHold)), kind: tenantsChange, a: i})
}
