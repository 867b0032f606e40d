package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
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

// calls is the carrier of leases of mode ttl.
type calls struct{ *Client }

func (c calls) put(ctx context.Context, inst rollcall.Instance) (rollcall.Instance, error) {
	return c.wire.Put(ctx, &inst)
}

func (c calls) knows(rollcall.Key) bool { return true }

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
	link    wire.Session  // nil: the stream is down
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
		return nil, errClientClosed
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
		l, opened, err := s.c.wire.Open(s.life, s.token, s.ttl)
		if err != nil {
			s.down(nil, err)
			retry.Pause(s.life, again.Next(err))
			continue
		}
		s.token = opened.Token
		began := time.Now()
		s.up(l, opened.Resumed)
		err = s.follow(l)
		s.down(l, err)
		l.Close(err)
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

// up makes l the session's stream and has the members go on. What a new session
// does not have must be registered again.
func (s *session) up(l wire.Session, resumed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.err = l, nil
	for _, m := range s.members {
		m.known = m.known && resumed
	}
	s.outcome(true)
}

// down notes that there is no stream, and why. That one broke is no news to the
// members before an attempt to open another has failed.
func (s *session) down(was wire.Session, err error) {
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
func (s *session) stream(ctx context.Context) (wire.Session, error) {
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
	return nil, wire.Broken(nil)
}

// follow hears what the server lost until the stream ends.
func (s *session) follow(l wire.Session) error {
	for {
		key, err := l.Lost()
		if err != nil {
			return err
		}
		s.lost(key)
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
	got, err := l.Register(ctx, &inst)
	if err != nil {
		return rollcall.Instance{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.members[inst.Key()]; m != nil && s.link == l {
		m.known = true
	}
	return got, nil
}

// Heartbeat tells how an instance is; if there is nothing to tell, only whether
// the stream is there.
func (s *session) Heartbeat(ctx context.Context, key rollcall.Key, r rollcall.Report) (rollcall.Renewal, error) {
	l, err := s.stream(ctx)
	if err != nil || wire.Empty(&r) {
		return rollcall.Renewal{}, err
	}
	return l.Report(ctx, key, &r)
}

// Deregister says goodbye for an instance; for the last one, to the session.
// Without a stream it is taken out by a call.
func (s *session) Deregister(ctx context.Context, key rollcall.Key) error {
	whom := key
	if s.leave(key) {
		whom = rollcall.Key{}
		defer s.over()
	}
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		if err := l.Goodbye(ctx, whom); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return s.c.Deregister(ctx, key)
}
