package balancer

import "context"

// again is how often PickOther chooses anew when whom it chose has just left.
const again = 4

// Mark is a set of instances that is picked from, to be compared with a later one.
type Mark struct{ s *set }

// Mark returns the set that is picked from now.
func (b *Balancer) Mark() Mark { return Mark{b.set.Load()} }

// Settle waits until nothing is under way any more to those that were in the set of a
// mark, are in none now, and of which left says so; or until ctx is done. A
// request that was picked before an update may be sent long after it: only then does
// the instance know, and may hang up.
func (b *Balancer) Settle(ctx context.Context, was Mark, left func(Pick) bool) {
	for _, e := range was.s.members {
		if e.out.Load() && e.inFlight.Load() > 0 && left(Pick{b: b, e: e}) && !e.wait(ctx) {
			return
		}
	}
}

// wait waits until nothing is under way, and reports whether that is so. Who wakes it
// may do so late, for an earlier time that nothing was.
func (e *endpoint) wait(ctx context.Context) bool {
	for {
		empty := make(chan struct{})
		e.empty.Store(&empty)
		if e.inFlight.Load() <= 0 {
			return true
		}
		select {
		case <-empty:
		case <-ctx.Done():
			return false
		}
	}
}

// over counts a request out. One that is over twice, by mistake of the caller, does not
// count for less than nothing, so that the error is gone once nothing is under way.
func (e *endpoint) over() {
	n := e.inFlight.Add(-1)
	if n < 0 {
		e.inFlight.Add(1)
	}
	if n > 0 || !e.out.Load() {
		return
	}
	if empty := e.empty.Swap(nil); empty != nil {
		close(*empty)
	}
}
