package socket

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// handle is a handler that is a function.
type handle func(b, query []byte, from Source) ([]byte, func(context.Context) []byte)

func (h handle) Answer(b, query []byte, from Source) ([]byte, func(context.Context) []byte) {
	return h(b, query, from)
}

// echo answers with the query.
func echo(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
	return append(b, query...), nil
}

// start serves until the test ends, with a handler if the options have none.
func start(t testing.TB, o Options, h handle) *Server {
	t.Helper()
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Handler == nil {
		o.Handler = func() Handler { return h }
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		s.Shutdown(t.Context())
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// dial connects to the server.
func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// exchange sends one packet and returns the next that comes.
func exchange(t testing.TB, c net.Conn, query string) string {
	t.Helper()
	if _, err := c.Write([]byte(query)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxMessage)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
