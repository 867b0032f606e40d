package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollcall-registry/rollcall"
)

const secret = "a secret of 24 bytes ..."

// pipes connects to servers in memory, so that time is virtual.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve runs a handler for the length of the test, and returns what connects to
// it.
func serve(t *testing.T, h http.Handler) func(ctx context.Context, network, addr string) (net.Conn, error) {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(p) }()
	t.Cleanup(func() { s.Close(); <-done })
	return p.dial
}

// post is one that a receiver got.
type post struct {
	at        time.Time
	path      string
	signature string
	delivery  string // header
	body      string
	delivered delivery // the body
}

// receiver takes posts; answer, if set, decides with what. Its calls come one
// after the other.
type receiver struct {
	answer func(w http.ResponseWriter, n int, r *http.Request)

	mu  sync.Mutex
	got []post
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p := post{time.Now(), r.URL.Path, r.Header.Get("Rollcall-Signature"), r.Header.Get("Rollcall-Delivery"), string(body), delivery{}}
	json.Unmarshal(body, &p.delivered)
	rc.mu.Lock()
	rc.got = append(rc.got, p)
	n := len(rc.got)
	rc.mu.Unlock()
	if rc.answer != nil {
		rc.answer(w, n, r)
	}
}

func (rc *receiver) posts() []post {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.got
}

// start runs a sender for the length of the test.
func start(t *testing.T, o Options) *Sender {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func hooks(names ...string) (hs []Hook) {
	for _, n := range names {
		hs = append(hs, Hook{Name: n, URL: "http://" + n + "/hook", Secret: secret})
	}
	return hs
}

// event is the n-th change of health.
func event(n int) rollcall.Event {
	return rollcall.Event{
		Revision: rollcall.Revision(n), At: time.Unix(1_700_000_000, 0).UTC(), Type: "health", Namespace: "default", Service: "payments",
		ID: "p-" + strconv.Itoa(n), Before: rollcall.Healthy, After: rollcall.Unhealthy, By: "rollcall", Via: "internal", Why: "lease: lapsed",
	}
}

// TestDelivers over real connections.
func TestDelivers(t *testing.T) {
	var rc receiver
	var header http.Header
	arrived := make(chan bool, 1)
	rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
		header = r.Header
		w.WriteHeader(http.StatusAccepted)
		arrived <- true
	}
	srv := httptest.NewServer(&rc)
	defer srv.Close()
	h := hooks("pager")
	h[0].URL = srv.URL + "/a/b?token=1"
	start(t, Options{Hooks: h}).Send(event(1))
	<-arrived
	p := rc.posts()[0]
	want := delivery{ID: p.delivery, Type: "health", Events: []rollcall.Event{event(1)}}
	if diff := cmp.Diff(want, p.delivered); diff != "" || p.delivery == "" || p.path != "/a/b" {
		t.Errorf("posted to %s (-want +got):\n%s", p.path, diff)
	}
	if ct := header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type: %s", ct)
	}
	if !verify(secret, p.signature, []byte(p.body), time.Now()) {
		t.Errorf("signature %s of %s", p.signature, p.body)
	}
	if verify(secret+".", p.signature, []byte(p.body), time.Now()) || verify(secret, p.signature, []byte(p.body+" "), time.Now()) ||
		verify(secret, p.signature, []byte(p.body), time.Now().Add(time.Hour)) {
		t.Error("another signature is as good")
	}
}

