package wire

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
)

// Turn says which of several servers is asked first: the one that answered last.
type Turn struct {
	servers int
	last    atomic.Int32
}

// NewTurn returns a turn of so many servers, above 0.
func NewTurn(servers int) *Turn { return &Turn{servers: servers} }

// Ask calls f with the server that answered last, then with the others for as
// long as another may do better, and returns its last error.
func (t *Turn) Ask(ctx context.Context, f func(server int) error) error {
	return t.each(ctx, Elsewhere, f)
}

// AskAll is Ask that goes on to the next whatever the error.
func (t *Turn) AskAll(ctx context.Context, f func(server int) error) error {
	return t.each(ctx, func(error) bool { return true }, f)
}

func (t *Turn) each(ctx context.Context, on func(error) bool, f func(server int) error) (err error) {
	first := int(t.last.Load())
	for n := range t.servers {
		i := (first + n) % t.servers
		if err = f(i); err == nil {
			t.last.Store(int32(i))
			return nil
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Leave(i) // no time is left for the others, which come first the next time
		}
		if ctx.Err() != nil || !on(err) {
			break
		}
	}
	return err
}

// Leave has the one after a server asked first, unless that is another already.
func (t *Turn) Leave(server int) {
	t.last.CompareAndSwap(int32(server), int32((server+1)%t.servers))
}

// Elsewhere reports whether another server may do better.
func Elsewhere(err error) bool {
	for _, kind := range []error{ErrUnreachable, rollcall.ErrTimeout, rollcall.ErrUnavailable, rollcall.ErrNotSynced, rollcall.ErrSettling} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
