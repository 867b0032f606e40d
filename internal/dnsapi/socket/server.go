package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Source is where a query came from.
type Source struct {
	From netip.AddrPort // an IPv4 address is one, even where it came to an IPv6 socket; without a zone
	To   netip.Addr     // the address it was sent to; invalid if not known
	TCP  bool
}

// Handler answers queries.
type Handler interface {
	// Answer appends the answer to a query to b and returns it; empty is none. It must
	// not wait. If later is not nil, the answer takes long: later is called on another
	// goroutine and returns it; empty is none. So many are under way at once and no more:
	// beyond that it is called here, with a context that is done, which its context is as
	// well when a server that ends has waited long enough.
	//
	// Neither b nor query is the handler's when Answer has returned: what later needs of
	// them is copied by then. An answer of more than 65,535 bytes is dropped. A handler is
	// used by one goroutine at a time, but what it returned as later runs beside it. If it
	// panics, that is logged, the query is answered with SERVFAIL, and another handler takes
	// its place; after a panic of later there is no answer.
	Answer(b, query []byte, from Source) (answer []byte, later func(ctx context.Context) []byte)
}

// Expecter is a handler that wants to know of all queries that have come before it is
// asked for the answer to the first: it may have what it needs for them brought near. It
// may look at them only until it returns.
type Expecter interface {
	Expect(queries [][]byte)
}

// Options are what a server is made of.
type Options struct {
	Addr    string         // host:port; port 0 is a free one, the same for UDP and TCP
	Workers int            // UDP sockets; 0: one for each processor. Where the system does not spread queries over them, there is one
	Handler func() Handler // one for each worker and each TCP connection; called by any of them
	Logger  *slog.Logger   // nil: nothing is logged

	// Connections and PerSource are the most TCP connections that are open at once, in
	// all and from one address (of IPv6, one /64); 0: 1,000, and 100 from other machines:
	// all programs of this one have the same address. One that comes beyond that is closed.
	Connections, PerSource int

	idle  time.Duration // what a connection may be without a whole query; 0: idleTimeout
	write time.Duration // what a peer may take to receive answers; 0: writeTimeout
	slow  int           // answers that take long, under way at once; 0: mostSlow
	alone bool          // packets go one by one, as where the system has no other way
}

const (
	idleTimeout  = 10 * time.Second
	writeTimeout = 5 * time.Second
	mostSlow     = 1000

	mostConnections, mostPerSource = 1000, 100
	mostSockets                    = 64
)

// maxMessage is the longest message of DNS, in bytes.
const maxMessage = 1<<16 - 1

// Server is a pair of listeners, UDP and TCP. Its methods may be called at once by any
// number of goroutines.
type Server struct {
	o      Options
	tcp    *net.TCPListener
	udp    []*net.UDPConn
	ending chan struct{}      // closed by Shutdown
	ctx    context.Context    // of answers that take long
	cancel context.CancelFunc // of ctx
	slow   chan struct{}      // has one for each of them under way
	work   sync.WaitGroup     // all goroutines

	mu     sync.Mutex    // guards what follows, and ending's being closed
	served chan struct{} // closed at the end of Serve; nil before it
	conns  map[*conn]struct{}
	from   map[netip.Addr]int // connections of a source
}

// Listen opens the sockets of a server, whose queries wait until [Server.Serve].
func Listen(o Options) (*Server, error) {
	o.Workers = min(cmp.Or(o.Workers, runtime.GOMAXPROCS(0)), mostSockets)
	o.Connections = cmp.Or(o.Connections, mostConnections)
	o.idle, o.write, o.slow = cmp.Or(o.idle, idleTimeout), cmp.Or(o.write, writeTimeout), cmp.Or(o.slow, mostSlow)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		o: o, ending: make(chan struct{}), slow: make(chan struct{}, o.slow),
		conns: map[*conn]struct{}{}, from: map[netip.Addr]int{},
	}
	var err error
	if s.tcp, s.udp, err = open(o.Addr, o.Workers); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// portTries is how often a port is looked for that is free for UDP and TCP.
const portTries = 20

// open opens the listener and n UDP sockets on the same port.
func open(addr string, n int) (*net.TCPListener, []*net.UDPConn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		us, err := openUDP(l.Addr().String(), n)
		if err == nil {
			return l.(*net.TCPListener), us, nil
		}
		l.Close()
		if port != "0" || try == portTries {
			return nil, nil, err
		}
	}
}

