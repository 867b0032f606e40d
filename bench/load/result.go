package load

import "time"

// Result is what became of the operations of one round.
type Result struct {
	Length     time.Duration
	Done       int64 // succeeded
	Failed     int64 // answered with an error, or cut off
	Good       int64 // succeeded within the time that makes an answer worth having
	Refused    int64 // of an open loop: found every connection taken, and was not sent
	Unanswered int64 // of an open loop: not answered even some time after the end
	Latency    Histogram
	Err        error // the first failure
}

// Merge adds what another thread has counted in the same time.
func (r *Result) Merge(o *Result) {
	r.Done += o.Done
	r.Failed += o.Failed
	r.Good += o.Good
	r.Refused += o.Refused
	r.Unanswered += o.Unanswered
	r.Latency.Merge(&o.Latency)
	if r.Err == nil {
		r.Err = o.Err
	}
}

// Offered is how many operations there were to do.
func (r *Result) Offered() int64 { return r.Done + r.Failed + r.Refused + r.Unanswered }

// Fail counts an operation that went wrong.
func (r *Result) Fail(err error) {
	r.Failed++
	if r.Err == nil {
		r.Err = err
	}
}
