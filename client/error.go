package client

import (
	"errors"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/local"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// ErrUnreachable is the kind of an error that means no Rollcall server was there
// to answer: nothing was, or something else.
var ErrUnreachable = wire.ErrUnreachable

// ErrNoInstances is the kind of an error that means a service is known and none of
// its instances takes traffic now.
var ErrNoInstances = local.ErrNoInstances

// errClientClosed is the error of what a closed client does not do any more.
var errClientClosed = errors.New("the client is closed")

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
