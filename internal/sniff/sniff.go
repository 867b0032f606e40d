// Package sniff serves two protocols at one address: HTTP/2 whose client knows
// that it is spoken, as those of gRPC do, and whatever else comes. The first bytes
// of a connection decide, because HTTP/2 begins with some that no request of
// HTTP/1 begins with (RFC 9113, 3.4).
package sniff

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// preface is what a connection of HTTP/2 begins with.
const preface = "PRI * HTTP/2.0\r\n"

const (
	// decideWithin is how long the first bytes of a connection may take.
	decideWithin = 5 * time.Second
	// mostUndecided is how many connections may be about to send them: as many as
	// come all at once when a server is back, for whoever is closed or finds the
	// system's queue full comes again, and later. More wait to be accepted for a
	// while; then the one that has been silent for longest is closed.
	mostUndecided = 4 << 10
	waitForRoom   = 50 * time.Millisecond
)

// Splitter hands out the connections of a listener by their protocol.
type Splitter struct {
	listener net.Listener
	within   time.Duration
	http2    side
	other    side
	room     chan struct{} // one for each that is undecided
	done     chan struct{} // closed with the listener
	once     sync.Once     // closes done

	mu        sync.Mutex             // guards what follows
	undecided map[net.Conn]time.Time // since when
	deciding  sync.WaitGroup
}

// Split returns a splitter of l, which belongs to it from then on. Have [Splitter.Run]
// running.
func Split(l net.Listener) *Splitter {
	s := &Splitter{
		listener: l, within: decideWithin, room: make(chan struct{}, mostUndecided), done: make(chan struct{}), undecided: map[net.Conn]time.Time{},
	}
	for _, l := range []*side{&s.http2, &s.other} {
		*l = side{s: s, conns: make(chan net.Conn), done: make(chan struct{})}
	}
	return s
}

// HTTP2 returns a listener for the connections that begin as HTTP/2 does. Once it
// and the other one are closed, the splitter is.
func (s *Splitter) HTTP2() net.Listener { return &s.http2 }

// Other returns a listener for all other connections.
func (s *Splitter) Other() net.Listener { return &s.other }

// Run accepts connections until the splitter is closed; then it returns nil once
// nothing is left of those that were undecided.
func (s *Splitter) Run() error {
	defer s.deciding.Wait()
	defer s.Close()
	for pause := time.Duration(0); ; {
		c, err := s.listener.Accept()
		if err == nil {
			pause = 0
			s.take(c)
			continue
		}
		if s.closed() {
			return nil
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() && !tooMany(err) {
			return err
		}
		if tooMany(err) {
			s.hurry()
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.done:
		}
	}
}

// tooMany reports whether there are too many open files for now.
func tooMany(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

// take has a connection decided on.
func (s *Splitter) take(c net.Conn) {
	for !s.enter() {
		if s.closed() {
			c.Close()
			return
		}
		s.hurry()
	}
	c.SetReadDeadline(time.Now().Add(s.within))
	s.mu.Lock()
	s.undecided[c] = time.Now()
	s.mu.Unlock()
	s.deciding.Go(func() {
		s.decide(c)
		<-s.room
	})
	if s.closed() { // after it looked who there is to be closed
		c.Close()
	}
}

// enter takes a place among the undecided, and reports whether there was one within a
// while.
func (s *Splitter) enter() bool {
	select {
	case s.room <- struct{}{}:
		return true
	default:
	}
	late := time.NewTimer(waitForRoom)
	defer late.Stop()
	select {
	case s.room <- struct{}{}:
		return true
	case <-late.C:
		return false
	}
}

// hurry closes the connection that has been undecided for longest.
func (s *Splitter) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest net.Conn
	for c, since := range s.undecided {
		if oldest == nil || since.Before(s.undecided[oldest]) {
			oldest = c
		}
	}
	if oldest != nil {
		oldest.SetReadDeadline(time.Unix(0, 1))
	}
}

// decide reads the first bytes of a connection and hands it on.
func (s *Splitter) decide(c net.Conn) {
	b := make([]byte, len(preface))
	n, is := 0, true
	for is && n < len(b) {
		got, err := c.Read(b[n:])
		if n += got; err != nil {
			s.decided(c)
			c.Close()
			return
		}
		is = string(b[:n]) == preface[:n]
	}
	s.decided(c)
	c.SetReadDeadline(time.Time{})
	to := &s.other
	if is {
		to = &s.http2
	}
	select {
	case to.conns <- &conn{Conn: c, head: b[:n]}:
	case <-to.done:
		c.Close()
	case <-s.done:
		c.Close()
	}
}

// decided says that a connection is not undecided any more: nobody else sets its deadline.
func (s *Splitter) decided(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.undecided, c)
}

func (s *Splitter) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Close closes the listener and what is undecided. It may be called again.
func (s *Splitter) Close() (err error) {
	s.once.Do(func() {
		close(s.done)
		err = s.listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.undecided {
			c.SetReadDeadline(time.Unix(0, 1)) // which closes it
		}
	})
	return err
}

// side is one of the two listeners.
type side struct {
	s     *Splitter
	conns chan net.Conn
	done  chan struct{} // closed with it
	once  sync.Once     // closes done
}

// Accept implements [net.Listener].
func (l *side) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
	case <-l.s.done:
	}
	return nil, net.ErrClosed
}

// Close implements [net.Listener].
func (l *side) Close() error {
	l.once.Do(func() { close(l.done) })
	for _, side := range []*side{&l.s.http2, &l.s.other} {
		select {
		case <-side.done:
		default:
			return nil
		}
	}
	return l.s.Close()
}

// Addr implements [net.Listener].
func (l *side) Addr() net.Addr { return l.s.listener.Addr() }

// conn is a connection whose first bytes were read.
type conn struct {
	net.Conn
	head []byte // Read returns them first
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.head)
	if c.head = c.head[n:]; len(c.head) == 0 {
		c.head = nil
	}
	return n, nil
}

// SyscallConn implements [syscall.Conn], as far as the connection does.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := c.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite closes the writing side.
func (c *conn) CloseWrite() error {
	if c, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
