package simulation

import (
	"time"

	"github.com/rollcall-registry/rollcall"
)

// beats is Rollcall with heartbeats, which its client tries again.
type beats struct {
	*judged
	spans []time.Duration // what the last pause of a client that fails was drawn from
	began []time.Duration // when its last attempt did
}

func newBeats(s *sim, id uint8, seed uint64) *beats {
	return &beats{newJudged(s, "heartbeats", id, rollcall.LeaseTTL, seed), make([]time.Duration, s.Instances), make([]time.Duration, s.Instances)}
}

func (b *beats) start(i int32) { b.after(b.first(), beat, i, 0) }

func (b *beats) stop(i int32) {
	b.epoch[i]++
	b.spans[i] = 0
}

// act has each attempt be an epoch of its own.
func (b *beats) act(e event) {
	i := e.who
	switch e.kind {
	case tick:
		b.tick()
	case probed:
		b.probed(i, e.n == 1)
	case beat:
		if b.awake(e) {
			b.epoch[i]++
			b.began[i] = b.now
			at := b.epoch[i]
			if b.send(i, attempt); b.epoch[i] == at {
				b.after(attempt, unheard, i, 0)
			}
		}
	case unheard:
		if b.awake(e) {
			b.epoch[i]++
			var pause time.Duration
			pause, b.spans[i] = b.backOff(b.spans[i], retryLeast, b.TTL/3)
			b.after(max(0, b.began[i]+pause-b.now), beat, i, 0) // it began with the attempt
		}
	case arrive:
		b.hear(i)
		if e.epoch == b.epoch[i] && !b.instances[i].down { // else it was given up
			b.epoch[i]++
			b.spans[i] = 0
			b.after(b.jittered(b.TTL/3, jitter), beat, i, 0)
		}
	}
}
