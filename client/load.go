package client

import (
	"context"
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// How often the load is looked at, and repeated: the registry believes it for three
// minutes.
const (
	loadEvery  = time.Second
	loadRepeat = time.Minute
)

// WithLoad has the registry told of the instance's load, as load returns it: once a
// second while it moves by a twentieth or more, and once a minute while it does not,
// unless it is nothing. Give it the Load of a meter (package meter). load is called from one
// goroutine at a time.
func WithLoad(load func() rollcall.Load) RegisterOption {
	return func(r *Registration) { r.load = load }
}

// tellLoad reports the load until the registration is closed.
func (r *Registration) tellLoad() {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	var told rollcall.Load
	var at time.Time
	for {
		select {
		case <-r.stop:
			return
		case <-r.life.Done():
			return
		case now := <-tick.C:
			l := r.load()
			if !moved(told, l) && (l == rollcall.Load{} || now.Sub(at) < loadRepeat) {
				continue
			}
			if r.sayLoad(l) {
				told, at = l, now
			}
		}
	}
}

// sayLoad puts the load among what is to be said, and says it, unless the last attempt
// to say anything failed: then the next one, which comes when it is due, takes it
// along.
func (r *Registration) sayLoad(l rollcall.Load) bool {
	if r.lock(r.life) != nil {
		return false
	}
	defer r.unlock()
	r.kept.unsaid = merge(r.kept.unsaid, rollcall.Report{Load: &l})
	if r.Err() != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(r.life, r.kept.patience())
	defer cancel()
	return r.renew(ctx) == nil
}

// moved reports whether a load is well another than before.
func moved(was, is rollcall.Load) bool {
	far := func(a, b, least float64) bool { return math.Abs(a-b) > max(0.05*max(a, b), least) }
	return far(was.Utilization, is.Utilization, 0.005) || far(float64(was.InFlight), float64(is.InFlight), 0) ||
		far(was.RPS, is.RPS, 0.1) || far(was.Errors, is.Errors, 0.05) ||
		far(was.LatencyP50, is.LatencyP50, 0.05) || far(was.LatencyP99, is.LatencyP99, 0.1)
}
