package retry

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrSilent is the cause of a stream's end by its watchdog.
var ErrSilent = errors.New("nothing was heard from the server for too long")

// Watchdog returns a context that ends with ErrSilent when nothing has been
// read through alive for so long. The caller calls stop when it is done.
func Watchdog(ctx context.Context, silence time.Duration) (_ context.Context, alive func(io.Reader) io.Reader, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(silence, func() { cancel(ErrSilent) })
	alive = func(r io.Reader) io.Reader {
		return readerFunc(func(b []byte) (int, error) {
			n, err := r.Read(b)
			if n > 0 {
				timer.Reset(silence)
			}
			return n, err
		})
	}
	return ctx, alive, func() { timer.Stop(); cancel(nil) }
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
