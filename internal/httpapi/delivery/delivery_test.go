package delivery_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/internal/httpapi/cork"
	"github.com/rollcall-registry/rollcall/internal/httpapi/delivery"
)

// of returns what a server says of both ends of a new connection.
func of(t *testing.T, l net.Listener) (server, client net.Conn, arrived func() bool) {
	t.Helper()
	var s http.Server
	cork.Attach(&s)
	delivery.Attach(&s)
	l = cork.Listen(l)
	t.Cleanup(func() { l.Close() })
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client = <-dialed
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client, delivery.Of(s.ConnContext(context.Background(), server))
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestArrived(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody can tell")
	}
	server, client, arrived := of(t, listen(t, "tcp", "127.0.0.1:0"))
	if !arrived() {
		t.Error("nothing was written, and it has not arrived")
	}
	// A reader that does not read: more than its window and the queue hold.
	server.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	var written int
	var err error
	for block := make([]byte, 64<<10); err == nil; {
		var n int
		n, err = server.Write(block)
		written += n
	}
	if arrived() {
		t.Errorf("%d bytes that nobody reads have arrived", written)
	}
	if _, err := io.CopyN(io.Discard, client, int64(written)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !arrived(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("all was read, and it has not arrived")
		}
	}
	server.Close()
	if arrived() {
		t.Error("something arrives over a closed connection")
	}
}

func TestNobodyCanTell(t *testing.T) {
	if _, _, arrived := of(t, listen(t, "unix", filepath.Join(t.TempDir(), "s"))); arrived != nil {
		t.Error("of a connection that is not TCP")
	}
	if delivery.Of(context.Background()) != nil {
		t.Error("of no connection")
	}
	var s http.Server
	delivery.Attach(&s)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if delivery.Of(s.ConnContext(context.Background(), a)) != nil {
		t.Error("of a pipe")
	}
}
