package watch

import (
	"hash/maphash"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	// pollerGrace is for how long a poller is waited for after its last answer,
	// beside what its polls may take.
	pollerGrace = 10 * time.Second
	// mostPollers bounds those that are remembered; more are answered all the
	// same, and are no watchers.
	mostPollers = 50_000
)

// pollerKey tells pollers apart. One who asks for different things is as many.
type pollerKey struct {
	topic     Topic
	caller    string
	selection uint64
}

// poller is somebody who watches by asking again and again. It is a reader for
// longer than one subscription: what its next poll goes on from is what it has
// of the last answer. Guarded by Hub.mu.
type poller struct {
	*reader
	key   pollerKey
	open  int // polls under way
	polls int // so far
	timer *time.Timer
}

// Poll opens the subscription of a long poll, as [Hub.Subscribe] does, that ends
// after wait with an answer; see [Subscription.Answered]. Its reader is told
// apart from others by the caller's name, and is nobody without one.
func (h *Hub) Poll(name Topic, sel Selection, after rollcall.Token, caller string, wait time.Duration) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.subscribe(name, sel, after)
	if caller == "" {
		return s
	}
	key := pollerKey{name, caller, maphash.String(h.seed, sel.Text)}
	p := h.pollers[key]
	if p == nil {
		if len(h.pollers) == mostPollers || h.closed {
			return s
		}
		p = &poller{reader: h.join(s.topic, Reader{Caller: caller, Door: "poll"}, newID()), key: key}
		h.pollers[key] = p
		s.topic.refs++
	} else if p.timer != nil {
		p.timer.Stop()
	}
	p.open++
	p.polls++
	s.poller, s.wait, s.reader = p, wait, p.reader
	s.begin()
	return s
}

// Answered says that a poll was answered with the state at a revision.
func (s *Subscription) Answered(rev rollcall.Revision) {
	if r := s.reader; r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = max(r.told, rev)
	}
}

// polled is the end of a poll. The caller holds Hub.mu.
func (h *Hub) polled(p *poller, wait time.Duration) {
	if p.open--; p.open > 0 || h.pollers[p.key] != p {
		return
	}
	polls := p.polls
	p.timer = time.AfterFunc(wait+pollerGrace, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if p.polls == polls && h.pollers[p.key] == p {
			h.forgetPoller(p)
		}
	})
}

// forgetPoller forgets one who has not come back. The caller holds Hub.mu.
func (h *Hub) forgetPoller(p *poller) {
	if p.timer != nil {
		p.timer.Stop()
	}
	delete(h.pollers, p.key)
	h.leave(p.reader)
	h.release(p.topic)
}
