package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// service is the name of the API's service.
const service = "rollcall.v1.Registry"

// method is one line of the API: a call with one answer, or a stream.
type method struct {
	name   string
	large  bool // its messages hold many
	call   func(s *Server, ctx context.Context, most int, receive func(any) error) (any, error)
	stream func(*Server, *conversation) error
}

func methods() []method {
	return []method{
		{name: "Register", large: true, call: (*Server).register},
		{name: "Deregister", call: takes((*Server).deregister)},
		{name: "Resolve", call: takes((*Server).resolve)},
		{name: "Report", large: true, call: (*Server).report},
		{name: "Drain", call: takes((*Server).drain)},
		{name: "Why", call: takes((*Server).why)},

		{name: "Renew", large: true, stream: (*Server).renew},
		{name: "Session", stream: (*Server).session},
		{name: "Watch", stream: (*Server).watch},
	}
}

// takes makes a call of a function of a message.
func takes[M any, P interface {
	*M
	proto.Message
}](answer func(*Server, context.Context, P) (any, error)) func(*Server, context.Context, int, func(any) error) (any, error) {
	return func(s *Server, ctx context.Context, most int, receive func(any) error) (any, error) {
		m := P(new(M))
		if err := take(receive, &in{most: most, decode: decoder(m)}); err != nil {
			return nil, err
		}
		return answer(s, ctx, m)
	}
}

// take receives a message and returns what is wrong with it, too.
func take(receive func(any) error, m *in) error {
	if err := receive(m); err != nil {
		return err
	}
	return m.decoded()
}

// describe makes of the table what gRPC serves.
func (s *Server) describe(table []method) *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Metadata: pb.Registry_ServiceDesc.Metadata}
	for _, m := range table {
		most := s.o.MaxMessage
		if m.large {
			most = s.o.MaxBatchMessage
		}
		if m.stream != nil {
			d.Streams = append(d.Streams, grpc.StreamDesc{
				StreamName: m.name, ServerStreams: true, ClientStreams: true,
				Handler: func(_ any, stream grpc.ServerStream) error { return m.stream(s, s.converse(stream, most)) },
			})
			continue
		}
		info := &grpc.UnaryServerInfo{FullMethod: "/" + service + "/" + m.name}
		d.Methods = append(d.Methods, grpc.MethodDesc{
			MethodName: m.name,
			Handler: func(_ any, ctx context.Context, receive func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				return intercept(ctx, nil, info, func(ctx context.Context, _ any) (any, error) { return m.call(s, ctx, most, s.soon(ctx, receive)) })
			},
		})
	}
	return d
}

// soon is receive for as long as the message of a call may take to arrive.
func (s *Server) soon(ctx context.Context, receive func(any) error) func(any) error {
	return func(m any) error {
		cut, _ := ctx.Value(cutKey{}).(context.CancelCauseFunc)
		late := time.AfterFunc(s.o.OpenTimeout, func() { cut(errUnsent) })
		defer late.Stop()
		err := receive(m)
		if err != nil && context.Cause(ctx) == errUnsent {
			return errUnsent
		}
		return err
	}
}

// unary is around all calls with one answer, those of health and reflection, too.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	defer func() { err = s.over(info.FullMethod, recover(), err) }()
	return handle(ctx, req)
}

