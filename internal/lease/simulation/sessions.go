package simulation

import (
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// sessions is Rollcall with sessions. An epoch is one stream, or an attempt to
// open one.
//
// Over TCP nothing is lost but comes later, in order: while a packet of an instance
// is not acknowledged, what it says afterwards waits behind it. A kernel goes on to
// send what a process that is gone or gave up had said, and then that the stream
// ended. While nothing comes back from an instance, it gets one more ping and
// no others.
type sessions struct {
	*judged
	every   time.Duration // between pings
	streams []stream
}

// stream is one session: what its client knows of it, and below what its server
// does.
type stream struct {
	open    bool
	began   time.Duration
	pinged  time.Duration // when the last ping came
	ponging bool          // it is about to be answered
	stuck   bool          // what was said waits to be sent again
	span    time.Duration // what the last pause between attempts was drawn from

	served  uint32 // the epoch that has the session, 0: none
	alive   time.Duration
	stalled bool // a ping is not acknowledged
}

func newSessions(s *sim, id uint8, seed uint64) *sessions {
	n := &sessions{newJudged(s, "sessions", id, rollcall.LeaseSession, seed), lease.Ping(s.TTL), make([]stream, s.Instances)}
	for i := range n.epoch {
		n.epoch[i] = 1
	}
	return n
}

func (n *sessions) start(i int32) { n.after(n.first(), open, i, 0) }

// stop ends what was open. A host's kernel says so, if it still runs.
func (n *sessions) stop(i int32) {
	n.close(i, n.instances[i].hostDown)
	n.streams[i].span = 0
}

func (n *sessions) act(e event) {
	i, st := e.who, &n.streams[e.who]
	switch e.kind {
	case tick:
		n.tick()
	case probed:
		n.probed(i, e.n == 1)
	case open:
		if e.n > 0 || n.awake(e) {
			n.open(e)
		}
	case unanswered:
		if n.awake(e) && !st.open {
			n.close(i, false)
			n.again(i)
		}
	case resume:
		n.resume(e)
	case ping:
		n.ping(e)
	case pong:
		if n.awake(e) {
			st.ponging = false
			n.beats++
			if !st.stuck {
				n.transmit(e)
			}
		}
	case repeat:
		n.transmit(e)
	case silence:
		n.silence(e)
	case left:
		if n.awake(e) {
			n.leave(i)
		}
	case arrive:
		if st.served == e.epoch {
			st.alive = n.now
			n.hear(i)
		}
	case end:
		n.broken(i, e.epoch)
	}
}

// open tries to connect: a packet, and if need be another after one and three
// seconds.
func (n *sessions) open(e event) {
	i := e.who
	if e.epoch != n.epoch[i] || n.instances[i].down {
		return
	}
	wait := retransmitSYN << e.n
	switch failed := n.cut(i) || n.lost(i); {
	case failed && wait<<1 <= dialTimeout:
		n.after(wait, open, i, e.n+1)
	case failed:
		n.epoch[i]++
		n.again(i)
	default:
		n.after(0, resume, i, 0)
		n.after(answerTimeout, unanswered, i, 0)
	}
}

// again plans another attempt.
func (n *sessions) again(i int32) {
	st := &n.streams[i]
	var pause time.Duration
	pause, st.span = n.backOff(st.span, reopenLeast, reopenMost)
	n.after(pause, open, i, 0)
}

// resume has the registry take a stream as the session's. A client that gave it
// up meanwhile has ended it behind that.
func (n *sessions) resume(e event) {
	i, st := e.who, &n.streams[e.who]
	st.served, st.alive, st.stalled = e.epoch, n.now, false
	n.hear(i)
	n.queue.push(event{order: order(n.now+n.every, timer), to: n.id, kind: ping, who: i, epoch: e.epoch})
	if e.epoch == n.epoch[i] && !n.instances[i].down {
		st.open, st.stuck, st.ponging = true, false, false
		st.began, st.pinged = n.now, n.now
		n.after(pingsMissed*n.every, silence, i, 0)
	}
}

// ping has the registry ask whether a client is there, and close the stream of one
// that has not answered for a TTL.
func (n *sessions) ping(e event) {
	i, st := e.who, &n.streams[e.who]
	if st.served != e.epoch {
		return
	}
	if n.now-st.alive >= n.TTL {
		n.broken(i, e.epoch)
		n.queue.push(event{order: order(n.now, network), to: n.id, kind: left, who: i, epoch: e.epoch})
		return
	}
	again := e
	again.order = order(n.now+n.every, timer)
	n.queue.push(again)
	was := st.stalled
	st.stalled = n.cut(i)
	if was && st.stalled || n.instances[i].down || e.epoch != n.epoch[i] {
		return
	}
	st.pinged = n.now
	if !st.ponging {
		st.ponging = true
		delay := time.Duration(0)
		for wait := retransmit; n.lost(i) && delay < n.every; wait *= 2 {
			delay += wait
		}
		n.deliver(n.soon(delay, pong, i, 0))
	}
}

// transmit sends what an instance has to say, again and again until it arrives.
// On a stream that its client has left, its end comes behind it.
func (n *sessions) transmit(e event) {
	i, st := e.who, &n.streams[e.who]
	in := &n.instances[i]
	if in.hostDown {
		return
	}
	current := e.epoch == n.epoch[i]
	if n.cut(i) || n.lost(i) {
		if current {
			st.stuck = true
		}
		if e.n < retransmitMost {
			e.kind, e.late = repeat, false
			e.order = order(n.now+retransmit<<e.n, network)
			e.n++
			n.queue.push(e)
		}
		return
	}
	e.order = order(n.now, network)
	if e.kind = arrive; current {
		st.stuck = false
	} else {
		e.kind = end
	}
	n.deliver(e)
}

// silence has a client leave a stream on which no ping came.
func (n *sessions) silence(e event) {
	i := e.who
	if e.epoch != n.epoch[i] || n.instances[i].down {
		return
	}
	if at := n.streams[i].pinged + pingsMissed*n.every; at > n.now {
		e.order = order(at, network)
		n.queue.push(e)
	} else if n.awake(e) {
		n.leave(i)
	}
}

// leave gives a stream up and opens another.
func (n *sessions) leave(i int32) {
	st := &n.streams[i]
	lasted := n.now-st.began >= steady
	n.close(i, false)
	if lasted {
		st.span = 0
		n.after(0, open, i, 0)
	} else {
		n.again(i)
	}
}

// close ends a stream on its client's side. The kernel passes that on, unless it
// is gone as well: behind what it has to send again, if there is something.
func (n *sessions) close(i int32, silently bool) {
	st := &n.streams[i]
	was := event{to: n.id, kind: repeat, who: i, epoch: n.epoch[i]}
	n.epoch[i]++
	if !st.stuck && !silently {
		n.transmit(was)
	}
	st.open, st.stuck, st.ponging = false, false, false
}

// broken has the registry note that a stream ended.
func (n *sessions) broken(i int32, epoch uint32) {
	if st := &n.streams[i]; st.served == epoch {
		st.served = 0
		key := n.instances[i].key
		if ev, ok := n.table.Evidence(key); ok {
			n.table.BreakOf(key, ev.Incarnation)
		}
	}
}
