package client

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall/client/internal/address"
)

// DefaultAddress is where a server listens unless it is told otherwise.
const DefaultAddress = "127.0.0.1:7070"

const defaultPort = "7070"

// DefaultTimeout is how long a call may take, beside what it asks the server
// to wait.
const DefaultTimeout = 10 * time.Second

// Client is a connection to a registry. Its methods may be called at the same
// time from any goroutine.
type Client struct {
	servers []address.Server
	last    atomic.Int32 // index of the server that answered last
	http    *http.Client
	owned   *http.Transport // the transport that Dial made, or nil
	token   string
	log     *slog.Logger
	timeout time.Duration
	acks    bool // see WithAcks

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
// kept, registrations made again, watches resumed. The default is silence.
func WithLogger(l *slog.Logger) Option { return func(c *Client) { c.log = l } }

// WithTimeout replaces [DefaultTimeout]. It must be above 0.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithTransport sends requests through rt, for example one with credentials
// for TLS. The client does not close it.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *Client) { c.http.Transport, c.owned = rt, nil }
}

// Dial returns a client for the servers at addr: one "host", "host:port" or
// URL, or several, separated by commas, of which the one that answers is used.
// An empty addr is [DefaultAddress]. Dial does no I/O: a server that is not
// there shows in the first call.
func Dial(addr string, opts ...Option) (*Client, error) {
	servers, err := address.Parse(addr, DefaultAddress, defaultPort)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	c := &Client{
		servers: servers,
		http: &http.Client{
			Transport: transport,
			// The API never redirects; following one would show the token to
			// whoever sent it.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		owned:   transport,
		log:     slog.New(slog.DiscardHandler),
		timeout: DefaultTimeout,
	}
	c.life, c.end = context.WithCancel(context.Background())
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Close stops keeping leases, waits until that has ended, and closes the
// client's idle connections. It deregisters nothing: that is
// [Registration.Close], which comes before.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.keepers.Wait()
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
	return nil
}
