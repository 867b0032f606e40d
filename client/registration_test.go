package client

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func payments() rollcall.Instance {
	return rollcall.Instance{
		Service: "payments", ID: "p-1", Ports: map[string]uint16{"http": 8080}, Lease: rollcall.Lease{Mode: rollcall.LeaseTTL},
	}
}

// notices collects what a registration tells.
type notices struct {
	mu    sync.Mutex
	kinds []NoticeKind
}

func (n *notices) add(x Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kinds = append(n.kinds, x.Kind)
}

func (n *notices) all() []NoticeKind {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.kinds)
}

// gaps returns the time between requests.
func gaps(rs []request) []time.Duration {
	var ds []time.Duration
	for i := 1; i < len(rs); i++ {
		ds = append(ds, rs[i].at.Sub(rs[i-1].at))
	}
	return ds
}

func TestHeartbeatsComeEveryThirdOfTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments())
		if err != nil {
			t.Fatal(err)
		}
		if got := reg.Instance(); got.Revision == 0 || reg.Err() != nil {
			t.Errorf("registered as %+v, err %v", got, reg.Err())
		}
		advance(10 * time.Minute)
		ds := gaps(f.requests("POST p-1/heartbeat"))
		least, most := slices.Min(ds), slices.Max(ds)
		if least < 4*time.Second || most > 6*time.Second {
			t.Errorf("heartbeats %v to %v apart, want 4s to 6s", least, most)
		}
		if most-least < time.Second {
			t.Errorf("heartbeats %v to %v apart: no jitter", least, most)
		}
		if n := len(f.requests("PUT")); n != 1 {
			t.Errorf("%d registrations, want 1", n)
		}
	})
}

func TestForgottenInstanceIsRegisteredAgainWithTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		reg, err := f.client(t).Register(t.Context(), payments(), WithNotify(told.add))
		if err != nil {
			t.Fatal(err)
		}
		inst := payments()
		inst.Version = "2.0.0"
		if err := reg.Update(t.Context(), inst); err != nil {
			t.Fatal(err)
		}
		here := &rollcall.Position{Lat: 52.52, Lon: 13.4}
		report := rollcall.Report{
			Status: rollcall.Degraded, Note: "slow disk", Position: here,
			Checks: map[string]rollcall.CheckReport{"queue": {Status: rollcall.Unhealthy}},
		}
		if err := reg.Report(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		f.forget()
		advance(6 * time.Second)
		got, said, ok := f.get("p-1")
		if !ok || got.Version != "2.0.0" || got.Position == nil || *got.Position != *here {
			t.Errorf("registered again: %v as %+v", ok, got)
		}
		if said.Status != rollcall.Degraded || said.Note != "slow disk" || len(said.Checks) != 1 {
			t.Errorf("told again: %+v", said)
		}
		if want := []NoticeKind{NoticeRegistered, NoticeReregistered}; !slices.Equal(told.all(), want) {
			t.Errorf("told %v, want %v", told.all(), want)
		}
	})
}

func TestLeaseIsTriedForAsLongAsTheServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var told notices
		reg, err := f.client(t).Register(t.Context(), payments(), WithNotify(told.add))
		if err != nil {
			t.Fatal(err)
		}
		f.stop()
		advance(time.Hour)
		wantKind(t, reg.Err(), ErrUnreachable)
		f.forget()
		f.start()
		advance(5 * time.Second)
		if _, _, ok := f.get("p-1"); !ok || reg.Err() != nil {
			t.Errorf("5 s after the server is back: registered %v, err %v", ok, reg.Err())
		}
		want := []NoticeKind{NoticeRegistered, NoticeFailing, NoticeReregistered, NoticeRecovered}
		if !slices.Equal(told.all(), want) {
			t.Errorf("told %v, want %v", told.all(), want)
		}
	})
}

func TestFailedHeartbeatIsRetriedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		if _, err := f.client(t).Register(t.Context(), payments()); err != nil {
			t.Fatal(err)
		}
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/heartbeat") && len(f.requests("POST p-1/heartbeat"))%2 == 1 {
				fail(w, 503, "log-unavailable", "disk full")
				return true
			}
			return false
		})
		advance(time.Minute)
		for i, d := range gaps(f.requests("POST p-1/heartbeat")) {
			if i%2 == 0 && d > 500*time.Millisecond {
				t.Errorf("retried after %v, want at most 500ms", d)
			}
		}
	})
}

func TestRetriesSpreadOutAndHeedTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		if _, err := f.client(t).Register(t.Context(), payments()); err != nil {
			t.Fatal(err)
		}
		refuse := func(after string) {
			f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Retry-After", after)
				fail(w, 429, "too-many-requests", "slow down")
				return true
			})
		}
		refuse("0")
		advance(10 * time.Minute)
		ds := gaps(f.requests("POST p-1/heartbeat"))
		last := ds[len(ds)/2:]
		if slices.Min(last) < 2500*time.Millisecond || slices.Max(last) > 5*time.Second {
			t.Errorf("late retries %v to %v apart, want 2.5s to 5s", slices.Min(last), slices.Max(last))
		}
		refuse("20")
		before := len(ds)
		advance(10 * time.Minute)
		ds = gaps(f.requests("POST p-1/heartbeat"))[before+1:]
		if slices.Min(ds) < 20*time.Second {
			t.Errorf("asked to wait 20 s, it waited %v", slices.Min(ds))
		}
	})
}

// Heartbeats that hang must not cost the lease: the fifth is on its way before the
// TTL is over.
func TestHungHeartbeatsDoNotCostTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		if _, err := f.client(t).Register(t.Context(), payments()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if len(f.requests("POST p-1/heartbeat")) <= 4 {
				<-r.Context().Done()
				return true
			}
			return false
		})
		advance(time.Minute)
		rs := f.requests("POST p-1/heartbeat")
		if after := rs[4].at.Sub(began); after > rollcall.DefaultTTL {
			t.Errorf("the fifth heartbeat came after %v", after)
		}
		// Each is given up after 1 s; from its beginning there are pauses of up to
		// 500 ms, 1 s, 2 s and 4 s, and of at least half of that.
		for n, most := range []time.Duration{1000, 1000, 2000, 4000} {
			most *= time.Millisecond
			if d := rs[n+1].at.Sub(rs[n].at); d > most || d < max(most/2, time.Second) {
				t.Errorf("heartbeat %d came %v after the one before", n+2, d)
			}
		}
	})
}

// A registration that hangs is given a period: the registry may have many to
// take.
func TestHungRegistrationHasAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		})
		if _, err := f.client(t).Keep(payments()); err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		if ds := gaps(f.requests("PUT p-1")); len(ds) == 0 || slices.Min(ds) < rollcall.DefaultTTL/3 {
			t.Errorf("registrations %v apart", ds)
		}
	})
}

func TestKeepRegistersOnceTheServerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.stop()
		c := f.client(t)
		if _, err := c.Register(t.Context(), payments()); err == nil {
			t.Error("Register succeeded without a server")
		} else {
			wantKind(t, err, ErrUnreachable)
		}
		reg, err := c.Keep(payments())
		if err != nil {
			t.Fatal(err)
		}
		if reg.Err() == nil {
			t.Error("no error before it is registered")
		}
		advance(time.Minute)
		f.start()
		advance(5 * time.Second)
		if _, _, ok := f.get("p-1"); !ok || reg.Err() != nil {
			t.Errorf("registered %v, err %v", ok, reg.Err())
		}
	})
}

func TestReportsAndUpdatesOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments())
		if err != nil {
			t.Fatal(err)
		}
		f.stop()
		wantKind(t, reg.Report(t.Context(), rollcall.Report{Status: rollcall.Degraded}), ErrUnreachable)
		inst := payments()
		inst.Version = "3"
		wantKind(t, reg.Update(t.Context(), inst), ErrUnreachable)
		advance(time.Minute)
		f.start()
		advance(5 * time.Second)
		got, said, _ := f.get("p-1")
		if got.Version != "3" || said.Status != rollcall.Degraded {
			t.Errorf("after the outage: version %q, status %v", got.Version, said.Status)
		}
	})
}

func TestRefusedDataDoesNotCostTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments())
		if err != nil {
			t.Fatal(err)
		}
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(string(bodyOf(r)), "poison") {
				fail(w, 400, "invalid", "no")
				return true
			}
			return false
		})
		wantKind(t, reg.Report(t.Context(), rollcall.Report{Note: "poison"}), rollcall.ErrInvalid)
		inst := payments()
		inst.Version = "poison"
		wantKind(t, reg.Update(t.Context(), inst), rollcall.ErrInvalid)
		advance(time.Second)
		if reg.Err() != nil {
			t.Errorf("a second later: %v", reg.Err())
		}
		inst.ID, inst.Version = "p-2", ""
		wantKind(t, reg.Update(t.Context(), inst), rollcall.ErrInvalid)
		f.forget()
		advance(6 * time.Second)
		if got, _, ok := f.get("p-1"); !ok || got.Version != "" {
			t.Errorf("registered again %v as %+v", ok, got)
		}
	})
}

func TestLeaseOfModeNoneNeedsNoHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		inst := payments()
		inst.Lease.Mode = rollcall.LeaseNone
		reg, err := f.client(t).Register(t.Context(), inst, WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Hour)
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"PUT p-1", "DELETE p-1"}; !slices.Equal(f.whats(), want) {
			t.Errorf("requests %v, want %v", f.whats(), want)
		}
	})
}

func TestCloseDrainsKeepsAndRemoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments(), WithGrace(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("Close took %v, want the grace of 30s", took)
		}
		if want := []string{"PUT p-1", "POST p-1/drain", "POST p-1/heartbeat", "DELETE p-1"}; !slices.Equal(f.whats(), want) {
			t.Errorf("requests %v, want %v", f.whats(), want)
		}
		n := len(f.requests(""))
		advance(time.Minute)
		if err := reg.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := reg.Report(t.Context(), rollcall.Report{}); err == nil {
			t.Error("a closed registration reports")
		}
		if len(f.requests("")) != n {
			t.Errorf("after Close: %v", f.requests("")[n:])
		}
	})
}

// When all who watch know of it, nobody has to be given time to notice.
func TestDrainEndsWhenSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments())
		if err != nil {
			t.Fatal(err)
		}
		defer reg.Close(t.Context())
		for _, c := range []struct {
			acknowledged, pending int
			took                  time.Duration
		}{{3, 0, 0}, {3, 1, time.Hour}, {0, 0, time.Hour}} {
			f.mu.Lock()
			f.drained = rollcall.Barrier{Acknowledged: c.acknowledged, Pending: c.pending}
			f.mu.Unlock()
			start := time.Now()
			if err := reg.Drain(t.Context(), time.Hour); err != nil || time.Since(start) != c.took {
				t.Errorf("%+v: %v after %v", c, err, time.Since(start))
			}
		}
	})
}

func TestCloseLeavesTimeToRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments(), WithGrace(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := reg.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := f.get("p-1"); ok {
			t.Error("still registered")
		}
	})
}

func TestCloseDoesNotOvertakeARegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				advance(2 * time.Second)
			}
			return false
		})
		reg, err := f.client(t).Keep(payments(), WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Second) // it is being registered
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"PUT p-1", "DELETE p-1"}; !slices.Equal(f.whats(), want) {
			t.Errorf("requests %v, want %v", f.whats(), want)
		}
		if _, _, ok := f.get("p-1"); ok {
			t.Error("still registered")
		}
	})
}

func TestCloseWithoutServerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		reg, err := f.client(t).Register(t.Context(), payments())
		if err != nil {
			t.Fatal(err)
		}
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := reg.Close(ctx); err == nil {
			t.Error("Close succeeded")
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestClosedClientKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		c := f.client(t)
		if _, err := c.Register(t.Context(), payments()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		n := len(f.requests(""))
		advance(time.Minute)
		if got := len(f.requests("")); got != n {
			t.Errorf("%d requests after Close", got-n)
		}
		if _, err := c.Keep(payments()); err == nil {
			t.Error("a closed client keeps a lease")
		}
	})
}

// TestRegistryCannotAskForTooMuch: a TTL that no instance could have asked for does not
// make a client renew without a pause.
func TestRegistryCannotAskForTooMuch(t *testing.T) {
	var k kept
	k.heard(1)
	if got, want := k.period(), rollcall.MinTTL/3; got != want {
		t.Errorf("a period of %v, want %v", got, want)
	}
}
