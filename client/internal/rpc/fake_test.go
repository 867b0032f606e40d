package rpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/address"
)

// fake is a server that answers as a test says. It is reached through pipes, so
// that it lives inside a synctest bubble.
type fake struct {
	rollcallpb.UnimplementedRegistryServer
	register func(context.Context, *rollcallpb.RegisterRequest) (*rollcallpb.RegisterResponse, error)
	resolve  func(context.Context, *rollcallpb.ResolveRequest) (*rollcallpb.ResolveResponse, error)
	watch    func(*watchStream) error
	renew    func(grpc.BidiStreamingServer[rollcallpb.RenewRequest, rollcallpb.RenewResponse]) error
	session  func(grpc.BidiStreamingServer[rollcallpb.SessionRequest, rollcallpb.SessionResponse]) error

	conns   chan net.Conn
	closed  chan struct{}
	streams atomic.Int32 // that were ever open

	mu    sync.Mutex
	dials int
	open  []*freezing
	down  bool // connections are refused
	heard []metadata.MD
}

// fakes are the servers of a client by their names.
type fakes map[string]*fake

// startFake serves a fake until the test ends.
func startFake(t testing.TB) *fake {
	f := &fake{conns: make(chan net.Conn), closed: make(chan struct{})}
	note := func(ctx context.Context) {
		md, _ := metadata.FromIncomingContext(ctx)
		f.mu.Lock()
		f.heard = append(f.heard, md)
		f.mu.Unlock()
	}
	server := grpc.NewServer(grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		note(s.Context())
		f.streams.Add(1)
		return next(srv, s)
	}), grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		note(ctx)
		return next(ctx, q)
	}))
	rollcallpb.RegisterRegistryServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(f)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return f
}

func (f *fake) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}
func (f *fake) Close() error   { close(f.closed); return nil }
func (f *fake) Addr() net.Addr { return &net.TCPAddr{} }

func (f *fake) dial(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	down := f.down
	f.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	near, far := net.Pipe()
	select {
	case f.conns <- far:
		c := &freezing{Conn: near, frozen: make(chan struct{})}
		f.mu.Lock()
		f.open = append(f.open, c)
		f.mu.Unlock()
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialled returns how often it was tried to connect.
func (f *fake) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

// cut breaks all connections.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.open {
		c.Close()
	}
	f.open = nil
}

// freezing is a connection whose peer may be gone without a word.
type freezing struct {
	net.Conn
	frozen chan struct{}
}

func (c *freezing) Write(b []byte) (int, error) {
	select {
	case <-c.frozen:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

// freeze loses what is sent on all connections there are.
func (f *fake) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.open {
		close(c.frozen)
	}
	f.open = nil
}

// refuse refuses new connections, or takes them again.
func (f *fake) refuse(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fake) Register(ctx context.Context, q *rollcallpb.RegisterRequest) (*rollcallpb.RegisterResponse, error) {
	return f.register(ctx, q)
}

func (f *fake) Resolve(ctx context.Context, q *rollcallpb.ResolveRequest) (*rollcallpb.ResolveResponse, error) {
	return f.resolve(ctx, q)
}

func (f *fake) Watch(s grpc.BidiStreamingServer[rollcallpb.WatchRequest, rollcallpb.WatchResponse]) error {
	return f.watch(&watchStream{s})
}

func (f *fake) Renew(s grpc.BidiStreamingServer[rollcallpb.RenewRequest, rollcallpb.RenewResponse]) error {
	return f.renew(s)
}

func (f *fake) Session(s grpc.BidiStreamingServer[rollcallpb.SessionRequest, rollcallpb.SessionResponse]) error {
	return f.session(s)
}

// client returns a client of the servers of these names, closed when the test
// ends.
func (fs fakes) client(t testing.TB, token string, names ...string) *Client {
	c := Config{Token: token, Timeout: 10 * time.Second, Options: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return fs[addr].dial(ctx) }),
	}}
	for _, name := range names {
		c.Servers = append(c.Servers, address.Server{GRPC: true, Host: name, Name: name})
	}
	r := New(c)
	t.Cleanup(func() { r.Close() })
	return r
}

// client returns a client of f alone.
func (f *fake) client(t testing.TB) *Client {
	return fakes{"registry:7071": f}.client(t, "", "registry:7071")
}

// watchStream is a stream of watches as its server sees it.
type watchStream struct {
	grpc.BidiStreamingServer[rollcallpb.WatchRequest, rollcallpb.WatchResponse]
}

const testLog = "0123456789abcdef"

func token(rev int) rollcall.Token {
	return rollcall.Token{Log: testLog, Revision: rollcall.Revision(rev)}
}

// state sends a part of a state.
func (s *watchStream) state(n uint64, rev int, more bool, ids ...string) error {
	st := &rollcallpb.State{Revision: uint64(rev), More: more, Token: token(rev).String()}
	for _, id := range ids {
		st.Instances = append(st.Instances, &rollcallpb.Instance{Service: "payments", Id: id})
	}
	return s.Send(&rollcallpb.WatchResponse{Subscription: n, Tell: &rollcallpb.WatchResponse_State{State: st}})
}

func (s *watchStream) bookmark(n uint64, rev int) error {
	return s.Send(&rollcallpb.WatchResponse{Subscription: n, Tell: &rollcallpb.WatchResponse_Bookmark{
		Bookmark: &rollcallpb.Bookmark{Revision: uint64(rev), Token: token(rev).String()},
	}})
}

// subscribed waits for the next subscription and returns its number.
func (s *watchStream) subscribed() (uint64, *rollcallpb.Query, error) {
	for {
		m, err := s.Recv()
		if err != nil {
			return 0, nil, err
		}
		if sub := m.GetSubscribe(); sub != nil {
			return sub.GetSubscription(), sub.GetQuery(), nil
		}
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want of kind %v", err, kind)
	}
}

// advance lets a bubble's time pass.
func advance(d time.Duration) { <-time.After(d) }
