package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// Put implements [wire.Owner].
func (c *Client) Put(ctx context.Context, inst *rollcall.Instance) (got rollcall.Instance, err error) {
	err = c.Do(ctx, Call{Method: http.MethodPut, Path: InstancePath(inst.Service, inst.ID), Query: In(inst.Namespace), Body: inst}, &got)
	return got, err
}

// manyBytes bounds a request of many instances, below what a server takes.
const manyBytes = 8 << 20

// PutMany implements [wire.Owner].
func (c *Client) PutMany(ctx context.Context, all []rollcall.Instance) ([]rollcall.Registration, error) {
	results := make([]rollcall.Registration, 0, len(all))
	for len(results) < len(all) {
		body := []byte{'['}
		n := 0
		for _, inst := range all[len(results):] {
			if n > 0 {
				body = append(body, ',')
			}
			body = inst.AppendJSON(body)
			if n++; n == wire.ManyItems || len(body) > manyBytes {
				break
			}
		}
		some, err := c.putSome(ctx, all[len(results):][:n], append(body, ']'))
		if err != nil {
			return results, err
		}
		results = append(results, some...)
	}
	return results, nil
}

// putSome registers what fits into one request.
func (c *Client) putSome(ctx context.Context, some []rollcall.Instance, body json.RawMessage) ([]rollcall.Registration, error) {
	var answer struct {
		Results []struct {
			Status   int               `json:"status"`
			Revision rollcall.Revision `json:"revision"`
			Error    *problem.Problem  `json:"error"`
		} `json:"results"`
	}
	if err := c.Do(ctx, Call{Method: http.MethodPost, Path: "instances", Body: body}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(some) {
		return nil, fmt.Errorf("the server answered for %d of %d instances", len(answer.Results), len(some))
	}
	results := make([]rollcall.Registration, len(some))
	for i, r := range answer.Results {
		results[i] = rollcall.Registration{Key: some[i].Key(), Created: r.Status == http.StatusCreated, Revision: r.Revision}
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

// Deregister implements [wire.Owner].
func (c *Client) Deregister(ctx context.Context, key rollcall.Key) error {
	return c.Do(ctx, Call{Method: http.MethodDelete, Path: InstancePath(key.Service, key.ID), Query: In(key.Namespace)}, nil)
}

// Renew implements [wire.Owner].
func (c *Client) Renew(ctx context.Context, key rollcall.Key, r *rollcall.Report) (got rollcall.Renewal, err error) {
	k := Call{Method: http.MethodPost, Path: InstancePath(key.Service, key.ID, "heartbeat"), Query: In(key.Namespace)}
	if !wire.Empty(r) {
		k.Body = r
	}
	err = c.Do(ctx, k, &got)
	return got, err
}

// RenewMany implements [wire.Owner].
func (c *Client) RenewMany(ctx context.Context, rs []rollcall.Renew) (unknown []rollcall.Key, err error) {
	type lease struct {
		Namespace string             `json:"namespace,omitempty"`
		Service   string             `json:"service"`
		ID        string             `json:"id"`
		Load      *rollcall.Load     `json:"load,omitempty"`
		Position  *rollcall.Position `json:"position,omitempty"`
	}
	for some := range slices.Chunk(rs, wire.ManyItems) {
		var body struct {
			Renew []lease `json:"renew"`
		}
		for _, r := range some {
			body.Renew = append(body.Renew, lease{r.Key.Namespace, r.Key.Service, r.Key.ID, r.Load, r.Position})
		}
		var answer struct {
			Unknown []lease `json:"unknown"`
		}
		if err := c.Do(ctx, Call{Method: http.MethodPost, Path: "heartbeats", Body: body}, &answer); err != nil {
			return unknown, err
		}
		for _, l := range answer.Unknown {
			unknown = append(unknown, rollcall.NewKey(l.Namespace, l.Service, l.ID))
		}
	}
	return unknown, nil
}

// Drain implements [wire.Owner].
func (c *Client) Drain(ctx context.Context, key rollcall.Key, wait time.Duration) (got rollcall.Barrier, err error) {
	k := Call{Method: http.MethodPost, Path: InstancePath(key.Service, key.ID, "drain"), Query: In(key.Namespace), Wait: max(wait, 0)}
	if wait > 0 {
		if k.Query == nil {
			k.Query = map[string][]string{}
		}
		k.Query.Set("wait", wait.String())
	}
	err = c.Do(ctx, k, &got)
	return got, err
}

// Resolve implements [wire.Caller].
func (c *Client) Resolve(ctx context.Context, q *rollcall.Query) (ans rollcall.Answer, err error) {
	err = c.Do(ctx, Call{Method: http.MethodGet, Path: ServicePath(q.Service), Query: q.Values(), Wait: q.Wait}, &ans)
	return ans, err
}

// Why implements [wire.Caller].
func (c *Client) Why(ctx context.Context, q *rollcall.Query, id string) (x rollcall.Explanation, err error) {
	params := q.Values()
	if id != "" {
		params.Set("id", id)
	}
	err = c.Do(ctx, Call{Method: http.MethodGet, Path: ServicePath(q.Service, "why"), Query: params}, &x)
	return x, err
}

// Observe implements [wire.Caller].
func (c *Client) Observe(ctx context.Context, key rollcall.ServiceKey, r *rollcall.CallerReport) error {
	return c.Do(ctx, Call{Method: http.MethodPost, Path: ServicePath(key.Service, "reports"), Query: In(key.Namespace), Body: r}, nil)
}
