// Package cork sends an HTTP answer with one system call. net/http writes
// through a buffer of 4 KiB: an answer that is longer than that leaves in two or
// more pieces, each with a system call here and a wake-up there, which cost more
// than all that the answer is made of. A handler that is about to write a whole
// answer holds its connection; what is written then leaves when the answer is
// complete.
package cork

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// most is how many bytes a connection holds back. What is longer is written at
// once, together with what was held before it.
const most = 16 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, most); return &b }}

// Conn is a connection that can be held. Only one goroutine may write to it at a
// time, as net/http sees to; everything that follows an answer lets it go.
type Conn struct {
	net.Conn // TCP

	mu      sync.Mutex // guards what follows: net/http reads ahead in a goroutine of its own
	holding bool
	held    *[]byte // nil if nothing is held
}

// Listen returns l with connections that can be held, for an [http.Server] with
// [Attach].
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

type contextKey struct{}

// Attach lets the server's handlers hold their connections.
func Attach(s *http.Server) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*Conn); ok {
			return context.WithValue(ctx, contextKey{}, c)
		}
		return ctx
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*Conn); ok && state != http.StateActive {
			c.release() // the answer is complete; an error is the next reader's to see
		}
	}
}

// Hold holds the connection of a request until its answer is complete. The
// handler must return right after it has written the answer.
func Hold(ctx context.Context) {
	if c, ok := ctx.Value(contextKey{}).(*Conn); ok {
		c.mu.Lock()
		c.holding = true
		c.mu.Unlock()
	}
}

// SyscallConn implements [syscall.Conn], as far as the connection does.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := c.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Write implements [net.Conn].
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(b)
	}
	if c.held == nil {
		if len(b) > most {
			return c.Conn.Write(b)
		}
		c.held = buffers.Get().(*[]byte)
	}
	if len(*c.held)+len(b) <= most {
		*c.held = append(*c.held, b...)
		return len(b), nil
	}
	both := net.Buffers{*c.held, b}
	before := int64(len(*c.held))
	n, err := both.WriteTo(c.Conn)
	c.drop()
	return int(max(0, n-before)), err
}

func (c *Conn) drop() {
	*c.held = (*c.held)[:0]
	buffers.Put(c.held)
	c.held = nil
}

// release writes what is held.
func (c *Conn) release() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if c.held != nil {
		_, err = c.Conn.Write(*c.held)
		c.drop()
	}
	return err
}

// What net/http does to a connection once an answer is complete: wait for the
// next request, or end.

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.release()
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements [net.Conn]. What is held is written under the
// deadline that it was held under.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.release()
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite closes the writing side, as net/http does before it closes all.
func (c *Conn) CloseWrite() error {
	c.release()
	if c, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close implements [net.Conn].
func (c *Conn) Close() error {
	c.release()
	return c.Conn.Close()
}
