package socket

import (
	"context"
	"encoding/binary"
	"iter"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// idleBuffer is what a connection reads into while no longer query comes, in bytes.
	idleBuffer = 1 << 10
	// frameHead is the length before a message.
	frameHead = 2
	// flushAt is how many bytes of answers are not held back for more.
	flushAt = 32 << 10
	// slowOfConn is how many answers that take long one connection has under way.
	slowOfConn = 64
)

// conn is a TCP connection.
type conn struct {
	*net.TCPConn
	s    *Server
	src  Source
	key  netip.Addr // of its source
	a    *answerer
	in   inbox
	slow atomic.Int32
	late sync.WaitGroup // answers that take long
	mu   sync.Mutex     // held while writing
}

// accept takes connections.
func (s *Server) accept() {
	for {
		c, err := s.tcp.AcceptTCP()
		if err != nil {
			if !s.pause(err) {
				return
			}
			continue
		}
		s.admit(c)
	}
}

// admit serves a connection unless there are too many.
func (s *Server) admit(tc *net.TCPConn) {
	from, to := addrPort(tc.RemoteAddr()), addrPort(tc.LocalAddr())
	c := &conn{TCPConn: tc, s: s, src: Source{From: from, To: to.Addr(), TCP: true}, key: sourceOf(from.Addr())}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() || len(s.conns) >= s.o.Connections || s.from[c.key] >= s.perSource(from.Addr()) {
		tc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.from[c.key]++
	s.work.Go(c.serve)
}

// perSource returns how many connections a source may have.
func (s *Server) perSource(a netip.Addr) int {
	switch {
	case s.o.PerSource > 0:
		return s.o.PerSource
	case a.IsLoopback():
		return s.o.Connections
	}
	return mostPerSource
}

// forget ends what admit began.
func (s *Server) forget(c *conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.from[c.key]--; s.from[c.key] == 0 {
		delete(s.from, c.key)
	}
}

// sourceOf returns what counts as one source: an IPv4 address or an IPv6 /64.
func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// rooms are for the answers of connections that have some.
var rooms = sync.Pool{New: func() any { return new([frameHead + maxMessage + flushAt]byte) }}

// serve answers the queries of a connection until it fails, is closed, sends no whole
// query for too long or takes no answers, or the server ends.
func (c *conn) serve() {
	defer c.s.forget(c)
	defer c.late.Wait()
	c.a = c.s.answerer()
	read := c.Read
	for {
		// A query has to be whole some time after the one before, not just to go on coming.
		c.SetReadDeadline(time.Now().Add(c.s.o.idle))
		if c.s.ended() || !c.in.fill(read) || !c.answer() {
			return
		}
	}
}

// inbox is what came of queries and is not answered yet.
type inbox struct{ b []byte }

// fill reads until there is a whole query; false is that there will be none.
func (in *inbox) fill(read func([]byte) (int, error)) bool {
	for {
		_, size, whole := frame(in.b)
		if whole {
			return true
		}
		switch room := cap(in.b); {
		case len(in.b) == 0 && room != idleBuffer:
			in.b = make([]byte, 0, idleBuffer)
		case len(in.b) == room: // no faster than it comes
			in.b = append(make([]byte, 0, min(size, 2*room)), in.b...)
		}
		n, err := read(in.b[len(in.b):cap(in.b)])
		if in.b = in.b[:len(in.b)+n]; err != nil && n == 0 {
			return false
		}
	}
}

// whole returns the queries that are whole, and keeps the rest. They are valid until the
// next fill.
func (in *inbox) whole() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := in.b
		for {
			query, size, whole := frame(rest)
			if !whole {
				break
			}
			if rest = rest[size:]; !yield(query) {
				break
			}
		}
		in.b = in.b[:copy(in.b, rest)]
	}
}

// frame returns the first message of b, if it is whole, and how many bytes it takes up
// with its length, as far as that is known.
func frame(b []byte) (message []byte, size int, whole bool) {
	if len(b) < frameHead {
		return nil, frameHead, false
	}
	size = frameHead + int(binary.BigEndian.Uint16(b))
	if len(b) < size {
		return nil, size, false
	}
	return b[frameHead:size], size, true
}

// answer answers all queries that are whole, and reports whether the connection lasts.
func (c *conn) answer() bool {
	room := rooms.Get().(*[frameHead + maxMessage + flushAt]byte)
	defer rooms.Put(room)
	out := room[:0]
	for query := range c.in.whole() {
		at := len(out) + frameHead
		answer, later := c.a.answer(room[at:at], query, c.src)
		switch {
		case later != nil:
			c.later(later)
		case len(answer) > 0 && len(answer) <= maxMessage:
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(answer))), answer...)
		}
		if len(out) >= flushAt {
			if !c.write(out) {
				return false
			}
			out = room[:0]
		}
	}
	return len(out) == 0 || c.write(out)
}

// write writes whole messages with their lengths.
func (c *conn) write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.SetWriteDeadline(time.Now().Add(c.s.o.write))
	_, err := c.Write(b)
	if err != nil {
		c.Close() // half a message may be written
	}
	return err == nil
}

// later has an answer written when it is there.
func (c *conn) later(find func(context.Context) []byte) {
	c.late.Add(1)
	send := func(answer []byte) {
		defer c.late.Done()
		defer c.slow.Add(-1)
		if len(answer) > 0 && len(answer) <= maxMessage {
			c.write(append(binary.BigEndian.AppendUint16(make([]byte, 0, frameHead+len(answer)), uint16(len(answer))), answer...))
		}
	}
	if c.slow.Add(1) > slowOfConn {
		c.s.refuse(find, send)
		return
	}
	c.s.later(find, send)
}
