package httpapi_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/registry"
)

// sink is a ResponseWriter that costs nothing, used again and again.
type sink struct {
	header http.Header
	code   int
	bytes  int
}

func (s *sink) Header() http.Header                { return s.header }
func (s *sink) WriteHeader(code int)               { s.code = code }
func (s *sink) Write(b []byte) (int, error)        { s.bytes += len(b); return len(b), nil }
func (s *sink) SetReadDeadline(t time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(t time.Time) error { return nil }

// fleet registers n instances with some capabilities and metadata.
func fleet(t testing.TB, reg *registry.Registry, service string, n int) {
	t.Helper()
	all := make([]rollcall.Instance, n)
	for i := range all {
		all[i] = instance(service, i)
	}
	registerAll(t, reg, all)
}

func instance(service string, i int) rollcall.Instance {
	return rollcall.Instance{
		Service: service, ID: fmt.Sprintf("%s-%04d", service, i), Address: "10.0.3.17", Ports: map[string]uint16{"http": 8080},
		Version: "2.4.1", Node: "host-17", Locality: rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a"},
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(2), "canary": rollcall.Bool(true), "codecs": rollcall.Strings("h264", "av1")},
		Metadata:     map[string]string{"team": "checkout", "tier": "gold", "build": "4711", "commit": "c0ffee"},
	}
}

func registerAll(t testing.TB, reg *registry.Registry, all []rollcall.Instance) {
	t.Helper()
	for _, r := range reg.RegisterMany(t.Context(), all) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// call serves one request to a sink, without sockets.
func call(h http.Handler, r *http.Request, s *sink) {
	clear(s.header)
	h.ServeHTTP(s, r)
}

func request(t testing.TB, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, path, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Host = "127.0.0.1:7070"
	return r
}

// An answer that was given before costs a few small allocations, however long
// it is, and so does a heartbeat. Some of them are the mux's and the principal's.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	reg := newRegistry(t)
	h := httpapi.New(reg, httpapi.Options{Registerer: prometheus.NewRegistry(), LoopbackOnly: true})
	fleet(t, reg, "payments", 100)
	for _, c := range []struct {
		name string
		r    *http.Request
		most float64
	}{
		{"resolve", request(t, "GET", "/api/v1/services/payments", ""), 7},
		{"resolve gzip", request(t, "GET", "/api/v1/services/payments", "", "Accept-Encoding", "gzip"), 7},
		{"resolve 304", request(t, "GET", "/api/v1/services/payments", "", "If-None-Match", "*"), 8},
		{"heartbeat", request(t, "POST", "/api/v1/services/payments/instances/payments-0001/heartbeat", ""), 6},
	} {
		s := &sink{header: http.Header{}}
		call(h, c.r, s)
		got := testing.AllocsPerRun(1000, func() { call(h, c.r, s) })
		t.Logf("%s: %v allocations", c.name, got)
		if got > c.most {
			t.Errorf("%s: %v allocations; %v are allowed", c.name, got, c.most)
		}
	}
}

func benchmarkHandler(b *testing.B, method, path, body string, instances int, headers ...string) {
	reg := newRegistry(b)
	h := httpapi.New(reg, httpapi.Options{Registerer: prometheus.NewRegistry()})
	fleet(b, reg, "payments", instances)
	s := &sink{header: http.Header{}}
	r := request(b, method, path, body, headers...)
	call(h, r, s)
	s.bytes = 0
	b.ReportAllocs()
	for b.Loop() {
		if body != "" {
			r.Body = io.NopCloser(strings.NewReader(body))
		}
		call(h, r, s)
	}
	if s.code >= 400 {
		b.Fatal(s.code)
	}
	b.ReportMetric(float64(s.bytes)/float64(b.N), "bytes/answer")
}

func BenchmarkResolve10(b *testing.B) {
	benchmarkHandler(b, "GET", "/api/v1/services/payments", "", 10)
}

