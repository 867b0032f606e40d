package simulation

import "time"

// plain is a registry with a plain TTL: an instance is in if it was heard from
// within that, and out otherwise. Its clients send a heartbeat on schedule and do
// not try again before the next is due. When the registry was paused, the timers
// that ran out meanwhile fire before the heartbeats are read that wait in its
// sockets, as they do in a program that does not see to it.
type plain struct {
	clients
	armed []bool // there is a timer for the instance
}

func newPlain(s *sim, id uint8, seed uint64) *plain {
	return &plain{newClients(s, "plain TTL", id, seed), make([]bool, s.Instances)}
}

func (p *plain) start(i int32) { p.after(p.first(), beat, i, 0) }

func (p *plain) stop(i int32) { p.epoch[i]++ }

func (p *plain) act(e event) {
	i := e.who
	switch e.kind {
	case beat:
		if p.awake(e) {
			p.after(p.jittered(p.TTL/3, jitter), beat, i, 0)
			p.send(i, p.TTL/3)
		}
	case arrive:
		p.heard[i] = p.now
		p.set(i, in)
		if !p.armed[i] {
			p.arm(i)
		}
	case expire:
		p.armed[i] = false
		if p.now-p.heard[i] > p.TTL {
			p.set(i, out)
		} else {
			p.arm(i)
		}
	}
}

func (p *plain) arm(i int32) {
	p.armed[i] = true
	p.alarm(p.heard[i]+p.TTL+time.Nanosecond-p.now, expire, i)
}
