package roundtrip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"http://payments/charge":                    "payments",
		"https://Payments_2/":                       "payments_2",
		"http://payments.service.rollcall/":         "payments",
		"http://payments.shop.service.rollcall/":    "shop/payments",
		"http://payments.v2.shop.service.rollcall/": "shop/payments.v2",
		"http://payments:80/":                       "",
		"http://127.0.0.1/":                         "",
		"http://[::1]/":                             "",
		"http://localhost/":                         "",
		"http://example.com/":                       "",
		"http://.service.rollcall/":                 "",
		"http://.shop.service.rollcall/":            "",
		"ftp://payments/":                           "",
		"http:///":                                  "",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Name(u); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", in, got, ok)
		}
	}
}

// fleet is a service with instances that do as they are told.
type fleet struct {
	mu    sync.Mutex
	all   []*rollcall.Instance
	next  int
	told  []string // what became of picks: "a: <nil>"
	loads []string
}

// add adds an instance and returns what stops it.
func (f *fleet) add(t *testing.T, id string, h http.HandlerFunc) (stop func()) {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	f.place(id, s.Listener.Addr().(*net.TCPAddr).Port)
	return s.Close
}

func (f *fleet) place(id string, port int) {
	f.all = append(f.all, &rollcall.Instance{ID: id, Address: "127.0.0.1", Ports: map[string]uint16{"http": uint16(port), "admin": 1}})
}

// pick is the next instance in turn.
func (f *fleet) Pick(context.Context, string) (Pick, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) == 0 {
		return nil, errors.New("nobody")
	}
	f.next++
	return &pick{f, f.all[(f.next-1)%len(f.all)]}, nil
}

func (f *fleet) PickOther(_ string, not ...string) (Pick, error) {
	for _, i := range f.all {
		if !slices.Contains(not, i.ID) {
			return &pick{f, i}, nil
		}
	}
	return &pick{f, f.all[0]}, nil
}

type pick struct {
	f *fleet
	i *rollcall.Instance
}

func (p *pick) Instance() *rollcall.Instance { return p.i }
func (p *pick) Address(port string) (string, error) {
	n, ok := p.i.Ports[port]
	if !ok {
		return "", errors.New("no such port")
	}
	return fmt.Sprintf("%s:%d", p.i.Address, n), nil
}

func (p *pick) Done(err error) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	said := fmt.Sprint(err)
	if _, ok := errors.AsType[*net.OpError](err); ok {
		said = "network"
	}
	p.f.told = append(p.f.told, p.i.ID+": "+said)
}

func (p *pick) Loaded(inFlight int, latency time.Duration) {
	p.f.loads = append(p.f.loads, fmt.Sprintf("%s: %d %v", p.i.ID, inFlight, latency))
}

func answer(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(status)
		fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.Path, body)
	}
}