// TestSign has a vector that openssl made:
//
//	printf '1700000000.{"id":"x"}' | openssl dgst -sha256 -hmac 'sixteen bytes !!'
func TestSign(t *testing.T) {
	const want = "t=1700000000,v1=140003924c5908d3a13a6eeee87a2444404b5741f0a94bebd37fc8dff81eb27c"
	if got := sign([]byte("sixteen bytes !!"), time.Unix(1_700_000_000, 999_999_999), []byte(`{"id":"x"}`)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestWhoIsTold of which event.
func TestWhoIsTold(t *testing.T) {
	const healthy, unhealthy, draining = rollcall.Healthy, rollcall.Unhealthy, rollcall.Draining
	all, some := Hook{}, Hook{Services: []string{"Payments", "team/db"}, Statuses: []rollcall.Status{unhealthy, draining}}
	change := func(before, after rollcall.Status) rollcall.Event {
		return rollcall.Event{Type: "health", Namespace: "default", Service: "payments", ID: "1", Before: before, After: after}
	}
	of := func(namespace, service string) rollcall.Event {
		ev := change(healthy, unhealthy)
		ev.Namespace, ev.Service = namespace, service
		return ev
	}
	override := change(healthy, draining)
	override.Type = "override"
	settings := change(0, 0)
	settings.ID = ""
	for _, tt := range []struct {
		ev        rollcall.Event
		all, some bool
	}{
		{change(healthy, unhealthy), true, true},
		{change(unhealthy, healthy), true, false},
		{override, true, true},
		{change(healthy, healthy), false, false}, // an update
		{change(0, unhealthy), false, false},     // a registration
		{change(unhealthy, 0), false, false},     // a removal
		{settings, false, false},
		{of("default", "PAYMENTS"), true, true},
		{of("team", "payments"), true, false},
		{of("team", "db"), true, true},
		{of("default", "db"), true, false},
	} {
		for h, want := range map[*Hook]bool{&all: tt.all, &some: tt.some} {
			h.Name, h.URL, h.Secret = "h", "http://h/", secret
			s, err := New(Options{Hooks: []Hook{*h}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			s.Send(tt.ev)
			if got := len(s.hooks[0].queue) == 1; got != want {
				t.Errorf("%+v is told of %+v: %v", h, tt.ev, got)
			}
		}
	}
}

// TestRetries until it is taken: the same delivery, signed anew each time, in
// order, and no redirect is followed.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rc receiver
		rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
			switch n {
			case 1:
				w.WriteHeader(http.StatusInternalServerError)
			case 2:
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			case 3:
				panic(http.ErrAbortHandler) // the connection breaks
			case 4:
				w.WriteHeader(http.StatusNotFound)
			case 8:
				w.WriteHeader(http.StatusBadGateway)
			case 5:
				<-r.Context().Done() // no answer
			}
		}
		s := start(t, Options{Hooks: hooks("pager"), Dial: serve(t, &rc)})
		begun := time.Now()
		s.Send(event(1))
		synctest.Wait()
		s.Send(event(2))
		time.Sleep(3 * time.Minute)
		got := rc.posts()
		if len(got) != 7 {
			t.Fatalf("%d posts: %+v", len(got), got)
		}
		least := time.Second
		for n, p := range got[:6] {
			if p.path != "/hook" || p.delivery != got[0].delivery || p.body != got[0].body || p.delivered.ID != p.delivery {
				t.Errorf("post %d differs: %+v", n, p)
			}
			if !verify(secret, p.signature, []byte(p.body), p.at) {
				t.Errorf("post %d: signature %s", n, p.signature)
			}
			if n == 0 {
				continue
			}
			took := p.at.Sub(got[n-1].at)
			if n == 5 {
				took -= attemptWithin
			}
			if took < least || took > 2*least {
				t.Errorf("post %d after %v, want %v to %v", n, took, least, 2*least)
			}
			least *= 2
		}
		last := got[6]
		if last.delivery == got[0].delivery || len(last.delivered.Events) != 1 || last.delivered.Events[0].ID != "p-2" || last.at != got[5].at {
			t.Errorf("the second event: %+v, want it at once after the first", last)
		}
		if waited := got[1].signature == got[0].signature; waited || got[0].at.Sub(begun) > 0 {
			t.Errorf("signed at the same time, or late: %s, %s", got[0].signature, got[1].signature)
		}
		s.Send(event(3)) // after a success, pauses begin anew
		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(rc.posts()) != 9 {
			t.Errorf("%d posts, want the third event twice", len(rc.posts()))
		}
	})
}

// TestGivesUpAfterADay, having tried at least every five minutes; the next
// delivery says what is missing.
func TestGivesUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rc receiver
		var works atomic.Bool
		rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
			if !works.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		reg := prometheus.NewPedanticRegistry()
		s := start(t, Options{Hooks: hooks("pager"), Dial: serve(t, &rc), Registerer: reg})
		s.Send(event(1))
		synctest.Wait()
		s.Send(event(2))
		for len(rc.posts()) == 0 || rc.posts()[len(rc.posts())-1].delivered.Events[0].ID == "p-1" {
			time.Sleep(time.Second)
		}
		got := rc.posts()
		first, second := got[:len(got)-1], got[len(got)-1]
		for n, p := range first[1:] {
			if d := p.at.Sub(first[n].at); d > pauseMost+time.Second {
				t.Errorf("a pause of %v", d)
			}
		}
		if d := first[len(first)-1].at.Sub(first[0].at); d < tryFor || d > tryFor+pauseMost+time.Second {
			t.Errorf("tried for %v", d)
		}
		if second.delivered.Lost != 1 {
			t.Errorf("%s, want it to say that one is lost", second.body)
		}
		works.Store(true)
		time.Sleep(pauseMost)
		s.Send(event(3))
		synctest.Wait()
		if last := rc.posts()[len(rc.posts())-1].delivered; last.Lost != 0 || last.Events[0].ID != "p-3" {
			t.Errorf("%+v", last)
		}
		w := httptest.NewRecorder()
		promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{
			`deliveries_total{hook="pager",outcome="delivered"} 2`,
			fmt.Sprintf(`deliveries_total{hook="pager",outcome="failed"} %d`, len(rc.posts())-2),
			`dropped_events_total{hook="pager"} 1`,
			`queued_events{hook="pager"} 0`,
		} {
			if text := w.Body.String(); !strings.Contains(text, "\nrollcall_webhook_"+line+"\n") {
				t.Errorf("there is no %s in:\n%s", line, text)
			}
		}
	})
}

