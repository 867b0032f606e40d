package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
)

// PutQuery stores a query under its name, which then means the query wherever a
// service may be named, and returns it as it is stored. With ifMatch not 0, that
// must be the revision of the one it replaces.
func (c *Client) PutQuery(ctx context.Context, q rollcall.NamedQuery, ifMatch rollcall.Revision) (got rollcall.NamedQuery, err error) {
	err = c.http.Do(ctx, ofQuery(http.MethodPut, q.Key(), &q, ifMatch), &got)
	return got, err
}

// Query returns a named query.
func (c *Client) Query(ctx context.Context, key rollcall.ServiceKey) (got rollcall.NamedQuery, err error) {
	err = c.http.Do(ctx, ofQuery(http.MethodGet, key, nil, 0), &got)
	return got, err
}

// DeleteQuery removes a named query; that there is none is no error, unless
// ifMatch asks for a revision of it.
func (c *Client) DeleteQuery(ctx context.Context, key rollcall.ServiceKey, ifMatch rollcall.Revision) error {
	return c.http.Do(ctx, ofQuery(http.MethodDelete, key, nil, ifMatch), nil)
}

func ofQuery(method string, key rollcall.ServiceKey, body any, ifMatch rollcall.Revision) rest.Call {
	k := rest.Call{Method: method, Path: "queries/" + rest.Segment(key.Service), Query: rest.In(key.Namespace), Body: body}
	if ifMatch != 0 {
		k.Header = http.Header{"If-Match": {fmt.Sprintf("%q", fmt.Sprint(ifMatch))}}
	}
	return k
}

// Queries returns the named queries of a namespace, or of all if it is empty. The
// sequence ends with the first error.
func (c *Client) Queries(ctx context.Context, namespace string) iter.Seq2[rollcall.NamedQuery, error] {
	type page struct {
		Queries []rollcall.NamedQuery `json:"queries"`
		Next    string                `json:"next"`
	}
	return paged(ctx, c, "queries", rest.In(namespace), func(p page) ([]rollcall.NamedQuery, string) { return p.Queries, p.Next })
}
