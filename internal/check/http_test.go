package check

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

func TestHTTPAnswers(t *testing.T) {
	const ok, warn, bad = rollcall.Healthy, rollcall.Degraded, rollcall.Unhealthy
	healthJSON := func(body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/health+json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for _, tt := range []struct {
		answer string
		status rollcall.Status
		output string
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\nmore", ok, "200 OK: fine"},
		{"HTTP/1.0 200 OK\r\n\r\nno\tlength\x1b[1m", ok, "200 OK: no length [1m"},
		{"HTTP/1.1 204 No Content\r\n\r\n", ok, "204 No Content"},
		{"HTTP/1.1 299 Odd\r\n\r\n", ok, "299 Odd"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n", ok, "200 OK: yes"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ok, "200 OK"}, // the head decides
		{"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20), ok, "200 OK: xxx"},
		{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ok, "200 OK"},
		{"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\n\r\n", bad, "500 No"},
		{strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), bad, "100 Continue instead"},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", bad, "101 Switching Protocols instead"},
		{"HTTP/1.1 429 Too Many Requests\r\n\r\n", warn, "429 Too Many"},
		{"HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\n\r\n", bad, "redirects are not followed; it leads to http://127.0.0.1:1/"},
		{"HTTP/1.1 304 Not Modified\r\n\r\n", bad, "redirects are not followed"},
		{"HTTP/1.1 404 Not Found\r\n\r\n", bad, "404 Not Found"},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown", bad, "503 Service Unavailable: down"},
		{"HTTP/1.1 999 X\r\n\r\n", bad, "999 X"},
		{"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", bad, "a head of more than 64 KiB"},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<17) + "\r\n", bad, "a head of more than 64 KiB"},
		{"HTTP/1.1 2000 OK\r\n\r\n", bad, "does not answer in HTTP"},
		{"SSH-2.0-OpenSSH_9.6\r\n", bad, "does not answer in HTTP"},
		{"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n", bad, "does not answer in HTTP"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", bad, "closed without a complete answer"},
		{"HTTP/1.1 200 OK\r\nContent-Le", bad, "closed without a complete answer"},
		{"", bad, "closed without a complete answer"},

		{healthJSON(`{"status":"pass"}`), ok, "200 OK"},
		{healthJSON(`{"notes":["x"],"checks":{"status":[{"status":"fail"}]},"status":"WARN"}`), warn, "200 OK"},
		{healthJSON(`{"status":"fail"}`), bad, `200 OK: {"status":"fail"}`},
		{healthJSON(`{"status":"down","x":"` + strings.Repeat("y", 2*maxBody)), bad, "200 OK"},
		{healthJSON(`{"status":"whatever"}`), ok, "200 OK"},
		{healthJSON(`["status","fail"]`), ok, "200 OK"},
		{strings.Replace(healthJSON(`{"status":"fail"}`), "health+json", "json", 1), ok, "200 OK"},
		{strings.Replace(healthJSON(`{"status":"pass"}`), "200 OK", "503 No", 1), bad, "503 No"},
	} {
		name := tt.answer[:min(len(tt.answer), 40)]
		want(t, readAnswer(strings.NewReader(tt.answer)), Outcome{Status: tt.status, Output: tt.output})
		want(t, readAnswer(iotest.OneByteReader(strings.NewReader(tt.answer))), Outcome{Status: tt.status, Output: tt.output})
		if t.Failed() {
			t.Fatalf("%q", name)
		}
	}
}

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	defer s.Close()
	to := at(s.Listener.Addr())
	want(t, probe(t, to, check("http", "/healthz?full=1"), time.Second), Outcome{Status: rollcall.Healthy, Output: "200 OK"})
	seen := []string{got.Method, got.RequestURI, got.Host, got.Header.Get("User-Agent"), got.Header.Get("Accept")}
	if diff := cmp.Diff([]string{"GET", "/healthz?full=1", s.Listener.Addr().String(), "rollcall-check", "*/*"}, seen); diff != "" || !got.Close {
		t.Error(diff)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	want(t, probe(t, at(s.Listener.Addr()), check("http", ""), time.Second),
		Outcome{Status: rollcall.Unhealthy, Output: "302 Found, and redirects are not followed; it leads to /elsewhere"})
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// What is wrong with the body does not hold the verdict up beyond the timeout,
// nor change it.
func TestSlowBody(t *testing.T) {
	to := serve(t, func(c net.Conn) {
		says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwait")(c)
		silent(c)
	})
	want(t, probe(t, to, check("http", ""), 100*time.Millisecond), Outcome{Status: rollcall.Healthy, Output: "200 OK: wait"})
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.HandshakeComplete) }))
	defer s.Close()
	want(t, probe(t, at(s.Listener.Addr()), check("https", "/x"), 5*time.Second), Outcome{Status: rollcall.Healthy, Output: "200 OK: true"})
	plain := serve(t, says("HTTP/1.1 200 OK\r\n\r\n"))
	want(t, probe(t, plain, check("https", "/x"), time.Second), Outcome{Status: rollcall.Unhealthy, Output: "does not speak TLS"})
}

// An answer of any bytes has a verdict, and takes no memory out of proportion.
func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 302 X\r\nLocation: /\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: application/health+json\r\n\r\n{\"status\":\"warn\"}", "x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { sound(t, readAnswer(bytes.NewReader(b))) })
}

// sound fails for an outcome that no answer should lead to.
func sound(t *testing.T, o Outcome) {
	if o.Status != rollcall.Healthy && o.Status != rollcall.Degraded && o.Status != rollcall.Unhealthy ||
		o.Output == "" || len(o.Output) > maxOutput || clean(o.Output) != o.Output || o.Hard || o.Timeout {
		t.Errorf("%+v", o)
	}
}
