package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
	"github.com/rollcall-registry/rollcall/internal/registry"
)

// sessions are those of a core that keeps the instances of each in a registry
// and marks nobody.
type sessions struct {
	reg  *registry.Registry
	ttl  time.Duration // 0: 15 s
	ping time.Duration // 0: 2 s

	mu    sync.Mutex
	seen  []rollcall.Instance
	broke chan string // receives why a stream broke; nil: nobody asks
}

func (c *sessions) OpenSession(context.Context, string, time.Duration) (session.Session, bool, error) {
	return &held{core: c}, false, nil
}

// held is a session.
type held struct {
	core *sessions
	keys []rollcall.Key
}

func (h *held) Token() string { return "fef3ef3f5687fe6e-1" }
func (h *held) TTL() time.Duration {
	if h.core.ttl != 0 {
		return h.core.ttl
	}
	return 15 * time.Second
}
func (h *held) Ping() time.Duration {
	if h.core.ping != 0 {
		return h.core.ping
	}
	return 2 * time.Second
}
func (h *held) Alive()                    {}
func (h *held) Lost() <-chan rollcall.Key { return nil }
func (h *held) Ended() <-chan struct{}    { return nil }

func (h *held) Register(ctx context.Context, i rollcall.Instance, m rollcall.Revision) (rollcall.Instance, bool, error) {
	h.core.mu.Lock()
	h.core.seen = append(h.core.seen, i)
	h.core.mu.Unlock()
	i.Lease.Mode = rollcall.LeaseTTL
	is, created, err := h.core.reg.Register(ctx, i, m)
	is.Lease.Mode = rollcall.LeaseSession
	h.keys = append(h.keys, is.Key())
	return is, created, err
}

func (h *held) Report(ctx context.Context, k rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error) {
	return h.core.reg.Renew(ctx, k, r)
}

func (h *held) Goodbye(ctx context.Context, ks ...rollcall.Key) error {
	if ks == nil {
		ks = h.keys
	}
	for _, k := range ks {
		if err := h.core.reg.Deregister(ctx, k, 0); err != nil {
			return err
		}
	}
	return nil
}

func (h *held) Leave() { h.Break("left") }

func (h *held) Break(why string) {
	if h.core.broke != nil {
		h.core.broke <- why
	}
}

// converse sends a whole body and returns all that is answered.
func (w *world) converse(path, lines string) string {
	w.t.Helper()
	resp, err := w.client.Post(w.http.URL+path, "", io.MultiReader(strings.NewReader(lines)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		w.t.Fatalf("%d, %v: %s", resp.StatusCode, err, b)
	}
	return string(b)
}

// caller speaks raw HTTP/1.1 as curl -N -T - does: a chunk a line.
type caller struct {
	t    *testing.T
	conn *net.TCPConn
	resp *http.Response
	in   *bufio.Reader
}

func (w *world) call(t *testing.T, head string, lines ...string) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", w.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{t: t, conn: conn.(*net.TCPConn)}
	t.Cleanup(func() { conn.Close() })
	c.conn.SetDeadline(time.Now().Add(20 * time.Second)) // rather than hang
	fmt.Fprintf(conn, "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n%s\r\n", head)
	in := bufio.NewReader(conn)
	if strings.Contains(head, "100-continue") {
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 100 {
			t.Fatalf("%v, %v; want 100", resp, err)
		}
	}
	c.say(lines...)
	if c.resp, err = http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	c.in = bufio.NewReader(c.resp.Body)
	return c
}

func (c *caller) say(lines ...string) {
	for _, l := range lines {
		fmt.Fprintf(c.conn, "%x\r\n%s\n\r\n", len(l)+1, l)
	}
}

// next returns the next line.
func (c *caller) next() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("%v after %q", err, line)
	}
	return line
}

func (c *caller) want(begin string) string {
	c.t.Helper()
	line := c.next()
	if !strings.HasPrefix(line, begin) {
		c.t.Fatalf("%s, want %s…", line, begin)
	}
	return line
}

const registerW1 = `{"type":"register","instance":{"service":"web","id":"w-1","port":80}}`

// opened returns a world and a session in it that has registered an instance.
func opened(t *testing.T, o httpapi.Options, c *sessions) (*world, *caller) {
	t.Helper()
	c.reg = newRegistry(t)
	c.broke = make(chan string, 1)
	o.Sessions = c
	w := serve(t, c.reg, httpapi.New(c.reg, o))
	s := w.call(t, "Expect: 100-continue\r\n", registerW1)
	s.want(`{"type":"session","token":`)
	s.want(`{"type":"registered","service":"web","id":"w-1"`)
	return w, s
}

