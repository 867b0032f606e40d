package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
)

// core is a core in memory that notes what is asked of it.
type core struct {
	ping, ttl time.Duration
	lost      chan rollcall.Key
	taken     chan struct{}
	fail      error // of every call of a session

	mu    sync.Mutex
	log   []string
	alive int
	known map[rollcall.Key]bool
	rev   rollcall.Revision
	broke chan string // receives why a stream broke
}

func newCore() *core {
	return &core{
		ping: 2 * time.Second, ttl: 15 * time.Second, lost: make(chan rollcall.Key),
		known: map[rollcall.Key]bool{}, broke: make(chan string, 16), taken: make(chan struct{}),
	}
}

func (c *core) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

func (c *core) noted() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, ", ")
}

func (c *core) OpenSession(_ context.Context, token string, ttl time.Duration) (session.Session, bool, error) {
	if token == "unready" {
		return nil, false, &rollcall.Error{Kind: rollcall.ErrNotSynced, Detail: "not yet"}
	}
	c.note("open %q %v", token, ttl)
	return c, token == "t-1", nil
}

func (c *core) Token() string             { return "t-1" }
func (c *core) TTL() time.Duration        { return c.ttl }
func (c *core) Ping() time.Duration       { return c.ping }
func (c *core) Lost() <-chan rollcall.Key { return c.lost }
func (c *core) Ended() <-chan struct{}    { return c.taken }
func (c *core) Alive()                    { c.mu.Lock(); c.alive++; c.mu.Unlock() }
func (c *core) Break(why string)          { c.broke <- why }
func (c *core) Leave()                    { c.broke <- "left" }

func (c *core) Register(_ context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
	i.Normalize()
	c.note("register %s/%s at %s", i.Service, i.ID, i.Address)
	if i.Service == "panic" {
		panic("as it was told to")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	created := !c.known[i.Key()]
	c.known[i.Key()] = true
	c.rev++
	i.Revision = c.rev
	return i, created, c.fail
}

func (c *core) Report(_ context.Context, k rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error) {
	c.note("report %s %v", k.ID, r.Status)
	if k.ID == "nobody" {
		return rollcall.Renewal{}, &rollcall.Error{Kind: rollcall.ErrNotFound, Detail: "register again"}
	}
	return rollcall.Renewal{TTL: rollcall.Duration(c.ttl), Revision: 7}, c.fail
}

func (c *core) Goodbye(_ context.Context, ks ...rollcall.Key) error {
	c.note("goodbye %v", ks)
	return c.fail
}

var errSecret = errors.New("secret")

// peer is the client's end of a stream.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	over chan error // receives what Serve returned
}

// open serves a stream through a pipe.
func open(t *testing.T, d *session.Door) *peer {
	t.Helper()
	near, far := net.Pipe()
	p := &peer{t: t, conn: near, in: bufio.NewReader(near), over: make(chan error, 1)}
	place := func(i *rollcall.Instance) {
		if i.Address == "" {
			i.Address = "10.0.0.9"
		}
	}
	go func() {
		defer far.Close()
		defer func() {
			if x := recover(); x != nil {
				p.over <- fmt.Errorf("panic: %v", x)
			}
		}()
		p.over <- d.Serve(t.Context(), far, 0, place)
	}()
	t.Cleanup(func() { near.Close() })
	return p
}

// say sends lines.
func (p *peer) say(lines ...string) {
	p.t.Helper()
	for _, l := range lines {
		if _, err := p.conn.Write([]byte(l + "\n")); err != nil {
			p.t.Fatalf("%s: %v", l, err)
		}
	}
}

// next returns the next line that is no ping.
func (p *peer) next() map[string]any {
	p.t.Helper()
	for {
		text, err := p.in.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%v after %q", err, text)
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil || !strings.HasPrefix(text, `{"type":"`) {
			p.t.Fatalf("%q: %v", text, err)
		}
		if m["type"] != "ping" {
			return m
		}
	}
}

// want fails the test unless the next line has these members, by name, value.
func (p *peer) want(members ...any) map[string]any {
	p.t.Helper()
	m := p.next()
	for n := 0; n < len(members); n += 2 {
		if got := m[members[n].(string)]; got != members[n+1] {
			p.t.Errorf("%s is %v, want %v, in %v", members[n], got, members[n+1], m)
		}
	}
	return m
}
