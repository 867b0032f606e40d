package sniff

import (
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// split returns a splitter that runs for the length of the test, and what its Run
// returned.
func split(t *testing.T, within time.Duration, room int) (*Splitter, func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Split(l)
	s.within, s.room = within, make(chan struct{}, room)
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	wait := func() error {
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		s.Close()
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
	return s, wait
}

func connect(t *testing.T, s *Splitter, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.HTTP2().Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed reports whether the other end has closed a connection.
func closed(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return err != nil && !(ok && timeout.Timeout())
}

func TestSplit(t *testing.T) {
	s, _ := split(t, time.Hour, 10)
	for say, to := range map[string]net.Listener{
		preface + "\r\nSM\r\n\r\n": s.HTTP2(),
		"GET / HTTP/1.1\r\n\r\n":   s.Other(),
		"PRI * HTTP/1.1\r\n\r\n":   s.Other(),
		"PROPFIND / HTTP/1.1\r\n":  s.Other(),
		"\x16\x03\x01":             s.Other(),
		"X":                        s.Other(),
	} {
		c := connect(t, s, say[:1])
		io.WriteString(c, say[1:])
		got, err := to.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(say))
		if _, err := io.ReadFull(got, b); err != nil || string(b) != say {
			t.Errorf("%q was read as %q, %v", say, b, err)
		}
		if err := got.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if !closed(c) {
			t.Errorf("%q: its writing side is open", say)
		}
		if _, err := got.(*conn).SyscallConn(); err != nil {
			t.Error(err)
		}
		got.Close()
	}
}

// TestUndecided: who says nothing is let go, and of more than there is room for, who has
// said nothing for longest.
func TestUndecided(t *testing.T) {
	s, _ := split(t, 50*time.Millisecond, 1)
	if slow := connect(t, s, "PRI * "); !closed(slow) {
		t.Error("who is slow to say what they speak is waited for")
	}
	s, wait := split(t, time.Hour, 1)
	waits := connect(t, s, "PRI")
	for len(s.room) == 0 {
		runtime.Gosched()
	}
	const many = 20
	for range many {
		connect(t, s, preface)
	}
	if !closed(waits) {
		t.Error("there is room for more than there is")
	}
	for range many {
		if _, err := s.HTTP2().Accept(); err != nil {
			t.Fatal(err)
		}
	}
	waits = connect(t, s, "PRI")
	for len(s.room) == 0 {
		runtime.Gosched()
	}
	s.Close()
	if err := wait(); err != nil {
		t.Error(err)
	}
	if !closed(waits) {
		t.Error("an undecided connection outlives the listener")
	}
}

// TestClose: one side can end before the other.
func TestClose(t *testing.T) {
	s, wait := split(t, time.Hour, 10)
	nobody := connect(t, s, "GET /")
	pending := connect(t, s, preface)
	if err := s.Other().Close(); err != nil {
		t.Fatal(err)
	}
	if !closed(nobody) {
		t.Error("a connection for nobody is open")
	}
	if _, err := s.Other().Accept(); err != net.ErrClosed {
		t.Errorf("a closed side accepts: %v", err)
	}
	if c, err := s.HTTP2().Accept(); err != nil {
		t.Errorf("the other side: %v", err)
	} else {
		c.Close()
	}
	if err := s.HTTP2().Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
	if !closed(pending) {
		t.Error("a connection is left")
	}
	if _, err := net.Dial("tcp", s.HTTP2().Addr().String()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the port is open: %v", err)
	}
}

func BenchmarkSplit(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := Split(l)
	go s.Run()
	defer s.Close()
	for b.Loop() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		io.WriteString(c, preface)
		got, err := s.HTTP2().Accept()
		if err != nil {
			b.Fatal(err)
		}
		got.Close()
		c.Close()
	}
}

// full is a listener whose process has no descriptors left after the first connection.
type full struct {
	net.Listener
	accepted int
}

func (l *full) Accept() (net.Conn, error) {
	if l.accepted++; l.accepted > 1 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestNoDescriptors: while there are none left, whoever has been silent for longest is
// closed, however much room there is.
func TestNoDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Split(&full{Listener: l})
	s.within = time.Hour
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	if c := connect(t, s, "P"); !closed(c) {
		t.Error("it is not closed")
	}
	s.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
