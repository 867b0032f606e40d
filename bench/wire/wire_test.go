package wire

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// once is a window so short that a test can wait for it.
var once = load.Window{Length: 100 * time.Millisecond}

// run loads a server with one template and one connection unless told otherwise.
func run(t *testing.T, l Load, text string, seen func(int, *Reply)) *load.Result {
	t.Helper()
	tmpl, n := Parse(text), 0
	l.Conns = max(l.Conns, 1)
	if l.Window.Length == 0 {
		l.Window = once
	}
	l.Source = func(int) Source {
		return Source{Next: func(dst []byte) ([]byte, int) { n++; return tmpl.Append(dst, n, n), n }, Seen: seen}
	}
	r, err := l.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const get = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"

// TestReplies: each way in which net/http frames a reply is read to its end, and the
// connection is used again unless the server says no.
func TestReplies(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		bytes   int
		fresh   bool // a connection each
	}{
		{"short", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }, 5, false},
		{"empty", func(w http.ResponseWriter, r *http.Request) {}, 0, false},
		{"no content", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 0, false},
		{"not modified", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, 0, false},
		{"chunked", func(w http.ResponseWriter, r *http.Request) {
			for range 3 {
				io.WriteString(w, big[:1000])
				w.(http.Flusher).Flush()
			}
		}, 3000, false},
		{"trailer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Sum")
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
			w.Header().Set("Sum", "7")
		}, 5, false},
		{"large", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			io.WriteString(w, big)
		}, len(big), false},
		{"early hints", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); io.WriteString(w, "hello") }, 5, false},
		{"close", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			io.WriteString(w, "hello")
		}, 5, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var clients sync.Map
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				clients.Store(r.RemoteAddr, true)
				c.handler(w, r)
			})
			r := run(t, Load{Addr: addr}, get, func(_ int, reply *Reply) {
				if reply.Bytes != c.bytes {
					t.Errorf("a reply of %d bytes; want %d", reply.Bytes, c.bytes)
				}
			})
			if r.Done < 2 || r.Failed != 0 || r.Err != nil {
				t.Errorf("%d done, %d failed, %v", r.Done, r.Failed, r.Err)
			}
			n := 0
			clients.Range(func(any, any) bool { n++; return true })
			if c.fresh != (n > 1) {
				t.Errorf("%d connections for %d replies", n, r.Done)
			}
		})
	}
}

// TestRequests: what is sent is what the template says, also if it is more than a socket
// takes at once, and the ETag comes back with the tag.
func TestRequests(t *testing.T) {
	body := strings.Repeat(`{"id":"i-{id}"}`, 300_000)
	var served atomic.Int64
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		n := served.Add(1)
		id := fmt.Sprintf("%09d", n)
		want := strings.ReplaceAll(body, "{id}", id)
		if err != nil || string(b) != want || r.URL.Path != "/"+id[4:]+"/"+id {
			t.Errorf("request %d: %s with %d bytes, %v", n, r.URL, len(b), err)
		}
		w.Header().Set("ETag", `"`+id+`"`)
	})
	tmpl, n := Request("PUT", "/{service}/{id}", "x", body), 0
	l := Load{Addr: addr, Conns: 1, Window: load.Window{Length: 300 * time.Millisecond}, Source: func(int) Source {
		return Source{
			Next: func(dst []byte) ([]byte, int) { n++; return tmpl.Append(dst, n, n), n },
			Seen: func(tag int, r *Reply) {
				if want := fmt.Sprintf(`"%09d"`, tag); string(r.ETag) != want {
					t.Errorf("ETag %s, want %s", r.ETag, want)
				}
			},
		}
	}}
	r, err := l.Run()
	if err != nil || r.Done == 0 || r.Failed > 0 {
		t.Errorf("%+v, %v", r.Done, err)
	}
}