// Each line of the conversation, both ways, is as openapi.json says.
func TestSession(t *testing.T) {
	w, c := opened(t, httpapi.Options{}, &sessions{ping: 50 * time.Millisecond})
	if ct := c.resp.Header.Get("Content-Type"); c.resp.StatusCode != 200 || ct != "application/x-ndjson" {
		t.Errorf("%s, %s", c.resp.Status, ct)
	}
	w.do("GET", "/api/v1/services/web/instances/w-1", "").want(200)
	c.want(`{"type":"ping"}`)
	spec := newSpec(t)
	answers := ""
	for _, line := range []string{
		registerW1, `{"type":"report","ref":"r","service":"web","id":"w-1","status":"degraded","load":{"rps":1},"checks":{}}`,
		`{"type":"report","service":"web","id":"w-2"}`, `{"type":"pong"}`, `{"type":"goodbye","service":"web","id":"w-1"}`, `{"type":"goodbye"}`,
	} {
		spec.validate(t, "#/components/schemas/SessionLine", []byte(line))
		c.say(line)
	}
	for {
		line, err := c.in.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		spec.validate(t, "#/components/schemas/SessionAnswer", []byte(line))
		var l struct{ Type string }
		if json.Unmarshal([]byte(line), &l); l.Type != "ping" {
			answers += " " + l.Type
		}
	}
	if answers != " registered renewed error gone gone" {
		t.Errorf("answered with%s", answers)
	}
	w.do("GET", "/api/v1/services/web/instances/w-1", "").want(404)
}

// Whatever ends a stream without a goodbye breaks the session at once.
func TestSessionBreaks(t *testing.T) {
	for name, x := range map[string]struct {
		o   httpapi.Options
		ttl time.Duration
		end func(c *caller)
		why string
	}{
		"end of file": {end: func(c *caller) { c.conn.CloseWrite() }, why: "the stream broke: unexpected EOF"},
		"end of body": {end: func(c *caller) { io.WriteString(c.conn, "0\r\n\r\n") }, why: "the stream ended without a goodbye"},
		"reset":       {end: func(c *caller) { c.conn.SetLinger(0); c.conn.Close() }, why: "the stream broke: connection reset by peer"},
		"half-open":   {ttl: 100 * time.Millisecond, end: func(*caller) {}, why: "left"},
		"garbage":     {end: func(c *caller) { c.say("]") }, why: "a line was not JSON"},
		"oversize":    {o: httpapi.Options{MaxBody: 512}, end: func(c *caller) { c.say(strings.Repeat(" ", 1000)) }, why: "a line was not JSON"},
		"bad chunk":   {end: func(c *caller) { io.WriteString(c.conn, "zz\r\n") }, why: "the stream broke: invalid byte in chunk length"},
		"slow reader": {
			o: httpapi.Options{WriteTimeout: 300 * time.Millisecond},
			end: func(c *caller) {
				c.conn.SetReadBuffer(4096)
				bad := `{"type":"` + strings.Repeat("x", 30) + `"}`
				chunk := fmt.Sprintf("%x\r\n%s\n\r\n", len(bad)+1, bad)
				for range 1000 { // until it does not take any more
					if _, err := io.WriteString(c.conn, strings.Repeat(chunk, 2000)); err != nil {
						return
					}
				}
			},
			why: "left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core := &sessions{ttl: x.ttl}
			_, c := opened(t, x.o, core)
			done := make(chan struct{})
			go func() { defer close(done); x.end(c) }()
			select {
			case why := <-core.broke:
				if why != x.why {
					t.Errorf("broken: %q, want %q", why, x.why)
				}
			case <-time.After(20 * time.Second):
				t.Error("it did not break")
			}
			c.conn.Close()
			<-done
		})
	}
}

// A server that stops tells its clients, and holds it against nobody.
func TestSessionsEndWithTheServer(t *testing.T) {
	core := &sessions{}
	w, c := opened(t, httpapi.Options{}, core)
	w.handler.EndSessions()
	c.want(`{"type":"closing"}`)
	if line, err := c.in.ReadString('\n'); err != io.EOF {
		t.Errorf("then %q, %v", line, err)
	}
	if err := w.http.Config.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case why := <-core.broke:
		t.Errorf("broken: %s", why)
	default:
	}
}

