package client

import (
	"errors"

	"github.com/rollcall-registry/rollcall"
)

// ErrUnreachable is the kind of an error that means no Rollcall server was there
// to answer: nothing was, or something else.
var ErrUnreachable = errors.New("server unreachable")

// lasting reports whether an error will come again however often the same is
// asked: the request is at fault, or who makes it.
func lasting(err error) bool {
	for _, kind := range []error{
		rollcall.ErrInvalid, rollcall.ErrTooLarge, rollcall.ErrNotFound, rollcall.ErrConflict,
		rollcall.ErrPrecondition, rollcall.ErrUnauthenticated, rollcall.ErrForbidden, rollcall.ErrUnsupported,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
