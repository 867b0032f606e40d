package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
)

// call is one request of the API.
type call struct {
	method string
	path   string // below /api/v1, escaped
	query  url.Values
	body   any           // sent as JSON; nil is none
	wait   time.Duration // for how long the server is asked to wait
	header http.Header
	// once: sent again, it would do more than it should, so that it is not
	// when its answer was lost.
	once bool
}

// do makes a call and decodes its answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, k call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+k.wait)
	defer cancel()
	resp, err := c.send(ctx, k)
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

// send sends a call to the server that answered last, then to the others in
// turn if that cannot be reached or cannot answer now, and returns the first
// answer that is no error. The caller closes its body.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return nil, &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: err.Error(), Cause: err}
		}
	}
	first := int(c.last.Load())
	var last error
	for n := range c.servers {
		i := (first + n) % len(c.servers)
		resp, err := c.sendTo(ctx, c.servers[i], k, bytes.NewReader(body))
		if err == nil {
			c.last.Store(int32(i))
			return resp, nil
		}
		last = err
		if ctx.Err() != nil || !elsewhere(err, k) {
			break
		}
	}
	return nil, last
}

// elsewhere reports whether another server may do better.
func elsewhere(err error, k call) bool {
	switch {
	case notSent(err):
		return true
	case errors.Is(err, ErrUnreachable), errors.Is(err, rollcall.ErrTimeout):
		return !k.once
	}
	return errors.Is(err, rollcall.ErrUnavailable) || errors.Is(err, rollcall.ErrNotSynced) ||
		errors.Is(err, rollcall.ErrSettling)
}

// notSent reports whether a request failed before any of it was sent.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *Client) sendTo(ctx context.Context, s address.Server, k call, body io.Reader) (*http.Response, error) {
	target := s.Base + "/api/v1/" + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rollcall-go")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, values := range k.header {
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

// transportError says why no answer came from s.
func transportError(ctx context.Context, s address.Server, err error) error {
	if e, ok := err.(*url.Error); ok {
		err = e.Err // the rest of it repeats the whole URL
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		return &rollcall.Error{
			Kind:   rollcall.ErrTimeout,
			Detail: fmt.Sprintf("%s did not answer in time; see whether it is overloaded, or allow more", s.Name),
			Cause:  cause,
		}
	case cause != nil:
		return cause
	}
	return &rollcall.Error{
		Kind: ErrUnreachable,
		Detail: fmt.Sprintf("no Rollcall server can be reached at %s (%v): start one with \"rollcall serve\", "+
			"or say where it is with ROLLCALL_ADDR", s.Name, plain(err)),
		Cause: err,
	}
}

// plain shortens a network error to what went wrong: the address is known.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err
	}
	return err
}

// refusal makes an error of an answer that is one.
func refusal(s address.Server, resp *http.Response) error {
	var p problem.Problem
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	known := strings.TrimSpace(kind) == "application/problem+json" && json.Unmarshal(body, &p) == nil
	p.Status = resp.StatusCode
	e := p.Err()
	if !known {
		e.Detail = fmt.Sprintf("%s answered %q, not as a Rollcall server does; is it the right address?", s.Name, resp.Status)
		// Its "not found" is not about instances.
		if !errors.Is(e, rollcall.ErrUnauthenticated) && !errors.Is(e, rollcall.ErrForbidden) &&
			!errors.Is(e, rollcall.ErrTooLarge) && !errors.Is(e, rollcall.ErrTooMany) {
			e.Kind = ErrUnreachable
		}
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// retryAfter reads a Retry-After header: seconds or a date; 0 if neither.
func retryAfter(h string) time.Duration {
	if n, err := strconv.Atoi(h); err == nil && n > 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// servicePath returns the path of a service, and of what is below it.
func servicePath(service string, below ...string) string {
	path := "services/" + segment(service)
	for _, b := range below {
		path += "/" + b
	}
	return path
}

// instancePath returns the path of an instance, and of what is below it.
func instancePath(service, id string, below ...string) string {
	return servicePath(service, append([]string{"instances", segment(id)}, below...)...)
}

// segment escapes one part of a path. Parts of dots alone are escaped as well,
// because servers and proxies would take them for a way up.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// in returns the parameters that name a namespace.
func in(namespace string) url.Values {
	if namespace == "" {
		return nil
	}
	return url.Values{"namespace": {namespace}}
}
