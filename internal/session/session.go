// Package session keeps which instances are bound to which open stream. As long
// as something is heard on it, they are alive; when it ends with a goodbye they are
// removed, and when it just ends, they count as broken after a short grace, unless
// the client takes the session up again with its token.
//
// Whatever is bound to a session is a lease of package lease: this package renews
// and breaks them, and judges nobody.
package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

const (
	// most is how many sessions there may be, and mostInstances how many instances
	// one may have.
	most          = 50_000
	mostInstances = 1000
	// few is for how many instances each sign of life is passed on. Those of more
	// are only renewed several times within a ping.
	few = 16
)

// lostWaiting is how many lost instances a session remembers to tell at once;
// those beyond are told after the next sign of life.
const lostWaiting = 8

// Options are what a table of sessions works with.
type Options struct {
	Leases *lease.Table
	// Judge asks for a verdict on instances.
	Judge func(...rollcall.Key)
	// Register, Renew and Deregister are the registry's use cases.
	Register func(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (rollcall.Instance, bool, error)
	Renew    func(ctx context.Context, key rollcall.Key, rep *rollcall.Report) (rollcall.Renewal, error)
	// Deregister removes one incarnation of an instance; that another one is
	// registered is no error.
	Deregister func(ctx context.Context, key rollcall.Key, incarnation rollcall.Revision) error
	Now        func() time.Time
	Logger     *slog.Logger
}

// Table keeps the sessions. Its methods may be called by any goroutine.
//
// Lock order: Table.mu before state.mu.
type Table struct {
	o Options

	mu     sync.Mutex // guards what follows
	tokens map[string]*state
	owners map[rollcall.Key]*state
}

// state is one session, whichever stream it has.
type state struct {
	token string
	ttl   time.Duration

	mu     sync.Mutex // guards what follows
	stream *Session   // nil: it is broken
	broken time.Time  // since when
	heard  time.Time
	// keys are its instances, by the incarnation that was registered here.
	// Somebody may have registered another one since: that is theirs, but when it
	// is gone, this one is to be registered again.
	keys map[rollcall.Key]rollcall.Revision
}

// Session is a session on one stream. Once another stream took the session up, it
// keeps nothing alive and breaks nothing any more.
type Session struct {
	t     *Table
	s     *state
	lost  chan rollcall.Key
	ended chan struct{}
}

// New returns an empty table.
func New(o Options) *Table {
	return &Table{o: o, tokens: map[string]*state{}, owners: map[rollcall.Key]*state{}}
}

// Len returns the number of sessions, broken ones that may come back included.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.tokens)
}

// Open opens a session for a TTL (0: the default), or takes the one of a token up
// again: then resumed is true, and its instances are alive. A token that is not
// known, as after a restart, opens a new one, for which the client should register
// its instances again.
func (t *Table) Open(token string, ttl time.Duration) (s *Session, resumed bool, err error) {
	if ttl == 0 {
		ttl = rollcall.DefaultTTL
	}
	if ttl < rollcall.MinTTL || ttl > rollcall.MaxTTL {
		return nil, false, rollcall.Invalid("ttl", "is "+rollcall.Duration(ttl).String()+"; 2s to 24h are allowed")
	}
	s = &Session{t: t, lost: make(chan rollcall.Key, lostWaiting), ended: make(chan struct{})}
	if resumed, err = t.take(s, token, ttl); err != nil {
		return nil, false, err
	}
	s.Alive()
	return s, resumed, nil
}

// take gives a stream the session of a token, or a new one. The stream that had it
// ends: whichever of two the client holds, it has to take it up again if it was
// that one.
func (t *Table) take(s *Session, token string, ttl time.Duration) (resumed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.tokens[token]
	if resumed = st != nil; !resumed {
		if len(t.tokens) >= most {
			return false, &rollcall.Error{
				Kind: rollcall.ErrTooMany, RetryAfter: 5 * time.Second,
				Detail: fmt.Sprintf("there are %d sessions; register with a lease of mode ttl, or keep several instances by one session", most),
			}
		}
		st = &state{token: rand.Text(), ttl: ttl, keys: map[rollcall.Key]rollcall.Revision{}}
		t.tokens[st.token] = st
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.stream != nil {
		close(st.stream.ended)
	}
	s.s, st.stream, st.heard = st, s, time.Time{}
	return resumed, nil
}

// Sweep forgets sessions that have been broken for longer than their TTL.
func (t *Table) Sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, st := range t.tokens {
		st.mu.Lock()
		if st.stream == nil && t.o.Now().Sub(st.broken) > st.ttl {
			t.end(st)
		}
		st.mu.Unlock()
	}
}

// end forgets a session. The caller holds both locks.
func (t *Table) end(st *state) {
	delete(t.tokens, st.token)
	for key := range st.keys {
		if t.owners[key] == st {
			delete(t.owners, key)
		}
	}
	clear(st.keys)
}

// Removed tells that an instance is not registered any more. If a session has it,
// its client is told to register it again.
func (t *Table) Removed(key rollcall.Key) {
	t.mu.Lock()
	st := t.owners[key]
	t.mu.Unlock()
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, has := st.keys[key]; has && st.stream != nil {
		st.stream.tellLost(key)
	}
}

// tellLost passes on that an instance is lost, if there is room; it is looked for
// again with the next sign of life.
func (s *Session) tellLost(key rollcall.Key) {
	select {
	case s.lost <- key:
	default:
	}
}

// Token returns what takes the session up again.
func (s *Session) Token() string { return s.s.token }

