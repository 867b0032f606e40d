package client

import (
	"context"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/local"
)

// Pick is an instance that was chosen for a request.
type Pick struct{ of local.Pick }

// Pick chooses the instance for a request to a service: "payments", in the client's
// namespace (see [WithNamespace]), or "shop/payments"; the name of a named query does as
// well. Call done once when the request is over: with an error if the instance is to
// blame for it, because it could not be reached, did not answer in time or said that it
// failed. done is never nil.
//
// The first pick of a name subscribes to it and waits until its instances are known, for
// as long as ctx and the client's timeout let it. All others are answered from this
// process, without a lock, whether the registry is in reach or not. A name that nobody
// has picked from for 15 minutes is forgotten. The kind of the error is
// [rollcall.ErrNotFound] for a service that is not known, [ErrNoInstances] for one of
// which no instance takes traffic, and [rollcall.ErrTooMany] beyond a thousand names.
func (c *Client) Pick(ctx context.Context, service string) (p Pick, done func(error), err error) {
	p.of, err = c.local.Pick(ctx, service)
	return p, p.of.Done, err // inlined, so that done stays on the caller's stack
}

// Instance returns who was chosen, nil if nobody was. It is shared: it must not be
// changed.
func (p Pick) Instance() *rollcall.Instance { return p.of.Instance() }

// Address returns where the instance has the port of a name, as "10.0.3.17:8080"; "" is
// the port called "default", or the only one. An error names the ports that there are.
func (p Pick) Address(port string) (string, error) { return p.of.Address(port) }

// Done says that the request is over; see [Client.Pick]. An error that is
// [context.Canceled] says nothing of the instance: the caller did not wait for it.
func (p Pick) Done(err error) { p.of.Done(err) }

// Loaded says what the reply told of the instance: how many requests it has in flight,
// and how long they take at that number. Picks heed it for a second.
func (p Pick) Loaded(inFlight int, latency time.Duration) { p.of.Loaded(inFlight, latency) }
