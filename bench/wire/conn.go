package wire

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one connection, with at most one request under way.
type conn struct {
	fd         int
	connecting bool
	busy       bool   // a request is under way
	out        []byte // the request; what is sent is cut off
	buf        []byte // where it was made
	tag        int
	intended   time.Duration // when the request should have been sent, since the start
	parser     parser
}

// open begins to connect. The socket reports when it has.
func (c *conn) open(epoll int, index int32, peer unix.Sockaddr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd, c.connecting = fd, true
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.Connect(fd, peer); err != nil && err != unix.EINPROGRESS {
		return err
	}
	// Edge-triggered, so that nothing has to be changed from request to request.
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: index,
	})
}

func (c *conn) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	c.fd, c.busy, c.connecting = -1, false, false
}

// connected finds out how connecting ended.
func (c *conn) connected() error {
	c.connecting = false
	n, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// begin sends a request.
func (c *conn) begin(s *Source, start time.Time, intended time.Duration) error {
	c.buf, c.tag = s.Next(c.buf[:0])
	if s.Due != nil {
		s.Due(c.tag, start.Add(intended))
	}
	c.out, c.busy, c.intended = c.buf, true, intended
	c.parser.reset()
	return c.flush()
}

// flush sends what the socket takes.
func (c *conn) flush() error {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		switch err {
		case nil:
			c.out = c.out[n:]
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
	return nil
}

var errUnasked = errors.New("the server sent more than it was asked for")

// receive reads what is there; done says that a reply is whole. With an error the
// connection is of no more use, also if a reply is whole. ended says that the server has
// closed its side: then there is something to read until read says so.
func (c *conn) receive(scratch []byte, ended bool) (done bool, err error) {
	for {
		n, err := unix.Read(c.fd, scratch)
		switch {
		case err == unix.EAGAIN:
			return done, nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, err
		case n == 0:
			return done || c.busy && c.parser.ended(), io.ErrUnexpectedEOF
		case done || !c.busy:
			return done, errUnasked
		}
		var rest []byte
		if done, rest, err = c.parser.feed(scratch[:n]); err != nil {
			return false, err
		}
		if len(rest) > 0 {
			return done, errUnasked
		}
		if n < len(scratch) && !ended { // all that was there; more raises another edge
			return done, nil
		}
	}
}
