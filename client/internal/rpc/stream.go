package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// stream is a stream of messages both ways, from when it is opened until it
// breaks.
type stream[Q, A any] struct {
	grpc.BidiStreamingClient[Q, A]
	c      *Client
	server int // its index
	conn   *grpc.ClientConn
	ctx    context.Context // of the stream
	cancel context.CancelCauseFunc
	once   sync.Once   // of giving up conn
	timer  *time.Timer // ends the stream when nothing is heard for too long
	begun  atomic.Bool // the peer is there
}

// openStream opens a stream at a server. Its peer has as much time as for a call
// before heard is called first.
func openStream[Q, A any](ctx context.Context, c *Client, server int,
	f func(rollcallpb.RegistryClient, context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Q, A], error),
) (*stream[Q, A], error) {
	conn, err := c.servers[server].connection()
	if err != nil {
		return nil, err
	}
	s := &stream[Q, A]{c: c, server: server, conn: conn}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.timer = time.AfterFunc(c.timeout, func() {
		if s.begun.Load() {
			s.cancel(retry.ErrSilent)
		} else {
			s.cancel(errUnanswered)
		}
	})
	if s.BidiStreamingClient, err = f(rollcallpb.NewRegistryClient(conn), s.ctx); err != nil {
		err = s.failed(err)
		s.end(err)
		return nil, err
	}
	return s, nil
}

// heard says that the peer is there, and within what time it must be heard of
// again; 0 is no limit.
func (s *stream[Q, A]) heard(silence time.Duration) {
	s.begun.Store(true)
	if silence > 0 {
		s.timer.Reset(silence)
	} else {
		s.timer.Stop()
	}
}

// failed says what an error of the stream's means. A connection on which
// nothing is heard is given up.
func (s *stream[Q, A]) failed(err error) error {
	if silent(s.ctx) {
		s.once.Do(func() {
			s.c.servers[s.server].giveUp(s.conn)
			s.c.turn.Leave(s.server)
		})
	}
	return failure(s.ctx, s.c.servers[s.server].Name, s.begun.Load(), err)
}

// end ends the stream, for a reason unless there is one already.
func (s *stream[Q, A]) end(why error) {
	s.cancel(why)
	s.timer.Stop()
}
