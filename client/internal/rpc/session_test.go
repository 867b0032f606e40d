package rpc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

type sessionStream = grpc.BidiStreamingServer[rollcallpb.SessionRequest, rollcallpb.SessionResponse]

// opens answers the first message of a session.
func opens(s sessionStream, name string) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	return s.Send(&rollcallpb.SessionResponse{Ref: m.GetRef(), Say: &rollcallpb.SessionResponse_Opened{Opened: &rollcallpb.SessionOpened{
		Token: name, Ttl: int64(15 * time.Second), Ping: int64(2 * time.Second), Resumed: m.GetOpen().GetToken() == name,
	}}})
}

// open opens a session and reads it until it ends; lost has what it lost, ended
// why it ended.
func open(t *testing.T, c *Client, token string) (s wire.Session, o wire.Opened, lost chan rollcall.Key, ended chan error) {
	t.Helper()
	s, o, err := c.Open(t.Context(), token, 0)
	if err != nil {
		t.Fatal(err)
	}
	lost, ended = make(chan rollcall.Key, 10), make(chan error, 1)
	go func() {
		for {
			key, err := s.Lost()
			if err != nil {
				s.Close(err)
				ended <- err
				return
			}
			lost <- key
		}
	}()
	t.Cleanup(func() { s.Close(nil) })
	return s, o, lost, ended
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		pongs := 0
		f.session = func(s sessionStream) error {
			if err := opens(s, "t-1"); err != nil {
				return err
			}
			for {
				m, err := s.Recv()
				if err != nil {
					return err
				}
				a := &rollcallpb.SessionResponse{Ref: m.GetRef()}
				switch say := m.GetSay().(type) {
				case *rollcallpb.SessionRequest_Register:
					say.Register.Address = "10.0.0.9"
					a.Say = &rollcallpb.SessionResponse_Registered{Registered: &rollcallpb.Registered{Instance: say.Register}}
					s.Send(&rollcallpb.SessionResponse{Say: &rollcallpb.SessionResponse_Ping{Ping: new(rollcallpb.Ping)}})
				case *rollcallpb.SessionRequest_Report:
					a.Say = &rollcallpb.SessionResponse_Renewed{Renewed: &rollcallpb.Renewed{Ttl: int64(time.Minute), Revision: 7}}
					if say.Report.GetId() == "p-9" {
						a.Say = &rollcallpb.SessionResponse_Error{Error: &rollcallpb.Error{Kind: "not-found", Detail: "who?"}}
					}
				case *rollcallpb.SessionRequest_Goodbye:
					a.Say = &rollcallpb.SessionResponse_Gone{Gone: new(rollcallpb.Gone)}
					s.Send(&rollcallpb.SessionResponse{Say: &rollcallpb.SessionResponse_Lost{Lost: say.Goodbye.GetKey()}})
				case *rollcallpb.SessionRequest_Pong:
					pongs++
					continue
				}
				if err := s.Send(a); err != nil {
					return err
				}
			}
		}
		s, o, lost, _ := open(t, f.client(t), "t-1")
		if o != (wire.Opened{Token: "t-1", Resumed: true}) {
			t.Errorf("opened %+v", o)
		}
		inst := rollcall.Instance{Service: "payments", ID: "p-1"}
		if got, err := s.Register(t.Context(), &inst); err != nil || got.Address != "10.0.0.9" {
			t.Errorf("registered as %+v, %v", got, err)
		}
		r := rollcall.Report{Status: rollcall.Degraded}
		if got, err := s.Report(t.Context(), inst.Key(), &r); err != nil || time.Duration(got.TTL) != time.Minute || got.Revision != 7 {
			t.Errorf("reported: %+v, %v", got, err)
		}
		_, err := s.Report(t.Context(), rollcall.NewKey("", "payments", "p-9"), &r)
		wantKind(t, err, rollcall.ErrNotFound)
		if err := s.Goodbye(t.Context(), inst.Key()); err != nil {
			t.Error(err)
		}
		if key := <-lost; key != inst.Key() || pongs != 1 {
			t.Errorf("lost %v, %d pongs", key, pongs)
		}
	})
}

func TestSilentSessionIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.session = func(s sessionStream) error {
			err := opens(s, "t-1")
			<-s.Context().Done()
			return err
		}
		c := f.client(t)
		began := time.Now()
		s, _, _, ended := open(t, c, "")
		_, err := s.Register(t.Context(), &rollcall.Instance{Service: "payments", ID: "p-1"})
		wantKind(t, err, wire.ErrUnreachable)
		if err := <-ended; err != retry.ErrSilent || time.Since(began) != 6*time.Second {
			t.Errorf("%v after %v, want after three pings", err, time.Since(began))
		}
		open(t, c, "t-1")
		if n := f.dialled(); n != 2 {
			t.Errorf("%d connections, want another", n)
		}
	})
}

// A server that stops says so, and the next session is opened at the next.
func TestClosingServerIsLeftForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := startFake(t), startFake(t)
		first.session = func(s sessionStream) error {
			if err := opens(s, "t-1"); err != nil {
				return err
			}
			return s.Send(&rollcallpb.SessionResponse{Say: &rollcallpb.SessionResponse_Closing{Closing: new(rollcallpb.Closing)}})
		}
		second.session = func(s sessionStream) error {
			err := opens(s, "t-1")
			<-s.Context().Done()
			return err
		}
		c := fakes{"first": first, "second": second}.client(t, "", "first", "second")
		_, _, _, ended := open(t, c, "")
		if err := <-ended; err != wire.ErrClosing {
			t.Errorf("ended with %v", err)
		}
		if _, o, _, _ := open(t, c, "t-1"); !o.Resumed || second.dialled() != 1 {
			t.Errorf("opened %+v, with %d connections to the second server", o, second.dialled())
		}
	})
}

// A server of several that is not heard of is asked last from then on.
func TestSilentServerIsLeftForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays := func(s sessionStream) error {
			err := opens(s, "t-1")
			<-s.Context().Done()
			return err
		}
		first, second := startFake(t), startFake(t)
		first.session, second.session = stays, stays
		c := fakes{"first": first, "second": second}.client(t, "", "first", "second")
		_, _, _, ended := open(t, c, "")
		if err := <-ended; err != retry.ErrSilent {
			t.Errorf("ended with %v", err)
		}
		if open(t, c, "t-1"); second.dialled() != 1 {
			t.Errorf("%d connections to the second server", second.dialled())
		}
	})
}

func TestServerWithoutSessions(t *testing.T) {
	told, _ := rollcallpb.StatusOf(&rollcall.Error{Kind: rollcall.ErrUnsupported, Detail: "no"})
	for _, x := range []struct {
		err    error
		unsaid bool
	}{{told, false}, {status.Error(codes.Unimplemented, "unknown service"), true}} {
		synctest.Test(t, func(t *testing.T) {
			f := startFake(t)
			f.session = func(s sessionStream) error { return x.err }
			_, _, err := f.client(t).Open(t.Context(), "", 0)
			if x.unsaid { // by a Rollcall server
				wantKind(t, err, wire.ErrUnreachable)
				return
			}
			if e, ok := errors.AsType[*rollcall.Error](err); !ok || !errors.Is(err, rollcall.ErrUnsupported) || e.Cause != wire.ErrNoSessions {
				t.Errorf("%#v", err)
			}
		})
	}
}