// breaks reads a request and closes the connection.
func breaks(w http.ResponseWriter, r *http.Request) {
	io.ReadAll(r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// gone is a port on which nobody listens.
func gone(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// do sends a request and returns the status and body of its answer.
func do(t *testing.T, tr *Transport, method, url string, body io.Reader, header ...string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		req.Header.Set(h, "1")
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.Request != req {
		t.Error("the answer is not that of the request")
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b), nil
}

func (f *fleet) want(t *testing.T, told ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if diff := cmp.Diff(told, f.told); diff != "" {
		t.Errorf("-want +told:\n%s", diff)
	}
	f.told = nil
}

func TestRequestGoesToTheInstance(t *testing.T) {
	f := &fleet{}
	f.add(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Endpoint-Load-Metrics", "TEXT named_metrics.in_flight=3,named_metrics.latency_ms=1.5")
		answer(200)(w, r)
	})
	tr := New(nil, f)
	got, err := do(t, tr, "POST", "http://payments/charge", strings.NewReader("ten"))
	if want := "200 payments /charge ten"; got != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	f.want(t, "a: <nil>")
	if diff := cmp.Diff([]string{"a: 3 1.5ms"}, f.loads); diff != "" {
		t.Error(diff)
	}
	req := httptest.NewRequest("GET", "http://payments/", nil)
	req.Host, req.RequestURI = "other.example", ""
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(b), "other.example ") {
		t.Errorf("%s: the request says another Host", b)
	}
	tr.CloseIdleConnections()
}

func TestOtherURLsPass(t *testing.T) {
	s := httptest.NewServer(answer(200))
	defer s.Close()
	f := &fleet{}
	if got, err := do(t, New(nil, f), "GET", s.URL+"/x", nil); err != nil || !strings.HasPrefix(got, "200 127.0.0.1:") {
		t.Errorf("%q, %v", got, err)
	}
	f.want(t)
}

func TestSentAgainOrNot(t *testing.T) {
	stream := func() io.Reader { return io.MultiReader(strings.NewReader("ten")) } // without a way to begin anew
	for name, c := range map[string]struct {
		method string
		body   func() io.Reader
		key    bool
		first  http.HandlerFunc // nil: nobody is there
		want   string           // of the answer, or in the error
		told   []string
	}{
		"refused":                   {"POST", nil, false, nil, "200", []string{"a: network", "b: <nil>"}},
		"refused, with a stream":    {"POST", stream, false, nil, "200 payments / ten", []string{"a: network", "b: <nil>"}},
		"GET broke off":             {"GET", nil, false, breaks, "200", []string{"a: EOF", "b: <nil>"}},
		"POST broke off":            {"POST", nil, false, breaks, "payments: a at ", []string{"a: EOF"}},
		"POST with key broke off":   {"POST", nil, true, breaks, "200", []string{"a: EOF", "b: <nil>"}},
		"PUT of a stream broke off": {"PUT", stream, false, breaks, "EOF", []string{"a: EOF"}},
		"GET 503":                   {"GET", nil, false, answer(503), "200", []string{"a: status 503", "b: <nil>"}},
		"GET 502":                   {"GET", nil, false, answer(502), "200", []string{"a: status 502", "b: <nil>"}},
		"DELETE 504":                {"DELETE", nil, false, answer(504), "200", []string{"a: status 504", "b: <nil>"}},
		"PUT of a stream 503":       {"PUT", stream, false, answer(503), "503", []string{"a: status 503"}},
		"POST 503":                  {"POST", nil, false, answer(503), "503", []string{"a: status 503"}},
		"PATCH 503":                 {"PATCH", nil, false, answer(503), "503", []string{"a: status 503"}},
		"GET 500":                   {"GET", nil, false, answer(500), "500", []string{"a: status 500"}},
		"GET 429":                   {"GET", nil, false, answer(429), "429", []string{"a: status 429"}},
		"GET 501":                   {"GET", nil, false, answer(501), "501", []string{"a: <nil>"}},
		"GET 404":                   {"GET", nil, false, answer(404), "404", []string{"a: <nil>"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fleet{}
			if c.first == nil {
				f.place("a", gone(t))
			} else {
				f.add(t, "a", c.first)
			}
			f.add(t, "b", answer(200))
			var body io.Reader
			if c.body != nil {
				body = c.body()
			} else if c.method != "GET" {
				body = strings.NewReader("ten")
			}
			var header []string
			if c.key {
				header = []string{"Idempotency-Key"}
			}
			got, err := do(t, New(nil, f), c.method, "http://payments/", body, header...)
			if !strings.HasPrefix(got, c.want) && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, %v; want %s", got, err, c.want)
			}
			if strings.HasPrefix(got, "200") && body != nil && !strings.HasSuffix(got, " ten") {
				t.Errorf("%q lacks the body", got)
			}
			f.want(t, c.told...)
		})
	}
}

func TestThreeInstancesAtMost(t *testing.T) {
	f := &fleet{}
	for _, id := range []string{"a", "b", "c", "d"} {
		f.place(id, gone(t))
	}
	_, err := do(t, New(nil, f), "GET", "http://payments/", nil)
	f.want(t, "a: network", "b: network", "c: network")
	if _, ok := errors.AsType[*net.OpError](err); !ok || !strings.HasPrefix(err.Error(), "payments: a at 127.0.0.1:") || !strings.Contains(err.Error(), "; c at ") {
		t.Errorf("%v", err)
	}
	alone := &fleet{}
	alone.add(t, "a", answer(503))
	if got, err := do(t, New(nil, alone), "GET", "http://payments/", nil); err != nil || !strings.HasPrefix(got, "503") {
		t.Errorf("%q, %v", got, err)
	}
	alone.want(t, "a: status 503", "a: context canceled") // picked once more, and not sent
	if _, err := do(t, New(nil, &fleet{}), "POST", "http://payments/", strings.NewReader("ten")); err == nil || err.Error() != "payments: nobody" {
		t.Errorf("%v", err)
	}
}

// TestNoPort: an instance that lacks the port is not to blame for that.
func TestNoPort(t *testing.T) {
	f := &fleet{}
	f.place("a", 1)
	delete(f.all[0].Ports, "http")
	f.add(t, "b", answer(200))
	if got, err := do(t, New(nil, f), "POST", "http://payments/", strings.NewReader("ten")); err != nil || !strings.HasSuffix(got, " ten") {
		t.Errorf("%q, %v", got, err)
	}
	f.want(t, "a: context canceled", "b: <nil>")
}