// TestErrors: refusals and broken connections are counted, and the load goes on.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		err     string
	}{
		{"status", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, "status 503"},
		{"closed halfway", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
		{"closed at once", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "unexpected EOF"},
		{"nonsense", func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "hello, this is no HTTP\r\n\r\n")
			c.Close()
		}, "no HTTP/1 reply"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int64
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%2 == 0 {
					c.handler(w, r)
				}
			})
			r := run(t, Load{Addr: addr, Conns: 3}, get, nil)
			if r.Done < 2 || r.Failed < 2 || r.Err == nil || !strings.Contains(r.Err.Error(), c.err) {
				t.Errorf("%d done, %d failed, %v", r.Done, r.Failed, r.Err)
			}
		})
	}
	if _, err := (Load{Addr: "127.0.0.1:1", Conns: 1, Window: once, Source: func(int) Source { return Source{} }}).Run(); err == nil {
		t.Error("nobody listens, and no error")
	}
}

// TestOpenLoop: arrivals keep their schedule, and time in line counts.
func TestOpenLoop(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	r := run(t, Load{Addr: addr, Conns: 4, Threads: 1, Rate: 2000, Even: true}, get, nil)
	if got := r.Done; got < 195 || got > 205 {
		t.Errorf("%d requests in 0.1 s at 2000/s", got)
	}
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) { time.Sleep(10 * time.Millisecond) })
	r = run(t, Load{Addr: slow, Conns: 1, Rate: 400, Good: 50 * time.Millisecond, Patience: 300 * time.Millisecond}, get, nil)
	if r.Latency.Max() < 100*time.Millisecond || r.Good >= r.Done || r.Refused != 0 {
		t.Errorf("queueing does not show: at most %v, %d of %d good", r.Latency.Max(), r.Good, r.Done)
	}
	r = run(t, Load{Addr: slow, Conns: 2, Rate: 1000, Line: -1}, get, nil)
	if r.Refused < 20 || r.Latency.Max() > 90*time.Millisecond {
		t.Errorf("%d refused, %d done, at most %v", r.Refused, r.Done, r.Latency.Max())
	}
}

// TestUnanswered: what is not answered counts with the time that it has waited.
func TestUnanswered(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := run(t, Load{Addr: ln.Addr().String(), Rate: 100, Even: true, Patience: 200 * time.Millisecond}, get, nil)
	if r.Unanswered < 9 || r.Done != 0 || r.Latency.Quantile(0.5) < 200*time.Millisecond {
		t.Errorf("%d unanswered, %d done, median %v", r.Unanswered, r.Done, r.Latency.Quantile(0.5))
	}
}

// TestPieces: a reply may be cut anywhere.
func TestPieces(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nETag: \"7\"\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\netag: \"7\"\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n",
	} {
		for size := 1; size <= len(text); size++ {
			var p parser
			p.reset()
			done := false
			for at := 0; at < len(text); at += size {
				var err error
				var rest []byte
				if done, rest, err = p.feed([]byte(text[at:min(at+size, len(text))])); err != nil || len(rest) > 0 {
					t.Fatalf("pieces of %d: %q left, %v", size, rest, err)
				}
			}
			if !done || p.reply.Status != 200 || p.reply.Bytes != 3 || string(p.reply.ETag) != `"7"` {
				t.Fatalf("pieces of %d: %+v, done %v", size, p.reply, done)
			}
		}
	}
	for _, text := range []string{
		"HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
		strings.Repeat("x", 70<<10),
	} {
		var p parser
		if _, _, err := p.feed([]byte(text)); err == nil {
			t.Errorf("%.60q is taken", text)
		}
	}
}

func TestTemplate(t *testing.T) {
	tmpl := Parse(`{"service":"s-{service}","n":{"id":"{id}"}}`)
	want := `{"service":"s-00042","n":{"id":"000001234"}}`
	if got := string(tmpl.Append([]byte("x"), 42, 1234)); got != "x"+want || tmpl.Len() != len(want) {
		t.Errorf("%s, length %d; want %s, %d", got, tmpl.Len(), want, len(want))
	}
	if n := testing.AllocsPerRun(100, func() { tmpl.Append(make([]byte, 0, 100), 1, 2) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
