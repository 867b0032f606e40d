package rest

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// transportError says why no answer came from s.
func transportError(ctx context.Context, s address.Server, err error) error {
	if e, ok := err.(*url.Error); ok {
		err = e.Err // the rest of it repeats the whole URL
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		return wire.TimedOut(s.Name, cause)
	case cause != nil:
		return cause
	}
	return wire.Unreachable(s.Name, plain(err), err)
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
		e.Detail = wire.Foreign(s.Name, resp.Status)
		// Its "not found" is not about instances.
		if !errors.Is(e, rollcall.ErrUnauthenticated) && !errors.Is(e, rollcall.ErrForbidden) &&
			!errors.Is(e, rollcall.ErrTooLarge) && !errors.Is(e, rollcall.ErrTooMany) {
			e.Kind = wire.ErrUnreachable
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
