package store

import (
	"errors"
	"fmt"

	"github.com/rollcall-registry/rollcall"
)

// ErrClosed is matched by the error of whoever uses a log after, or while, it
// is closed.
var ErrClosed = errors.New("log closed")

// Closed returns the error for the use of a closed log.
func Closed() *rollcall.Error {
	return &rollcall.Error{
		Kind:   rollcall.ErrUnavailable,
		Detail: "the log is closed: the server is stopping",
		Cause:  ErrClosed,
	}
}

// PreconditionError says which preconditions of a batch did not hold. It is the
// cause of an [*rollcall.Error] of kind [rollcall.ErrPrecondition].
type PreconditionError struct {
	// Failed are indices into the batch's If, in rising order.
	Failed []int
}

// Error implements error.
func (e *PreconditionError) Error() string {
	return fmt.Sprintf("preconditions %v do not hold", e.Failed)
}

// FailedPreconditions returns Failed. It is there for callers that match by an
// interface of their own, because they may not import this package.
func (e *PreconditionError) FailedPreconditions() []int { return e.Failed }

func preconditionError(conditions []rollcall.Precondition, failed []int) error {
	p := conditions[failed[0]]
	detail := p.Key.String() + " is registered already"
	if p.Incarnation != 0 || p.Revision != 0 {
		detail = p.Key.String() + " is not what it was: it was registered again, changed or removed meanwhile"
	}
	if n := len(failed) - 1; n > 0 {
		detail += fmt.Sprintf(" (and %d more)", n)
	}
	return &rollcall.Error{Kind: rollcall.ErrPrecondition, Detail: detail, Cause: &PreconditionError{failed}}
}