// TestGone: a receiver that wants no more is left alone for good, and only it.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rc receiver
		rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
			if r.Host == "old" {
				w.WriteHeader(http.StatusGone)
			}
		}
		var log bytes.Buffer
		s := start(t, Options{Hooks: hooks("old", "new"), Dial: serve(t, &rc), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for n := range 3 {
			s.Send(event(n))
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if n := len(rc.posts()); n != 4 {
			t.Errorf("%d posts, want one to the old hook and three to the new", n)
		}
		if n := s.hooks[0].pending(); n > 0 {
			t.Errorf("%v events wait for nothing", n)
		}
		if text := log.String(); strings.Count(text, "410") != 1 || !strings.Contains(text, "webhook=old") {
			t.Errorf("logged: %s", text)
		}
	})
}

// TestOverflow: Send never waits; the oldest go, and the receiver is told how
// many did.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rc receiver
		free := make(chan bool)
		rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
			if n == 1 {
				<-free
			}
		}
		s := start(t, Options{Hooks: hooks("pager"), Dial: serve(t, &rc)})
		s.Send(event(0))
		synctest.Wait() // it is under way
		for n := range queueMost + 42 {
			s.Send(event(1 + n))
		}
		close(free)
		synctest.Wait()
		next, lost := 0, 0
		for n, p := range rc.posts() {
			if n == 1 {
				next += 42
				lost = 42
			}
			if p.delivered.Lost != lost || len(p.delivered.Events) > batchMost {
				t.Errorf("delivery %d has %d events and says that %d are lost", n, len(p.delivered.Events), p.delivered.Lost)
			}
			lost = 0
			for _, ev := range p.delivered.Events {
				if ev.ID != event(next).ID {
					t.Fatalf("delivery %d: %s, want %s", n, ev.ID, event(next).ID)
				}
				next++
			}
		}
		if next != queueMost+43 || len(rc.posts()) != 11 {
			t.Errorf("%d events in %d deliveries", next, len(rc.posts()))
		}
	})
}

// TestSlowHookHoldsNobody, and is tried again after ten seconds.
func TestSlowHookHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, fast receiver
		slow.answer = func(w http.ResponseWriter, n int, r *http.Request) { <-r.Context().Done() }
		dialSlow, dialFast := serve(t, &slow), serve(t, &fast)
		s := start(t, Options{Hooks: hooks("slow", "fast", "stuck"), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			switch addr {
			case "slow:80":
				return dialSlow(ctx, network, addr)
			case "fast:80":
				return dialFast(ctx, network, addr)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		for n := range 5 {
			s.Send(event(n))
			synctest.Wait()
			if got := fast.posts(); len(got) != n+1 {
				t.Fatalf("%d posts after %d events", len(got), n+1)
			}
		}
		time.Sleep(attemptWithin + 2*time.Second)
		if got := slow.posts(); len(got) != 2 || got[1].body != got[0].body {
			t.Errorf("%d posts to the slow one", len(got))
		}
	})
}

// TestEndlessAnswer: what a receiver says is read for 64 KiB at most.
func TestEndlessAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rc receiver
		wrote := 0
		rc.answer = func(w http.ResponseWriter, n int, r *http.Request) {
			for err := error(nil); err == nil; wrote++ {
				_, err = w.Write(make([]byte, 1024))
			}
		}
		s := start(t, Options{Hooks: hooks("pager"), Dial: serve(t, &rc)})
		s.Send(event(1))
		synctest.Wait()
		if len(rc.posts()) != 1 || wrote < 64 || wrote > 128 {
			t.Errorf("%d posts, %d KiB taken", len(rc.posts()), wrote)
		}
		time.Sleep(time.Hour)
		if len(rc.posts()) != 1 {
			t.Error("it was not a success")
		}
	})
}