func (s *Server) panicked(where string, p any) {
	s.o.Logger.Error("a handler panicked", "method", where, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// stream is around all streams. Those of health and reflection know nothing of a
// server that stops, and are cut then.
func (s *Server) stream(impl any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	if impl != nil {
		cut := stream.Context().Value(cutKey{}).(context.CancelCauseFunc)
		defer context.AfterFunc(s.stopping, func() { cut(nil) })()
	}
	open := s.metrics.open(info.FullMethod)
	open.Inc()
	defer open.Dec()
	defer func() { err = s.over(info.FullMethod, recover(), err) }()
	return handle(impl, stream)
}

// over ends a call: it returns its error as it is told, and counts it.
func (s *Server) over(method string, panicked any, err error) error {
	if panicked != nil {
		s.panicked(method, panicked)
		err = errPanicked
	}
	if err != nil {
		err = s.tell(method, err)
	}
	s.metrics.done(method, err)
	return err
}

// conversation is a stream that is served, by two goroutines. The handler tells
// what nobody asked for, and ends the stream with what it returns: while it
// waits for the client's next message, it cannot. So another one, apart, receives
// and answers. Where there are many streams, the handler alone receives, and others
// end the conversation for it. Sending takes its turn.
type conversation struct {
	s      *Server
	stream grpc.ServerStream
	ctx    context.Context         // of the conversation
	cancel context.CancelCauseFunc // ends it, for a reason that the handler returns
	cut    context.CancelCauseFunc // ends the stream itself, whatever waits for its client
	most   int                     // bytes of a message
	seldom bool                    // little is received, and on many streams
	alone  bool                    // the handler receives

	turn chan struct{} // held by who sends, which may take long, and guards what follows
	sent time.Time     // when something last was

	sending atomic.Int64               // when the message was, in nanoseconds since the server began; 0: it is taken
	watched atomic.Bool                // slow goes
	slow    atomic.Pointer[time.Timer] // looks whether a message was taken; nil: none was sent yet

	busy sync.Mutex // held while what was received is done, and guards what follows
	left error      // what the handler returns: nothing more is done
}

func (s *Server) converse(stream grpc.ServerStream, most int) *conversation {
	c := &conversation{s: s, stream: stream, most: most, turn: make(chan struct{}, 1)}
	c.cut, _ = stream.Context().Value(cutKey{}).(context.CancelCauseFunc)
	c.ctx, c.cancel = context.WithCancelCause(stream.Context())
	return c
}

// Why a conversation ends.
var (
	errUntaken = errors.New("the client did not take what it was sent")
	errSilent  = errors.New("nothing was heard")
	errUnsent  = errors.New("the client did not send its message")
	errTaken   = errors.New("another stream took the session up")
	errGoodbye = errors.New("goodbye")
)

// apart receives beside the handler until receive returns; its error, if any, ends
// the conversation.
func (c *conversation) apart(receive func() error) {
	c.s.apart.Go(func() {
		err := errPanicked
		defer func() {
			if p := recover(); p != nil {
				c.s.panicked("receiving", p)
			}
			if err != nil {
				c.end(err)
			}
		}()
		err = receive()
	})
}

// end ends the conversation from outside of its handler. If that waits for the client's
// next message, it does not see to it, but the stream can be told here how it ends,
// which ends the waiting. A handler that is busy looks by itself afterwards.
func (c *conversation) end(err error) {
	c.cancel(err)
	if !c.alone || !c.busy.TryLock() {
		return
	}
	defer c.busy.Unlock()
	if c.left != nil {
		return
	}
	c.left = context.Cause(c.ctx)
	answer, _ := statusOf(c.left)
	// The transport's stream has this for gRPC itself, which does not hand it on.
	stream, ok := grpc.ServerTransportStreamFromContext(c.stream.Context()).(interface {
		WriteStatus(*status.Status) error
	})
	if !ok {
		c.cut(c.left)
		return
	}
	stream.WriteStatus(status.Convert(answer))
}

// leave is the end of the handler, which returns what it returns: what was received
// is done first.
func (c *conversation) leave(err error) error {
	c.busy.Lock()
	defer c.busy.Unlock()
	if c.left = err; err == nil {
		c.left = io.EOF
	}
	c.cancel(err)
	c.watched.Store(true) // no longer: what is sent ends with the stream
	if t := c.slow.Load(); t != nil {
		t.Stop()
	}
	if err == io.EOF || errors.Is(err, errGoodbye) {
		return nil
	}
	return err
}

// stops has the conversation end when the server stops, until what it returns is
// called.
func (c *conversation) stops() (not func() bool) {
	return context.AfterFunc(c.s.stopping, func() { c.end(closing()) })
}

// receive waits for the next message and does it. Its error is why the handler has
// left, if it has.
func (c *conversation) receive(m *in, do func() error) error {
	err := c.stream.RecvMsg(m)
	c.busy.Lock()
	defer c.busy.Unlock()
	switch {
	case c.left != nil:
		return c.left
	case err != nil:
		return c.why(err)
	}
	if !c.seldom {
		return m.done(do)
	}
	return c.s.aside.Do(func() error { return m.done(do) })
}

// send sends a message. A client that does not take what it is sent loses the
// stream.
func (c *conversation) send(m any) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.put(m)
}

// put is send for who has the turn.
func (c *conversation) put(m any) error {
	c.sent = time.Now()
	c.sending.Store(int64(c.sent.Sub(c.s.began)))
	if !c.watched.Load() && c.watched.CompareAndSwap(false, true) {
		if c.slow.Load() == nil {
			c.slow.Store(time.AfterFunc(time.Hour, c.look))
		}
		c.slow.Load().Reset(c.s.o.WriteTimeout)
	}
	defer c.sending.Store(0)
	return c.why(c.stream.SendMsg(m))
}

// look cuts the stream if a message is not taken in time. Its timer goes on while messages
// are sent: it would cost more to stop it for each of them.
func (c *conversation) look() {
	began := c.sending.Load()
	if began == 0 {
		c.watched.Store(false)
		if began = c.sending.Load(); began == 0 || !c.watched.CompareAndSwap(false, true) {
			return
		}
	}
	left := c.s.o.WriteTimeout - (time.Since(c.s.began) - time.Duration(began))
	if left <= 0 {
		c.cut(errUntaken)
		return
	}
	c.slow.Load().Reset(left)
}

// why returns why the stream was cut, if it was, and else err.
func (c *conversation) why(err error) error {
	if err != nil && context.Cause(c.stream.Context()) == errUntaken {
		return errUntaken
	}
	return err
}
