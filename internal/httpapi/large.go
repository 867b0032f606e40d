package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
)

// large lets h take a large body, while all large bodies together, and what
// became of them, are bounded: each has its share until h has answered.
func large(h handler) handler {
	return func(s *Server, r *request) (int, error) {
		share := s.o.MaxBatchBody
		if 0 <= r.ContentLength && r.ContentLength < share {
			share = r.ContentLength
		}
		if share <= s.o.MaxBody {
			return h(s, r)
		}
		b := &largeBody{ReadCloser: r.Body, s: s, r: r, share: share}
		defer b.release()
		r.Body = b
		return h(s, r)
	}
}

// largeBody is a body that has to have a share before it is read beyond what
// any body may have: a promise of more holds nothing, nor does a body of unknown
// length that is short.
type largeBody struct {
	io.ReadCloser
	s     *Server
	r     *request
	share int64
	read  int64
	held  bool
}

func (b *largeBody) Read(p []byte) (int, error) {
	// One byte more shows that it is large.
	if free := b.s.o.MaxBody + 1 - b.read; free > 0 {
		p = p[:min(int64(len(p)), free)]
	} else if err := b.acquire(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	return n, err
}

// acquire waits for a share for as long as a body may take to arrive: by then
// whoever is slow to send theirs has lost it.
func (b *largeBody) acquire() error {
	if !b.held && !b.s.large.TryAcquire(b.share) {
		ctx, cancel := context.WithTimeout(b.r.ctx, b.s.o.BodyTimeout)
		defer cancel()
		if b.s.large.Acquire(ctx, b.share) != nil {
			b.r.w.Header().Set("Connection", "close") // the rest of the body is not read
			return &rollcall.Error{Kind: problem.ErrBusy, RetryAfter: time.Second, Detail: fmt.Sprintf(
				"other large bodies take up the %d bytes that there are for all; try again, or send less at once: up to %d bytes always have a place",
				b.s.o.MaxLarge, b.s.o.MaxBody)}
		}
		// The time that it waited was not the sender's.
		http.NewResponseController(b.r.w).SetReadDeadline(time.Now().Add(b.s.o.BodyTimeout))
	}
	b.held = true
	return nil
}

func (b *largeBody) release() {
	if b.held {
		b.s.large.Release(b.share)
	}
}
