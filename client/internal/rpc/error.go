package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// failure says why a call of a server failed, or a stream ended; begun: on which
// something was heard.
func failure(ctx context.Context, server string, begun bool, err error) error {
	if e, ok := rollcallpb.ErrorOf(err); ok {
		if errors.Is(e.Kind, context.Canceled) { // not by us
			return wire.Unreachable(server, "it is stopping", err)
		}
		return e
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, errUnanswered):
		return wire.TimedOut(server, cause)
	case cause != nil:
		return cause
	case errors.Is(err, io.EOF):
		return errors.New("the server ended the stream")
	}
	s := status.Convert(err)
	if begun && s.Code() == codes.Unavailable {
		return &rollcall.Error{Kind: wire.ErrUnreachable, Detail: fmt.Sprintf("the connection to %s broke: %s", server, plain(s.Message())), Cause: err}
	}
	return untold(server, s, err)
}

// errUnanswered ends a stream that could not be opened in time.
var errUnanswered = errors.New("no answer in time")

// untold says what a status means that no Rollcall server made.
func untold(server string, s *status.Status, err error) error {
	text := s.Message()
	e := &rollcall.Error{Kind: wire.ErrUnreachable, Detail: wire.Foreign(server, text), Cause: err}
	switch s.Code() {
	case codes.Unavailable, codes.Canceled: // the latter when the connection was given up
		foreign := strings.Contains(text, "server preface") || strings.Contains(text, "HTTP status code")
		if !foreign || strings.Contains(text, "connection reset") { // which a server's end does, too
			return wire.Unreachable(server, plain(text), err)
		}
	case codes.DeadlineExceeded:
		return wire.TimedOut(server, err)
	case codes.Unauthenticated:
		e.Kind = rollcall.ErrUnauthenticated
	case codes.PermissionDenied:
		e.Kind = rollcall.ErrForbidden
	case codes.ResourceExhausted:
		if e.Kind = rollcall.ErrTooMany; strings.Contains(text, "message larger than max") {
			e.Kind, e.Detail = rollcall.ErrTooLarge, text
		}
	case codes.Internal:
		if strings.Contains(text, "while marshaling") {
			e.Kind, e.Detail = rollcall.ErrInvalid, text
		}
	}
	return e
}

// plain shortens what gRPC says of a connection to what went wrong: the address
// is known.
func plain(text string) string {
	if i := strings.LastIndex(text, `desc = "`); i >= 0 {
		text = strings.TrimSuffix(text[i+len(`desc = "`):], `"`)
	}
	if _, dial, ok := strings.Cut(text, "Error while dialing: "); ok {
		text = dial
	}
	if rest, ok := strings.CutPrefix(text, "dial tcp "); ok {
		if _, why, ok := strings.Cut(rest, ": "); ok {
			text = why
		}
	}
	return text
}

// silent reports whether a stream ended because nothing was heard on it.
func silent(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, retry.ErrSilent) || errors.Is(cause, errUnanswered)
}
