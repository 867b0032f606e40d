package client

import (
	"context"
	"net/http"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
)

// Why explains the answer to a query: of each instance of the service, or of the
// one called id, why it is in the answer or is not.
func (c *Client) Why(ctx context.Context, q rollcall.Query, id string) (x rollcall.Explanation, err error) {
	if q.Service == "" {
		return x, rollcall.Invalid("service", "is required")
	}
	return c.wire.Why(ctx, &q, id)
}

type guards struct {
	Guards []rollcall.Guard `json:"guards"`
}

// Guards returns the guards that are on.
func (c *Client) Guards(ctx context.Context) ([]rollcall.Guard, error) {
	var g guards
	err := c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: "guards"}, &g)
	return g.Guards, err
}

// EndGuard ends the guard on a service, or with the zero key that on everything:
// whom it held are marked. It returns the guards that are on then.
func (c *Client) EndGuard(ctx context.Context, key rollcall.ServiceKey) ([]rollcall.Guard, error) {
	var g guards
	err := c.http.Do(ctx, rest.Call{Method: http.MethodPost, Path: "guards", Body: struct {
		Namespace string `json:"namespace,omitempty"`
		Service   string `json:"service,omitempty"`
		End       bool   `json:"end"`
	}{key.Namespace, key.Service, true}}, &g)
	return g.Guards, err
}

// Observe tells the registry what a caller saw of a service's instances.
func (c *Client) Observe(ctx context.Context, key rollcall.ServiceKey, r rollcall.CallerReport) error {
	return c.wire.Observe(ctx, key, &r)
}