// TTL returns for how long the session may be silent.
func (s *Session) TTL() time.Duration { return s.s.ttl }

// Ping returns how often the other side should be asked whether it is there.
func (s *Session) Ping() time.Duration { return lease.Ping(s.s.ttl) }

// Ended is closed when another stream has taken the session up: this one is to be
// closed, and neither broken nor left.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Lost yields instances of the session that are not registered any more, though
// nobody said goodbye for them here: the client should register them again.
func (s *Session) Lost() <-chan rollcall.Key { return s.lost }

// Len returns how many instances are bound to the session.
func (s *Session) Len() int {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return len(s.s.keys)
}

// Register registers an instance and binds it to the session.
func (s *Session) Register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (rollcall.Instance, bool, error) {
	i.Lease.Mode, i.Lease.TTL = rollcall.LeaseSession, rollcall.Duration(s.s.ttl)
	if s.full(i.Key()) {
		return i, false, &rollcall.Error{
			Kind: rollcall.ErrTooMany, Detail: fmt.Sprintf("a session keeps at most %d instances; open another one", mostInstances),
		}
	}
	is, created, err := s.t.o.Register(ctx, i, ifMatch)
	if err != nil {
		return is, created, err
	}
	s.bind(is.Key(), is.Incarnation)
	return is, created, nil
}

// full reports whether the session has no room for one more instance.
func (s *Session) full(key rollcall.Key) bool {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	_, has := s.s.keys[key]
	return !has && len(s.s.keys) >= mostInstances
}

// bind makes an instance the session's. If the stream broke meanwhile, so did the
// instance.
func (s *Session) bind(key rollcall.Key, incarnation rollcall.Revision) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.t.tokens[s.s.token] == s.s {
		if _, has := s.s.keys[key]; !has { // what was read shares the memory of its line
			key = rollcall.Key{ServiceKey: rollcall.ServiceKey{
				Namespace: strings.Clone(key.Namespace), Service: strings.Clone(key.Service),
			}, ID: strings.Clone(key.ID)}
		}
		s.t.owners[key] = s.s
		s.s.keys[key] = incarnation
	}
	if s.s.stream == nil {
		s.t.o.Leases.BreakOf(key, incarnation)
	}
}

// Report takes in what an instance of the session says of itself.
func (s *Session) Report(ctx context.Context, key rollcall.Key, rep *rollcall.Report) (rollcall.Renewal, error) {
	return s.t.o.Renew(ctx, key, rep)
}

// Goodbye removes instances of the session; without keys all, and ends it.
func (s *Session) Goodbye(ctx context.Context, keys ...rollcall.Key) error {
	all := len(keys) == 0
	if all {
		s.s.mu.Lock()
		for key := range s.s.keys {
			keys = append(keys, key)
		}
		s.s.mu.Unlock()
	}
	var failed error
	for _, key := range keys {
		if err := s.goodbye(ctx, key); err != nil {
			failed = err
		}
	}
	if all && failed == nil {
		s.t.mu.Lock()
		s.s.mu.Lock()
		s.t.end(s.s)
		s.s.mu.Unlock()
		s.t.mu.Unlock()
	}
	return failed
}

func (s *Session) goodbye(ctx context.Context, key rollcall.Key) error {
	s.t.mu.Lock()
	s.s.mu.Lock()
	incarnation := s.s.keys[key]
	delete(s.s.keys, key) // first, so that it is not told to be lost
	owns := s.t.owners[key] == s.s
	if owns {
		delete(s.t.owners, key)
	}
	s.s.mu.Unlock()
	s.t.mu.Unlock()
	if !owns {
		return nil // it is another session's by now, or was never this one's
	}
	if err := s.t.o.Deregister(ctx, key, incarnation); err != nil {
		s.bind(key, incarnation)
		return err
	}
	return nil
}

// Alive says that something was heard on the stream.
func (s *Session) Alive() {
	var changed []rollcall.Key
	s.s.mu.Lock()
	now := s.t.o.Now()
	if s.s.stream == s && (len(s.s.keys) <= few || now.Sub(s.s.heard) >= s.Ping()/4) {
		s.s.heard = now
		for key, incarnation := range s.s.keys {
			of, _, was := s.t.o.Leases.RenewOf(key, incarnation)
			if of == 0 {
				s.tellLost(key)
			}
			if was {
				changed = append(changed, key)
			}
		}
	}
	s.s.mu.Unlock()
	s.t.o.Judge(changed...)
}

// Break says that the stream ended without a goodbye, and why.
func (s *Session) Break(why string) {
	s.part(func(key rollcall.Key, incarnation rollcall.Revision) { s.t.o.Leases.BreakOf(key, incarnation) })
	s.t.o.Logger.Debug("a session broke", "why", why)
}

// Leave says that the stream is not read any more, which is not the client's
// doing: the session is as it was last heard of.
func (s *Session) Leave() { s.part(func(rollcall.Key, rollcall.Revision) {}) }

// part leaves the session without a stream, and calls each with the instances that
// no other session has. One that has none at all is forgotten at once.
func (s *Session) part(each func(rollcall.Key, rollcall.Revision)) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.s.stream != s {
		return
	}
	s.s.stream, s.s.broken = nil, s.t.o.Now()
	for key, incarnation := range s.s.keys {
		if s.t.owners[key] == s.s {
			each(key, incarnation)
		}
	}
	if len(s.s.keys) == 0 {
		s.t.end(s.s)
	}
}
