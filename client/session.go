package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/line"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// carrier brings to the registry what a registration has to say: calls for a
// lease of mode ttl, the client's session for one of mode session.
type carrier interface {
	put(ctx context.Context, inst rollcall.Instance) (rollcall.Instance, error)
	Heartbeat(ctx context.Context, key rollcall.Key, r rollcall.Report) (rollcall.Renewal, error)
	Deregister(ctx context.Context, key rollcall.Key) error
	// knows reports whether the registry still has an instance that was put, as
	// far as it has said.
	knows(key rollcall.Key) bool
}

func (c *Client) knows(rollcall.Key) bool { return true }

// errNoSessions is the cause of an error that means that a server knows no
// sessions.
var errNoSessions = errors.New("no sessions")

// steady is how long a stream must have lasted for the next one to be opened
// without a pause.
const steady = time.Second

// session is the stream that all of a client's registrations of mode session
// share. One goroutine opens it, reads it, and opens it anew when it breaks, for
// as long as there are registrations.
type session struct {
	c     *Client
	ttl   time.Duration // that is asked for; 0 is the server's choice
	life  context.Context
	end   context.CancelFunc
	done  chan struct{} // closed when the goroutine has ended
	token string        // the goroutine's: with which to resume

	mu      sync.Mutex // comes after Client.mu and before Registration.mu
	members map[rollcall.Key]*member
	link    *link         // nil: the stream is down
	err     error         // why, once it is known
	tried   chan struct{} // closed after the next attempt to open it
}

type member struct {
	r     *Registration
	known bool // to the registry
}

// join makes a registration a member of the client's session, which begins with
// the first one.
func (c *Client) join(r *Registration, inst *rollcall.Instance) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the client is closed")
	}
	s := c.session
	if s == nil {
		s = &session{
			c: c, ttl: time.Duration(inst.Lease.TTL), done: make(chan struct{}),
			members: map[rollcall.Key]*member{}, tried: make(chan struct{}),
		}
		s.life, s.end = context.WithCancel(c.life)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := inst.Key()
	if s.members[key] != nil {
		return nil, rollcall.Invalid("id", fmt.Sprintf("is that of %v, which this client keeps already", key))
	}
	s.members[key] = &member{r: r}
	if c.session == nil {
		c.session = s
		c.keepers.Go(s.run)
	}
	return s, nil
}

// leave ends a membership. The last one to leave has to end the session, which
// nobody can join any more.
func (s *session) leave(key rollcall.Key) (last bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, key)
	if last = len(s.members) == 0; last && s.c.session == s {
		s.c.session = nil
	}
	return last
}

// deserted reports whether all have left, the last with a goodbye.
func (s *session) deserted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members) == 0
}

// over ends the session.
func (s *session) over() {
	s.end()
	<-s.done
}

// run keeps the stream open.
func (s *session) run() {
	defer close(s.done)
	defer s.end()
	again := retry.Backoff{Least: 50 * time.Millisecond, Most: 2 * time.Second}
	for s.life.Err() == nil && !s.deserted() {
		l, err := s.open()
		if err != nil {
			s.down(nil, err)
			retry.Pause(s.life, again.Next(err))
			continue
		}
		began := time.Now()
		s.up(l)
		err = s.follow(l)
		s.down(l, err)
		l.close(err)
		if s.life.Err() != nil || s.deserted() {
			break
		}
		s.c.log.Info("the session's stream ended; resuming", "err", err)
		if time.Since(began) >= steady {
			again.Reset()
			continue
		}
		retry.Pause(s.life, again.Next(nil))
	}
	s.down(nil, errors.New("the client's session is closed"))
}

// open opens a stream at the server that answered last, or at one of the others.
func (s *session) open() (l *link, err error) {
	first := int(s.c.last.Load())
	for n := range s.c.servers {
		i := (first + n) % len(s.c.servers)
		if l, err = s.openAt(s.c.servers[i]); err == nil {
			s.c.last.Store(int32(i))
			l.server = i
			return l, nil
		}
		if s.life.Err() != nil {
			break
		}
	}
	return nil, err
}