// TestSecretsAreNotShown in logs, whatever goes wrong, nor in errors.
func TestSecretsAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const query, path = "token=t0ps3cret%20", "/services/h1dden"
		var log bytes.Buffer
		answers := func(c net.Conn) { // a receiver that repeats what it is told
			defer c.Close()
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			c.Write(b[:n])
		}
		var echoing sync.WaitGroup
		defer echoing.Wait()
		tries := 0
		h := hooks("pager")
		h[0].URL = "http://example.com" + path + "?" + query + "#fragment"
		s := start(t, Options{
			Hooks: h, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if tries++; tries < 3 {
					return nil, errors.New("nobody there but " + secret)
				}
				client, server := net.Pipe()
				echoing.Go(func() { answers(server) })
				return client, nil
			},
		})
		s.Send(event(1))
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		text := log.String()
		for _, private := range []string{secret, "t0ps3cret", "h1dden", "http://"} {
			if strings.Contains(text, private) {
				t.Errorf("the log shows %s", private)
			}
		}
		if strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "nobody there") ||
			!strings.Contains(text, "malformed") {
			t.Errorf("%d warnings, %d errors", strings.Count(text, "level=WARN"), strings.Count(text, "level=ERROR"))
		}
		for _, h := range []Hook{
			{Name: "h", URL: "http://user:t0ps3cret@example.com", Secret: secret},
			{Name: "h", URL: "ftp://example.com/t0ps3cret", Secret: secret},
			{Name: "h", URL: "http://example.com:t0ps3cret", Secret: secret},
			{Name: "h", URL: "http://example.com", Secret: "t0ps3cret"},
		} {
			if _, err := New(Options{Hooks: []Hook{h}}); err == nil || strings.Contains(err.Error(), "t0ps3cret") {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	good := Hook{
		Name: "pager", URL: "https://[::1]:8443/a?b=c", Secret: secret[:16],
		Services: []string{"payments", "team/DB"}, Statuses: rollcall.Statuses(),
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		change func(h *Hook)
		field  string
	}{
		{func(h *Hook) { h.Name = "" }, "name"},
		{func(h *Hook) { h.Name = "a b" }, "name"},
		{func(h *Hook) { h.URL = "" }, "url"},
		{func(h *Hook) { h.URL = "example.com/hook" }, "url"},
		{func(h *Hook) { h.URL = "file:///etc/passwd" }, "url"},
		{func(h *Hook) { h.URL = "unix://example.com" }, "url"},
		{func(h *Hook) { h.URL = "http:///hook" }, "url"},
		{func(h *Hook) { h.URL = "http://:80/hook" }, "url"},
		{func(h *Hook) { h.URL = "http://a@example.com" }, "url"},
		{func(h *Hook) { h.URL = "http://example.com/%zz" }, "url"},
		{func(h *Hook) { h.Secret = secret[:15] }, "secret"},
		{func(h *Hook) { h.Services = []string{"payments", ""} }, "services"},
		{func(h *Hook) { h.Services = []string{"a/b/c"} }, "services"},
		{func(h *Hook) { h.Services = []string{"/c"} }, "services"},
		{func(h *Hook) { h.Statuses = []rollcall.Status{0} }, "statuses"},
		{func(h *Hook) { h.Statuses = []rollcall.Status{99} }, "statuses"},
	} {
		h := good
		tt.change(&h)
		if e, ok := errors.AsType[*rollcall.Error](h.Validate()); !ok || e.Field != tt.field || !errors.Is(e, rollcall.ErrInvalid) {
			t.Errorf("%+v: %v, want something about %s", h, e, tt.field)
		}
	}
	if _, err := New(Options{Hooks: append(hooks("a"), hooks("a")...), Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("two hooks of one name")
	}
}

// TestKeepsCopies: what waits does not hold on to the memory that an event came in.
func TestKeepsCopies(t *testing.T) {
	s, err := New(Options{Hooks: hooks("pager"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ev := event(1)
	s.Send(ev)
	kept := s.hooks[0].queue[0]
	for n, text := range []string{kept.By, kept.Via, kept.Why} {
		if is := []string{ev.By, ev.Via, ev.Why}[n]; text != is || unsafe.StringData(text) == unsafe.StringData(is) {
			t.Errorf("%q is kept of %q, or shared", text, is)
		}
	}
}
