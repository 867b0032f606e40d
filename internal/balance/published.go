package balance

import (
	"math"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// equal gives all the same weight.
func equal(s *sim) weigher {
	weights := slices.Repeat([]uint16{rollcall.DefaultWeight}, len(s.servers))
	return func([]Report) []uint16 { return weights }
}

const (
	blackout     = 10 * time.Second
	errorPenalty = 1.0
	smoothing    = 10 * time.Second // of rates and utilisation
	usual        = 10_000           // the weight of the mean
)

// smoothed are a server's rates over some time.
type smoothed struct {
	rate, errors, utilization float64
	span                      time.Duration
}

func (m *smoothed) add(r *Report, over time.Duration) {
	m.span += publish
	share := max(publish.Seconds()/m.span.Seconds(), 1-math.Exp(-publish.Seconds()/over.Seconds()))
	m.rate += share * (r.Rate - m.rate)
	m.errors += share * (r.Errors - m.errors)
	m.utilization += share * (r.Utilization - m.utilization)
}

// factor is gRPC's weight (proposal A58): rate by utilisation, which is larger by
// the share of errors. It is 0 while unknown.
func (m *smoothed) factor() float64 {
	if m.span <= blackout || m.rate == 0 || m.utilization == 0 {
		return 0
	}
	return m.rate / (m.utilization + m.errors/m.rate*errorPenalty)
}

// weighted gives gRPC's weights.
func weighted(s *sim) weigher {
	n := len(s.servers)
	known, factors, weights := make([]smoothed, n), make([]float64, n), make([]uint16, n)
	var last time.Duration
	return func(reports []Report) []uint16 {
		fresh := reports[0].At > last
		last = reports[0].At
		sum, n := 0.0, 0
		for i := range reports {
			if fresh && reports[i].Listed {
				known[i].add(&reports[i], smoothing)
			}
			factors[i] = known[i].factor()
			if factors[i] > 0 {
				sum += factors[i]
				n++
			}
		}
		for i, f := range factors {
			if f == 0 {
				f = 1 // the mean of the known
			} else {
				f *= float64(n) / sum
			}
			weights[i] = uint16(min(max(math.Round(usual*f), 1), math.MaxUint16))
		}
		return weights
	}
}
