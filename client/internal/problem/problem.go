// Package problem reads what servers say went wrong.
package problem

import (
	"net/http"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
}

// Err returns the error that p tells of.
func (p Problem) Err() *rollcall.Error {
	e := &rollcall.Error{Kind: p.kind(), Detail: p.Detail, Field: p.Field}
	if e.Detail == "" && p.Title != e.Kind.Error() {
		e.Detail = p.Title
	}
	// Doors name the field in the detail, too; Error() must not say it twice.
	if e.Field != "" {
		e.Detail = strings.TrimPrefix(e.Detail, e.Field+": ")
	}
	return e
}

// kind classifies a problem by the last part of its type, or by its status if
// that is not known here.
func (p Problem) kind() error {
	switch p.Type[strings.LastIndexByte(p.Type, '/')+1:] {
	case "invalid":
		return rollcall.ErrInvalid
	case "too-large":
		return rollcall.ErrTooLarge
	case "not-found":
		return rollcall.ErrNotFound
	case "conflict":
		return rollcall.ErrConflict
	case "precondition-failed":
		return rollcall.ErrPrecondition
	case "unauthenticated":
		return rollcall.ErrUnauthenticated
	case "forbidden":
		return rollcall.ErrForbidden
	case "too-many-requests":
		return rollcall.ErrTooMany
	case "not-implemented":
		return rollcall.ErrUnsupported
	case "timed-out":
		return rollcall.ErrTimeout
	case "log-unavailable":
		return rollcall.ErrUnavailable
	case "not-synced":
		return rollcall.ErrNotSynced
	case "settling":
		return rollcall.ErrSettling
	}
	switch p.Status {
	case http.StatusUnauthorized:
		return rollcall.ErrUnauthenticated
	case http.StatusForbidden:
		return rollcall.ErrForbidden
	case http.StatusNotFound:
		return rollcall.ErrNotFound
	case http.StatusConflict:
		return rollcall.ErrConflict
	case http.StatusPreconditionFailed:
		return rollcall.ErrPrecondition
	case http.StatusRequestEntityTooLarge:
		return rollcall.ErrTooLarge
	case http.StatusTooManyRequests:
		return rollcall.ErrTooMany
	case http.StatusNotImplemented:
		return rollcall.ErrUnsupported
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return rollcall.ErrTimeout
	}
	if p.Status >= 400 && p.Status < 500 {
		return rollcall.ErrInvalid
	}
	return rollcall.ErrUnavailable
}
