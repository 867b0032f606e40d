package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/local"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
	"github.com/rollcall-registry/rollcall/client/internal/rpc"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// DefaultAddress is where a server listens unless it is told otherwise.
const DefaultAddress = "127.0.0.1:7070"

// DefaultTimeout is how long a call may take, beside what it asks the server
// to wait.
const DefaultTimeout = 10 * time.Second

// Client is a connection to a registry. Its methods may be called at the same
// time from any goroutine.
type Client struct {
	wire wire.Protocol
	http *rest.Client // for the calls that only HTTP has

	// What options set, before the two above are made.
	token     string
	log       *slog.Logger
	timeout   time.Duration
	transport http.RoundTripper
	dial      []grpc.DialOption
	acks      bool
	local     *local.Local

	// life ends with Close; mu guards closed, so that no registration begins
	// to be kept once Close waits for those that are, and session, nil if no
	// registration is kept by one.
	life    context.Context
	end     context.CancelFunc
	mu      sync.Mutex
	closed  bool
	session *session
	keepers sync.WaitGroup
}

// Option changes what [Dial] returns.
type Option func(*Client)

// WithToken sends a bearer token with every request.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithLogger is told what goes on in the background: leases that cannot be
// kept, registrations made again, watches broken and resumed. The default is silence.
func WithLogger(l *slog.Logger) Option { return func(c *Client) { c.log = l } }

// WithTimeout replaces [DefaultTimeout]. It must be above 0.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithTransport sends HTTP requests through rt, for example one with credentials
// for TLS. The client does not close it. A client of gRPC makes some calls over
// HTTP, too; see [Dial].
func WithTransport(rt http.RoundTripper) Option { return func(c *Client) { c.transport = rt } }

// WithDialOptions makes gRPC connections with more options, for example with
// credentials for TLS, which go before what the address asks for. What an operator's
// calls need goes into [WithTransport].
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(c *Client) { c.dial = append(c.dial, opts...) }
}

// WithAcks has watches over HTTP say what they were told, once the loop over them
// asks for the next event. A drain that waits for its watchers then waits until
// the loop has acted on it; without, only until it has arrived at this machine,
// which may be some milliseconds earlier if that is busy. It costs a request for
// each change that a watch is told of. Over gRPC it costs next to nothing and is
// always done.
func WithAcks() Option { return func(c *Client) { c.acks = true } }

// Dial returns a client for the servers at addr: one address, or several that
// are separated by commas, of which the one that answers is used.
//
//	registry:7071, grpc://registry      gRPC; without a scheme that is what port 7071 means
//	grpcs://registry.example            gRPC over TLS, with the system's roots; port 443
//	registry, registry:7070             HTTP; without a scheme that is what any other port means
//	http://…, https://…                 HTTP, if need be below a path
//
// All are of one protocol. An empty addr is [DefaultAddress]. A client of gRPC asks
// what only operators ask (everything but Put, Register, Keep, RegisterMany,
// Heartbeat, RenewMany, Deregister, Drain, Resolve, Why, Observe and Watch) by HTTP at
// the same address, at which servers speak both.
//
// Dial does no I/O and never waits: a server that is not there shows in the first
// call, and connections are made when they are needed.
func Dial(addr string, opts ...Option) (*Client, error) {
	servers, err := address.Parse(addr, DefaultAddress)
	if err != nil {
		return nil, err
	}
	c := &Client{log: slog.New(slog.DiscardHandler), timeout: DefaultTimeout}
	c.local = newLocal(c)
	c.life, c.end = context.WithCancel(context.Background())
	for _, o := range opts {
		o(c)
	}
	if n := c.local.Subset; n != 0 && n < leastSubset {
		return nil, rollcall.Invalid("subset", fmt.Sprintf("is of %d instances at least, or of all", leastSubset))
	}
	c.http = rest.New(rest.Config{
		Servers: servers, Token: c.token, Timeout: c.timeout, Transport: c.transport, Log: c.log,
	})
	if c.wire = c.http; servers[0].GRPC {
		c.wire = rpc.New(rpc.Config{Servers: servers, Token: c.token, Timeout: c.timeout, Options: c.dial})
	}
	return c, nil
}

// Close stops keeping leases and views, waits until that has ended, ends watches, and
// closes the client's connections, or over HTTP the idle ones. It deregisters nothing:
// that is [Registration.Close], which comes before.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.local.Close() // before the watches that its views come from
	c.end()
	c.keepers.Wait()
	return errors.Join(c.wire.Close(), c.http.Close())
}
