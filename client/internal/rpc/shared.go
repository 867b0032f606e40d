package rpc

import (
	"context"
	"sync"
)

// shared is a stream for all who need one at the same time: the first has it
// opened, the others wait for that.
type shared[T interface{ over() bool }] struct {
	mu   sync.Mutex
	last *opening[T] // nil before the first
}

// opening is an attempt to open a stream; what came of it is set when done is
// closed.
type opening[T interface{ over() bool }] struct {
	done   chan struct{}
	stream T
	err    error
}

// spent reports whether another attempt is due.
func (o *opening[T]) spent() bool {
	select {
	case <-o.done:
		return o.err != nil || o.stream.over()
	default:
		return false
	}
}

// get returns the stream, or why it could not be opened.
func (s *shared[T]) get(ctx context.Context, c *Client, open func() (T, error)) (none T, err error) {
	s.mu.Lock()
	o := s.last
	if o == nil || o.spent() {
		o = &opening[T]{done: make(chan struct{})}
		if err = c.task(func() {
			defer close(o.done)
			o.stream, o.err = open()
		}); err == nil {
			s.last = o
		}
	}
	s.mu.Unlock()
	if err != nil {
		return none, err
	}
	select {
	case <-o.done:
		return o.stream, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
