package rollcallpb

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
)

// outcome is how a kind of error is told: by the code of a call's status, and by
// the name that it has in the HTTP API as well.
type outcome struct {
	kind error
	name string
	code codes.Code
}

var outcomes = [...]outcome{
	{rollcall.ErrInvalid, "invalid", codes.InvalidArgument},
	{rollcall.ErrTooLarge, "too-large", codes.ResourceExhausted},
	{rollcall.ErrNotFound, "not-found", codes.NotFound},
	{rollcall.ErrConflict, "conflict", codes.Aborted},
	{rollcall.ErrPrecondition, "precondition-failed", codes.FailedPrecondition},
	{rollcall.ErrUnauthenticated, "unauthenticated", codes.Unauthenticated},
	{rollcall.ErrForbidden, "forbidden", codes.PermissionDenied},
	{rollcall.ErrTooMany, "too-many-requests", codes.ResourceExhausted},
	{rollcall.ErrUnsupported, "not-implemented", codes.Unimplemented},
	{rollcall.ErrUnavailable, "log-unavailable", codes.Unavailable},
	{rollcall.ErrNotSynced, "not-synced", codes.Unavailable},
	{rollcall.ErrSettling, "settling", codes.Unavailable},
	{rollcall.ErrTimeout, "timed-out", codes.DeadlineExceeded},
	{context.DeadlineExceeded, "timed-out", codes.DeadlineExceeded},
	{context.Canceled, "canceled", codes.Canceled},
}

// maxDetail and maxField bound what of a request is echoed.
const (
	maxDetail = 600
	maxField  = 300
)

// FromError returns how an error is told, and its code. known is false for an
// error that nobody expected: what it says is not told.
func FromError(err error) (m *Error, code codes.Code, known bool) {
	var e *rollcall.Error
	kind := err
	if errors.As(err, &e) {
		kind = e.Kind // whatever caused it
	}
	for _, o := range outcomes {
		if !errors.Is(kind, o.kind) {
			continue
		}
		m = &Error{Kind: o.name, Detail: shorten(err.Error(), maxDetail)}
		if e != nil {
			m.Detail, m.Field, m.RetryAfter = shorten(e.Detail, maxDetail), shorten(e.Field, maxField), int64(e.RetryAfter)
		}
		return m, o.code, true
	}
	return &Error{Kind: "unexpected", Detail: "something went wrong in the server; its log says what"}, codes.Internal, false
}

// StatusOf returns the error of a call that tells of err.
func StatusOf(err error) (told error, known bool) {
	m, code, known := FromError(err)
	text := m.Detail
	if m.Field != "" {
		text = m.Field + ": " + text
	}
	if text == "" {
		text = m.Kind
	}
	s, err := status.New(code, text).WithDetails(m)
	if err != nil {
		s = status.New(code, text)
	}
	return s.Err(), known
}

// Domain returns the error that a message tells of, nil for nil.
func (m *Error) Domain() *rollcall.Error {
	if m == nil {
		return nil
	}
	e := &rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: m.Detail, Field: m.Field, RetryAfter: max(time.Duration(m.RetryAfter), 0)}
	for _, o := range outcomes {
		if o.name == m.Kind {
			e.Kind = o.kind
			break
		}
	}
	return e
}

// ErrorOf returns what a Rollcall server said was wrong with a call; ok is false if
// its error does not come from one.
func ErrorOf(err error) (e *rollcall.Error, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if m, ok := d.(*Error); ok {
			return m.Domain(), true
		}
	}
	return nil, false
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most -= len("…"); most > 0 && s[most]&0xc0 == 0x80; most-- {
	}
	return s[:most] + "…"
}
