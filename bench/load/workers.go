package load

import (
	"sync"
	"sync/atomic"
	"time"
)

// Window is the part of a load's time that counts. Its functions, which may be nil, are
// called where it begins and ends, to read clocks and counters.
type Window struct {
	Ramp       time.Duration // before it
	Length     time.Duration
	Begin, End func()
}

// Wait sleeps through the ramp and the window.
func (w Window) Wait() {
	time.Sleep(w.Ramp)
	if w.Begin != nil {
		w.Begin()
	}
	time.Sleep(w.Length)
	if w.End != nil {
		w.End()
	}
}

// Around calls the functions of the window around what ends by itself.
func (w Window) Around(run func()) {
	if w.Begin != nil {
		w.Begin()
	}
	run()
	if w.End != nil {
		w.End()
	}
}

// Workers calls op from n goroutines, each again as soon as it has returned, and counts
// the calls that ended in the window. op is told which worker calls, and its how manieth
// call it is. A worker whose call fails gives up.
func Workers(n int, w Window, op func(worker, call int) error) *Result {
	var stop atomic.Bool
	var phase atomic.Int32 // 1 in the window
	var all sync.WaitGroup
	results := make([]Result, n)
	for i := range n {
		r := &results[i]
		all.Go(func() {
			for call := 0; !stop.Load(); call++ {
				start := time.Now()
				err := op(i, call)
				switch {
				case err != nil:
					r.Fail(err)
					return
				case phase.Load() == 1:
					r.Done++
					r.Latency.Record(time.Since(start))
				}
			}
		})
	}
	begin, end := w.Begin, w.End
	w.Begin = func() { call(begin); phase.Store(1) }
	w.End = func() { phase.Store(0); call(end) }
	w.Wait()
	stop.Store(true)
	all.Wait()
	total := &Result{Length: w.Length}
	for i := range results {
		total.Merge(&results[i])
	}
	total.Good = total.Done
	return total
}

func call(f func()) {
	if f != nil {
		f()
	}
}
