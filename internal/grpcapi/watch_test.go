package grpcapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// TestLargeRecords: what is large comes in parts, each far below what clients take,
// and the last one alone has the token.
func TestLargeRecords(t *testing.T) {
	const many = 2000
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	register := func(version string) {
		t.Helper()
		var is []*pb.Instance
		for n := range many {
			i := instance(fmt.Sprintf("p-%04d", n))
			i.Version, i.Metadata = version, []*pb.Pair{{Name: "about", Value: strings.Repeat("x", 200)}}
			is = append(is, i)
		}
		for _, r := range put(t, c, is...).Results {
			if r.Error != nil {
				t.Fatal(r)
			}
		}
	}
	register("1")
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for number, q := range []*pb.Query{{Service: "payments"}, {Namespace: "default"}, {Service: "payments", Limit: many - 1}} {
		subscribe(t, stream, uint64(number), q)
		seen := map[string]bool{}
		for parts := 1; ; parts++ {
			m := next(t, stream)
			st := m.GetState()
			if m.Subscription != uint64(number) || st == nil {
				t.Fatalf("%v, want a state", m)
			}
			for _, i := range st.Instances {
				seen[i.Id] = true
			}
			if st.More == (st.Token != "") || st.Revision == 0 {
				t.Errorf("part %d: more %v, token %q, revision %d", parts, st.More, st.Token, st.Revision)
			}
			if !st.More {
				if parts < 3 || len(seen) < many-1 {
					t.Errorf("%v: %d instances in %d parts", q, len(seen), parts)
				}
				break
			}
		}
	}
	for number := range uint64(3) {
		stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Subscription: number}}})
	}
	subscribe(t, stream, 9, &pb.Query{Service: "payments"})
	for {
		if m := next(t, stream); m.Subscription == 9 && !m.GetState().GetMore() {
			break
		}
	}

	follow := func(what string, ids func(*pb.Change) []string) {
		t.Helper()
		seen, parts, most := map[string]bool{}, 0, 0
		for ; len(seen) < many; parts++ {
			m := next(t, stream)
			for _, change := range m.GetChanges().GetChanges() {
				for _, id := range ids(change) {
					seen[id] = true
				}
				most = max(most, len(ids(change)))
			}
			if all := len(seen) == many; all && m.GetChanges().GetToken() == "" {
				t.Errorf("%s: the last part has no token", what)
			}
		}
		t.Logf("%s: %d records, up to %d ids together", what, parts, most)
		if most > 1024 {
			t.Errorf("%s: %d ids stand together", what, most)
		}
	}
	register("2")
	follow("put", func(c *pb.Change) []string { return []string{c.GetPut().GetId()} })

	renew, err := c.Renew(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.RenewRequest{}
	for n := range many {
		m.Renewals = append(m.Renewals, &pb.Renewal{Service: "payments", Id: fmt.Sprintf("p-%04d", n), Report: &pb.InstanceReport{Status: pb.Status_STATUS_DEGRADED, Note: "busy"}})
	}
	if err := renew.Send(m); err != nil {
		t.Fatal(err)
	}
	if m, err := renew.Recv(); err != nil || m.Renewed != many {
		t.Fatal(m, err)
	}
	follow("health", func(c *pb.Change) []string {
		if h := c.GetHealth(); h != nil && (h.Status != pb.Status_STATUS_DEGRADED || h.Reason != "status: busy" || len(h.EffectiveWeights) != len(h.Ids)) {
			t.Errorf("%d ids, %d weights, %v, %q", len(h.Ids), len(h.EffectiveWeights), h.Status, h.Reason)
		}
		return c.GetHealth().GetIds()
	})
}

// TestAcksFromTheBeginning: a drain waits for the first ack of who said that it
// acknowledges, and not of who did not.
func TestAcksFromTheBeginning(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	put(t, c, instance("p-1"))
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	say := func(m *pb.WatchRequest) {
		t.Helper()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	drain := func(wait time.Duration, acknowledged, pending uint32) {
		t.Helper()
		b, err := c.Drain(limit(t), &pb.DrainRequest{Key: &pb.Key{Service: "payments", Id: "p-1"}, Wait: int64(wait)})
		if err != nil || b.Acknowledged != acknowledged || b.Pending != pending {
			t.Errorf("%v, %v; want %d acknowledged and %d pending", b, err, acknowledged, pending)
		}
	}
	say(&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: 1, Query: &pb.Query{Service: "payments"}, Acks: true}}})
	next(t, stream)
	drain(50*time.Millisecond, 0, 1)
	subscribe(t, stream, 2, &pb.Query{Service: "payments"})
	var revision uint64
	for told := map[uint64]bool{}; len(told) < 2; {
		m := next(t, stream)
		told[m.Subscription] = true
		for _, change := range m.GetChanges().GetChanges() {
			revision = change.Revision
		}
	}
	say(&pb.WatchRequest{Say: &pb.WatchRequest_Ack{Ack: &pb.Ack{Subscription: 1, Revision: revision}}})
	drain(10*time.Second, 2, 0)
}

// TestResume: from a token on, only what came after it is told.
func TestResume(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	put(t, c, instance("p-1"))
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 1, &pb.Query{Service: "payments"})
	token := next(t, stream).GetState().GetToken()
	put(t, c, instance("p-2"))
	subscribe(t, stream, 2, &pb.Query{Service: "payments", After: token})
	for {
		m := next(t, stream)
		if m.Subscription != 2 {
			continue
		}
		cs := m.GetChanges().GetChanges()
		if len(cs) != 1 || cs[0].GetPut().GetId() != "p-2" || m.GetChanges().Token == token {
			t.Errorf("%v, want p-2 alone", m)
		}
		break
	}
	subscribe(t, stream, 3, &pb.Query{Service: "payments", After: "0123456789abcdef-1-0"})
	for {
		if m := next(t, stream); m.Subscription == 3 {
			if !m.GetState().GetReset_() || len(m.GetState().Instances) != 2 {
				t.Errorf("of another log: %v", m)
			}
			break
		}
	}
}

// TestHalfClosedWatch: who has said all is told on, and how the stream ends.
func TestHalfClosedWatch(t *testing.T) {
	s := rollcalltest.Start(t)
	c, _ := dial(t, s.GRPC)
	stream, err := c.Watch(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	subscribe(t, stream, 1, &pb.Query{Service: "payments"})
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if m := next(t, stream); m.GetState() == nil {
		t.Errorf("%v, want a state", m)
	}
	put(t, c, instance("p-1"))
	if m := next(t, stream); len(m.GetChanges().GetChanges()) != 1 {
		t.Errorf("%v, want a change", m)
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
