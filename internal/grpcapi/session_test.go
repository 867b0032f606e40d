package grpcapi_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
)

// sitting is the client's end of a session.
type sitting struct {
	pb.Registry_SessionClient
	t *testing.T
}

func (st sitting) say(m *pb.SessionRequest) {
	st.t.Helper()
	if err := st.Send(m); err != nil {
		st.t.Fatal(err)
	}
}

func (st sitting) open(token string) *pb.SessionOpened {
	st.t.Helper()
	st.say(&pb.SessionRequest{Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{Token: token}}})
	return st.hear().GetOpened()
}

func (st sitting) hear() *pb.SessionResponse {
	st.t.Helper()
	m, err := st.Recv()
	if err != nil {
		st.t.Fatal(err)
	}
	return m
}

// rest returns what comes until the end, and how that is told.
func (st sitting) rest() (all []*pb.SessionResponse, err error) {
	for {
		m, err := st.Recv()
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

var pong = &pb.SessionRequest{Say: &pb.SessionRequest_Pong{Pong: &pb.Pong{}}}

func report(ref uint64) *pb.SessionRequest {
	return &pb.SessionRequest{Ref: ref, Say: &pb.SessionRequest_Report{Report: &pb.Renewal{Service: "payments", Id: "p-1"}}}
}

// TestHowSessionsEnd: each end is told to the client and to the core as what it is.
func TestHowSessionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(st sitting, s *fakeSession, server *grpcapi.Server, cancel func())
		code codes.Code
		log  string
	}{
		{"goodbye", func(st sitting, _ *fakeSession, _ *grpcapi.Server, _ func()) {
			st.say(&pb.SessionRequest{Say: &pb.SessionRequest_Goodbye{Goodbye: &pb.Goodbye{}}})
		}, codes.OK, "goodbye 0"},
		{"no goodbye", func(st sitting, _ *fakeSession, _ *grpcapi.Server, _ func()) { st.CloseSend() },
			codes.OK, "break: the stream ended without a goodbye"},
		{"broken", func(_ sitting, _ *fakeSession, _ *grpcapi.Server, cancel func()) { cancel() },
			codes.Canceled, "break: the stream broke: its client or its connection is gone"},
		{"broken in silence", func(_ sitting, s *fakeSession, _ *grpcapi.Server, cancel func()) {
			s.mu.Lock()
			s.ping = time.Second
			s.mu.Unlock()
			time.Sleep(3*time.Second + 1)
			cancel()
		}, codes.Canceled, "leave"},
		{"silence", func(st sitting, _ *fakeSession, _ *grpcapi.Server, _ func()) {
			for range 3 { // it is heard from in time
				time.Sleep(st.ttl() - time.Millisecond)
				st.say(pong)
			}
			time.Sleep(st.ttl() - time.Millisecond)
			synctest.Wait()
		}, codes.DeadlineExceeded, "leave"},
		{"taken", func(_ sitting, s *fakeSession, _ *grpcapi.Server, _ func()) { close(s.taken) }, codes.Aborted, ""},
		{"stop", func(_ sitting, _ *fakeSession, server *grpcapi.Server, _ func()) { server.End() }, codes.Unavailable, ""},
		{"too long", func(st sitting, _ *fakeSession, _ *grpcapi.Server, _ func()) {
			st.say(&pb.SessionRequest{Say: &pb.SessionRequest_Register{Register: &pb.Instance{Node: strings.Repeat("x", 64<<10)}}})
		}, codes.ResourceExhausted, "break: a message was not understood: too large"},
		{"panic", func(st sitting, s *fakeSession, _ *grpcapi.Server, _ func()) {
			s.does = func(context.Context) { panic("secret") }
			st.say(report(1))
		}, codes.Internal, "break: the server failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSession()
				c, server, stop := inMemory(t, &fakeCore{session: s}, grpcapi.Options{})
				defer stop()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stream, err := c.Session(ctx)
				if err != nil {
					t.Fatal(err)
				}
				st := sitting{stream, t}
				st.open("")
				tt.end(st, s, server, cancel)
				_, err = st.rest()
				if err == io.EOF {
					err = nil
				}
				if kind, _, code := wrong(err); code != tt.code || code != codes.OK && code != codes.Canceled && kind == "" {
					t.Errorf("the client is told %v", err)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("the client is told %v", err)
				}
				synctest.Wait()
				if got := strings.Join(s.noted(), ", "); got != tt.log {
					t.Errorf("the core was told %q, want %q", got, tt.log)
				}
			})
		})
	}
}

func (st sitting) ttl() time.Duration { return 15 * time.Second }

