// Package rpc speaks the gRPC API to the servers of a registry. A client has one
// connection to each, made when it is needed; of streams there is one for all
// watches, one for all renewals, and one for each session.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// Config says how to speak to whom.
type Config struct {
	Servers []address.Server // at least one
	Token   string           // none if it is empty
	Timeout time.Duration    // of a call, beside what it asks the server to wait
	Options []grpc.DialOption
}

// Client is a [wire.Protocol].
type Client struct {
	timeout  time.Duration
	servers  []*server
	turn     *wire.Turn
	watches  shared[*watches]
	renewals shared[*renewals]

	life context.Context // of all streams
	end  context.CancelFunc

	mu     sync.Mutex // guards closed, so that no task begins once Close waits
	closed bool
	tasks  sync.WaitGroup // what runs in the background
}

var errClosed = errors.New("the client is closed")

// New returns a client. It does no I/O.
func New(c Config) *Client {
	r := &Client{timeout: c.Timeout, turn: wire.NewTurn(len(c.Servers))}
	r.life, r.end = context.WithCancel(context.Background())
	options := append([]grpc.DialOption{
		grpc.WithUserAgent("rollcall-go"),
		// Answers have no limit of their own, and a state of a watch comes in parts.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
		grpc.WithDisableServiceConfig(),
		// Pauses between attempts are the business of who makes them; these keep
		// many of those from trying each for itself.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Of a peer that is gone the streams hear sooner; this is for calls.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 4 * time.Second}),
	}, c.Options...)
	if c.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(c.Token)))
	}
	for _, s := range c.Servers {
		over := insecure.NewCredentials()
		if s.TLS {
			over = credentials.NewTLS(&tls.Config{})
		}
		r.servers = append(r.servers, &server{Server: s, options: append([]grpc.DialOption{grpc.WithTransportCredentials(over)}, options...)})
	}
	return r
}

// Close implements [wire.Protocol].
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.tasks.Wait()
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// task runs f in the background, for which Close waits.
func (c *Client) task(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.tasks.Go(f)
	return nil
}

// bearer is a token, sent with every call.
type bearer string

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity says that a token may go over a plain connection, as
// it does over HTTP.
func (b bearer) RequireTransportSecurity() bool { return false }

// server is one of a client's servers, and its connection.
type server struct {
	address.Server
	options []grpc.DialOption

	mu     sync.Mutex
	conn   *grpc.ClientConn // nil before it is needed, and after it was given up
	closed bool
}

// connection returns the connection, which need not be there yet.
func (s *server) connection() (*grpc.ClientConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.conn == nil {
		conn, err := grpc.NewClient("passthrough:///"+s.Host, s.options...)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	return s.conn, nil
}

// giveUp closes a connection over which nothing was heard for too long, so that
// the next call makes another.
func (s *server) giveUp(conn *grpc.ClientConn) {
	s.mu.Lock()
	if s.conn == conn {
		s.conn = nil
	}
	s.mu.Unlock()
	conn.Close() // fails only if it was closed before
}

func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

// call makes a call at the server that answered last, or at another that does
// better.
func call[Q, A any](ctx context.Context, c *Client, wait time.Duration, q *Q,
	f func(rollcallpb.RegistryClient, context.Context, *Q, ...grpc.CallOption) (*A, error),
) (a *A, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+max(wait, 0))
	defer cancel()
	err = c.turn.Ask(ctx, func(i int) error {
		s := c.servers[i]
		conn, err := s.connection()
		if err != nil {
			return err
		}
		if a, err = f(rollcallpb.NewRegistryClient(conn), ctx, q); err != nil {
			return failure(ctx, s.Name, false, err)
		}
		return nil
	})
	return a, err
}
