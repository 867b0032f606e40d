package meter

import (
	"math/bits"
	"time"
)

// Latencies are counted in buckets, eight to each doubling from 8 µs on: none is off
// by more than a sixteenth. The last takes what is longer than half an hour.
const (
	perDoubling = 8
	buckets     = 29 * perDoubling
)

func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < perDoubling {
		return int(us)
	}
	doublings := bits.Len64(us) - 4 // 0 for 8 to 15 µs
	return min(perDoubling+doublings*perDoubling+int(us>>doublings)-perDoubling, buckets-1)
}

// middle is where a bucket's latencies are, in milliseconds.
func middle(b int) float64 {
	if b < perDoubling {
		return (float64(b) + 0.5) / 1000
	}
	doublings := b/perDoubling - 1
	return (float64(perDoubling+b%perDoubling) + 0.5) * float64(uint64(1)<<doublings) / 1000
}

// quantile returns the latency in milliseconds that a share of requests did not
// exceed, 0 if there were none.
func quantile(took *[buckets]uint64, q float64) float64 {
	var all uint64
	for _, n := range took {
		all += n
	}
	if all == 0 {
		return 0
	}
	rank := uint64(q * float64(all-1))
	for b, n := range took {
		if rank < n {
			return middle(b)
		}
		rank -= n
	}
	return middle(buckets - 1)
}
