package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// Client is a number of connections to a server. All of it belongs to one goroutine,
// which also calls its functions.
type Client struct {
	Addr  string // host:port
	Conns int
	// Message is told of each message and when it was there; it is valid until Message
	// returns.
	Message func(s *Stream, message []byte, at time.Time)
	// Ended is told of a stream that is over; nil is a good end. It may be nil.
	Ended func(s *Stream, err error)

	conns   []conn
	epoll   int
	blocks  map[string][]byte
	dirty   []*conn // that have something to send
	events  [512]unix.EpollEvent
	scratch []byte
}

// conn is one connection.
type conn struct {
	fd      int
	out     []byte // to be sent
	blocked bool   // the socket takes no more
	dirty   bool   // is in Client.dirty
	rest    []byte // of a frame that came in pieces
	next    uint32 // id of the next stream
	streams map[uint32]*Stream
	window  int // bytes that may be sent
	waiting []*Stream
	first   int // what a stream may send at first
	taken   int // bytes that were received since the window was opened
	headers *hpack.Decoder
	err     error // it is over
}

// Stream is one call.
type Stream struct {
	// Value is its owner's, to know it again by.
	Value any
	// At is its owner's, too: when something was sent.
	At time.Time

	client  *Client
	conn    *conn
	id      uint32
	window  int
	pending []byte // waits for windows
	end     bool   // behind what is pending nothing comes
	part    []byte // of a message that came in pieces
	taken   int
	status  string
	text    string
}

// Open connects.
func (c *Client) Open() error {
	addr, err := net.ResolveTCPAddr("tcp4", c.Addr)
	if err != nil {
		return err
	}
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	c.blocks, c.scratch, c.conns = map[string][]byte{}, make([]byte, 256<<10), make([]conn, c.Conns)
	for i := range c.conns {
		if err := c.open(i, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}); err != nil {
			return fmt.Errorf("connection %d to %s: %w", i, c.Addr, err)
		}
	}
	return nil
}

func (c *Client) open(i int, peer unix.Sockaddr) (err error) {
	k := &c.conns[i]
	*k = conn{next: 1, streams: map[uint32]*Stream{}, window: firstWindow, first: firstWindow}
	k.headers = hpack.NewDecoder(4096, nil)
	if k.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(k.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.Connect(k.fd, peer); err != nil {
		return err
	}
	if _, err := unix.Write(k.fd, hello()); err != nil { // at once: servers do not wait long for it
		return err
	}
	if err := unix.SetNonblock(k.fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, k.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i),
	})
}

// Close closes the connections.
func (c *Client) Close() {
	for i := range c.conns {
		if k := &c.conns[i]; k.fd > 0 && k.err == nil {
			unix.Close(k.fd)
		}
	}
	unix.Close(c.epoll)
}

func (c *Client) touch(k *conn) {
	if !k.dirty {
		k.dirty = true
		c.dirty = append(c.dirty, k)
	}
}

// Call begins a call of a method, "/package.Service/Method", on a connection.
func (c *Client) Call(conn int, method string, value any) *Stream {
	k := &c.conns[conn]
	block := c.blocks[method]
	if block == nil {
		block = headers(c.Addr, method)
		c.blocks[method] = block
	}
	s := &Stream{Value: value, client: c, conn: k, id: k.next, window: k.first}
	if k.err != nil {
		c.ended(s, k.err)
		return s
	}
	k.next += 2
	k.streams[s.id] = s
	k.out = append(appendHead(k.out, len(block), frameHeaders, flagEndHeaders, s.id), block...)
	c.touch(k)
	return s
}

// Send sends what [Append] has made: whole messages. It keeps nothing of them.
func (s *Stream) Send(messages []byte) {
	if len(s.pending) == 0 {
		n := s.frames(messages, false)
		if messages = messages[n:]; len(messages) == 0 {
			return
		}
		s.conn.waiting = append(s.conn.waiting, s)
	}
	s.pending = append(s.pending, messages...)
}

// End says that nothing more is sent.
func (s *Stream) End() {
	if len(s.pending) > 0 {
		s.end = true
		return
	}
	s.conn.out = appendHead(s.conn.out, 0, frameData, flagEnd, s.id)
	s.client.touch(s.conn)
}

// frames puts as much into frames as the windows allow.
func (s *Stream) frames(b []byte, end bool) (n int) {
	k := s.conn
	for n < len(b) {
		size := min(len(b)-n, mostFrame, s.window, k.window)
		if size <= 0 {
			break
		}
		flags := byte(0)
		if end && n+size == len(b) {
			flags = flagEnd
		}
		k.out = append(appendHead(k.out, size, frameData, flags, s.id), b[n:n+size]...)
		n += size
		s.window, k.window = s.window-size, k.window-size
	}
	if n > 0 {
		s.client.touch(k)
	}
	return n
}

// resume sends what waited for windows.
func (k *conn) resume() {
	left := k.waiting[:0]
	for _, s := range k.waiting {
		n := s.frames(s.pending, s.end)
		s.pending = append(s.pending[:0], s.pending[n:]...)
		if len(s.pending) > 0 {
			left = append(left, s)
		}
	}
	k.waiting = left
}

// Run sends and receives until a time. due, which may be nil, is called whenever there
// is nothing to read, and returns when to call it again.
func (c *Client) Run(until time.Time, due func(now time.Time) time.Time) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	for {
		now := time.Now()
		if !now.Before(until) {
			return nil
		}
		wake := until
		if due != nil {
			if at := due(now); at.Before(wake) {
				wake = at
			}
		}
		c.flush()
		if err := c.wait(time.Until(wake)); err != nil {
			return err
		}
		c.flush()
	}
}

