// Package delivery tells whether what was written to a connection has arrived.
// The kernel keeps what it sent until the other machine has acknowledged it, and
// on Linux says how much that is (SIOCOUTQ, tcp(7)). What has arrived may still
// wait there to be read: only the reader itself can tell of that.
package delivery

import (
	"context"
	"net"
	"net/http"
	"syscall"
)

type contextKey struct{}

// Attach has [Of] know the connections of the server's requests.
func Attach(s *http.Server) {
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, c)
		}
		return context.WithValue(ctx, contextKey{}, c)
	}
}

// Of returns a function that reports whether all that was written to the
// connection of a request has arrived at the other machine. Any goroutine may
// call it at any time; once the connection is closed it says no. It is nil where
// nobody can tell: on other systems than Linux, and for connections that are not
// plain TCP.
func Of(ctx context.Context) func() bool {
	c, ok := ctx.Value(contextKey{}).(interface {
		net.Conn
		syscall.Conn
	})
	if !ok {
		return nil
	}
	if _, tcp := c.LocalAddr().(*net.TCPAddr); !tcp {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return arrived(raw)
}
