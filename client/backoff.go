package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// backoff spaces attempts: each pause is drawn from the upper half of a span
// that doubles from least to most, so that clients which lost a server at the
// same moment do not return at the same moment.
type backoff struct {
	least, most time.Duration
	span        time.Duration
}

// next returns how long to pause after err. It heeds what the server asked
// for, up to half a minute, except while that settles: then it names the latest
// moment at which an answer will be there.
func (b *backoff) next(err error) time.Duration {
	b.span = min(max(2*b.span, b.least), b.most)
	pause := jitter(b.span*3/4, 1.0/3)
	if e, ok := errors.AsType[*rollcall.Error](err); ok && !errors.Is(err, rollcall.ErrSettling) {
		pause += min(e.RetryAfter, 30*time.Second)
	}
	return pause
}

// reset begins anew, after a success.
func (b *backoff) reset() { b.span = 0 }

// jitter returns d, longer or shorter by up to the given share.
func jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration(float64(d)*share*(2*rand.Float64()-1))
}

// pause waits for d, or until ctx is done, and reports whether it waited.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
