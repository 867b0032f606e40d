package client

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// held returns an instance with a lease of mode session.
func held(id string) rollcall.Instance {
	return rollcall.Instance{Service: "payments", ID: id, Lease: rollcall.Lease{Mode: rollcall.LeaseSession}}
}

// register registers instances on c's session.
func register(t *testing.T, c *Client, told *notices, ids ...string) (rs []*Registration) {
	t.Helper()
	for _, id := range ids {
		r, err := c.Register(t.Context(), held(id), WithGrace(0), WithNotify(told.add))
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func TestLeasesAreSessionsUnlessAskedForOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		inst := held("p-1")
		inst.Lease.Mode = ""
		reg, err := f.client(t).Register(t.Context(), inst)
		if err != nil {
			t.Fatal(err)
		}
		if got := reg.Instance().Lease.Mode; got != rollcall.LeaseSession || len(f.requests("SESSION register p-1")) != 1 {
			t.Errorf("kept by mode %q", got)
		}
	})
}

func TestSessionIsSharedAndEndsWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		c := f.client(t)
		rs := register(t, c, new(notices), "p-1", "p-2")
		if got := rs[0].Instance(); got.Address != "10.0.0.9" || got.Revision == 0 || rs[0].Err() != nil {
			t.Errorf("registered as %+v, %v", got, rs[0].Err())
		}
		if err := rs[0].Report(t.Context(), rollcall.Report{Status: rollcall.Degraded, Note: "slow"}); err != nil {
			t.Fatal(err)
		}
		next := held("p-1")
		next.Version, next.Lease.Mode = "2", ""
		if err := rs[0].Update(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		advance(time.Hour)
		if _, err := c.Register(t.Context(), held("p-1")); err == nil {
			t.Error("an instance is kept twice")
		}
		for _, r := range rs {
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{
			"POST /api/v1/session", "SESSION register p-1", "SESSION register p-2", "SESSION report p-1", "SESSION register p-1",
			"SESSION goodbye p-1", "SESSION goodbye",
		}
		if !slices.Equal(f.whats(), want) {
			t.Errorf("asked %q, want %q", f.whats(), want)
		}
		register(t, c, new(notices), "p-1")
		if n := len(f.opened()); n != 2 {
			t.Errorf("%d streams, want one anew", n)
		}
	})
}

func TestBrokenStreamIsResumedUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		rs := register(t, f.client(t), &told, "p-1", "p-2")
		advance(time.Minute)
		began := time.Now()
		f.cut()
		synctest.Wait()
		if n := len(f.opened()); n != 2 || time.Since(began) != 0 || f.opened()[1].token != "t-1" {
			t.Fatalf("%d streams after %v", n, time.Since(began))
		}
		advance(time.Minute)
		if want := []NoticeKind{NoticeRegistered, NoticeRegistered}; !slices.Equal(told.all(), want) || rs[0].Err() != nil {
			t.Errorf("told %v, want %v", told.all(), want)
		}
		if n := len(f.requests("SESSION register")); n != 2 {
			t.Errorf("%d registrations", n)
		}
	})
}

func TestNewSessionGetsEverythingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		rs := register(t, f.client(t), &told, "p-1", "p-2")
		if err := rs[0].Report(t.Context(), rollcall.Report{Status: rollcall.Degraded}); err != nil {
			t.Fatal(err)
		}
		next := held("p-2")
		next.Version = "2"
		if err := rs[1].Update(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		began := time.Now()
		f.forget()
		f.forgetSessions()
		f.cut()
		synctest.Wait()
		_, said, ok1 := f.get("p-1")
		got, _, ok2 := f.get("p-2")
		if !ok1 || !ok2 || said.Status != rollcall.Degraded || got.Version != "2" || time.Since(began) != 0 {
			t.Errorf("after %v: %v %v, %v %q", time.Since(began), ok1, said.Status, ok2, got.Version)
		}
		if got := told.all(); !slices.Equal(got[2:], []NoticeKind{NoticeReregistered, NoticeReregistered}) {
			t.Errorf("told %v", got)
		}
	})
}

func TestLostInstanceIsRegisteredAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		rs := register(t, f.client(t), &told, "p-1", "p-2")
		if err := rs[0].Report(t.Context(), rollcall.Report{Status: rollcall.Degraded}); err != nil {
			t.Fatal(err)
		}
		f.forget()
		f.tell(`{"type":"lost","service":"payments","id":"p-1","namespace":"default"}`)
		synctest.Wait()
		_, said, ok := f.get("p-1")
		if _, _, other := f.get("p-2"); !ok || other || said.Status != rollcall.Degraded {
			t.Errorf("registered again: %v (the other: %v), told again: %v", ok, other, said.Status)
		}
		// So is one of which a report finds that it is not there.
		if err := rs[1].Report(t.Context(), rollcall.Report{Status: rollcall.Degraded}); err != nil {
			t.Fatal(err)
		}
		if _, said, ok := f.get("p-2"); !ok || said.Status != rollcall.Degraded {
			t.Errorf("after its report it is there: %v, %v", ok, said.Status)
		}
	})
}

func TestSessionOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		rs := register(t, f.client(t), &told, "p-1")
		advance(time.Minute)
		f.stop()
		advance(10 * time.Second)
		wantKind(t, rs[0].Report(t.Context(), rollcall.Report{Status: rollcall.Degraded}), ErrUnreachable)
		wantKind(t, rs[0].Err(), ErrUnreachable)
		advance(time.Hour)
		f.start()
		advance(2 * time.Second)
		if want := []NoticeKind{NoticeRegistered, NoticeFailing, NoticeRecovered}; !slices.Equal(told.all(), want) || rs[0].Err() != nil {
			t.Errorf("told %v, want %v; %v", told.all(), want, rs[0].Err())
		}
		if _, said, _ := f.get("p-1"); said.Status != rollcall.Degraded {
			t.Errorf("after the outage: %v", said.Status)
		}
	})
}

// The first attempt comes at once, then after 50 ms, doubling to 2 s, each with
// jitter.
func TestSessionsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		register(t, f.client(t), new(notices), "p-1")
		advance(time.Minute)
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/session") {
				w.Header().Set("Connection", "close")
				fail(w, 500, "x", "no")
				return true
			}
			return false
		})
		began := time.Now()
		f.cut()
		advance(time.Minute)
		rs := f.requests("POST /api/v1/session")[1:]
		if d := rs[0].at.Sub(began); d != 0 {
			t.Errorf("the first attempt came after %v", d)
		}
		ds := gaps(rs)
		for n, most := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000} {
			if most *= time.Millisecond; ds[n] > most || ds[n] < most/2 {
				t.Errorf("attempt %d came after %v, want %v to %v", n+2, ds[n], most/2, most)
			}
		}
	})
}

func TestSilentServerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		register(t, f.client(t), new(notices), "p-1")
		advance(time.Minute)
		if n := len(f.opened()); n != 1 {
			t.Fatalf("%d streams in a minute with pings", n)
		}
		f.mu.Lock()
		f.mute = true
		f.mu.Unlock()
		advance(7 * time.Second)
		if n := len(f.opened()); n != 2 {
			t.Errorf("%d streams after 7s without a ping, want a second after 6s", n)
		}
	})
}

// A connection that breaks before its stream was answered, as through a proxy
// that stops, shows at once and not when the attempt has had its time.
func TestUnansweredStreamThatBreaksIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		dials := 0
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials != 2 {
				return f.dial(ctx, network, addr)
			}
			near, far := net.Pipe()
			go func() { // ends with the request
				defer far.Close()
				if req, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
					bufio.NewReader(req.Body).ReadString('\n')
				}
			}()
			return near, nil
		}}
		c, err := Dial("rollcall", WithTransport(transport))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); transport.CloseIdleConnections() })
		register(t, c, new(notices), "p-1")
		advance(time.Minute)
		f.cut()
		advance(time.Second)
		if n := len(f.opened()); n != 2 || dials != 3 {
			t.Errorf("%d streams after a second, and %d connections; want 2 and 3", n, dials)
		}
	})
}

// twoServers returns a client of two servers, by name.
func twoServers(t *testing.T, first, second *fake) *Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "second") {
			return second.dial(ctx, network, addr)
		}
		return first.dial(ctx, network, addr)
	}}
	c, err := Dial("first,second", WithTransport(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); transport.CloseIdleConnections() })
	return c
}

// A server that stops says so, and its client goes to the next.
func TestClosingServerIsLeftForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := startFake(t), startFake(t)
		c := twoServers(t, first, second)
		second.tokens["t-1"] = true
		register(t, c, new(notices), "p-1")
		advance(time.Minute)
		first.tell(`{"type":"closing"}`)
		synctest.Wait()
		if n := len(second.opened()); n != 1 || second.opened()[0].token != "t-1" {
			t.Errorf("%d streams at the second server", n)
		}
	})
}

func TestSilentServerIsLeftForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := startFake(t), startFake(t)
		c := twoServers(t, first, second)
		second.tokens["t-1"] = true
		register(t, c, new(notices), "p-1")
		first.mu.Lock()
		first.mute = true
		first.mu.Unlock()
		advance(7 * time.Second)
		if n := len(second.opened()); n != 1 || second.opened()[0].token != "t-1" {
			t.Errorf("%d streams at the second server", n)
		}
	})
}

func TestServerWithoutSessions(t *testing.T) {
	for status, name := range map[int]string{404: "not-found", 501: "not-implemented"} {
		synctest.Test(t, func(t *testing.T) {
			f := startFake(t)
			f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/session") {
					w.Header().Set("Connection", "close")
					fail(w, status, name, "nothing is there")
					return true
				}
				return false
			})
			c := f.client(t)
			_, err := c.Register(t.Context(), held("p-1"))
			wantKind(t, err, rollcall.ErrUnsupported)
			if want := "lease.mode: the server at registry:7070 knows no sessions; register with a lease of mode ttl, or update the server"; err.Error() != want {
				t.Errorf("%q, want %q", err, want)
			}
			for _, keep := range []bool{false, true} {
				inst := held("p-2")
				var r *Registration
				if keep {
					r, err = c.Keep(inst, OrTTL(), WithGrace(0))
				} else {
					inst.Lease.Mode = "" // to be kept in whatever way is there
					r, err = c.Register(t.Context(), inst, WithGrace(0))
				}
				if err != nil {
					t.Fatal(err)
				}
				advance(time.Minute)
				if err := r.Update(t.Context(), held("p-2")); err != nil {
					t.Error(err)
				}
				if got, _, ok := f.get("p-2"); !ok || got.Lease.Mode != rollcall.LeaseTTL || len(f.requests("POST p-2/heartbeat")) < 10 {
					t.Errorf("kept by heartbeats: %v %v", ok, got.Lease.Mode)
				}
				if err := r.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRefusedRegistrationLeavesNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		c := f.client(t)
		inst := held("p-1")
		inst.Version = "poison"
		_, err := c.Register(t.Context(), inst)
		wantKind(t, err, rollcall.ErrInvalid)
		synctest.Wait()
		if c.session != nil {
			t.Error("there is a session")
		}
		reg := register(t, c, new(notices), "p-1")[0]
		wantKind(t, reg.Update(t.Context(), inst), rollcall.ErrInvalid)
		if reg.Err() == nil {
			t.Error("no error after an update that was refused")
		}
		advance(time.Minute)
		if got, _, ok := f.get("p-1"); !ok || got.Version != "" || reg.Err() != nil {
			t.Errorf("later: %v as %q, %v", ok, got.Version, reg.Err())
		}
		ttl := payments()
		ttl.Lease.Mode = rollcall.LeaseTTL
		wantKind(t, reg.Update(t.Context(), ttl), rollcall.ErrInvalid)
	})
}

// Whoever leaves while the stream is down is taken out by a call.
func TestCloseWithoutAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg := register(t, f.client(t), new(notices), "p-1")[0]
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/session") {
				w.Header().Set("Connection", "close")
				fail(w, 503, "not-synced", "no")
				return true
			}
			return false
		})
		f.cut()
		advance(time.Second)
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := f.get("p-1"); ok || len(f.requests("DELETE p-1")) != 1 {
			t.Errorf("still registered: %v", ok)
		}
	})
}

func TestKeepOnASessionWaitsForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.stop()
		c := f.client(t)
		if _, err := c.Register(t.Context(), held("p-1")); err == nil {
			t.Error("registered without a server")
		} else {
			wantKind(t, err, ErrUnreachable)
		}
		var told notices
		reg, err := c.Keep(held("p-1"), WithNotify(told.add))
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		wantKind(t, reg.Err(), ErrUnreachable)
		f.start()
		advance(2 * time.Second)
		if _, _, ok := f.get("p-1"); !ok || reg.Err() != nil {
			t.Errorf("registered: %v, %v", ok, reg.Err())
		}
		if want := []NoticeKind{NoticeFailing, NoticeRegistered, NoticeRecovered}; !slices.Equal(told.all(), want) {
			t.Errorf("told %v, want %v", told.all(), want)
		}
		c.Close()
		if _, err := c.Register(t.Context(), held("p-2")); err == nil {
			t.Error("a closed client opens a session")
		}
	})
}
