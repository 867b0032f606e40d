package balance

import (
	"math"
	"time"
)

// Result is what a run found of the requests that were sent in its window.
type Result struct {
	Policy   string
	World    World
	Seed     uint64
	Requests int
	Errors   int // not answered in time, or answered with an error
	P50, P99 time.Duration
	P999     time.Duration
	// MaxMean is the utilisation of the server that worked most, over the mean.
	// Cold is that of the time from the beginning of the run on, as long as a window.
	MaxMean, Cold float64
	// Sent is how many requests each server was sent.
	Sent []int
	// Away is the share of a zone's callers' requests that were sent to another zone.
	Away map[string]float64

	latencies histogram
	used      []float64
	away, of  map[string]int // requests, by the zone of their caller
}

// Share returns how much of what an instance would get, if all got the same, one
// got.
func (f *Result) Share(server int) float64 {
	return float64(f.Sent[server]) * float64(f.World.Servers) / float64(f.Requests)
}

// mark takes down how much each server has worked until now.
func (s *sim) mark(at time.Duration) {
	used := make([]float64, len(s.servers))
	for i := range s.servers {
		s.servers[i].advance(at)
		used[i] = s.servers[i].used
	}
	if at == s.Settle {
		s.found.used = used
	}
	if at == s.Window {
		s.found.Cold = s.maxMean(used)
	}
	if at == s.Settle+s.Window {
		for i := range used {
			used[i] -= s.found.used[i]
		}
		s.found.MaxMean = s.maxMean(used)
	}
}

func (s *sim) maxMean(used []float64) float64 {
	most, sum, n := 0.0, 0.0, 0.0
	for i, u := range used {
		if sv := &s.servers[i]; sv.listed && !sv.dead {
			most, sum, n = max(most, u), sum+u, n+1
		}
	}
	return most / (sum / n)
}

// in reports whether a request counts.
func (s *sim) in(r *request) bool { return r.sent >= s.Settle && r.sent < s.Settle+s.Window }

func (f *Result) sent(s *sim, r *request) {
	if !s.in(r) {
		return
	}
	f.Requests++
	f.Sent[r.server]++
	if len(s.Zones) == 0 {
		return
	}
	zone := s.zones[r.caller]
	f.of[zone]++
	if zone != s.servers[r.server].zone {
		f.away[zone]++
	}
}

func (f *Result) over(s *sim, r *request, failed bool) {
	if !s.in(r) {
		return
	}
	took := s.now - r.sent
	if failed {
		f.Errors++
		if took < deadline {
			return // an error at once is no fast answer
		}
	}
	f.latencies.add(took)
}

func (s *sim) result() Result {
	f := s.found
	f.P50, f.P99, f.P999 = f.latencies.quantile(0.5), f.latencies.quantile(0.99), f.latencies.quantile(0.999)
	f.Away = map[string]float64{}
	for zone, n := range f.of {
		f.Away[zone] = float64(f.away[zone]) / float64(n)
	}
	return f
}

// histogram counts durations from 100 µs on, in steps of 1 %.
type histogram struct {
	counts [1200]int32
	n      int
}

const (
	histogramLeast = 100 * time.Microsecond
	histogramStep  = 1.01
)

func (h *histogram) add(d time.Duration) {
	i := int(math.Log(float64(d)/float64(histogramLeast)) / math.Log(histogramStep))
	h.counts[min(max(i, 0), len(h.counts)-1)]++
	h.n++
}

func (h *histogram) quantile(q float64) time.Duration {
	left := int(q * float64(h.n))
	for i, n := range h.counts {
		if left -= int(n); left < 0 {
			return time.Duration(float64(histogramLeast) * math.Pow(histogramStep, float64(i)+0.5))
		}
	}
	return 0
}
