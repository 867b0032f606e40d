package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
)

// Put registers an instance, or replaces it, and returns it as the registry
// has it. It does not keep the lease; see [Client.Register] for that. An empty
// id is filled in with a new one.
func (c *Client) Put(ctx context.Context, inst rollcall.Instance) (rollcall.Instance, error) {
	inst, err := wanted(inst)
	if err != nil {
		return rollcall.Instance{}, err
	}
	return c.put(ctx, inst)
}

func (c *Client) put(ctx context.Context, inst rollcall.Instance) (got rollcall.Instance, err error) {
	err = c.do(ctx, call{method: http.MethodPut, path: instancePath(inst.Service, inst.ID), query: in(inst.Namespace), body: &inst}, &got)
	return got, err
}

// wanted returns what of an instance is its owner's to say, with an id. The
// client makes up missing ids rather than the server, so that a registration
// whose answer was lost can be sent again.
func wanted(inst rollcall.Instance) (rollcall.Instance, error) {
	if inst.Service == "" {
		return inst, rollcall.Invalid("service", "is required")
	}
	if inst.ID == "" {
		inst.ID = NewID(inst.Service)
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

// Bounds of a request that holds many, below those of a server.
const (
	manyItems = 1000
	manyBytes = 8 << 20
)

// RegisterMany registers many instances, each for itself: some may fail while
// others are registered. It returns what became of each, in order, as far as
// it came, and an error if it could not ask for all. It does not keep leases.
func (c *Client) RegisterMany(ctx context.Context, all []rollcall.Instance) ([]rollcall.Registration, error) {
	results := make([]rollcall.Registration, 0, len(all))
	for len(results) < len(all) {
		body := []byte{'['}
		var keys []rollcall.Key
		for _, inst := range all[len(results):] {
			inst, err := wanted(inst)
			if err != nil {
				return results, fmt.Errorf("instance %d: %w", len(results)+len(keys), err)
			}
			if len(keys) > 0 {
				body = append(body, ',')
			}
			body = inst.AppendJSON(body)
			if keys = append(keys, inst.Key()); len(keys) == manyItems || len(body) > manyBytes {
				break
			}
		}
		some, err := c.registerSome(ctx, keys, append(body, ']'))
		if err != nil {
			return results, err
		}
		results = append(results, some...)
	}
	return results, nil
}

// registerSome registers what fits into one request.
func (c *Client) registerSome(ctx context.Context, keys []rollcall.Key, body json.RawMessage) ([]rollcall.Registration, error) {
	var answer struct {
		Results []struct {
			Status   int               `json:"status"`
			Revision rollcall.Revision `json:"revision"`
			Error    *problem.Problem  `json:"error"`
		} `json:"results"`
	}
	if err := c.do(ctx, call{method: http.MethodPost, path: "instances", body: body}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(keys) {
		return nil, fmt.Errorf("the server answered for %d of %d instances", len(answer.Results), len(keys))
	}
	results := make([]rollcall.Registration, len(keys))
	for i, r := range answer.Results {
		results[i] = rollcall.Registration{Key: keys[i], Created: r.Status == http.StatusCreated, Revision: r.Revision}
		if r.Status/100 != 2 {
			p := problem.Problem{Status: r.Status}
			if r.Error != nil {
				p = *r.Error
			}
			results[i].Err = p.Err()
		}
	}
	return results, nil
}

// Deregister removes an instance at once. That it is not there is no error.
func (c *Client) Deregister(ctx context.Context, key rollcall.Key) error {
	return c.do(ctx, call{method: http.MethodDelete, path: instancePath(key.Service, key.ID), query: in(key.Namespace)}, nil)
}

// Heartbeat renews an instance's lease and passes on what it reports. An error
// of kind [rollcall.ErrNotFound] means that it must be registered again.
func (c *Client) Heartbeat(ctx context.Context, key rollcall.Key, r rollcall.Report) (got rollcall.Renewal, err error) {
	k := call{method: http.MethodPost, path: instancePath(key.Service, key.ID, "heartbeat"), query: in(key.Namespace)}
	if !empty(r) {
		k.body = r
	}
	err = c.do(ctx, k, &got)
	return got, err
}

// RenewMany renews many leases and returns those that the registry does not
// know, which must be registered again. After an error, it is not known which
// were renewed.
func (c *Client) RenewMany(ctx context.Context, rs []rollcall.Renew) (unknown []rollcall.Key, err error) {
	type lease struct {
		Namespace string             `json:"namespace,omitempty"`
		Service   string             `json:"service"`
		ID        string             `json:"id"`
		Load      *rollcall.Load     `json:"load,omitempty"`
		Position  *rollcall.Position `json:"position,omitempty"`
	}
	for some := range slices.Chunk(rs, manyItems) {
		var body struct {
			Renew []lease `json:"renew"`
		}
		for _, r := range some {
			body.Renew = append(body.Renew, lease{r.Key.Namespace, r.Key.Service, r.Key.ID, r.Load, r.Position})
		}
		var answer struct {
			Unknown []lease `json:"unknown"`
		}
		if err := c.do(ctx, call{method: http.MethodPost, path: "heartbeats", body: body}, &answer); err != nil {
			return unknown, err
		}
		for _, l := range answer.Unknown {
			unknown = append(unknown, rollcall.NewKey(l.Namespace, l.Service, l.ID))
		}
	}
	return unknown, nil
}

// Instance returns one instance, whole.
func (c *Client) Instance(ctx context.Context, key rollcall.Key) (got rollcall.Instance, err error) {
	err = c.do(ctx, call{method: http.MethodGet, path: instancePath(key.Service, key.ID), query: in(key.Namespace)}, &got)
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
func (c *Client) Drain(ctx context.Context, key rollcall.Key, wait time.Duration) (got rollcall.Barrier, err error) {
	q := url.Values{}
	if key.Namespace != "" {
		q.Set("namespace", key.Namespace)
	}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	err = c.do(ctx, call{method: http.MethodPost, path: instancePath(key.Service, key.ID, "drain"), query: q, wait: wait}, &got)
	return got, err
}

// EndDrain gives a drained instance its traffic back.
func (c *Client) EndDrain(ctx context.Context, key rollcall.Key) error {
	return c.do(ctx, call{method: http.MethodDelete, path: instancePath(key.Service, key.ID, "drain"), query: in(key.Namespace)}, nil)
}

// Override sets an operator's verdict on an instance. It stands above every
// other evidence until it is cleared or expires.
func (c *Client) Override(ctx context.Context, key rollcall.Key, o rollcall.Override) error {
	return c.do(ctx, call{
		method: http.MethodPut,
		path:   instancePath(key.Service, key.ID, "override"),
		query:  in(key.Namespace),
		body: struct {
			Status  rollcall.Status `json:"status"`
			Reason  string          `json:"reason,omitempty"`
			Expires *time.Time      `json:"expires,omitempty"`
		}{o.Status, o.Reason, o.Expires},
	}, nil)
}

// ClearOverride takes an operator's verdict back.
func (c *Client) ClearOverride(ctx context.Context, key rollcall.Key) error {
	return c.do(ctx, call{method: http.MethodDelete, path: instancePath(key.Service, key.ID, "override"), query: in(key.Namespace)}, nil)
}
