package simulation

import (
	"math/rand/v2"
	"time"
)

// kind says what an event is.
type kind uint8

const (
	happen kind = iota // an accident begins
	pass               // and ends

	beat    // a heartbeat is due
	unheard // it was not answered in time
	open    // a session is to be opened
	silence // a session's server may be silent for too long
	pong    // a ping is to be answered
	repeat  // what was sent is not acknowledged
	left    // the stream was closed by the other side
	unanswered

	// What follows has to wait while the registry is paused.
	ofRegistry
	tick
	expire
	probed
	ping
	arrive
	resume
	end // of a stream
)

// clients are the clients of all instances at one registry.
type clients struct {
	*sim
	*side
	id    uint8
	rng   *rand.Rand
	epoch []uint32 // what each instance is at; what belongs to an earlier one is void
}

func newClients(s *sim, name string, id uint8, seed uint64) clients {
	return clients{
		sim: s, side: newSide(s, name), id: id,
		rng: rand.New(rand.NewPCG(seed, 2+uint64(id))), epoch: make([]uint32, s.Instances),
	}
}

func (c *clients) figures() *side { return c.side }

// soon returns an event about an instance that the network brings.
func (c *clients) soon(d time.Duration, k kind, i int32, n uint8) event {
	return event{order: order(c.now+d, network), to: c.id, kind: k, who: i, epoch: c.epoch[i], n: n}
}

// after asks for an event about an instance.
func (c *clients) after(d time.Duration, k kind, i int32, n uint8) { c.queue.push(c.soon(d, k, i, n)) }

// alarm asks for one that a clock brings.
func (c *clients) alarm(d time.Duration, k kind, i int32) {
	e := c.soon(0, k, i, 0)
	e.order = order(c.now+d, timer)
	c.queue.push(e)
}

// awake reports whether an instance's process sees to an event now. If it is
// paused it does so afterwards, and if it is starved some time later.
func (c *clients) awake(e event) bool {
	in := &c.instances[e.who]
	switch {
	case in.down || e.epoch != c.epoch[e.who]:
		return false
	case in.paused:
		e.order = order(in.until[ClientPause], network)
	case in.until[Starvation] > c.now && !e.late:
		e.late = true
		e.order = order(c.now+c.Lateness.draw(c.rng), network)
	default:
		return true
	}
	c.queue.push(e)
	return false
}

// lost reports whether what an instance sends is lost, by chance.
func (c *clients) lost(i int32) bool { return c.instances[i].lossy && c.rng.Float64() < c.Loss }

// send sends a heartbeat. It reports false if that does not arrive within the
// time that an attempt has.
func (c *clients) send(i int32, timeout time.Duration) bool {
	c.beats++
	delay := time.Duration(0)
	for wait := retransmit; c.cut(i) || c.lost(i); wait *= 2 {
		if delay += wait; delay >= timeout || !c.Packets {
			return false
		}
	}
	c.deliver(c.soon(delay, arrive, i, 0))
	return true
}

// deliver has an event happen: at once, if it is due and the registry is not
// paused.
func (c *clients) deliver(e event) {
	if e.at() > c.now || c.frozen > c.now {
		c.queue.push(e)
		return
	}
	c.actors[c.id].act(e)
}

// first is when an instance that starts does something first: not all at the same
// time in the beginning.
func (c *clients) first() time.Duration {
	if c.now > 0 {
		return 0
	}
	return time.Duration(c.rng.Int64N(int64(c.TTL / 3)))
}

// jittered returns d, longer or shorter by up to a share.
func (c *clients) jittered(d time.Duration, share float64) time.Duration {
	return d + time.Duration(float64(d)*share*(2*c.rng.Float64()-1))
}

// backOff returns the pause before another attempt, and the span that it is drawn
// from.
func (c *clients) backOff(span, least, most time.Duration) (pause, next time.Duration) {
	span = min(max(2*span, least), most)
	return c.jittered(span*3/4, 1.0/3), span
}
