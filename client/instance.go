package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
)

// Put registers an instance, or replaces it, and returns it as the registry
// has it. It does not keep the lease; see [Client.Register] for that. An empty
// id is filled in with a new one.
func (c *Client) Put(ctx context.Context, inst rollcall.Instance) (rollcall.Instance, error) {
	inst, err := wanted(inst)
	if err != nil {
		return rollcall.Instance{}, err
	}
	return c.wire.Put(ctx, &inst)
}

// wanted returns what of an instance is its owner's to say, with an id. The
// client makes up missing ids rather than the server, so that a registration
// whose answer was lost can be sent again.
func wanted(inst rollcall.Instance) (rollcall.Instance, error) {
	if err := rollcall.CheckName("service", inst.Service); err != nil {
		return inst, err
	}
	if inst.Namespace != "" {
		if err := rollcall.CheckName("namespace", inst.Namespace); err != nil {
			return inst, err
		}
	}
	if inst.ID == "" {
		inst.ID = NewID(inst.Service)
	}
	if err := rollcall.CheckID("id", inst.ID); err != nil {
		return inst, err
	}
	inst.Health, inst.Origin, inst.Load, inst.EffectiveWeight, inst.Distance = nil, "", nil, nil, nil
	inst.Revision, inst.Incarnation, inst.RegisteredAt = 0, 0, time.Time{}
	inst.Provisional = false
	return inst, nil
}

// NewID makes up an id for an instance of a service.
func NewID(service string) string {
	var b [5]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(service) + "-" + hex.EncodeToString(b[:])
}

// RegisterMany registers many instances, each for itself: some may fail while
// others are registered. It returns what became of each, in order, as far as
// it came, and an error if it could not ask for all. It does not keep leases.
func (c *Client) RegisterMany(ctx context.Context, all []rollcall.Instance) ([]rollcall.Registration, error) {
	wants := make([]rollcall.Instance, len(all))
	for n := range all {
		var err error
		if wants[n], err = wanted(all[n]); err != nil {
			return nil, fmt.Errorf("instance %d: %w", n, err)
		}
	}
	return c.wire.PutMany(ctx, wants)
}

// Deregister removes an instance at once. That it is not there is no error.
func (c *Client) Deregister(ctx context.Context, key rollcall.Key) error {
	return c.wire.Deregister(ctx, key)
}

// Heartbeat renews an instance's lease and passes on what it reports. An error
// of kind [rollcall.ErrNotFound] means that it must be registered again. The
// server's answer may be missing, all 0, where there was nothing to report and the
// renewal went along with others of this client.
func (c *Client) Heartbeat(ctx context.Context, key rollcall.Key, r rollcall.Report) (rollcall.Renewal, error) {
	return c.wire.Renew(ctx, key, &r)
}

// RenewMany renews many leases and returns those that the registry does not
// know, which must be registered again. After an error, it is not known which
// were renewed.
func (c *Client) RenewMany(ctx context.Context, rs []rollcall.Renew) (unknown []rollcall.Key, err error) {
	return c.wire.RenewMany(ctx, rs)
}

// Instance returns one instance, whole.
func (c *Client) Instance(ctx context.Context, key rollcall.Key) (got rollcall.Instance, err error) {
	err = c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: rest.InstancePath(key.Service, key.ID), Query: rest.In(key.Namespace)}, &got)
	return got, err
}

// Instances returns the instances that f selects, whatever their health.
// The sequence ends with the first error.
func (c *Client) Instances(ctx context.Context, f rollcall.InstanceFilter) iter.Seq2[rollcall.Instance, error] {
	q := url.Values{}
	for name, value := range map[string]string{"namespace": f.Namespace, "node": f.Node, "address": f.Address} {
		if value != "" {
			q.Set(name, value)
		}
	}
	type page struct {
		Instances []rollcall.Instance `json:"instances"`
		Next      string              `json:"next"`
	}
	return paged(ctx, c, "instances", q, func(p page) ([]rollcall.Instance, string) { return p.Instances, p.Next })
}

// Drain takes new traffic away from an instance. With a wait above 0, of at most
// 10 min, it returns when all who watch the service know, or after the wait; how
// many know, and how many do not, is in the barrier.
func (c *Client) Drain(ctx context.Context, key rollcall.Key, wait time.Duration) (rollcall.Barrier, error) {
	return c.wire.Drain(ctx, key, wait)
}

// EndDrain gives a drained instance its traffic back.
func (c *Client) EndDrain(ctx context.Context, key rollcall.Key) error {
	return c.http.Do(ctx, rest.Call{Method: http.MethodDelete, Path: rest.InstancePath(key.Service, key.ID, "drain"), Query: rest.In(key.Namespace)}, nil)
}

// Override sets an operator's verdict on an instance. It stands above every
// other evidence until it is cleared or expires.
func (c *Client) Override(ctx context.Context, key rollcall.Key, o rollcall.Override) error {
	return c.http.Do(ctx, rest.Call{
		Method: http.MethodPut,
		Path:   rest.InstancePath(key.Service, key.ID, "override"),
		Query:  rest.In(key.Namespace),
		Body: struct {
			Status  rollcall.Status `json:"status"`
			Reason  string          `json:"reason,omitempty"`
			Expires *time.Time      `json:"expires,omitempty"`
		}{o.Status, o.Reason, o.Expires},
	}, nil)
}

// ClearOverride takes an operator's verdict back.
func (c *Client) ClearOverride(ctx context.Context, key rollcall.Key) error {
	return c.http.Do(ctx, rest.Call{Method: http.MethodDelete, Path: rest.InstancePath(key.Service, key.ID, "override"), Query: rest.In(key.Namespace)}, nil)
}