// A refusal comes at once, though the body has no end.
func TestSessionRefused(t *testing.T) {
	reg := newRegistry(t)
	none := serve(t, reg, httpapi.New(reg, httpapi.Options{}))
	began := time.Now()
	if c := none.call(t, ""); c.resp.StatusCode != 501 {
		t.Errorf("a server without sessions answers %s", c.resp.Status)
	}
	w := newWorld(t, httpapi.Options{})
	for head, code := range map[string]int{"Content-Encoding: gzip\r\n": 415, "Content-Type: text/html\r\n": 415} {
		if c := w.call(t, head); c.resp.StatusCode != code {
			t.Errorf("%s: %s", head, c.resp.Status)
		}
	}
	if c := w.call(t, "", `{"type":"resume","tokken":""}`); c.resp.StatusCode != 400 || !strings.Contains(c.next(), `"field":"tokken"`) {
		t.Errorf("a first line that is wrong: %s", c.resp.Status)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	w.do("POST", "/api/v1/session?ttl=1s", `{"type":"pong"}`).problem(400, "ttl")
	w.do("POST", "/api/v1/session", "").problem(400, "")
}

// An address is vouched for if the registration came from there and it means
// another machine elsewhere.
func TestVouched(t *testing.T) {
	core := &sessions{}
	_, c := opened(t, httpapi.Options{}, core)
	for _, address := range []string{"127.0.0.1", "127.9.9.9", "::1", "", "10.0.0.1", "localhost", "169.254.169.254", "fe80::1", "0.0.0.0"} {
		c.say(`{"type":"register","instance":{"service":"web","id":"w-1","address":"` + address + `"}}`)
		c.want(`{"type":"registered"`)
		core.mu.Lock()
		got := core.seen[len(core.seen)-1]
		core.mu.Unlock()
		want := address == "" || strings.HasPrefix(address, "127.") || address == "::1"
		if got.Vouched != want {
			t.Errorf("%q is vouched for: %v, want %v", address, got.Vouched, want)
		}
	}
	for peer, want := range map[string]string{
		"10.0.0.1:80":        "",
		"127.0.0.1:80":       "127.0.0.1 ::1",
		"[::1]:80":           "127.0.0.1 ::1",
		"[fe80::1%eth0]:80":  "fe80::1",
		"169.254.7.7:80":     "169.254.7.7",
		"[::ffff:7f00:1]:80": "127.0.0.1 ::1",
		"@":                  "",
	} {
		var got []string
		for _, address := range []string{"10.0.0.1", "127.0.0.1", "::1", "fe80::1", "169.254.7.7", "host"} {
			if httpapi.Vouches(peer, address) {
				got = append(got, address)
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s vouches for %q, want %q", peer, got, want)
		}
	}
}

// The Go client and this door speak the same.
func TestClientOnTheDoor(t *testing.T) {
	core := &sessions{broke: make(chan string, 1)}
	core.reg = newRegistry(t)
	w := serve(t, core.reg, httpapi.New(core.reg, httpapi.Options{Sessions: core}))
	c, err := client.Dial(w.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var rs []*client.Registration
	for _, id := range []string{"w-1", "w-2"} {
		r, err := c.Register(t.Context(), rollcall.Instance{
			Service: "Web", ID: id, Ports: map[string]uint16{"http": 80}, Lease: rollcall.Lease{Mode: rollcall.LeaseSession},
		}, client.WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Instance(); got.Address != "127.0.0.1" || got.Lease.Mode != rollcall.LeaseSession || got.Revision == 0 {
			t.Errorf("registered as %+v", got)
		}
		rs = append(rs, r)
	}
	here := &rollcall.Position{Lat: 52.5, Lon: 13.4}
	report := rollcall.Report{Status: rollcall.Degraded, Note: "slow", Load: &rollcall.Load{RPS: 3}, Position: here}
	if err := rs[0].Report(t.Context(), report); err != nil {
		t.Error(err)
	}
	if err := rs[0].Report(t.Context(), rollcall.Report{Load: &rollcall.Load{RPS: -1}}); !errors.Is(err, rollcall.ErrInvalid) {
		t.Errorf("a report that is wrong: %v", err)
	}
	if err := rs[0].Report(t.Context(), rollcall.Report{Load: &rollcall.Load{RPS: math.NaN()}}); !errors.Is(err, rollcall.ErrInvalid) {
		t.Errorf("a report that cannot be said: %v", err)
	}
	for _, r := range rs {
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.do("GET", "/api/v1/services/web/instances/"+r.Instance().ID, "").want(404)
	}
	select {
	case why := <-core.broke:
		t.Errorf("broken: %s", why)
	default:
	}
}
