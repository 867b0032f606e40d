package grpcapi

import (
	"context"
	"net/netip"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Registry is what this door asks of the core, by the noun that is asked about.
// Errors are *rollcall.Error or a context's. The caller's principal is in the
// context.
type Registry interface {
	Instances
	Catalog
	Watches
}

// Instances are registered and kept alive. An ifMatch of 0 is no condition.
type Instances interface {
	// Register creates or replaces an instance; an empty id is chosen.
	Register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (is rollcall.Instance, created bool, err error)
	// Prepare completes an instance and packs it, and keeps no more of it than its names.
	// Lists, if there are any, are the packed form of the maps that it lacks, and right.
	Prepare(ctx context.Context, i *rollcall.Instance, lists string) (rollcall.InstancePut, error)
	// Limits are those of lists.
	Limits() rollcall.Limits
	// RegisterPrepared answers for each instance on its own.
	RegisterPrepared(ctx context.Context, puts []rollcall.InstancePut) []rollcall.Registration
	// Deregister removes an instance; that it is not there is no error.
	Deregister(ctx context.Context, key rollcall.Key, ifMatch rollcall.Revision) error
	Renew(ctx context.Context, key rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error)
	// RenewMany keeps nothing of the keys but in what it returns.
	RenewMany(ctx context.Context, rs []rollcall.Renew) (renewed int, unknown []rollcall.Key, err error)
	// Report takes in what a caller at an address, zero if it has none, saw of a
	// service's instances.
	Report(ctx context.Context, service rollcall.ServiceKey, from netip.Addr, r *rollcall.CallerReport) error
	// Drain begins draining, and waits at most so long until all who are told of
	// the service know; or ends it, at once.
	Drain(ctx context.Context, key rollcall.Key, on bool, wait time.Duration) (rollcall.Barrier, error)
}

// Catalog is read.
type Catalog interface {
	// Resolve answers at once, or as the query's conditions say (MinRevision,
	// After and Wait).
	Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error)
	// Position returns where an instance has moved since it was registered,
	// which few have.
	Position(key rollcall.Key) (p rollcall.Position, moved bool)
	// Weight returns an instance's effective weight among all of its service.
	Weight(item *catalog.Item) uint16
	// Why explains the answer to a query: of all instances, or of the one with an
	// id.
	Why(ctx context.Context, q *rollcall.Query, id string) (rollcall.Explanation, error)
}

// Watches are open for as long as their streams.
type Watches interface {
	// Watch opens a subscription of a reader to a query (or, without a service, to
	// a namespace or everything); q.After resumes. The caller closes it.
	Watch(ctx context.Context, q *rollcall.Query, who watch.Reader) (watch.Feed, *resolve.Plan, error)
	// Ack takes in that a subscription's reader has all up to a revision.
	Ack(ctx context.Context, subscription string, rev rollcall.Revision) error
}

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
