package roundtrip

import (
	"sync"
	"time"
)

// How many requests may be sent again: a share of those of the last seconds, and a
// few beside, for services that are called seldom.
const (
	budgetShare   = 0.2
	budgetFloor   = 10
	budgetSeconds = 10
)

// budget counts requests and those that were sent again, by seconds.
type budget struct {
	mu      sync.Mutex
	seconds [budgetSeconds]struct{ requests, again int }
	newest  int64
}

// pass forgets what is too long ago. Its caller holds mu.
func (b *budget) pass(now time.Time) int64 {
	second := now.Unix()
	for n := max(b.newest+1, second-budgetSeconds+1); n <= second; n++ {
		b.seconds[n%budgetSeconds] = struct{ requests, again int }{}
	}
	b.newest = max(b.newest, second)
	return b.newest % budgetSeconds
}

func (b *budget) request(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seconds[b.pass(now)].requests++
}

// retry reports whether a request may be sent again, and counts it if so.
func (b *budget) retry(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.pass(now)
	requests, again := 0, 0
	for _, s := range b.seconds {
		requests += s.requests
		again += s.again
	}
	if float64(again) >= budgetFloor+budgetShare*float64(requests) {
		return false
	}
	b.seconds[at].again++
	return true
}
