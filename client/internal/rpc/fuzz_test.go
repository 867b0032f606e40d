package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// FuzzWatchResponse: whatever a server sends is told, or an error.
func FuzzWatchResponse(f *testing.F) {
	for _, m := range []*rollcallpb.WatchResponse{
		{Subscription: 1, Tell: &rollcallpb.WatchResponse_State{State: &rollcallpb.State{
			Revision: 3, Token: token(3).String(), Instances: []*rollcallpb.Instance{{Service: "s", Id: "i"}},
		}}},
		{Subscription: 1, Tell: &rollcallpb.WatchResponse_Changes{Changes: &rollcallpb.Changes{Revision: 3, Token: token(3).String(), Changes: []*rollcallpb.Change{
			{Revision: 3, Put: &rollcallpb.Instance{Service: "s", Id: "i"}},
			{Revision: 3, Health: &rollcallpb.Verdict{Ids: []string{"a", "b"}, Status: 2, EffectiveWeights: []uint32{1}}},
			{Revision: 3, Remove: &rollcallpb.Removal{Id: "i"}},
		}}}},
		{Subscription: 1, Tell: &rollcallpb.WatchResponse_Weights{Weights: &rollcallpb.Weights{Services: []*rollcallpb.ServiceWeights{{Ids: []string{"a"}, Weights: []uint32{9}}}}}},
		{Subscription: 1, Tell: &rollcallpb.WatchResponse_Bookmark{Bookmark: &rollcallpb.Bookmark{Revision: 3, Token: token(3).String()}}},
		{Subscription: 1, Tell: &rollcallpb.WatchResponse_Ended{Ended: &rollcallpb.Error{Kind: "invalid"}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(rollcallpb.WatchResponse)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		w := newWatches(nil)
		w.subscribe(t.Context(), &rollcall.Query{}) // so that what ends the other does not end the stream
		s := w.subscribe(t.Context(), &rollcall.Query{})
		m.Subscription = s.n
		w.take(m)
		w.take(&rollcallpb.WatchResponse{Subscription: s.n, Tell: &rollcallpb.WatchResponse_Bookmark{Bookmark: new(rollcallpb.Bookmark)}})
		for {
			if s.fail(errSlow); len(s.queue) == 0 && len(s.events) == 0 {
				return
			}
			ev, err := s.Next()
			if err != nil {
				return
			}
			s.Handled(&ev)
		}
	})
}

// FuzzSessionResponse: whatever a server sends is taken, or an error.
func FuzzSessionResponse(f *testing.F) {
	for _, m := range []*rollcallpb.SessionResponse{
		{Ref: 1, Say: &rollcallpb.SessionResponse_Registered{Registered: &rollcallpb.Registered{Instance: &rollcallpb.Instance{Service: "s", Id: "i"}}}},
		{Ref: 1, Say: &rollcallpb.SessionResponse_Error{Error: &rollcallpb.Error{Kind: "invalid"}}},
		{Say: &rollcallpb.SessionResponse_Ping{}},
		{Say: &rollcallpb.SessionResponse_Lost{Lost: &rollcallpb.Key{Service: "s", Id: "i"}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(rollcallpb.SessionResponse)
		if proto.Unmarshal(b, m) != nil || m.GetClosing() != nil {
			return
		}
		s := &session{out: make(chan *rollcallpb.SessionRequest, 1)}
		s.answers.Ask()
		_, answer := s.answers.Ask()
		if _, err := s.take(m); err != nil {
			t.Error(err)
		}
		select {
		case m := <-answer:
			registered(m.GetRegistered())
			m.GetError().Domain()
		default:
		}
	})
}

// BenchmarkRecord is what it costs to take in a record of one change.
func BenchmarkRecord(b *testing.B) {
	wire, err := proto.Marshal(&rollcallpb.WatchResponse{Subscription: 1, Tell: &rollcallpb.WatchResponse_Changes{Changes: &rollcallpb.Changes{
		Revision: 3, Token: token(3).String(), Changes: []*rollcallpb.Change{{Revision: 3, Put: &rollcallpb.Instance{
			Service: "payments", Id: "payments-0123456789", Address: "10.0.3.17", Zone: "eu-1a", Version: "2.4.1",
			Ports: []*rollcallpb.Port{{Name: "http", Port: 8080}}, Health: &rollcallpb.Health{Status: 1}, Metadata: []*rollcallpb.Pair{{Name: "team", Value: "checkout"}},
		}}},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	w := newWatches(nil)
	s := w.subscribe(b.Context(), &rollcall.Query{})
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		m := new(rollcallpb.WatchResponse)
		if err := proto.Unmarshal(wire, m); err != nil {
			b.Fatal(err)
		}
		w.take(m)
		ev, err := s.Next()
		if err != nil {
			b.Fatal(err)
		}
		s.Handled(&ev)
	}
}
