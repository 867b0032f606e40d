// Package rest speaks the HTTP API to the servers of a registry.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// Config says how to speak to whom.
type Config struct {
	Servers   []address.Server  // at least one
	Token     string            // none if it is empty
	Timeout   time.Duration     // of a call, beside what it asks the server to wait
	Transport http.RoundTripper // nil is one of its own
	Log       *slog.Logger
}

// Client is a [wire.Protocol], and makes the calls that only HTTP has.
type Client struct {
	Config
	turn  *wire.Turn
	http  *http.Client
	owned *http.Transport // nil if the transport is the configuration's
}

// New returns a client. It does no I/O.
func New(c Config) *Client {
	r := &Client{Config: c, turn: wire.NewTurn(len(c.Servers))}
	if c.Transport == nil {
		r.owned = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          100,
			MaxIdleConnsPerHost:   32,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   5 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
		r.Transport = r.owned
	}
	r.http = &http.Client{
		Transport: r.Transport,
		// The API never redirects; following one would show the token to
		// whoever sent it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r
}

// Close closes idle connections.
func (c *Client) Close() error {
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
	return nil
}

// Call is one request of the API.
type Call struct {
	Method string
	Path   string // below /api/v1, escaped
	Query  url.Values
	Body   any           // sent as JSON; nil is none
	Wait   time.Duration // for how long the server is asked to wait
	Header http.Header
}

// Do makes a call and decodes its answer into out, unless that is nil.
func (c *Client) Do(ctx context.Context, k Call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout+k.Wait)
	defer cancel()
	resp, err := c.Send(ctx, k)
	if err != nil {
		return err
	}
	defer finish(resp.Body)
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s could not be read: %w", resp.Request.URL.Host, err)
	}
	return nil
}

// finish closes a body so that its connection can be used again.
func finish(body io.ReadCloser) {
	io.CopyN(io.Discard, body, 4096) // what follows the JSON value, if anything
	body.Close()
}

// Send sends a call to the server that answered last, then to the others in
// turn if that cannot be reached or cannot answer now, and returns the first
// answer that is no error. The caller closes its body.
func (c *Client) Send(ctx context.Context, k Call) (resp *http.Response, err error) {
	var body []byte
	if k.Body != nil {
		if body, err = json.Marshal(k.Body); err != nil {
			return nil, &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: err.Error(), Cause: err}
		}
	}
	err = c.turn.Ask(ctx, func(i int) error {
		resp, err = c.sendTo(ctx, c.Servers[i], k, bytes.NewReader(body))
		return err
	})
	return resp, err
}

func (c *Client) sendTo(ctx context.Context, s address.Server, k Call, body io.Reader) (*http.Response, error) {
	target := s.Base + "/api/v1/" + k.Path
	if len(k.Query) > 0 {
		target += "?" + k.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.Method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rollcall-go")
	if k.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for name, values := range k.Header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(ctx, s, err)
	}
	if resp.StatusCode/100 != 2 {
		defer finish(resp.Body)
		return nil, refusal(s, resp)
	}
	return resp, nil
}

// ServicePath returns the path of a service, and of what is below it.
func ServicePath(service string, below ...string) string {
	path := "services/" + Segment(service)
	for _, b := range below {
		path += "/" + b
	}
	return path
}

// InstancePath returns the path of an instance, and of what is below it.
func InstancePath(service, id string, below ...string) string {
	return ServicePath(service, append([]string{"instances", Segment(id)}, below...)...)
}

// Segment escapes one part of a path. Parts of dots alone are escaped as well,
// because servers and proxies would take them for a way up.
func Segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// In returns the parameters that name a namespace.
func In(namespace string) url.Values {
	if namespace == "" {
		return nil
	}
	return url.Values{"namespace": {namespace}}
}