// TestSessionIsTold: pings when nothing else is said, what is lost, and the end.
func TestSessionIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		c, server, stop := inMemory(t, &fakeCore{session: s}, grpcapi.Options{MaxSession: 1})
		defer stop()
		stream, err := c.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		st, start := sitting{stream, t}, time.Now()
		if o := st.open("token"); !o.GetResumed() || o.Token != "token" || o.Ping != int64(5*time.Second) {
			t.Errorf("opened: %v", o)
		}
		if m := st.hear(); m.GetPing() == nil || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v, want a ping", m, time.Since(start))
		}
		time.Sleep(3 * time.Second)
		st.say(report(5)) // whose answer is a sign of life as well
		if m := st.hear(); m.Ref != 5 || m.GetRenewed().GetTtl() == 0 {
			t.Errorf("%v, want the answer to a report", m)
		}
		if m := st.hear(); m.GetPing() == nil || time.Since(start) != 13*time.Second {
			t.Errorf("%v after %v, want a ping", m, time.Since(start))
		}
		s.lost <- rollcall.NewKey("", "payments", "p-1")
		if m := st.hear(); m.GetLost().GetId() != "p-1" || m.Ref != 0 {
			t.Errorf("%v, want p-1 lost", m)
		}
		for n, id := range []string{"p-1", "p-2", "p-1"} {
			st.say(&pb.SessionRequest{Ref: 9, Say: &pb.SessionRequest_Register{Register: instance(id)}})
			if m := st.hear(); m.Ref != 9 || (m.GetError().GetKind() == "too-many-requests") != (n == 1) {
				t.Errorf("%s: %v", id, m)
			}
		}
		st.say(&pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}})
		if m := st.hear(); m.GetError().GetField() != "open" {
			t.Errorf("opened twice: %v", m)
		}

		// What is under way when the server stops is done.
		under, done := make(chan struct{}), make(chan struct{})
		s.does = func(ctx context.Context) {
			close(under)
			select {
			case <-done:
			case <-ctx.Done():
				t.Error("what was under way was cut off")
			}
		}
		st.say(report(6))
		<-under
		server.End()
		if m := st.hear(); m.GetClosing() == nil {
			t.Errorf("%v, want closing", m)
		}
		close(done)
		all, err := st.rest()
		if _, _, code := wrong(err); code != codes.Unavailable || len(all) != 1 || all[0].Ref != 6 {
			t.Errorf("%v, %v; want the answer", all, err)
		}
	})
}

// TestHowSessionsBegin: with a message, soon, that opens one.
func TestHowSessionsBegin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first func(st sitting)
		code  codes.Code
		field string
	}{
		{"nothing", func(st sitting) {}, codes.DeadlineExceeded, ""},
		{"the end", func(st sitting) { st.CloseSend() }, codes.OK, ""},
		{"something else", func(st sitting) { st.say(pong) }, codes.InvalidArgument, "open"},
		{"a short ttl", func(st sitting) {
			st.say(&pb.SessionRequest{Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{Ttl: 1}}})
		}, codes.InvalidArgument, "ttl"},
		{"refused", func(st sitting) { st.say(&pb.SessionRequest{Say: &pb.SessionRequest_Open{}}) }, codes.Unavailable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, stop := inMemory(t, &fakeCore{}, grpcapi.Options{})
				defer stop()
				stream, err := c.Session(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				tt.first(sitting{stream, t})
				_, err = stream.Recv()
				if err == io.EOF {
					err = nil
				}
				if _, field, code := wrong(err); code != tt.code || field != tt.field || time.Since(start) > 10*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

// TestStopsWithStreamsOpen: those of all kinds, which nobody ends.
func TestStopsWithStreamsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server, stop := inMemory(t, &fakeCore{session: newFakeSession()}, grpcapi.Options{})
		defer stop()
		renew, err := c.Renew(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := renew.Send(&pb.RenewRequest{Renewals: []*pb.Renewal{{Service: "a", Id: "b"}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := renew.Recv(); err != nil || m.Renewed != 1 {
			t.Fatal(m, err)
		}
		watches, err := c.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		subscribe(t, watches, 1, &pb.Query{Service: "payments"})
		if m := next(t, watches); m.GetEnded() == nil {
			t.Fatal(m) // so nothing is left that is watched
		}
		start := time.Now()
		server.End()
		if _, err := renew.Recv(); codeOf(err) != codes.Unavailable {
			t.Errorf("renewals: %v", err)
		}
		if _, err := watches.Recv(); codeOf(err) != codes.Unavailable {
			t.Errorf("watches: %v", err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
	})
}