// wait waits for events, at most so long, and reads what is there.
func (c *Client) wait(most time.Duration) error {
	timeout := unix.NsecToTimespec(int64(max(most, 0)))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(c.epoll), uintptr(unsafe.Pointer(&c.events)),
		uintptr(len(c.events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	if errno == unix.EINTR {
		return nil
	}
	if errno != 0 {
		return errno
	}
	for _, e := range c.events[:n] {
		k := &c.conns[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 && k.blocked {
			k.blocked = false
			c.touch(k)
		}
		if e.Events&^unix.EPOLLOUT != 0 && k.err == nil {
			c.read(k)
		}
	}
	return nil
}

// flush writes what the sockets take.
func (c *Client) flush() {
	for _, k := range c.dirty {
		k.dirty = false
		for len(k.out) > 0 && !k.blocked && k.err == nil {
			n, err := unix.Write(k.fd, k.out)
			switch err {
			case nil:
				k.out = append(k.out[:0], k.out[n:]...)
			case unix.EAGAIN:
				k.blocked = true
			case unix.EINTR:
			default:
				c.broken(k, err)
			}
		}
	}
	c.dirty = c.dirty[:0]
}

// broken ends a connection with all that is on it.
func (c *Client) broken(k *conn, err error) {
	unix.Close(k.fd)
	k.err = err
	for _, s := range k.streams {
		c.ended(s, err)
	}
}

func (c *Client) ended(s *Stream, err error) {
	delete(s.conn.streams, s.id)
	if c.Ended != nil {
		c.Ended(s, err)
	}
}

func (c *Client) read(k *conn) {
	for k.err == nil {
		n, err := unix.Read(k.fd, c.scratch)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = c.take(k, c.scratch[:n], time.Now())
		}
		if err != nil {
			c.broken(k, err)
			return
		}
		if n < len(c.scratch) { // all that was there; more raises another edge
			return
		}
	}
}

// take takes bytes apart into frames.
func (c *Client) take(k *conn, b []byte, at time.Time) error {
	if len(k.rest) > 0 {
		k.rest = append(k.rest, b...)
		b = k.rest
	}
	for len(b) >= frameHead {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if len(b) < frameHead+size {
			break
		}
		if err := c.frame(k, b[3], b[4], binary.BigEndian.Uint32(b[5:]), b[frameHead:frameHead+size], at); err != nil {
			return err
		}
		b = b[frameHead+size:]
	}
	if len(b) == 0 {
		k.rest = nil // few frames come in pieces
	} else {
		k.rest = append([]byte(nil), b...)
	}
	return nil
}

var errGoAway = errors.New("the server said that it goes away")

func (c *Client) frame(k *conn, kind, flags byte, id uint32, b []byte, at time.Time) error {
	s := k.streams[id]
	switch kind {
	case frameData:
		c.data(k, s, b, at)
	case frameHeaders:
		if flags&flagEndHeaders == 0 {
			return errors.New("more headers than expected")
		}
		k.headers.SetEmitFunc(func(f hpack.HeaderField) {
			switch {
			case s != nil && f.Name == "grpc-status":
				s.status = f.Value
			case s != nil && f.Name == "grpc-message":
				s.text = f.Value
			}
		})
		if _, err := k.headers.Write(b); err != nil {
			return err
		}
		if s != nil && flags&flagEnd != 0 {
			c.ended(s, s.err())
		}
	case frameReset:
		if s != nil {
			c.ended(s, fmt.Errorf("the stream was reset: %d", binary.BigEndian.Uint32(b)))
		}
	case frameSettings:
		if flags&flagAck == 0 {
			c.settings(k, b)
		}
	case framePing:
		if flags&flagAck == 0 {
			k.out = append(appendHead(k.out, len(b), framePing, flagAck, 0), b...)
			c.touch(k)
		}
	case frameGoAway:
		return errGoAway
	case frameWindow:
		more := int(binary.BigEndian.Uint32(b))
		if id == 0 {
			k.window += more
		} else if s != nil {
			s.window += more
		}
		k.resume()
	}
	return nil
}

func (s *Stream) err() error {
	if s.status == "0" {
		return nil
	}
	return fmt.Errorf("status %s: %s", s.status, s.text)
}

func (c *Client) settings(k *conn, b []byte) {
	for ; len(b) >= 6; b = b[6:] {
		if binary.BigEndian.Uint16(b) == settingInitialWindow {
			n := int(binary.BigEndian.Uint32(b[2:]))
			for _, s := range k.streams {
				s.window += n - k.first
			}
			k.first = n
		}
	}
	k.out = appendHead(k.out, 0, frameSettings, flagAck, 0)
	c.touch(k)
	k.resume()
}

// data takes bytes apart into messages.
func (c *Client) data(k *conn, s *Stream, b []byte, at time.Time) {
	if k.taken += len(b); k.taken > widest/4 {
		k.out = appendWindow(k.out, 0, k.taken)
		k.taken = 0
		c.touch(k)
	}
	if s == nil {
		return
	}
	if s.taken += len(b); s.taken > widest/4 {
		k.out = appendWindow(k.out, s.id, s.taken)
		s.taken = 0
		c.touch(k)
	}
	if len(s.part) > 0 {
		s.part = append(s.part, b...)
		b = s.part
	}
	for len(b) >= messageHead {
		size := int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < messageHead+size {
			break
		}
		c.Message(s, b[messageHead:messageHead+size], at)
		b = b[messageHead+size:]
	}
	if len(b) == 0 {
		s.part = nil
	} else {
		s.part = append([]byte(nil), b...)
	}
}
