package dns

import (
	"time"

	"golang.org/x/sys/unix"
)

// socket is one socket with its queries under way.
type socket struct {
	fd      int
	queries []query
	spare   []uint16 // of the queries, those that are not under way
	out     []byte   // what is to be sent: queries of one length, one behind the other
	each    int      // that length
	whole   bool     // the kernel cuts it up
}

// query is one query under way, at a place of its own. The low bits of its id say which.
type query struct {
	id   uint16
	busy bool
	due  time.Duration
	text []byte
}

// most is how many queries the kernel takes in one piece.
const most = 64

// buffers is what sockets may hold, in bytes.
const buffers = 4 << 20

func (s *socket) open(peer unix.Sockaddr, flight, each int) (err error) {
	if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	s.queries, s.each = make([]query, flight), each
	for i := range s.queries {
		s.queries[i].id = uint16(i)
		s.spare = append(s.spare, uint16(i))
	}
	// What the kernel does not grant is done without.
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffers)
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffers)
	s.whole = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, each) == nil
	return unix.Connect(s.fd, peer)
}

// take returns a query that is not under way, with another id than before; nil if all are.
func (s *socket) take(due time.Duration) *query {
	if len(s.spare) == 0 {
		return nil
	}
	q := &s.queries[s.spare[len(s.spare)-1]]
	s.spare = s.spare[:len(s.spare)-1]
	q.id += uint16(len(s.queries))
	q.busy, q.due = true, due
	return q
}

// under returns the query under way that has an id; nil if there is none.
func (s *socket) under(id uint16) *query {
	if q := &s.queries[int(id)%len(s.queries)]; q.busy && q.id == id {
		return q
	}
	return nil
}

func (s *socket) done(q *query) {
	q.busy = false
	s.spare = append(s.spare, q.id%uint16(len(s.queries)))
}

// flush sends what the socket takes.
func (s *socket) flush() error {
	for len(s.out) > 0 {
		n := s.each
		if s.whole {
			n = min(most*s.each, len(s.out))
		}
		switch _, err := unix.Write(s.fd, s.out[:n]); err {
		case nil:
			s.out = s.out[:copy(s.out, s.out[n:])]
		case unix.EAGAIN, unix.ENOBUFS:
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
	return nil
}
