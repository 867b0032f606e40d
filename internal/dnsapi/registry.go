package dnsapi

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Registry is what this door asks of the core. Errors are *rollcall.Error or a
// context's. None of it waits.
type Registry interface {
	// Resolve answers which instances of a service a caller should use.
	Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error)
	// Services lists those of a namespace. Cursors are opaque; the next one is empty
	// at the end.
	Services(ctx context.Context, namespace string, at time.Time, after string, limit int) (ss []rollcall.ServiceSummary, next string, err error)
	// Item returns an instance, whatever its health.
	Item(key rollcall.Key) (*catalog.Item, error)
	// Items returns the instances of a service, whatever their health.
	Items(key rollcall.ServiceKey) (*catalog.View, error)
	// At returns at most so many instances with an address.
	At(addr netip.Addr, most int) ([]*catalog.Item, error)
	// On returns at most so many instances on a node, whose name is compared without
	// regard to case.
	On(node string, most int) ([]*catalog.Item, error)
	// Revision is that of the newest snapshot.
	Revision() rollcall.Revision
	// Told takes in that resolvers may keep for so long what they were just told of a
	// service.
	Told(service rollcall.ServiceKey, ttl time.Duration)
	// Keeping returns what Told notes of a service.
	Keeping(service rollcall.ServiceKey) *watch.Keeping
	// Stamp returns a number that has grown whenever what a query for all of a service,
	// from nowhere, is answered with may be another; see [catalog.Catalog.Stamp].
	Stamp(service rollcall.ServiceKey) *atomic.Uint64
}