func (s *session) openAt(at address.Server) (*link, error) {
	l := newLink(s.life, s.c.timeout)
	hello := pong // any line opens a session
	if s.token != "" {
		hello, _ = line.Sent{Type: "resume", Token: s.token}.Encode() // of text alone
	}
	l.out <- hello
	k := call{method: http.MethodPost, path: "session", header: http.Header{
		"Accept": {"application/x-ndjson"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/x-ndjson"},
	}}
	if s.ttl > 0 {
		k.query = url.Values{"ttl": {s.ttl.String()}}
	}
	resp, err := s.c.sendTo(l.ctx, at, k, l)
	if err == nil {
		err = l.begin(resp)
	}
	if err != nil {
		l.close(err)
		return nil, withoutSessions(at, err)
	}
	s.token = l.token
	return l, nil
}

// withoutSessions makes it plain if err means that a server knows no sessions.
func withoutSessions(at address.Server, err error) error {
	if !errors.Is(err, rollcall.ErrNotFound) && !errors.Is(err, rollcall.ErrUnsupported) {
		return err
	}
	return &rollcall.Error{
		Kind: rollcall.ErrUnsupported, Field: "lease.mode", Cause: errNoSessions,
		Detail: fmt.Sprintf("the server at %s knows no sessions; register with a lease of mode ttl, or update the server", at.Name),
	}
}

// up makes l the session's stream and has the members go on. What a new session
// does not have must be registered again.
func (s *session) up(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.err = l, nil
	for _, m := range s.members {
		m.known = m.known && l.resumed
	}
	s.outcome(true)
}

// down notes that there is no stream, and why. That one broke is no news to the
// members before an attempt to open another has failed.
func (s *session) down(was *link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link = nil; was == nil {
		news := s.err == nil
		s.err = err
		s.outcome(news)
	}
}

// outcome tells whoever waits that an attempt was made, and the members, if that
// is news to them. Its caller holds mu.
func (s *session) outcome(news bool) {
	close(s.tried)
	s.tried = make(chan struct{})
	if news {
		for _, m := range s.members {
			m.r.wake()
		}
	}
}

// stream returns the stream. If it is down, that is the outcome of the next
// attempt to open it.
func (s *session) stream(ctx context.Context) (*link, error) {
	s.mu.Lock()
	l, tried := s.link, s.tried
	s.mu.Unlock()
	if l != nil {
		return l, nil
	}
	select {
	case <-tried:
	case <-s.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link != nil && ctx.Err() == nil:
		return s.link, nil
	case s.err != nil:
		return nil, s.err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, errBroken(nil)
}

// follow does what the server says until the stream ends.
func (s *session) follow(l *link) error {
	for {
		told, err := l.next()
		if err != nil {
			return err
		}
		switch told.Type {
		case "lost":
			s.lost(rollcall.NewKey(told.Namespace, told.Service, told.ID))
		case "closing":
			s.c.last.CompareAndSwap(int32(l.server), int32((l.server+1)%len(s.c.servers)))
			return errors.New("the server is stopping")
		}
	}
}

func (s *session) lost(key rollcall.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.members[key]; m != nil {
		m.known = false
		m.r.wake()
	}
}

func (s *session) knows(key rollcall.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[key]
	return m == nil || m.known
}

// put registers an instance on the stream.
func (s *session) put(ctx context.Context, inst rollcall.Instance) (rollcall.Instance, error) {
	l, err := s.stream(ctx)
	if err != nil {
		return rollcall.Instance{}, err
	}
	got, err := l.ask(ctx, line.Sent{Type: "register", Instance: &inst})
	if err != nil {
		return rollcall.Instance{}, err
	}
	if got.Instance == nil {
		return rollcall.Instance{}, errors.New("the server did not say what it registered")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.members[inst.Key()]; m != nil && s.link == l {
		m.known = true
	}
	return *got.Instance, nil
}

// Heartbeat tells how an instance is; if there is nothing to tell, only whether
// the stream is there.
func (s *session) Heartbeat(ctx context.Context, key rollcall.Key, r rollcall.Report) (rollcall.Renewal, error) {
	l, err := s.stream(ctx)
	if err != nil || empty(r) {
		return rollcall.Renewal{}, err
	}
	got, err := l.ask(ctx, line.Sent{Type: "report", Name: line.Of(key), Report: &r})
	return rollcall.Renewal{TTL: got.TTL, Revision: got.Revision}, err
}

// Deregister says goodbye for an instance; for the last one, to the session.
// Without a stream it is taken out by a call.
func (s *session) Deregister(ctx context.Context, key rollcall.Key) error {
	goodbye := line.Sent{Type: "goodbye", Name: line.Of(key)}
	if s.leave(key) {
		goodbye.Name = line.Name{}
		defer s.over()
	}
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		if _, err := l.ask(ctx, goodbye); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return s.c.Deregister(ctx, key)
}
