// Package rollcalltest runs real servers inside tests.
package rollcalltest

import (
	"context"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/server"
)

// Server is a server that runs in the test's process.
type Server struct {
	Addr string // of HTTP, "127.0.0.1:port"
	GRPC string // of gRPC, and HTTP as well; "off" if it is not served
	DNS  string // of DNS, by UDP and TCP; "off" if it is not served

	stop context.CancelFunc
	done chan error
}

// Start runs a server on a fresh data directory for the length of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	return Run(t, server.Config{DataDir: t.TempDir()})
}

// Run runs a server as configured, until Stop or the end of the test, and
// returns once it is ready.
func Run(t testing.TB, c server.Config) *Server {
	t.Helper()
	srv, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{Addr: srv.Addr(), GRPC: srv.GRPCAddr(), DNS: srv.DNSAddr(), stop: stop, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { s.done <- srv.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-s.done:
		s.done <- err
		t.Fatalf("server: %v", err)
	}
	return s
}

// Stop stops the server cleanly and returns what its Run returned. It may be
// called again.
func (s *Server) Stop() error {
	s.stop()
	err := <-s.done
	s.done <- err
	return err
}
