package cork

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the writes that reach the connections of a listener.
type counted struct {
	net.Listener
	writes *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func (c countedConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// serve answers with ?size= bytes, held with ?hold.
func serve(t *testing.T) (addr string, writes *atomic.Int64) {
	t.Helper()
	writes = new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var size int
		fmt.Sscan(r.FormValue("size"), &size)
		if _, deadline := r.Form["deadline"]; deadline {
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
		}
		if _, hold := r.Form["hold"]; hold {
			Hold(r.Context())
		}
		if _, fail := r.Form["panic"]; fail {
			w.Write(make([]byte, 6000))
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write([]byte(strings.Repeat("x", size)))
	}))
	s.Listener = Listen(counted{s.Listener, writes})
	Attach(s.Config)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), writes
}

func get(t *testing.T, c net.Conn, r *bufio.Reader, query string) int {
	t.Helper()
	fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: h\r\n\r\n", query)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || strings.Trim(string(b), "x") != "" {
		t.Fatalf("%s: %v, or not what was written", query, err)
	}
	return len(b)
}

// TestOneWrite: answers come whole and on the same connection, whatever their
// length, and held ones with a single write as long as they are short.
func TestOneWrite(t *testing.T) {
	addr, writes := serve(t)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for _, size := range []int{0, 100, 3000, 4096, 6000, 8192, most - 300, most, most + 1, 100_000, 2_000_000} {
		for _, how := range []string{"", "&hold", "&hold&deadline"} {
			before := writes.Load()
			if n := get(t, c, r, fmt.Sprint("size=", size, how)); n != size {
				t.Errorf("size %d%s: %d bytes", size, how, n)
			}
			if n := writes.Load() - before; how != "" && size < most-256 && n != 1 {
				t.Errorf("size %d%s: %d writes, want 1", size, how, n)
			}
		}
	}
}

// TestPipelined: several requests at once are answered in order.
func TestPipelined(t *testing.T) {
	addr, _ := serve(t)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sizes := []int{10, 5000, 0, 70_000, 9000}
	var requests strings.Builder
	for _, size := range sizes {
		fmt.Fprintf(&requests, "GET /?hold&size=%d HTTP/1.1\r\nHost: h\r\n\r\n", size)
	}
	io.WriteString(c, requests.String())
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	for _, size := range sizes {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(size) {
			t.Errorf("%d bytes, %v, want %d", n, err, size)
		}
	}
}

// TestLast: what is held gets out when the connection ends with the answer, and
// an answer that is broken off ends it.
func TestLast(t *testing.T) {
	addr, _ := serve(t)
	for _, tt := range []struct {
		request string
		want    int
	}{
		{"GET /?hold&size=9000 HTTP/1.0\r\n\r\n", 9000},
		{"GET /?hold&size=9000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 9000},
		{"POST /?hold&size=9000 HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\nx", 9000}, // its body never comes
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, tt.request)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%q: %v", tt.request, err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(tt.want) {
			t.Errorf("%q: %d bytes, %v, want %d", tt.request, n, err, tt.want)
		}
		c.Close()
	}
	if resp, err := http.Get("http://" + addr + "/?hold&panic"); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Error("an answer that was broken off looks whole")
		}
	}
}
