package meter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

// UnaryServerInterceptor counts calls and adds the load to the trailer of each. A
// call has failed if its status says that the server did: Unknown, DeadlineExceeded,
// ResourceExhausted, Internal, Unavailable or DataLoss.
func (m *Meter) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		began, failed := m.begin(), true // if it panics
		defer func() { m.end(began, failed) }()
		resp, err := handle(ctx, req)
		_ = grpc.SetTrailer(ctx, m.trailer()) // fails if there is no call, in a test
		failed = fault(err)
		return resp, err
	}
}

// StreamServerInterceptor does for streams what [Meter.UnaryServerInterceptor] does
// for calls. A stream is in flight for as long as it is open.
func (m *Meter) StreamServerInterceptor() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		began, failed := m.begin(), true
		defer func() { m.end(began, failed) }()
		err := handle(srv, ss)
		ss.SetTrailer(m.trailer())
		failed = fault(err)
		return err
	}
}

func (m *Meter) trailer() metadata.MD {
	return metadata.MD{orca.Trailer: m.report().binary}
}

func fault(err error) bool {
	switch status.Code(err) {
	case codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}
