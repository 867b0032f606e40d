package forward

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// probeAgain is how long a dead upstream is left alone between two probes.
	probeAgain = 2 * time.Second
	// probeFor is how long the answer to a probe may take; whoever is alive has it at
	// hand.
	probeFor = time.Second
)

// upstream is a server that is asked, and what is known of how it is.
type upstream struct {
	addr netip.AddrPort

	mu      sync.Mutex // guards what follows
	state   state
	probing bool
	probed  time.Time // when the last probe of a dead one was over
}

// state is how an upstream is; the smaller the sooner it is asked.
type state uint8

const (
	well    state = iota
	doubted       // a query was not answered, a probe will tell
	dead
)

func (u *upstream) is() state {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

// answered notes that an upstream did, and reports whether it was dead.
func (u *upstream) answered() (risen bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	risen, u.state = u.state == dead, well
	return risen
}

// unanswered notes that a query was not answered. One that is slow for a single name
// is not dead, and nobody who asks for such names may make it seem so; that is why a
// probe decides.
func (u *upstream) unanswered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state = max(u.state, doubted)
}

// due reports whether an upstream is to be probed now by whoever calls.
func (u *upstream) due(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == well || u.probing || u.state == dead && now.Sub(u.probed) < probeAgain {
		return false
	}
	u.probing = true
	return true
}

// probedAt notes the end of a probe, and reports whether the upstream is dead and was
// not before, or the other way round.
func (u *upstream) probedAt(now time.Time, answered bool) (turned bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := u.state
	u.probing, u.probed, u.state = false, now, dead
	if answered {
		u.state = well
	}
	return before == dead && answered || before != dead && !answered
}

// look probes the upstreams of which it is not known how they are. Each probe is a
// goroutine that Close waits for.
func (f *Forwarder) look() {
	now := f.now()
	for _, u := range f.upstreams {
		if u.due(now) {
			f.wait.Go(func() { f.probe(u) })
		}
	}
}

// probe asks for the name servers of the root, which every server has some answer to.
func (f *Forwarder) probe(u *upstream) {
	ctx, cancel := context.WithTimeout(f.ctx, min(probeFor, f.timeout))
	defer cancel()
	_, err := f.exchange(ctx, u.addr, root(), false)
	turned := u.probedAt(f.now(), err == nil)
	switch {
	case f.ctx.Err() != nil || !turned:
	case err == nil:
		f.log.Info("a DNS upstream answers again", "upstream", u.addr)
	default:
		f.log.Warn("a DNS upstream does not answer; others are asked first until it does", "upstream", u.addr, "err", err)
	}
}

// root is the query for the name servers of the root, with recursion.
func root() *query {
	question := []byte{0, 0, 2, 0, 1}
	return &query{question: question, size: minimum, onward: append([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, question...)}
}