// openUDP opens up to n sockets on one address. The first is bound as any socket is, so
// that it fails where another program has the port; then others may share it.
func openUDP(addr string, n int) (us []*net.UDPConn, err error) {
	for len(us) < n {
		share := len(us) > 0
		if share && !sharing {
			break
		}
		c := net.ListenConfig{}
		if share {
			c.Control = shared
		}
		p, err := c.ListenPacket(context.Background(), "udp", addr)
		if err == nil {
			us = append(us, p.(*net.UDPConn))
			err = prepare(us[len(us)-1])
		}
		if err != nil {
			for _, u := range us {
				u.Close()
			}
			return nil, err
		}
	}
	return us, nil
}

// receiveBuffer is what a UDP socket holds of queries that have not been read, in
// bytes of the system's, of which a query takes about 800: some 5,000, which is what
// comes in the time that a pause of the process may take.
const receiveBuffer = 4 << 20

// Addr returns the address that the server listens on, as host:port.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Serve answers queries until [Server.Shutdown] ends it, and then returns nil. It is
// called once.
func (s *Server) Serve() error {
	s.mu.Lock()
	if s.ended() {
		s.mu.Unlock()
		return nil
	}
	s.served = make(chan struct{})
	defer close(s.served)
	s.work.Go(s.accept)
	for _, u := range s.udp {
		s.work.Go(func() { s.packets(u) })
	}
	s.mu.Unlock()
	s.work.Wait()
	return nil
}

// Shutdown ends the server: it reads no more queries, and closes all sockets when those
// that it has read are answered or ctx is done.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	if !s.ended() {
		close(s.ending)
	}
	s.tcp.Close()
	for _, u := range s.udp {
		u.SetReadDeadline(past)
	}
	for c := range s.conns {
		c.SetReadDeadline(past)
	}
	served := s.served
	s.mu.Unlock()
	if served != nil {
		select {
		case <-served:
		case <-ctx.Done():
		}
	}
	s.close()
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// close closes all sockets, and has answers that take long given up.
func (s *Server) close() {
	s.cancel()
	s.tcp.Close()
	for _, u := range s.udp {
		u.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// ended reports whether the server is ending.
func (s *Server) ended() bool {
	select {
	case <-s.ending:
		return true
	default:
		return false
	}
}

// pause waits after an error that may last, so that the processor has something else
// to do; it reports false if the server ended.
func (s *Server) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) || s.ended() {
		return false
	}
	s.o.Logger.Warn("a DNS socket fails; it is tried again", "addr", s.Addr(), "err", err)
	select {
	case <-s.ending:
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// answerer is a handler that survives.
type answerer struct {
	Handler
	s *Server
}

func (s *Server) answerer() *answerer { return &answerer{s.o.Handler(), s} }

// answer asks the handler.
func (a *answerer) answer(b, query []byte, from Source) (answer []byte, later func(context.Context) []byte) {
	defer func() {
		if p := recover(); p != nil {
			a.s.panicked(p)
			answer, later = appendFailure(b, query), nil
			a.Handler = a.s.o.Handler()
		}
	}()
	return a.Answer(b, query, from)
}

// expect tells the handler of several queries, if it wants to know.
func (a *answerer) expect(queries [][]byte) {
	e, ok := a.Handler.(Expecter)
	if !ok || len(queries) < 2 {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			a.s.panicked(p)
			a.Handler = a.s.o.Handler()
		}
	}()
	e.Expect(queries)
}

func (s *Server) panicked(p any) {
	s.o.Logger.Error("a handler of DNS queries panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// appendFailure appends SERVFAIL to b: the query, said to be that.
func appendFailure(b, query []byte) []byte {
	const header, qr, opcodeAndRD, cd, servfail = 12, 0x80, 0x79, 0x10, 2
	if len(query) < header || query[2]&qr != 0 {
		return b
	}
	n := len(b)
	b = append(b, query...)
	b[n+2] = b[n+2]&opcodeAndRD | qr
	b[n+3] = b[n+3]&cd | servfail
	return b
}

// later has an answer that takes long found and sent, on a goroutine of its own if there
// is room for one.
func (s *Server) later(find func(context.Context) []byte, send func(answer []byte)) {
	select {
	case s.slow <- struct{}{}:
		s.work.Go(func() {
			defer func() { <-s.slow }()
			s.find(s.ctx, find, send)
		})
	default:
		s.refuse(find, send)
	}
}

// refuse has an answer found for which there is no time.
func (s *Server) refuse(find func(context.Context) []byte, send func(answer []byte)) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.find(ctx, find, send)
}

func (s *Server) find(ctx context.Context, find func(context.Context) []byte, send func(answer []byte)) {
	var answer []byte
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			answer = nil
		}
		send(answer)
	}()
	answer = find(ctx)
}
