// Package wire says what a protocol between a client and the registry's servers
// has to do, and has what all of them share: which server is asked first, and in
// what words the absence of one is told.
package wire

import (
	"context"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Silence is for how long a watch may be silent before it counts as broken.
// Servers send a bookmark every 5 s.
const Silence = 15 * time.Second

// ManyItems is how many instances or renewals go into one request at most.
const ManyItems = 1000

// Protocol speaks to the servers of a registry, of which it asks the one that
// answered last first. It may be used by any number of goroutines. Errors that a
// server told are a [*rollcall.Error]; the kind is [ErrUnreachable] where none
// was there to tell one.
type Protocol interface {
	Owner
	Caller
	// Open opens a session, or takes up again the one with this token; ttl 0 is
	// the server's choice. The session ends with ctx.
	Open(ctx context.Context, token string, ttl time.Duration) (Session, Opened, error)
	// Close ends what is open and waits until that has ended.
	Close() error
}

// Owner is what the owners of instances ask for. Instances hold what is theirs to
// say, and an id.
type Owner interface {
	Put(ctx context.Context, inst *rollcall.Instance) (rollcall.Instance, error)
	// PutMany registers each for itself. It returns what became of each, in
	// order, as far as it came.
	PutMany(ctx context.Context, all []rollcall.Instance) ([]rollcall.Registration, error)
	// Renew renews one lease. What the server says of it may be missing where it
	// went along with others.
	Renew(ctx context.Context, key rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error)
	RenewMany(ctx context.Context, rs []rollcall.Renew) (unknown []rollcall.Key, err error)
	Deregister(ctx context.Context, key rollcall.Key) error
	Drain(ctx context.Context, key rollcall.Key, wait time.Duration) (rollcall.Barrier, error)
}

// Caller is what those ask for who call instances.
type Caller interface {
	Resolve(ctx context.Context, q *rollcall.Query) (rollcall.Answer, error)
	Why(ctx context.Context, q *rollcall.Query, id string) (rollcall.Explanation, error)
	Observe(ctx context.Context, key rollcall.ServiceKey, r *rollcall.CallerReport) error
	// Watch begins to follow a query's result. The records end with ctx. acks asks
	// for what was handled to be said to the server also where it costs a request.
	Watch(ctx context.Context, q *rollcall.Query, acks bool) (Records, error)
}

// Records is a watch until it breaks. One goroutine reads it.
type Records interface {
	// Next waits for the next record; after an error there is none.
	Next() (rollcall.WatchEvent, error)
	// Handled says that a record was acted upon, and all before it.
	Handled(ev *rollcall.WatchEvent)
	Close()
}

// Session is the stream of a session until that breaks. All but Lost may be
// called at the same time.
type Session interface {
	Register(ctx context.Context, inst *rollcall.Instance) (rollcall.Instance, error)
	Report(ctx context.Context, key rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error)
	// Goodbye removes an instance; with the zero key all of them, and ends the
	// session.
	Goodbye(ctx context.Context, key rollcall.Key) error
	// Lost waits for the next instance that is not registered any more and should
	// be again, or returns why the stream ended. It reads the stream: without it,
	// nothing is answered.
	Lost() (rollcall.Key, error)
	// Close ends the stream, and what waits for answers on it; why is what these
	// are told.
	Close(why error)
}

// Opened is what a server says of a session that it opened.
type Opened struct {
	Token   string // with which to take it up again
	Resumed bool   // it is the one that was asked for
}
