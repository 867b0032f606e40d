// Package outcome counts what the requests of one caller came to, instance by
// instance, and says when the registry should hear of it. To count takes no lock
// and, but for the first request to an instance, allocates nothing.
package outcome

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Latencies are counted in buckets that are an eighth of a power of two wide, from
// 8 µs; beyond some 70 s they are in the last.
const (
	fine    = 3 // bits below the highest one that tell buckets apart
	buckets = 24 << fine
)

// Digest is what requests to one instance came to since it was last told. Its
// exported methods may be called by any number of goroutines.
type Digest struct {
	key    rollcall.Key
	log    *Log
	queued atomic.Bool // it is in the log's list
	next   *Digest     // in that list

	failed atomic.Uint32
	counts atomic.Pointer[[buckets]atomic.Uint32] // of those that were answered

	told summary // the last one that was; the log's
}

// Record counts a request.
func (d *Digest) Record(took time.Duration, failed bool) {
	if failed {
		d.failed.Add(1)
	} else {
		c := d.counts.Load()
		if c == nil {
			d.counts.CompareAndSwap(nil, new([buckets]atomic.Uint32))
			c = d.counts.Load()
		}
		c[bucket(took)].Add(1)
	}
	if !d.queued.Load() && d.queued.CompareAndSwap(false, true) {
		d.log.push(d)
	}
}

// bucket returns where a latency is counted.
func bucket(took time.Duration) int {
	us := uint64(max(took/time.Microsecond, 1<<fine))
	n := bits.Len64(us) - 1 - fine
	return min(n<<fine+int(us>>n)&(1<<fine-1), buckets-1)
}

// latency returns the middle of a bucket, in milliseconds.
func latency(bucket int) float64 {
	return (float64(uint64(1<<fine+bucket&(1<<fine-1))<<(bucket>>fine)) + float64(uint64(1)<<(bucket>>fine))/2) / 1000
}

// summary is what a digest comes to. Latencies are in milliseconds.
type summary struct {
	ok, errors int
	p50, p99   float64
}

// sum reads a digest, and empties it if take is set.
func (d *Digest) sum(take bool) (s summary) {
	var counts [buckets]uint32
	read := (*atomic.Uint32).Load
	if take {
		read = func(n *atomic.Uint32) uint32 { return n.Swap(0) }
	}
	s.errors = int(read(&d.failed))
	if c := d.counts.Load(); c != nil {
		for n := range c {
			counts[n] = read(&c[n])
			s.ok += int(counts[n])
		}
	}
	at := func(share float64) float64 {
		rank := int(share*float64(s.ok-1)) + 1
		for n := range counts {
			if rank -= int(counts[n]); rank <= 0 {
				return latency(n)
			}
		}
		return 0
	}
	if s.ok > 0 {
		s.p50, s.p99 = at(0.5), at(0.99)
	}
	return s
}
