package rpc

import (
	"errors"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// Load is a closed loop: each of a number of streams sends its next message when it has
// the answer to the one before.
type Load struct {
	Addr   string
	Method string
	Conns  int
	// Streams, at least one a connection, are spread evenly over the connections.
	Streams int
	// Unary makes each message a call of its own.
	Unary  bool
	Window load.Window
	// Next appends a message, as [Append] does.
	Next func(dst []byte) []byte
	// Check, which may be nil, is asked of each answer whether it is a good one.
	Check func(answer []byte) error
}

// Run connects, loads the server for the time of the window, and returns what became of
// it. Streams that have failed are not replaced.
func (l Load) Run() (*load.Result, error) {
	begin := time.Now().Add(l.Window.Ramp)
	end := begin.Add(l.Window.Length)
	r := &load.Result{Length: l.Window.Length}
	over := errors.New("the stream ended")
	var buf []byte
	c := &Client{Addr: l.Addr, Conns: l.Conns}
	next := func(s *Stream, at time.Time) {
		buf = l.Next(buf[:0])
		s.At = at
		s.Send(buf)
		if l.Unary {
			s.End()
		}
	}
	c.Message = func(s *Stream, answer []byte, at time.Time) {
		var err error
		if l.Check != nil {
			err = l.Check(answer)
		}
		switch {
		case at.Before(begin) || !at.Before(end):
		case err != nil:
			r.Fail(err)
		default:
			r.Done++
			r.Latency.Record(at.Sub(s.At))
		}
		if !l.Unary {
			next(s, at)
		}
	}
	c.Ended = func(s *Stream, err error) {
		switch {
		case err == nil && l.Unary:
			next(c.Call(s.Value.(int), l.Method, s.Value), time.Now())
		case err == nil:
			r.Fail(over)
		default:
			r.Fail(err)
		}
	}
	if err := c.Open(); err != nil {
		return nil, err
	}
	defer c.Close()
	for i := range l.Streams {
		next(c.Call(i%l.Conns, l.Method, i%l.Conns), time.Now())
	}
	var window sync.WaitGroup
	window.Go(l.Window.Wait)
	err := c.Run(end, nil)
	window.Wait()
	r.Good = r.Done
	return r, err
}
