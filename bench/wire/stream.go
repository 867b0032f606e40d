package wire

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lineKept is how much of a line a stream gives: enough to tell what it is about.
const lineKept = 2048

// Streams is a number of connections that each send one request and then read what comes,
// as long as it comes: one thread for all of them.
type Streams struct {
	Addr    string // host:port
	Conns   int
	Request func(i int) []byte // of connection i
	Buffer  int                // for what was not read yet, in bytes; 0 is what the system takes
	Keep    bool               // keep connections whose reply is whole
	// Line is told of each line of a body, or of its first 2 KiB, and when it was there.
	Line func(i int, line []byte, at time.Time)
	// Read is told how many bytes came; it may be nil.
	Read func(i int, n int)
	// Ended is told of a connection that the server has closed, or that has failed.
	Ended func(i int, err error)

	epoll   int
	streams []stream
	stop    int // an eventfd
	events  [512]unix.EpollEvent
	scratch []byte
}

type stream struct {
	conn
	line []byte // of a line that came in pieces
}

// Open connects and sends the requests.
func (s *Streams) Open() error {
	addr, err := net.ResolveTCPAddr("tcp4", s.Addr)
	if err != nil {
		return err
	}
	peer := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if s.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, s.stop, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return err
	}
	s.scratch = make([]byte, 256<<10)
	s.streams = make([]stream, s.Conns)
	for i := range s.streams {
		if err := s.open(i, peer); err != nil {
			return fmt.Errorf("connection %d to %s: %w", i, s.Addr, err)
		}
	}
	return nil
}

// open makes one connection: a blocking one until its request is sent.
func (s *Streams) open(i int, peer unix.Sockaddr) (err error) {
	c := &s.streams[i]
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if s.Buffer > 0 {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, s.Buffer); err != nil {
			return err
		}
	}
	if err := unix.Connect(c.fd, peer); err != nil {
		return err
	}
	c.out = s.Request(i)
	if err := c.flush(); err != nil {
		return err
	}
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return err
	}
	c.busy = true
	c.parser.body = func(piece []byte) { s.body(i, piece) }
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i),
	})
}

// Run reads until Stop.
func (s *Streams) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(s.epoll), uintptr(unsafe.Pointer(&s.events)),
			uintptr(len(s.events)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		for _, e := range s.events[:n] {
			if e.Fd < 0 {
				return nil
			}
			s.event(int(e.Fd))
		}
	}
}

// event reads what a connection has.
func (s *Streams) event(i int) {
	c := &s.streams[i]
	for c.fd >= 0 {
		n, err := unix.Read(c.fd, s.scratch)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
			continue
		case err != nil:
			s.end(i, err)
			return
		case n == 0:
			s.end(i, nil)
			return
		}
		if s.Read != nil {
			s.Read(i, n)
		}
		done, _, err := c.parser.feed(s.scratch[:n])
		if err == nil && c.parser.state != inHead && !c.parser.reply.OK() {
			err = statusError(c.parser.reply.Status)
		}
		if done && s.Keep && err == nil {
			c.parser.reset()
		} else if done || err != nil {
			s.end(i, err)
		}
	}
}

func (s *Streams) end(i int, err error) {
	s.streams[i].close()
	if s.Ended != nil {
		s.Ended(i, err)
	}
}

// body cuts pieces of a body into lines.
func (s *Streams) body(i int, piece []byte) {
	c := &s.streams[i]
	for {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			c.line = append(c.line, piece[:min(len(piece), lineKept-len(c.line))]...)
			return
		}
		line := piece[:end]
		if len(c.line) > 0 {
			c.line = append(c.line, line[:min(len(line), lineKept-len(c.line))]...)
			line = c.line
		}
		s.Line(i, line[:min(len(line), lineKept)], time.Now())
		c.line = nil // few lines come in pieces, and 10,000 buffers are much
		piece = piece[end+1:]
	}
}

// Stop makes Run return.
func (s *Streams) Stop() {
	one := [8]byte{1}
	unix.Write(s.stop, one[:])
}

// Close closes the connections. Run must have returned.
func (s *Streams) Close() {
	for i := range s.streams {
		s.streams[i].close()
	}
	unix.Close(s.epoll)
	unix.Close(s.stop)
}
