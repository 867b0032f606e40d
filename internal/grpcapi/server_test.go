package grpcapi_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// dial returns a client of a server.
func dial(t testing.TB, addr string) (pb.RegistryClient, *grpc.ClientConn) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewRegistryClient(conn), conn
}

// limit bounds what a test waits for.
func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func put(t testing.TB, c pb.RegistryClient, is ...*pb.Instance) *pb.RegisterResponse {
	t.Helper()
	answer, err := c.Register(limit(t), &pb.RegisterRequest{Instances: is})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func instance(id string) *pb.Instance {
	return &pb.Instance{Service: "payments", Id: id, Ports: []*pb.Port{{Name: "default", Port: 8080}}}
}

// wrong returns what an error says in its details, and its code.
func wrong(err error) (kind, field string, code codes.Code) {
	for _, d := range status.Convert(err).Details() {
		if m, ok := d.(*pb.Error); ok {
			kind, field = m.Kind, m.Field
		}
	}
	return kind, field, status.Code(err)
}

// TestLifeOfAnInstance goes through the calls with one answer.
func TestLifeOfAnInstance(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	got := put(t, c, instance("p-1")).Results[0]
	if !got.Created || got.Instance.GetAddress() != "127.0.0.1" || got.Instance.GetOrigin() != "grpc" || got.Revision == 0 || got.Key.Id != "p-1" {
		t.Errorf("registered: %v", got)
	}
	many := put(t, c, instance("p-2"), &pb.Instance{Service: "pay ments"}, instance("p-3")).Results
	if !many[0].Created || many[1].Error.GetKind() != "invalid" || many[1].Error.GetField() != "service" || !many[2].Created || many[2].Key.Id != "p-3" {
		t.Errorf("three, of which one is wrong: %v", many)
	}
	again, err := c.Register(limit(t), &pb.RegisterRequest{Instances: []*pb.Instance{{Service: "payments", Id: "p-1", Version: "2"}}, IfMatch: got.Revision + 100})
	if kind, _, code := wrong(err); kind != "precondition-failed" || code != codes.FailedPrecondition {
		t.Errorf("if_match: %v, %v", again, err)
	}
	answer, err := c.Resolve(limit(t), &pb.ResolveRequest{Query: &pb.Query{Service: "payments"}})
	if err != nil || len(answer.Instances) != 3 || answer.Total != 3 || answer.SnapshotRevision < answer.Revision || answer.Namespace != "default" || answer.Token == "" {
		t.Errorf("resolved: %v, %v", answer, err)
	}
	one, err := answer.Instances[0].Domain()
	if err != nil || one.ID != "p-1" || one.Service != "payments" || one.Health.Status != rollcall.Healthy || *one.EffectiveWeight != 100 || one.Ports["default"] != 8080 {
		t.Errorf("resolved: %+v, %v", one, err)
	}
	if _, err := c.Report(limit(t), &pb.ReportRequest{Service: &pb.Key{Service: "payments"}, Caller: "web-1", Window: int64(time.Second), Instances: []*pb.Outcome{{Id: "p-1", Ok: 5}}}); err != nil {
		t.Errorf("report: %v", err)
	}
	if why, err := c.Why(limit(t), &pb.WhyRequest{Query: &pb.Query{Service: "payments"}, Id: "p-2"}); err != nil || len(why.Instances) != 1 || !why.Instances[0].In {
		t.Errorf("why: %v, %v", why, err)
	}
	if b, err := c.Drain(limit(t), &pb.DrainRequest{Key: &pb.Key{Service: "payments", Id: "p-3"}, Wait: int64(time.Second)}); err != nil || b.Pending != 0 {
		t.Errorf("drain: %v, %v", b, err)
	}
	if _, err := c.Deregister(limit(t), &pb.DeregisterRequest{Key: &pb.Key{Service: "payments", Id: "p-1"}}); err != nil {
		t.Errorf("deregister: %v", err)
	}
	_, err = c.Resolve(limit(t), &pb.ResolveRequest{Query: &pb.Query{Service: "nobody"}})
	if kind, _, code := wrong(err); kind != "not-found" || code != codes.NotFound {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestRenew(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	put(t, c, instance("p-1"), instance("p-2"))
	stream, err := c.Renew(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	say := func(rs ...*pb.Renewal) *pb.RenewResponse {
		t.Helper()
		if err := stream.Send(&pb.RenewRequest{Renewals: rs}); err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := say(&pb.Renewal{Service: "payments", Id: "p-1"}); m.Renewed != 1 || m.Ttl != int64(15*time.Second) || m.Revision == 0 {
		t.Errorf("one: %v", m)
	}
	if m := say(&pb.Renewal{Service: "payments", Id: "p-9"}); m.Renewed != 0 || len(m.Unknown) != 1 || m.Unknown[0].Id != "p-9" {
		t.Errorf("one that is unknown: %v", m)
	}
	full := &pb.InstanceReport{Status: pb.Status_STATUS_DEGRADED, Note: "busy"}
	m := say(&pb.Renewal{Service: "payments", Id: "p-1", Report: full}, &pb.Renewal{Service: "Payments", Id: "p-2"}, &pb.Renewal{Service: "payments", Id: "p-9"})
	if m.Renewed != 2 || len(m.Unknown) != 1 || m.Error != nil {
		t.Errorf("many: %v", m)
	}
	if m := say(&pb.Renewal{Service: "payments"}, &pb.Renewal{}); m.Error.GetKind() != "invalid" {
		t.Errorf("nameless: %v", m)
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestSession(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	stream, err := c.Session(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	say := func(m *pb.SessionRequest) *pb.SessionResponse {
		t.Helper()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if m.GetPing() == nil {
				return m
			}
		}
	}
	opened := say(&pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}})
	if opened.Ref != 1 || opened.GetOpened().GetToken() == "" || opened.GetOpened().Ttl != int64(15*time.Second) || opened.GetOpened().Resumed {
		t.Errorf("opened: %v", opened)
	}
	i := instance("p-1")
	i.Lease = &pb.Lease{Mode: "session"}
	if m := say(&pb.SessionRequest{Ref: 2, Say: &pb.SessionRequest_Register{Register: i}}); m.Ref != 2 || !m.GetRegistered().GetCreated() || m.GetRegistered().Instance.Address != "127.0.0.1" {
		t.Errorf("registered: %v", m)
	}
	if m := say(&pb.SessionRequest{Ref: 3, Say: &pb.SessionRequest_Report{Report: &pb.Renewal{Service: "payments", Id: "p-1"}}}); m.Ref != 3 || m.GetRenewed().GetTtl() == 0 {
		t.Errorf("reported: %v", m)
	}
	if m := say(&pb.SessionRequest{Ref: 4, Say: &pb.SessionRequest_Report{Report: &pb.Renewal{Service: "payments", Id: "p-2"}}}); m.GetError().GetKind() != "not-found" {
		t.Errorf("reported another's: %v", m)
	}
	if m := say(&pb.SessionRequest{Ref: 5, Say: &pb.SessionRequest_Goodbye{Goodbye: &pb.Goodbye{}}}); m.Ref != 5 || m.GetGone() == nil {
		t.Errorf("goodbye: %v", m)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	answer, err := c.Resolve(limit(t), &pb.ResolveRequest{Query: &pb.Query{Service: "payments", Health: "any"}})
	if err == nil && len(answer.Instances) != 0 {
		t.Errorf("after goodbye: %v", answer)
	}
}

// next returns the next record but bookmarks.
func next(t testing.TB, stream pb.Registry_WatchClient) *pb.WatchResponse {
	t.Helper()
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetBookmark() == nil {
			return m
		}
	}
}

func subscribe(t testing.TB, stream pb.Registry_WatchClient, number uint64, q *pb.Query) {
	t.Helper()
	if err := stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: number, Query: q}}}); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	put(t, c, instance("p-1"))
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 7, &pb.Query{Service: "payments", Caller: "web-1"})
	m := next(t, stream)
	if m.Subscription != 7 || len(m.GetState().GetInstances()) != 1 || m.GetState().Token == "" || m.GetState().Instances[0].Id != "p-1" {
		t.Errorf("first: %v", m)
	}
	subscribe(t, stream, 8, &pb.Query{})
	if m := next(t, stream); m.Subscription != 8 || len(m.GetState().GetInstances()) != 1 {
		t.Errorf("of everything: %v", m)
	}
	subscribe(t, stream, 9, &pb.Query{Service: "payments", Limit: 1})
	if m := next(t, stream); m.Subscription != 9 || len(m.GetState().GetInstances()) != 1 {
		t.Errorf("of a result: %v", m)
	}
	put(t, c, instance("p-2"))
	told := map[uint64]*pb.WatchResponse{}
	for len(told) < 2 {
		m := next(t, stream)
		told[m.Subscription] = m
	}
	for n := uint64(7); n <= 8; n++ {
		cs := told[n].GetChanges().GetChanges()
		if len(cs) != 1 || cs[0].GetPut().GetId() != "p-2" || cs[0].Service != "" != (n == 8) {
			t.Errorf("%d: %v", n, told[n])
		}
	}
	if err := stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Ack{Ack: &pb.Ack{Subscription: 7, Revision: told[7].GetChanges().Revision}}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Ack{Ack: &pb.Ack{Subscription: 8, Revision: 1 << 40}}}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, stream); m.Subscription != 8 || m.GetEnded().GetField() != "revision" {
		t.Errorf("acknowledged what it was not told: %v", m)
	}
	subscribe(t, stream, 10, &pb.Query{Service: "pay ments"})
	if m := next(t, stream); m.Subscription != 10 || m.GetEnded().GetKind() != "invalid" {
		t.Errorf("what is no name: %v", m)
	}
	if err := stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: 9}}}); err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 9, &pb.Query{Service: "payments", Near: "52.5,13.4"})
	if m := next(t, stream); m.Subscription != 9 || m.GetState() == nil {
		t.Errorf("a number that was free again: %v", m)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if kind, _, code := wrong(err); code != codes.Unavailable || kind == "" {
		t.Errorf("when the server stops: %v", err)
	}
}

// TestOneAddressForAll: HTTP is served at the same address, and health.
func TestOneAddressForAll(t *testing.T) {
	s := rollcalltest.Start(t)
	resp, err := http.Get("http://" + s.GRPC + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	_, conn := dial(t, s.GRPC)
	for _, name := range []string{"", "rollcall.v1.Registry"} {
		h, err := grpc_health_v1.NewHealthClient(conn).Check(limit(t), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, h, err)
		}
	}
}