// TestCaller: who cancels blames nobody; who had a deadline blames who used it up.
func TestCaller(t *testing.T) {
	reached := make(chan struct{}, 1)
	f := &fleet{}
	f.add(t, "a", func(_ http.ResponseWriter, r *http.Request) { reached <- struct{}{}; <-r.Context().Done() })
	f.add(t, "b", answer(200))
	tr := New(nil, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://payments/", nil)
	if _, err := tr.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	f.want(t, "a: context canceled")
	f.next = 0
	_, err := (&http.Client{Transport: tr, Timeout: 50 * time.Millisecond}).Get("http://payments/")
	if e, ok := errors.AsType[*url.Error](err); !ok || !e.Timeout() {
		t.Errorf("%v is no time-out", err)
	}
	if len(f.told) != 1 || f.told[0] == "a: context canceled" {
		t.Errorf("told %q", f.told)
	}
}

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1000, 0)
	again := func() (n int) {
		for b.retry(now) {
			n++
		}
		return n
	}
	if n := again(); n != budgetFloor {
		t.Errorf("%d without a request", n)
	}
	for range 100 {
		b.request(now)
	}
	if n := again(); n != 20 {
		t.Errorf("%d more after 100 requests", n)
	}
	now = now.Add(9 * time.Second)
	if n := again(); n != 0 {
		t.Errorf("%d more within ten seconds", n)
	}
	now = now.Add(time.Second)
	if n := again(); n != budgetFloor {
		t.Errorf("%d when all is over", n)
	}
	b.request(now.Add(-time.Hour)) // a clock that is set back
	now = now.Add(time.Hour)
	if n := again(); n != budgetFloor {
		t.Errorf("%d an hour later", n)
	}
}

// TestOutageIsNotMadeWorse: of what is refused with 503 a fifth is sent again.
func TestOutageIsNotMadeWorse(t *testing.T) {
	served := 0
	f := &fleet{}
	h := func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		served++
		w.WriteHeader(503)
	}
	f.add(t, "a", h)
	f.add(t, "b", h)
	tr := New(nil, f)
	now := time.Unix(1000, 0)
	tr.now = func() time.Time { return now }
	for range 100 {
		do(t, tr, "GET", "http://payments/", nil)
	}
	if served != 130 {
		t.Errorf("100 requests were sent %d times", served)
	}
}

type closes struct {
	io.Reader
	n int
}

func (c *closes) Close() error { c.n++; return nil }

// TestBodyIsClosed: once, whatever happens.
func TestBodyIsClosed(t *testing.T) {
	f := &fleet{}
	f.place("a", gone(t))
	f.place("b", gone(t))
	broken := errors.New("broken")
	closing := roundTripper(func(r *http.Request) (*http.Response, error) { r.Body.Close(); return nil, broken })
	portless := &fleet{}
	portless.place("a", 1)
	delete(portless.all[0].Ports, "http")
	for name, tr := range map[string]*Transport{
		"nobody": New(nil, &fleet{}), "refused": New(nil, f), "closing": New(closing, f), "no port": New(nil, portless),
	} {
		b := &closes{Reader: bytes.NewReader([]byte("ten"))}
		if _, err := do(t, tr, "POST", "http://payments/", b); err == nil {
			t.Errorf("%s: no error", name)
		}
		if b.n != 1 {
			t.Errorf("%s: closed %d times", name, b.n)
		}
	}
}

// TestBaseThatDoesNotTell: of a request that failed in a base without a trace nobody
// knows how far it came, so that only what may be carried out twice is sent again.
func TestBaseThatDoesNotTell(t *testing.T) {
	for method, want := range map[string]int{"POST": 1, "PUT": 2} {
		f := &fleet{}
		f.place("a", 1)
		f.place("b", 2)
		sent := 0
		base := roundTripper(func(r *http.Request) (*http.Response, error) { sent++; r.Body.Close(); return nil, io.ErrUnexpectedEOF })
		if _, err := do(t, New(base, f), method, "http://payments/", strings.NewReader("ten")); err == nil {
			t.Errorf("%s: no error", method)
		}
		if sent != want {
			t.Errorf("%s: sent %d times, want %d", method, sent, want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestInstancesAreReachedWithoutAProxy(t *testing.T) {
	proxy := aroundInstances(func(*http.Request) (*url.URL, error) { return &url.URL{Host: "proxy"}, nil })
	req := httptest.NewRequest("GET", "http://10.0.0.1:80/", nil)
	if u, _ := proxy(req); u == nil {
		t.Error("others go past the proxy")
	}
	if u, _ := proxy(req.WithContext(context.WithValue(t.Context(), toInstance{}, true))); u != nil {
		t.Error("instances are reached through the proxy")
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	f := &fleet{}
	f.place("a", 80)
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Endpoint-Load-Metrics": {"TEXT application_utilization=0.25,rps_fractional=120.5,named_metrics.in_flight=3,named_metrics.latency_ms=1.5"}}, Body: http.NoBody}
	tr := New(roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }), quiet{f})
	req := httptest.NewRequest("GET", "http://payments/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

// quiet is a fleet that remembers nothing.
type quiet struct{ *fleet }

func (q quiet) Pick(context.Context, string) (Pick, error) {
	return quietPick{pick{q.fleet, q.all[0]}}, nil
}

type quietPick struct{ pick }

func (quietPick) Done(error)                     {}
func (quietPick) Loaded(int, time.Duration)      {}
func (quietPick) Instance() *rollcall.Instance   { return instance }
func (quietPick) Address(string) (string, error) { return "127.0.0.1:80", nil }

var instance = &rollcall.Instance{ID: "a"}
