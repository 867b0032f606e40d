package grpcapi

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

var errPanicked = errors.New("a handler panicked") // which was logged

// closing is what clients are told when the server stops.
func closing() error {
	return &rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: "the server is stopping; go on with another one", RetryAfter: time.Second}
}

// expected makes of the door's own errors what is told of them.
func expected(err error) error {
	switch {
	case errors.Is(err, watch.ErrClosed):
		return closing()
	case errors.Is(err, watch.ErrMoved):
		return &rollcall.Error{Kind: rollcall.ErrConflict, Detail: "the name means another query now; subscribe again"}
	case errors.Is(err, errUntaken), errors.Is(err, errSilent), errors.Is(err, errUnsent):
		return &rollcall.Error{Kind: rollcall.ErrTimeout, Detail: err.Error() + " for too long"}
	case errors.Is(err, errTaken):
		return &rollcall.Error{Kind: rollcall.ErrConflict, Detail: err.Error()}
	}
	return err
}

// tell returns a call's error as its client is told it. What nobody expected is
// logged instead.
func (s *Server) tell(method string, err error) error {
	answer, known := statusOf(err)
	if !known {
		s.o.Logger.Error("a call failed", "method", method, "err", err)
	}
	return answer
}

// statusOf is tell for who leaves it to others to log.
func statusOf(err error) (answer error, known bool) {
	if _, ok := status.FromError(err); ok { // gRPC's own
		return err, true
	}
	answer, known = pb.StatusOf(expected(err))
	return answer, known || err == errPanicked
}

// detail returns an error as it stands in an answer.
func (s *Server) detail(what string, key rollcall.Key, err error) *pb.Error {
	m, _, known := pb.FromError(expected(err))
	if !known {
		s.o.Logger.Error(what+" failed", "instance", key.String(), "err", err)
	}
	return m
}

// broken says why a stream ended that nobody ended in good order.
func broken(err error) string {
	if status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled) {
		return "the stream broke: its client or its connection is gone"
	}
	return "the stream broke: " + status.Convert(err).Message()
}

func tooMany(most int, what string) error {
	return &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: "there are more than " + number(most) + " " + what + "; send them in several messages"}
}
