// Package retry spaces attempts in time.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Backoff spaces attempts: each pause is drawn from the upper half of a span
// that doubles from Least to Most, so that clients which lost a server at the
// same moment do not return at the same moment.
type Backoff struct {
	Least, Most time.Duration
	span        time.Duration
}

// Next returns how long to pause after err. It heeds what the server asked
// for, up to half a minute, except while that settles: then it names the latest
// moment at which an answer will be there.
func (b *Backoff) Next(err error) time.Duration {
	b.span = min(max(2*b.span, b.Least), b.Most)
	pause := Jitter(b.span*3/4, 1.0/3)
	if e, ok := errors.AsType[*rollcall.Error](err); ok && !errors.Is(err, rollcall.ErrSettling) {
		pause += min(e.RetryAfter, 30*time.Second)
	}
	return pause
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.span = 0 }

// Jitter returns d, longer or shorter by up to the given share.
func Jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration(float64(d)*share*(2*rand.Float64()-1))
}

// Pause waits for d, or until ctx is done, and reports whether it waited.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