func BenchmarkResolve100(b *testing.B) {
	benchmarkHandler(b, "GET", "/api/v1/services/payments", "", 100)
}

func BenchmarkResolve100Gzip(b *testing.B) {
	benchmarkHandler(b, "GET", "/api/v1/services/payments", "", 100, "Accept-Encoding", "gzip")
}

// BenchmarkResolveMissed is of answers that are not kept, from services that no
// cache of the processor has: most of it is waiting for memory.
func BenchmarkResolveMissed(b *testing.B) {
	const services = 1000
	reg := newRegistry(b)
	h := httpapi.New(reg, httpapi.Options{Registerer: prometheus.NewRegistry()})
	for i := range 100 { // one of each service after the other, as they come
		all := make([]rollcall.Instance, services)
		for n := range all {
			all[n] = instance(fmt.Sprint("service-", n), i)
		}
		registerAll(b, reg, all)
	}
	s := &sink{header: http.Header{}}
	r := request(b, "GET", "/", "")
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		r.URL.Path = fmt.Sprint("/api/v1/services/service-", n%services)
		r.URL.RawQuery = fmt.Sprint("limit=", 1000+n/services)
		call(h, r, s)
	}
	if s.code >= 400 {
		b.Fatal(s.code)
	}
}

func BenchmarkResolveSelected(b *testing.B) {
	benchmarkHandler(b, "GET", "/api/v1/services/payments?cap.gpu=2&limit=10", "", 100)
}

func BenchmarkHeartbeat(b *testing.B) {
	benchmarkHandler(b, "POST", "/api/v1/services/payments/instances/payments-0001/heartbeat", "", 10)
}

func BenchmarkHeartbeatWithLoad(b *testing.B) {
	benchmarkHandler(b, "POST", "/api/v1/services/payments/instances/payments-0001/heartbeat", `{"load":{"utilization":0.5,"in_flight":3}}`, 10)
}

func BenchmarkMove(b *testing.B) {
	benchmarkHandler(b, "PATCH", "/api/v1/services/payments/instances/payments-0001", `{"position":{"lat":52.5201,"lon":13.4047}}`, 10)
}

// BenchmarkRenewal is a PUT of what is registered already: all of a
// registration but the log.
func BenchmarkRenewal(b *testing.B) {
	benchmarkHandler(b, "PUT", "/api/v1/services/payments/instances/x",
		`{"address":"10.0.3.17","ports":{"http":8080},"version":"2.4.1","node":"host-17","capabilities":{"gpu":2,"canary":true},"metadata":{"team":"checkout","tier":"gold"}}`, 1)
}

// Over sockets, from one client a connection, in comparison to the least server
// that says as much.

