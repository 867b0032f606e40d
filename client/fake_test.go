package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// fake is a registry in memory, reached through pipes, so that it lives inside
// a synctest bubble. It knows just enough to keep leases and can be told to
// fail.
type fake struct {
	mu    sync.Mutex
	known map[string]rollcall.Instance
	said  map[string]rollcall.Report
	log   []request
	rev   rollcall.Revision
	// drained is the answer to a drain.
	drained rollcall.Barrier
	// answer, unless nil, may answer a request instead; it returns whether it
	// has.
	answer func(w http.ResponseWriter, r *http.Request) bool

	tokens  map[string]bool // of sessions that can be resumed
	streams []*fakeStream   // that were ever open
	mute    bool            // streams hear no pings

	conns  chan net.Conn
	open   []net.Conn
	down   bool // connections are refused
	closed chan struct{}
}

type request struct {
	at   time.Time
	what string // "PUT p-1", "POST p-1/heartbeat"
	body string
}

// startFake serves a fake until the test ends.
func startFake(t *testing.T) *fake {
	f := &fake{
		known:  map[string]rollcall.Instance{},
		said:   map[string]rollcall.Report{},
		tokens: map[string]bool{},
		conns:  make(chan net.Conn),
		closed: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /api/v1/services/{service}/instances/{id}", f.put)
	mux.HandleFunc("POST /api/v1/services/{service}/instances/{id}/heartbeat", f.heartbeat)
	mux.HandleFunc("DELETE /api/v1/services/{service}/instances/{id}", f.remove)
	mux.HandleFunc("POST /api/v1/services/{service}/instances/{id}/drain", f.drain)
	mux.HandleFunc("POST /api/v1/session", f.session)
	server := &http.Server{Handler: f.record(mux)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(f)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return f
}

// client returns a client of f that is closed when the test ends.
func (f *fake) client(t *testing.T, opts ...Option) *Client {
	t.Helper()
	transport := &http.Transport{DialContext: f.dial}
	c, err := Dial("registry:7070", append([]Option{WithTransport(transport)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		transport.CloseIdleConnections()
	})
	return c
}

func (f *fake) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	near, far := net.Pipe()
	select {
	case f.conns <- far:
		f.mu.Lock()
		f.open = append(f.open, near, far)
		f.mu.Unlock()
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr make f a net.Listener.
func (f *fake) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}
func (f *fake) Close() error   { close(f.closed); return nil }
func (f *fake) Addr() net.Addr { return &net.TCPAddr{} }

// stop breaks all connections and refuses new ones, until start.
func (f *fake) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	f.breakAll()
}

// cut breaks all connections.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breakAll()
}

func (f *fake) breakAll() {
	for _, c := range f.open {
		c.Close()
	}
	f.open = nil
}

func (f *fake) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = false
}

// forget drops all that f knows.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.known)
	clear(f.said)
}

// intercept sets f.answer.
func (f *fake) intercept(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// get returns what is known of an instance.
func (f *fake) get(id string) (rollcall.Instance, rollcall.Report, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	inst, ok := f.known[id]
	return inst, f.said[id], ok
}

// requests returns the requests so far whose what begins with prefix.
func (f *fake) requests(prefix string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rs []request
	for _, r := range f.log {
		if strings.HasPrefix(r.what, prefix) {
			rs = append(rs, r)
		}
	}
	return rs
}

// whats returns what was asked, in order, without the repetitions.
func (f *fake) whats() []string {
	var ws []string
	for _, r := range f.requests("") {
		ws = append(ws, r.what)
	}
	return slices.Compact(ws)
}

func (f *fake) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		b := make([]byte, max(r.ContentLength, 0)) // that of a session has no end
		for len(b) > 0 {
			n, err := r.Body.Read(b)
			body.Write(b[:n])
			if b = b[n:]; err != nil {
				break
			}
		}
		_, what, _ := strings.Cut(r.URL.Path, "/instances/")
		f.mu.Lock()
		f.log = append(f.log, request{time.Now(), r.Method + " " + cmp.Or(what, r.URL.Path), body.String()})
		answer := f.answer
		f.mu.Unlock()
		r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body.String()))
		if answer == nil || !answer(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

type bodyKey struct{}

func bodyOf(r *http.Request) []byte { return []byte(r.Context().Value(bodyKey{}).(string)) }

func (f *fake) put(w http.ResponseWriter, r *http.Request) {
	var inst rollcall.Instance
	if err := json.Unmarshal(bodyOf(r), &inst); err != nil {
		fail(w, 400, "invalid", err.Error())
		return
	}
	inst.Normalize()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	inst.Revision = f.rev
	f.known[inst.ID] = inst
	delete(f.said, inst.ID)
	answer(w, 201, inst)
}

func (f *fake) heartbeat(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	inst, ok := f.known[r.PathValue("id")]
	if !ok {
		fail(w, 404, "not-found", "register again")
		return
	}
	if b := bodyOf(r); len(b) > 0 {
		var report rollcall.Report
		if err := json.Unmarshal(b, &report); err != nil {
			fail(w, 400, "invalid", err.Error())
			return
		}
		f.said[inst.ID] = merge(f.said[inst.ID], report)
	}
	answer(w, 200, rollcall.Renewal{TTL: inst.Lease.TTL, Revision: inst.Revision})
}

func (f *fake) remove(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, r.PathValue("id"))
	w.WriteHeader(204)
}

func (f *fake) drain(w http.ResponseWriter, r *http.Request) {
	answer(w, 200, f.drained)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, name, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"/problems/%s","title":"%s","status":%d,"detail":%q}`, name, name, status, detail)
}

// wantKind fails the test unless err is of a kind.
func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want of kind %v", err, kind)
	}
}

// advance lets a bubble's time pass.
func advance(d time.Duration) { <-time.After(d) }
