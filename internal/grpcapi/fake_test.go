package grpcapi_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// fakeCore is a core in which nothing happens but what a test says.
type fakeCore struct {
	resolve func() error
	feed    func() watch.Feed
	session *fakeSession
}

func (f *fakeCore) Register(_ context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
	i.Normalize()
	i.Revision = 7
	return i, true, nil
}

func (f *fakeCore) Prepare(_ context.Context, i *rollcall.Instance, _ string) (rollcall.InstancePut, error) {
	if i.Service == "" {
		return rollcall.InstancePut{}, rollcall.Invalid("service", "is required")
	}
	return rollcall.InstancePut{Key: i.Key()}, nil
}

func (f *fakeCore) Limits() rollcall.Limits { return rollcall.DefaultLimits() }

func (f *fakeCore) RegisterPrepared(_ context.Context, puts []rollcall.InstancePut) []rollcall.Registration {
	rs := make([]rollcall.Registration, len(puts))
	for n, p := range puts {
		rs[n] = rollcall.Registration{Key: p.Key, Created: true, Revision: 7}
	}
	return rs
}

func (f *fakeCore) Deregister(context.Context, rollcall.Key, rollcall.Revision) error { return nil }

func (f *fakeCore) Renew(context.Context, rollcall.Key, *rollcall.Report) (rollcall.Renewal, error) {
	return rollcall.Renewal{TTL: rollcall.Duration(rollcall.DefaultTTL), Revision: 7}, nil
}

func (f *fakeCore) RenewMany(_ context.Context, rs []rollcall.Renew) (int, []rollcall.Key, error) {
	return len(rs), nil, nil
}

func (f *fakeCore) Report(context.Context, rollcall.ServiceKey, netip.Addr, *rollcall.CallerReport) error {
	return nil
}

func (f *fakeCore) Drain(context.Context, rollcall.Key, bool, time.Duration) (rollcall.Barrier, error) {
	return rollcall.Barrier{}, nil
}

func (f *fakeCore) Resolve(context.Context, *rollcall.Query) (*resolve.Answer, error) {
	err := error(&rollcall.Error{Kind: rollcall.ErrNotFound})
	if f.resolve != nil {
		err = f.resolve()
	}
	return nil, err
}

func (f *fakeCore) Position(rollcall.Key) (p rollcall.Position, moved bool) { return p, false }
func (f *fakeCore) Weight(*catalog.Item) uint16                             { return 100 }

func (f *fakeCore) Why(context.Context, *rollcall.Query, string) (rollcall.Explanation, error) {
	return rollcall.Explanation{}, nil
}

func (f *fakeCore) Watch(context.Context, *rollcall.Query, watch.Reader) (watch.Feed, *resolve.Plan, error) {
	if f.feed == nil {
		return nil, nil, &rollcall.Error{Kind: rollcall.ErrNotFound}
	}
	return f.feed(), nil, nil
}

func (f *fakeCore) Ack(context.Context, string, rollcall.Revision) error { return nil }

func (f *fakeCore) OpenSession(_ context.Context, token string, ttl time.Duration) (grpcapi.Session, bool, error) {
	if f.session == nil {
		return nil, false, &rollcall.Error{Kind: rollcall.ErrNotSynced}
	}
	return f.session, token != "", nil
}

// fakeSession notes what becomes of it.
type fakeSession struct {
	lost  chan rollcall.Key
	taken chan struct{}
	does  func(ctx context.Context)  // with each report
	takes func(i *rollcall.Instance) // each registration, and may change what is answered

	mu    sync.Mutex
	ping  time.Duration
	log   []string
	alive int
}

func newFakeSession() *fakeSession {
	return &fakeSession{ping: 5 * time.Second, lost: make(chan rollcall.Key), taken: make(chan struct{})}
}

func (s *fakeSession) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

func (s *fakeSession) noted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}

func (s *fakeSession) Token() string             { return "token" }
func (s *fakeSession) TTL() time.Duration        { return 15 * time.Second }
func (s *fakeSession) Ping() time.Duration       { s.mu.Lock(); defer s.mu.Unlock(); return s.ping }
func (s *fakeSession) Lost() <-chan rollcall.Key { return s.lost }
func (s *fakeSession) Ended() <-chan struct{}    { return s.taken }
func (s *fakeSession) Break(why string)          { s.note("break: " + why) }
func (s *fakeSession) Leave()                    { s.note("leave") }
func (s *fakeSession) Alive()                    { s.mu.Lock(); s.alive++; s.mu.Unlock() }
func (s *fakeSession) Goodbye(_ context.Context, keys ...rollcall.Key) error {
	s.note(fmt.Sprint("goodbye ", len(keys)))
	return nil
}

func (s *fakeSession) Register(_ context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
	i.Normalize()
	if s.takes != nil {
		s.takes(&i)
	}
	return i, true, nil
}

func (s *fakeSession) Report(ctx context.Context, key rollcall.Key, _ *rollcall.Report) (rollcall.Renewal, error) {
	if s.does != nil {
		s.does(ctx)
	}
	return rollcall.Renewal{TTL: rollcall.Duration(s.TTL())}, nil
}

// inMemory serves a core without a network, and returns a client of it. What it
// returns last stops the server and waits for it.
func inMemory(t testing.TB, core *fakeCore, o grpcapi.Options) (pb.RegistryClient, *grpcapi.Server, func()) {
	t.Helper()
	conn, s, stop := connected(t, core, o)
	return pb.NewRegistryClient(conn), s, stop
}

func connected(t testing.TB, core *fakeCore, o grpcapi.Options, dial ...grpc.DialOption) (*grpc.ClientConn, *grpcapi.Server, func()) {
	t.Helper()
	o.Sessions = core
	s := grpcapi.New(core, o)
	l := bufconn.Listen(64 << 10)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///", append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	return conn, s, func() {
		s.End()
		conn.Close()
		within, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(within)
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
