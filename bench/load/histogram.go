// Package load has what every kind of load is counted in: a histogram of latencies, the
// result of a round, and workers that call a function in a closed loop.
package load

import (
	"math/bits"
	"time"
)

// subBits is how many bits of a value are kept: buckets are at most 1/128 of their value
// wide.
const subBits = 7

// Histogram counts durations in buckets whose width grows with their value: linear up to
// 128 ns, then 128 to each power of two. The zero value is empty. It is not safe for
// concurrent use: each thread has its own, and they are merged.
type Histogram struct {
	counts [(64 - subBits) << subBits]int64
	n      int64
	max    time.Duration
}

// Record counts a duration; one below 0 counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// Merge adds what another one has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() int64 { return h.n }

// Max returns the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share q (0 to 1) of all does not exceed, to within
// 1 %; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(int64(q*float64(h.n)+0.5), 1)
	for i, c := range h.counts {
		if rank -= c; rank <= 0 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// bucket numbers the bucket of v. Up to 2^subBits it is v itself; above, the number of
// bits cut off chooses a group of 2^subBits buckets, and the bits kept one of them.
func bucket(v uint64) int {
	cut := max(bits.Len64(v)-subBits-1, 0)
	return cut<<subBits + int(v>>cut)
}

// upper is the largest value of a bucket.
func upper(i int) time.Duration {
	if i < 2<<subBits {
		return time.Duration(i)
	}
	cut := i>>subBits - 1
	kept := uint64(i - cut<<subBits)
	return time.Duration((kept+1)<<cut - 1)
}
