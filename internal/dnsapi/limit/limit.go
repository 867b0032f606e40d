// Package limit keeps the DNS door from being of use to those who send in the name
// of others. A [Limiter] bounds how many answers a second go to one network, and
// [Cookies] tell who has shown that it receives what is sent to its address.
//
// Any source may be forged, so the limiter's memory is of one size for ever, and
// what does not fit must neither spare the many nor hurt the few. It holds sets of
// eight buckets; a network belongs to one set, which only this process can tell. A
// bucket is one number: the time at which it is full again. A full one is as good as
// none, so a flood of sources that ask once each finds room in what the same flood
// filled a moment ago. If all eight of a set are in use, a newcomer takes the one
// that is fullest and goes on from what is left in it. So a set never gives more
// than eight networks may have, however many come, and whoever is drained is the
// last to be forgotten. (Space-Saving of Metwally, Agrawal and El Abbadi, 2005, with
// buckets for counters.) To give newcomers a full bucket would let a flood of others
// wash away the bucket of one that is under attack.
package limit

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	ways = 8
	// sets is how many there are: room for 65,536 networks in 1 MiB. Ones that ask
	// once hold a bucket for the time in which it gains an answer: a millisecond at a
	// thousand answers a second.
	sets = 8 << 10
	// burst is the time whose answers a network may have all at once.
	burst = time.Second
)

// Options are what a limiter is made of.
type Options struct {
	// Rate is the number of answers a second to one network, a /24 of IPv4 or a /56
	// of IPv6, and as many may be had at once. 0 and less is no limit; more than
	// 1e9 counts as that many.
	Rate int
	// Now is the clock, of which differences are used; nil is [time.Now].
	Now func() time.Time
}

// Limiter bounds the answers to a network. All may use it at once; nil has no limit.
type Limiter struct {
	every int64 // nanoseconds in which a bucket gains an answer
	burst int64 // nanoseconds in which an empty bucket is full
	now   func() time.Time
	start time.Time
	seed  maphash.Seed
	sets  []set
}

// set is the buckets of the networks that share them: two cache lines.
type set struct {
	networks [ways]atomic.Uint64 // 0: none
	full     [ways]atomic.Int64  // when, in nanoseconds since the limiter's start
}

// New returns a limiter, or nil if there is no limit.
func New(o Options) *Limiter {
	if o.Rate <= 0 {
		return nil
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	every := int64(time.Second) / int64(min(o.Rate, int(time.Second)))
	return &Limiter{every: every, burst: max(int64(burst), every), now: o.Now, start: o.Now(), seed: maphash.MakeSeed(), sets: make([]set, sets)}
}

// Allow takes one answer out of the bucket of the network that an address is in and
// reports whether there was one. The loopback interface has no limit. It allocates
// nothing and waits for nobody. Whoever is not allowed an answer is to be told in a
// small one to come again by TCP; if its source was forged, that gains nobody a
// thing, and if not it is served.
func (l *Limiter) Allow(from netip.Addr) bool {
	if l == nil || from.IsLoopback() || from.Is4In6() && from.Unmap().IsLoopback() {
		return true
	}
	network := network(from)
	now := int64(l.now().Sub(l.start))
	bucket := l.sets[maphash.Comparable(l.seed, network)%sets].bucket(network)
	for {
		full := bucket.Load()
		next := max(full, now) + l.every
		if next-now > l.burst {
			return false
		}
		if bucket.CompareAndSwap(full, next) {
			return true
		}
	}
}

// bucket returns the bucket of a network, which may have been another's until now. If
// two come with the same network at once it may get two; the second is found no more.
func (s *set) bucket(network uint64) *atomic.Int64 {
	for {
		fullest := 0
		for i := range s.networks {
			if s.networks[i].Load() == network {
				return &s.full[i]
			}
			if s.full[i].Load() < s.full[fullest].Load() {
				fullest = i
			}
		}
		if was := s.networks[fullest].Load(); s.networks[fullest].CompareAndSwap(was, network) {
			return &s.full[fullest]
		}
	}
}

// network returns the network of an address as a number that is not 0: 24 bits of
// IPv4, 56 of IPv6, and above them a mark of which it is.
func network(a netip.Addr) uint64 {
	if a.Is4() || a.Is4In6() {
		b := a.As4()
		return 4<<56 | uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	}
	if !a.IsValid() {
		return 1 << 56
	}
	b := a.As16()
	return 6<<56 | binary.BigEndian.Uint64(b[:8])>>8
}
