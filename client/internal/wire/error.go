package wire

import (
	"errors"
	"fmt"

	"github.com/rollcall-registry/rollcall"
)

// ErrUnreachable is the kind of an error that means that no Rollcall server was
// there to answer.
var ErrUnreachable = errors.New("server unreachable")

// ErrNoSessions is the cause of an error that means that a server knows no
// sessions.
var ErrNoSessions = errors.New("no sessions")

// Unreachable is the error for a server that is not there. cause says why, and
// shown, in short, what of it is shown.
func Unreachable(server string, shown any, cause error) error {
	return &rollcall.Error{
		Kind: ErrUnreachable,
		Detail: fmt.Sprintf("no Rollcall server can be reached at %s (%v): start one with \"rollcall serve\", "+
			"or say where it is with ROLLCALL_ADDR", server, shown),
		Cause: cause,
	}
}

// TimedOut is the error for a server that did not answer in time.
func TimedOut(server string, cause error) error {
	return &rollcall.Error{
		Kind:   rollcall.ErrTimeout,
		Detail: fmt.Sprintf("%s did not answer in time; see whether it is overloaded, or allow more", server),
		Cause:  cause,
	}
}

// Foreign is what is said of a server that gave an answer which is none of
// Rollcall's.
func Foreign(server, answer string) string {
	return fmt.Sprintf("%s answered %q, not as a Rollcall server does; is it the right address?", server, answer)
}

// Broken is what is said of a session's stream that ended.
func Broken(why error) error {
	if why == nil {
		why = errors.New("it ended")
	}
	return &rollcall.Error{Kind: ErrUnreachable, Detail: "the session's stream broke: " + why.Error(), Cause: why}
}

// ErrClosing ends the stream of a session whose server is about to stop.
var ErrClosing = errors.New("the server is stopping")

// WithoutSessions makes it plain if err means that a server knows no sessions.
func WithoutSessions(server string, err error) error {
	if !errors.Is(err, rollcall.ErrNotFound) && !errors.Is(err, rollcall.ErrUnsupported) {
		return err
	}
	return &rollcall.Error{
		Kind: rollcall.ErrUnsupported, Field: "lease.mode", Cause: ErrNoSessions,
		Detail: fmt.Sprintf("the server at %s knows no sessions; register with a lease of mode ttl, or update the server", server),
	}
}
