// Package session is the wire of sessions: leases bound to an open stream, with
// JSON lines both ways. What comes up is decoded strictly and done in order, one
// line after the other; what goes down is an answer, a sign of life, or what the
// client should know. The package knows no HTTP: it serves whatever can be read
// and written against deadlines.
//
// A stream has two goroutines. One reads, makes the calls of the core and
// answers; the other tells what nobody asked for. A stream ends cleanly by a
// goodbye alone. However else it ends, the core hears that it broke, and why;
// but not when this process ends it, because that is no evidence against
// anybody.
package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// Sessions opens sessions.
type Sessions interface {
	// OpenSession opens a session, or takes one up again whose stream broke:
	// then resumed is true and the instances of the session are its again. An
	// unknown or expired token opens a new session. A ttl of 0 is the default.
	OpenSession(ctx context.Context, token string, ttl time.Duration) (s Session, resumed bool, err error)
}

// Session is a lease that is bound to a stream. It is used by one goroutine at a
// time, except Alive and Lost.
type Session interface {
	// Token is what it can be resumed with.
	Token() string
	// TTL is for how long the client may be silent before its instances are out.
	TTL() time.Duration
	// Ping is how often the client should hear from the server.
	Ping() time.Duration
	// Register creates or replaces an instance of the session.
	Register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (is rollcall.Instance, created bool, err error)
	// Report tells how an instance is. ErrNotFound means "register it again".
	Report(ctx context.Context, key rollcall.Key, rep *rollcall.Report) (rollcall.Renewal, error)
	// Goodbye removes these instances; without keys all, and ends the session.
	Goodbye(ctx context.Context, keys ...rollcall.Key) error
	// Alive says that something was heard on the stream.
	Alive()
	// Lost tells of instances of the session that are not registered any more,
	// though nobody said goodbye here: the client should register them again.
	Lost() <-chan rollcall.Key
	// Ended is closed when another stream took the session up: this one is to be
	// closed without a word.
	Ended() <-chan struct{}
	// Break says that the stream ended without a goodbye, and why.
	Break(why string)
	// Leave says that the stream is not served any more because nothing was heard
	// on it, or taken from it, for too long: whose fault that is is not known here.
	Leave()
}

// Conn is the stream under a session. What is written is sent at once. One
// goroutine reads while another writes; deadlines may be set by any, and end what
// waits under the one before.
type Conn interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Options configure a [Door]. Zero values are the defaults.
type Options struct {
	Logger       *slog.Logger  // nil: none
	MaxLine      int           // bytes of a line, default 64 KiB
	MaxInstances int           // of one session, default 1,000
	OpenTimeout  time.Duration // for the first line to arrive, default 10 s
	WriteTimeout time.Duration // for a client to take what it is sent, default 30 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxLine == 0 {
		o.MaxLine = 64 << 10
	}
	if o.MaxInstances == 0 {
		o.MaxInstances = 1000
	}
	if o.OpenTimeout == 0 {
		o.OpenTimeout = 10 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	return o
}

// Door serves sessions. It may be called by any goroutine.
type Door struct {
	core     Sessions
	o        Options
	decoders sync.Pool // of *form.Decoder
	buffers  sync.Pool // of *[]byte, for lines that go down
	closing  chan struct{}
	once     sync.Once // closes closing
}

// New returns a door to the sessions of a core.
func New(core Sessions, o Options) *Door {
	d := &Door{core: core, o: o.withDefaults(), closing: make(chan struct{})}
	d.decoders.New = func() any { return new(form.Decoder) }
	d.buffers.New = func() any { b := make([]byte, 0, 512); return &b }
	return d
}

// End ends all streams, because the server stops: clients are told to take their
// sessions up elsewhere, and the core is told nothing. It does not wait for the
// streams; no new ones begin.
func (d *Door) End() { d.once.Do(func() { close(d.closing) }) }

func (d *Door) ending() bool {
	select {
	case <-d.closing:
		return true
	default:
		return false
	}
}

// Serve serves a session on c until that ends. place completes an instance by
// where it is registered from. An error means that there was no session, and that
// nothing was written.
func (d *Door) Serve(ctx context.Context, c Conn, ttl time.Duration, place func(*rollcall.Instance)) error {
	if d.ending() {
		return &rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: "the server is stopping; open a session elsewhere", RetryAfter: time.Second}
	}
	c.SetReadDeadline(time.Now().Add(d.o.OpenTimeout))
	in := lines{r: c, most: d.o.MaxLine}
	first, err := in.next()
	if err != nil {
		return unopened(err, d.o.OpenTimeout)
	}
	token, resumes, err := d.opening(first)
	if err != nil {
		return err
	}
	s, resumed, err := d.core.OpenSession(ctx, token, ttl)
	if err != nil {
		return err
	}
	if resumes {
		first = nil
	}
	st := &stream{d: d, ctx: ctx, c: c, s: s, in: in, place: place, ended: make(chan struct{}), turn: make(chan struct{}, 1)}
	st.serve(first, resumed)
	return nil
}

// opening reads the first line, which may be a resume. Other lines are only
// looked at, and are for the session to answer.
func (d *Door) opening(first []byte) (token string, resumes bool, err error) {
	if quiet(first) {
		return "", false, nil
	}
	dec := d.decoders.Get().(*form.Decoder)
	defer d.done(dec)
	var l form.Line
	if err := decode(dec, first, &l); err != nil {
		return "", false, err
	}
	return l.Token, l.Type == form.LineResume, nil
}

func (d *Door) done(dec *form.Decoder) {
	dec.Release()
	d.decoders.Put(dec)
}
