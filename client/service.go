package client

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
)

// Resolve answers which instances of a service a caller should use now. A
// query with After and Wait is answered when the result differs from After, or
// when Wait is over. The kind of the error for a service that is not known is
// [rollcall.ErrNotFound]; one without usable instances is no error.
func (c *Client) Resolve(ctx context.Context, q rollcall.Query) (ans rollcall.Answer, err error) {
	if q.Service == "" {
		return ans, rollcall.Invalid("service", "is required")
	}
	return c.wire.Resolve(ctx, &q)
}

// Services returns the services of a namespace, or of all if it is empty, with
// counts of their instances. The sequence ends with the first error.
func (c *Client) Services(ctx context.Context, namespace string) iter.Seq2[rollcall.ServiceSummary, error] {
	return c.ServicesAt(ctx, namespace, time.Time{})
}

// ServicesAt is [Client.Services] as it was at a time.
func (c *Client) ServicesAt(ctx context.Context, namespace string, at time.Time) iter.Seq2[rollcall.ServiceSummary, error] {
	q := (&rollcall.Query{Namespace: namespace, At: at}).Values()
	type page struct {
		Services []rollcall.ServiceSummary `json:"services"`
		Next     string                    `json:"next"`
	}
	return paged(ctx, c, "services", q, func(p page) ([]rollcall.ServiceSummary, string) { return p.Services, p.Next })
}

// Watchers returns who is told of a service, and how far they are.
func (c *Client) Watchers(ctx context.Context, key rollcall.ServiceKey) ([]rollcall.Watcher, error) {
	var list struct {
		Watchers []rollcall.Watcher `json:"watchers"`
	}
	err := c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: rest.ServicePath(key.Service, "watchers"), Query: rest.In(key.Namespace)}, &list)
	return list.Watchers, err
}

// Settings returns what an operator decided for a service.
func (c *Client) Settings(ctx context.Context, key rollcall.ServiceKey) (s rollcall.Settings, err error) {
	err = c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: rest.ServicePath(key.Service, "settings"), Query: rest.In(key.Namespace)}, &s)
	return s, err
}

// PutSettings replaces a service's settings. Fields that are nil go back to
// their defaults.
func (c *Client) PutSettings(ctx context.Context, key rollcall.ServiceKey, s rollcall.Settings) error {
	return c.http.Do(ctx, rest.Call{Method: http.MethodPut, Path: rest.ServicePath(key.Service, "settings"), Query: rest.In(key.Namespace), Body: s}, nil)
}

// ClearSettings puts all of a service's settings back to their defaults.
func (c *Client) ClearSettings(ctx context.Context, key rollcall.ServiceKey) error {
	return c.http.Do(ctx, rest.Call{Method: http.MethodDelete, Path: rest.ServicePath(key.Service, "settings"), Query: rest.In(key.Namespace)}, nil)
}

// paged returns the items of all pages of a listing; P is the form of a page
// and open takes it apart.
func paged[P, T any](ctx context.Context, c *Client, path string, q url.Values, open func(P) ([]T, string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q := maps.Clone(q)
		if q == nil {
			q = url.Values{}
		}
		for {
			var p P
			if err := c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: path, Query: q}, &p); err != nil {
				var none T
				yield(none, err)
				return
			}
			items, next := open(p)
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.Set("after", next)
		}
	}
}
