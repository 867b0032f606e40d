package grpcapi_test

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// fuzz sends a door bytes as a message of a method, behind others that begin the
// stream: whatever they are, it answers with what it means, and does not panic.
func fuzz(f *testing.F, method string, before []proto.Message, seeds ...proto.Message) {
	for _, m := range seeds {
		f.Add(marshal(f, m))
	}
	f.Add([]byte("\x0a\xff\xff\xff\xff\x0f"))
	core := &fakeCore{feed: func() watch.Feed { return silent{} }, session: newFakeSession()}
	conn, _, stop := connected(f, core, grpcapi.Options{}, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	f.Cleanup(stop)
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range before {
			stream.SendMsg(marshal(t, m))
		}
		stream.SendMsg(b)
		stream.CloseSend()
		if before == nil || method == pb.Registry_Session_FullMethodName {
			for err == nil {
				var answer []byte
				err = stream.RecvMsg(&answer)
			}
			switch codeOf(err) {
			case codes.Internal, codes.Unknown, codes.DeadlineExceeded:
				if err != io.EOF {
					t.Errorf("%x: %v", b, err)
				}
			}
		}
	})
}

func FuzzRegister(f *testing.F) {
	fuzz(f, pb.Registry_Register_FullMethodName, nil,
		&pb.RegisterRequest{Instances: []*pb.Instance{fleetInstance(1)}, IfMatch: 1},
		&pb.RegisterRequest{Instances: []*pb.Instance{fleetInstance(1), {}, {Ports: []*pb.Port{{Port: 1 << 20}}}}},
		&pb.RegisterRequest{Instances: []*pb.Instance{{Capabilities: []*pb.Capability{{Value: &pb.Value{List: true, Elements: []*pb.Value{{}}}}}}}})
}

func FuzzQuery(f *testing.F) {
	fuzz(f, pb.Registry_Resolve_FullMethodName, nil,
		&pb.ResolveRequest{Query: &pb.Query{Service: "payments", Limit: 1 << 31, Wait: -1, After: "x"}},
		&pb.ResolveRequest{Query: &pb.Query{Capabilities: []*pb.Match{{Name: "gpu", Value: "1"}}, At: -1}}, &pb.ResolveRequest{})
}

func FuzzRenew(f *testing.F) {
	fuzz(f, pb.Registry_Renew_FullMethodName, nil,
		&pb.RenewRequest{Renewals: []*pb.Renewal{{Service: "payments", Id: "p-1", Report: &pb.InstanceReport{Status: 9}}}},
		&pb.RenewRequest{Renewals: []*pb.Renewal{{}, {Report: &pb.InstanceReport{Checks: []*pb.CheckReport{{Name: "a"}, {Name: "a"}}}}}}, &pb.RenewRequest{})
}

func FuzzSession(f *testing.F) {
	open := &pb.SessionRequest{Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}}
	fuzz(f, pb.Registry_Session_FullMethodName, []proto.Message{open},
		open, pong, report(1), &pb.SessionRequest{Say: &pb.SessionRequest_Goodbye{}}, &pb.SessionRequest{Say: &pb.SessionRequest_Report{}},
		&pb.SessionRequest{Say: &pb.SessionRequest_Register{Register: fleetInstance(1)}}, &pb.SessionRequest{Say: &pb.SessionRequest_Register{}})
}

func FuzzWatch(f *testing.F) {
	fuzz(f, pb.Registry_Watch_FullMethodName, []proto.Message{&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: 1}}}},
		&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: 2, Query: &pb.Query{Service: "payments"}}}},
		&pb.WatchRequest{Say: &pb.WatchRequest_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: 1}}},
		&pb.WatchRequest{Say: &pb.WatchRequest_Ack{Ack: &pb.Ack{Subscription: 1, Revision: 7}}},
		&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{}}, &pb.WatchRequest{})
}

func FuzzOthers(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.DeregisterRequest{Key: &pb.Key{Service: "a", Id: "b"}}, &pb.DrainRequest{Wait: 1}, &pb.WhyRequest{Query: &pb.Query{}},
		&pb.ReportRequest{Instances: []*pb.Outcome{{Id: "a", Ok: -1}}},
	} {
		f.Add(marshal(f, m))
	}
	conn, _, stop := connected(f, &fakeCore{}, grpcapi.Options{}, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	f.Cleanup(stop)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, method := range []string{
			pb.Registry_Deregister_FullMethodName, pb.Registry_Drain_FullMethodName, pb.Registry_Why_FullMethodName, pb.Registry_Report_FullMethodName,
		} {
			if err := conn.Invoke(t.Context(), method, b, new([]byte)); codeOf(err) == codes.Internal || codeOf(err) == codes.Unknown {
				t.Errorf("%s %x: %v", method, b, err)
			}
		}
	})
}
