package httpapi

import (
	"context"
	"io"
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
	NamedQueries
	Operator
}

// Instances are registered and kept alive. An ifMatch of 0 is no condition.
type Instances interface {
	// Register creates or replaces an instance; an empty id is chosen.
	Register(ctx context.Context, i rollcall.Instance, ifMatch rollcall.Revision) (is rollcall.Instance, created bool, err error)
	// Prepare completes an instance and packs it, and keeps no more of it than its names.
	// Lists, if there are any, are the packed form of the maps that it lacks, and right.
	Prepare(ctx context.Context, i *rollcall.Instance, lists string) (rollcall.InstancePut, error)
	// RegisterPrepared answers for each instance on its own.
	RegisterPrepared(ctx context.Context, puts []rollcall.InstancePut) []rollcall.Registration
	// Update changes what edit changes; edit may be called again with newer
	// contents and must have no other effect.
	Update(ctx context.Context, key rollcall.Key, ifMatch rollcall.Revision, edit func(*rollcall.Instance) error) (rollcall.Instance, error)
	// Move says where an instance is: an update of its position alone. The load is
	// nil if none is known.
	Move(ctx context.Context, key rollcall.Key, p rollcall.Position) (*catalog.Item, *rollcall.Load, error)
	// Deregister removes an instance; that it is not there is no error.
	Deregister(ctx context.Context, key rollcall.Key, ifMatch rollcall.Revision) error
	Renew(ctx context.Context, key rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error)
	RenewMany(ctx context.Context, rs []rollcall.Renew) (renewed int, unknown []rollcall.Key, err error)
	// Report takes in what a caller at an address, zero if it has none, saw of a
	// service's instances.
	Report(ctx context.Context, service rollcall.ServiceKey, from netip.Addr, r *rollcall.CallerReport) error
	// Drain begins draining, and waits at most so long until all who are told of
	// the service know; or ends it, at once.
	Drain(ctx context.Context, key rollcall.Key, on bool, wait time.Duration) (rollcall.Barrier, error)
}

// Catalog is read. Cursors are opaque; the next one is empty at the end.
type Catalog interface {
	Instance(ctx context.Context, key rollcall.Key) (rollcall.Instance, error)
	Instances(ctx context.Context, f rollcall.InstanceFilter, after string, limit int) (is []rollcall.Instance, next string, err error)
	Services(ctx context.Context, namespace string, at time.Time, after string, limit int) (ss []rollcall.ServiceSummary, next string, err error)
	// Resolve answers at once, or as the query's conditions say (MinRevision,
	// After and Wait).
	Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error)
	// Position returns where an instance has moved since it was registered,
	// which few have.
	Position(key rollcall.Key) (p rollcall.Position, moved bool)
	// Weight returns an instance's effective weight among all of its service.
	Weight(item *catalog.Item) uint16
}

// Watches are open for as long as their connections, or between long polls.
type Watches interface {
	// Watch opens a subscription of a reader to a query (or, without a service, to
	// a namespace or everything); q.After resumes. The caller closes it.
	Watch(ctx context.Context, q *rollcall.Query, who watch.Reader) (watch.Feed, *resolve.Plan, error)
	// Watchers lists those who are told of a service.
	Watchers(ctx context.Context, key rollcall.ServiceKey) ([]rollcall.Watcher, error)
	// Ack takes in that a subscription's reader has all up to a revision.
	Ack(ctx context.Context, subscription string, rev rollcall.Revision) error
	// Seen waits at most so long until all who are told of a service have it as of
	// a revision.
	Seen(ctx context.Context, key rollcall.ServiceKey, rev rollcall.Revision, wait time.Duration) (rollcall.Barrier, error)
}

// NamedQueries are stored, and asked for as services are. What is returned is only
// to be read. An ifMatch of 0 is no condition.
type NamedQueries interface {
	PutQuery(ctx context.Context, q *rollcall.NamedQuery, ifMatch rollcall.Revision) (is *rollcall.NamedQuery, created bool, err error)
	// DeleteQuery removes a query; that there is none is no error.
	DeleteQuery(ctx context.Context, name rollcall.ServiceKey, ifMatch rollcall.Revision) error
	Query(ctx context.Context, name rollcall.ServiceKey) (*rollcall.NamedQuery, error)
	Queries(ctx context.Context, namespace, after string, limit int) (qs []*rollcall.NamedQuery, next string, err error)
}

// Operator sees and decides.
type Operator interface {
	// Override sets an operator's verdict; nil ends it.
	Override(ctx context.Context, key rollcall.Key, o *rollcall.Override) error
	Settings(ctx context.Context, key rollcall.ServiceKey) (rollcall.Settings, error)
	// SetSettings replaces a service's settings; nil clears them.
	SetSettings(ctx context.Context, key rollcall.ServiceKey, s *rollcall.Settings) error
	// Guards returns those that are on.
	Guards(ctx context.Context) ([]rollcall.Guard, error)
	// EndGuard ends the guard on a service, or with the zero key that on
	// everything, and reports whether there was one.
	EndGuard(ctx context.Context, service rollcall.ServiceKey) (ended bool, err error)
	// Why explains the answer to a query: of all instances, or of the one with an
	// id.
	Why(ctx context.Context, q *rollcall.Query, id string) (rollcall.Explanation, error)
	// Events returns history, newest first.
	Events(ctx context.Context, f rollcall.EventFilter, after string, limit int) (es []rollcall.Event, next string, err error)
	Status(ctx context.Context) (rollcall.ServerStatus, error)
	// Backup writes a state file.
	Backup(ctx context.Context, w io.Writer) error
	// Ready returns nil if the server can do all it is for, else why not.
	Ready() error
}
