package balance

import (
	"math"
	"slices"
	"time"
)

// server is one instance: what it has in flight shares the cores it may use.
type server struct {
	speed   float64
	tenants float64 // their level on its machine
	cores   float64 // what it may use now
	started time.Duration
	cold    bool // it takes more for a request at first
	slow    float64
	failing bool
	dead    bool
	listed  bool // callers are told of it
	zone    string

	// Each request in flight has had the same service since it came, so that they are
	// finished in the order of attained + what they cost.
	attained float64
	at       time.Duration // of attained and used
	jobs     []job         // a heap
	inFlight int32         // of these, those that were not given up

	used    float64 // seconds of cores
	arrived int
	done    int
	failed  int
	latency estimate
	took    []float32 // latencies since the last report
}

type job struct {
	finish float64
	id     int32
	gen    uint32
}

// advance brings the server's account up to now.
func (s *server) advance(now time.Duration) {
	dt := (now - s.at).Seconds()
	s.at = now
	if s.inFlight > 0 {
		n := float64(s.inFlight)
		busy := min(n, s.cores)
		s.used += dt * busy
		s.attained += dt * busy / n * s.speed / s.slow
	}
}

// next returns when the first of its requests is finished, if nothing changes.
func (s *server) next() time.Duration {
	if s.inFlight == 0 {
		return never
	}
	n := float64(s.inFlight)
	rate := min(n, s.cores) / n * s.speed / s.slow
	return s.at + max(time.Duration((s.jobs[0].finish-s.attained)/rate*1e9)+1, 0)
}

func (s *server) push(j job) {
	s.jobs = append(s.jobs, j)
	i := len(s.jobs) - 1
	for i > 0 && j.finish < s.jobs[(i-1)/2].finish {
		s.jobs[i] = s.jobs[(i-1)/2]
		i = (i - 1) / 2
	}
	s.jobs[i] = j
}

func (s *server) pop() job {
	top, last := s.jobs[0], len(s.jobs)-1
	j := s.jobs[last]
	s.jobs = s.jobs[:last]
	i := 0
	for last > 0 {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && s.jobs[c+1].finish < s.jobs[c].finish {
			c++
		}
		if s.jobs[c].finish >= j.finish {
			break
		}
		s.jobs[i] = s.jobs[c]
		i = c
	}
	if last > 0 {
		s.jobs[i] = j
	}
	return top
}

// median returns the median latency since it was asked for last.
func (s *server) median() (m time.Duration) {
	if len(s.took) > 0 {
		slices.Sort(s.took)
		m = time.Duration(s.took[len(s.took)/2])
	}
	s.took = s.took[:0]
	return m
}

// cost returns what a request of so many seconds takes now.
func (s *server) cost(seconds float64, now time.Duration) float64 {
	if age := now - s.started; s.cold && age < coldFor {
		return seconds * (coldCost - (coldCost-1)*age.Seconds()/coldFor.Seconds())
	}
	return seconds
}

// estimate is what a server says of its latency at the number of requests that it
// has in flight: the median of the last ones that found about as many when they
// came. Numbers are exact up to 15, then four to an octave.
type estimate struct {
	buckets [48]struct {
		last  [9]float32
		count int
		at    time.Duration
	}
}

// remembers is for how long what was found at a number in flight is good for.
const remembers = 5 * time.Second

func bucket(inFlight int32) int {
	if inFlight < 16 {
		return int(inFlight)
	}
	return min(16+int(4*math.Log2(float64(inFlight)/16)), 47)
}

func (e *estimate) add(inFlight int32, latency, now time.Duration) {
	b := &e.buckets[bucket(inFlight)]
	if now-b.at > remembers {
		b.count = 0
	}
	b.last[b.count%len(b.last)] = float32(latency)
	b.count++
	b.at = now
}

func (e *estimate) at(inFlight int32, now time.Duration) time.Duration {
	here := bucket(inFlight)
	for away := range len(e.buckets) {
		for _, i := range [2]int{here - away, here + away} {
			if i < 0 || i >= len(e.buckets) {
				continue
			}
			if b := &e.buckets[i]; b.count > 0 && now-b.at <= remembers {
				sorted := b.last
				n := min(b.count, len(sorted))
				slices.Sort(sorted[:n])
				return time.Duration(sorted[n/2])
			}
		}
	}
	return time.Duration(meanCost * 1e9) // nothing is known: as good as any
}
