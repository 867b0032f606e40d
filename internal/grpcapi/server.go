package grpcapi

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/tap"

	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/aside"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/sender"
)

// Options configure a [Server]. Zero values are the defaults.
type Options struct {
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // of this door's metrics; nil: none
	Sessions   Sessions              // of the core; nil: there are none

	MaxMessage       int           // bytes of a message, default 64 KiB
	MaxBatchMessage  int           // bytes of one that holds many, default 4 MiB
	MaxBatch         int           // items in one that holds many, default 10,000
	MaxSession       int           // instances of one session, default 1,000
	MaxSubscriptions int           // of one stream, default 10,000
	OpenTimeout      time.Duration // for the message of a call to arrive, or the first of a session, default 10 s
	WriteTimeout     time.Duration // for a reader to take what it is sent, default 30 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	or := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	or(&o.MaxMessage, 64<<10)
	or(&o.MaxBatchMessage, 4<<20)
	or(&o.MaxBatch, 10_000)
	or(&o.MaxSession, 1000)
	or(&o.MaxSubscriptions, 10_000)
	if o.OpenTimeout == 0 {
		o.OpenTimeout = 10 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	return o
}

// Server serves the API. It may be called by any goroutine.
type Server struct {
	reg     Registry
	o       Options
	metrics *metrics
	grpc    *grpc.Server
	health  *health.Server
	began   time.Time

	apart   sync.WaitGroup // what receives beside its handler
	aside   *aside.Pool    // for what is received seldom
	senders *sender.Pool   // of watches

	stopping context.Context // ends when the server stops
	stop     context.CancelFunc
}

// Bounds of a connection and of the streams on it.
const (
	mostStreams   = 256 // on one connection
	mostHeaders   = 16 << 10
	handshakeTime = 5 * time.Second
	// pingsEvery is how often clients may send pings without being cut off.
	pingsEvery = 5 * time.Second
	// quietFor is how long nothing may come on a connection until it is asked
	// whether anybody is there, and answerIn how long that may take.
	quietFor = 30 * time.Second
	answerIn = 20 * time.Second
	// connBuffer is how many bytes of a connection are read at once.
	connBuffer = 8 << 10
	// streamWindow is what a client may send on a stream that nobody reads; connWindow
	// what may be on its way on a connection. They stay as they are: to find out what a
	// connection carries would cost each a ping to the client and one back.
	streamWindow = 256 << 10
	connWindow   = 2 << 20
)

// New returns a server of a registry.
func New(reg Registry, o Options) *Server {
	s := &Server{reg: reg, o: o.withDefaults(), health: health.NewServer(), began: time.Now().Add(-1)} // so that no time since is 0
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Registerer, methods())
	s.senders, s.aside = sender.New(s.news), aside.New()

	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.InTapHandle(s.admit),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(s.o.MaxBatchMessage),
		grpc.MaxConcurrentStreams(mostStreams), grpc.MaxHeaderListSize(mostHeaders), grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsEvery, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: quietFor, Timeout: answerIn}),
		grpc.ReadBufferSize(connBuffer),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.WaitForHandlers(true),
	)
	s.grpc.RegisterService(s.describe(methods()), nil) // its handlers know s
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.RegisterV1(s.grpc)
	s.Serving(false)
	return s
}

type cutKey struct{}

// admit gives a stream a principal, and a context that the door can end.
func (s *Server) admit(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cut := context.WithCancelCause(ctx)
	return auth.With(context.WithValue(ctx, cutKey{}, cut), auth.Anonymous("grpc")), nil
}

// Serve accepts connections until the server stops; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != grpc.ErrServerStopped { // before it began
		return err
	}
	return nil
}

// Serving says to those who ask for the server's health whether it serves.
func (s *Server) Serving(on bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if on {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(service, status)
}

// End says that the server stops: sessions are told to go elsewhere, and the core
// is told nothing. Watches and renewals end. It does not wait.
func (s *Server) End() {
	s.health.Shutdown()
	s.stop()
}

// Shutdown waits until the calls under way are over, but not longer than ctx; then
// they are cut off.
func (s *Server) Shutdown(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.o.Logger.Warn("gRPC calls were cut off")
		s.grpc.Stop()
	})
	defer stop()
	s.grpc.GracefulStop()
	s.apart.Wait()
	s.aside.End()
	s.senders.End()
}

func (s *Server) ending() bool { return s.stopping.Err() != nil }