func overSockets(b *testing.B, h http.Handler, text string) {
	srv := httpapi.HTTPServer(h)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 256<<10)
		for pb.Next() {
			if _, err := io.WriteString(c, text); err != nil {
				b.Error(err)
				return
			}
			if err := readAnswer(c, buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// readAnswer reads one answer with a Content-Length.
func readAnswer(c net.Conn, buf []byte) error {
	n, want := 0, -1
	for want < 0 || n < want {
		m, err := c.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
		if want >= 0 {
			continue
		}
		head, _, ok := strings.Cut(string(buf[:min(n, 1024)]), "\r\n\r\n")
		if !ok {
			continue
		}
		_, length, _ := strings.Cut(head, "Content-Length: ")
		length, _, _ = strings.Cut(length, "\r\n")
		var size int
		if _, err := fmt.Sscan(length, &size); err != nil {
			return err
		}
		want = len(head) + 4 + size
	}
	return nil
}

// bare is the least that can serve a body.
func bare(body []byte) http.Handler {
	length := fmt.Sprint(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		w.Write(body)
	})
}

func BenchmarkSockets(b *testing.B) {
	for _, c := range []struct {
		name      string
		instances int
		text      string
	}{
		{"heartbeat", 10, "POST /api/v1/services/payments/instances/payments-0001/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{"move", 10, "PATCH /api/v1/services/payments/instances/payments-0001 HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n\r\n" + `{"position":{"lat":52.5201,"lon":13.4047}}`},
		{"resolve10", 10, "GET /api/v1/services/payments HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"resolve100", 100, "GET /api/v1/services/payments HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		reg := newRegistry(b)
		h := httpapi.New(reg, httpapi.Options{Registerer: prometheus.NewRegistry()})
		fleet(b, reg, "payments", c.instances)
		method, rest, _ := strings.Cut(c.text, " ")
		path, _, _ := strings.Cut(rest, " ")
		_, sent, _ := strings.Cut(c.text, "\r\n\r\n")
		body := &body{sink: sink{header: http.Header{}}}
		h.ServeHTTP(body, request(b, method, path, sent))
		b.Run(c.name+"/bare", func(b *testing.B) { overSockets(b, bare(body.all), c.text) })
		b.Run(c.name+"/rollcall", func(b *testing.B) { overSockets(b, h, c.text) })
	}
}

// body is a sink that keeps what it gets.
type body struct {
	sink
	all []byte
}

func (b *body) Write(p []byte) (int, error) { b.all = append(b.all, p...); return len(p), nil }

// endless is a connection that sends one request again and again and throws the
// answers away: what is left is net/http and the handler.
type endless struct {
	net.Conn
	text string
	at   int
	left int
	done chan struct{}
}

func (c *endless) Read(b []byte) (int, error) {
	if c.at == len(c.text) {
		c.at = 0
		c.left--
	}
	if c.left <= 0 {
		return 0, io.EOF
	}
	n := copy(b, c.text[c.at:])
	c.at += n
	return n, nil
}

func (c *endless) Write(b []byte) (int, error)        { return len(b), nil }
func (c *endless) Close() error                       { close(c.done); return nil }
func (c *endless) LocalAddr() net.Addr                { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *endless) RemoteAddr() net.Addr               { return c.LocalAddr() }
func (c *endless) SetDeadline(t time.Time) error      { return nil }
func (c *endless) SetReadDeadline(t time.Time) error  { return nil }
func (c *endless) SetWriteDeadline(t time.Time) error { return nil }

// once is a listener that accepts one connection.
type once struct {
	conn chan net.Conn
}

func (l once) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l once) Close() error   { return nil }
func (l once) Addr() net.Addr { return &net.TCPAddr{} }

// BenchmarkConnection shows what this door adds to the least server that says
// as much, without the noise of sockets. Most of what resolve adds is its six
// headers more: net/http clones, sorts and checks each of them.
func BenchmarkConnection(b *testing.B) {
	for _, c := range []struct {
		name      string
		instances int
		text      string
	}{
		{"heartbeat", 10, "POST /api/v1/services/payments/instances/payments-0001/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{"resolve10", 10, "GET /api/v1/services/payments HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"resolve100", 100, "GET /api/v1/services/payments HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		reg := newRegistry(b)
		h := httpapi.New(reg, httpapi.Options{Registerer: prometheus.NewRegistry()})
		fleet(b, reg, "payments", c.instances)
		method, rest, _ := strings.Cut(c.text, " ")
		path, _, _ := strings.Cut(rest, " ")
		answer := &body{sink: sink{header: http.Header{}}}
		h.ServeHTTP(answer, request(b, method, path, ""))
		run := func(h http.Handler) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				conn := &endless{text: c.text, left: b.N, done: make(chan struct{})}
				l := once{make(chan net.Conn, 1)}
				l.conn <- conn
				srv := httpapi.HTTPServer(h)
				go srv.Serve(l)
				<-conn.done
				close(l.conn)
			}
		}
		b.Run(c.name+"/bare", run(bare(answer.all)))
		b.Run(c.name+"/rollcall", run(h))
	}
}
