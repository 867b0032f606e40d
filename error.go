package rollcall

import (
	"errors"
	"time"
)

// Sentinels classify what went wrong; match them with [errors.Is].
var (
	ErrInvalid         = errors.New("invalid request")
	ErrTooLarge        = errors.New("too large")
	ErrNotFound        = errors.New("not found")
	ErrConflict        = errors.New("conflict")
	ErrPrecondition    = errors.New("precondition failed")
	ErrUnauthenticated = errors.New("not authenticated")
	ErrForbidden       = errors.New("not allowed")
	ErrTooMany         = errors.New("too many requests")
	ErrUnsupported     = errors.New("not implemented")
	ErrTimeout         = errors.New("timed out")
	// ErrUnavailable: the log takes no writes now; reads go on.
	ErrUnavailable = errors.New("log unavailable")
	// ErrNotSynced: the member has not read its log yet, or not far enough.
	ErrNotSynced = errors.New("not synced")
	// ErrSettling: the log is new to callers that knew another one, so
	// "unknown" may only mean "not back yet".
	ErrSettling = errors.New("settling")
)

// Error is an error with what its reader needs to act: which field is wrong,
// when to come back.
type Error struct {
	// Kind is one of the sentinels.
	Kind error
	// Detail says what is wrong and what to do about it.
	Detail string
	// Field is the JSON name of the offending field or parameter, as a path
	// ("checks[0].ttl"); empty if none is to blame.
	Field string
	// RetryAfter is when trying again makes sense; 0 is unknown.
	RetryAfter time.Duration
	// Cause is the error behind this one, or nil.
	Cause error
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Field != "" && e.Detail != "":
		return e.Field + ": " + e.Detail
	case e.Detail != "":
		return e.Detail
	}
	return e.Kind.Error()
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Invalid returns an [ErrInvalid] that names a field.
func Invalid(field, detail string) *Error {
	return &Error{Kind: ErrInvalid, Field: field, Detail: detail}
}
