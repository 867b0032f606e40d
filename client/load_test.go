package client

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// loads is a load that is set by hand.
type loads struct{ atomic.Pointer[rollcall.Load] }

func (l *loads) get() rollcall.Load {
	if now := l.Load(); now != nil {
		return *now
	}
	return rollcall.Load{}
}

// toldOfLoad returns how many heartbeats there were, and how many said a load.
func toldOfLoad(f *fake) (all, load int) {
	for _, r := range f.requests("POST p-1/heartbeat") {
		all++
		if strings.Contains(r.body, `"load"`) {
			load++
		}
	}
	return all, load
}

func TestLoadIsToldWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var now loads
		reg, err := f.client(t).Register(t.Context(), payments(), WithLoad(now.get))
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		if all, load := toldOfLoad(f); load != 0 || all > 16 {
			t.Errorf("%d heartbeats, %d with the load of an instance that has none", all, load)
		}
		now.Store(&rollcall.Load{InFlight: 100, RPS: 1000, LatencyP50: 3})
		advance(10 * time.Second)
		now.Store(&rollcall.Load{InFlight: 101, RPS: 1010, LatencyP50: 3.1})
		advance(3*time.Minute + loadEvery/2)
		if _, load := toldOfLoad(f); load != 4 {
			t.Errorf("a load that stays is told %d times in 190 s, want 4", load)
		}
		_, before := toldOfLoad(f)
		for n := range 60 {
			now.Store(&rollcall.Load{InFlight: 10 + n%2*100})
			advance(time.Second)
		}
		if _, load := toldOfLoad(f); load-before < 59 || load-before > 61 {
			t.Errorf("told %d times in a minute", load-before)
		}
		if _, report, _ := f.get("p-1"); report.Load == nil || report.Load.InFlight != 110 {
			t.Errorf("the registry knows %+v", report.Load)
		}
		if err := reg.Close(t.Context()); err != nil {
			t.Error(err)
		}
		all, _ := toldOfLoad(f)
		now.Store(&rollcall.Load{InFlight: 1})
		advance(time.Minute)
		if later, _ := toldOfLoad(f); later != all {
			t.Errorf("%d heartbeats after the end", later-all)
		}
	})
}

// TestLoadWaitsForTheRegistry: a registry that fails is asked no more often because of
// it, and gets the newest.
func TestLoadWaitsForTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var now loads
		reg, err := f.client(t).Register(t.Context(), payments(), WithLoad(now.get))
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		f.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable", "not now")
			return true
		})
		before := len(f.requests("POST"))
		for n := range 300 {
			now.Store(&rollcall.Load{InFlight: 10 + n%2*100})
			advance(time.Second)
		}
		if n := len(f.requests("POST")) - before; n > 90 { // one every 5 s, and a few at first
			t.Errorf("asked %d times in 5 minutes", n)
		}
		f.intercept(nil)
		advance(10 * time.Second)
		if _, report, _ := f.get("p-1"); reg.Err() != nil || report.Load == nil || report.Load.InFlight != 110 {
			t.Errorf("the registry knows %+v, %v", report.Load, reg.Err())
		}
	})
}

// TestLoadIsToldOnASession: over the stream, on which nothing else is said.
func TestLoadIsToldOnASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var now loads
		inst := payments()
		inst.Lease.Mode = rollcall.LeaseSession
		if _, err := f.client(t).Register(t.Context(), inst, WithLoad(now.get)); err != nil {
			t.Fatal(err)
		}
		now.Store(&rollcall.Load{InFlight: 7})
		advance(2 * time.Second)
		if _, report, _ := f.get("p-1"); report.Load == nil || report.Load.InFlight != 7 {
			t.Errorf("the registry knows %+v", report.Load)
		}
	})
}

func TestMoved(t *testing.T) {
	was := rollcall.Load{Utilization: 0.5, InFlight: 100, RPS: 1000, Errors: 10, LatencyP50: 5, LatencyP99: 50}
	for _, change := range []func(*rollcall.Load){
		func(l *rollcall.Load) { l.Utilization = 0.6 }, func(l *rollcall.Load) { l.InFlight = 110 }, func(l *rollcall.Load) { l.RPS = 900 },
		func(l *rollcall.Load) { l.Errors = 0 }, func(l *rollcall.Load) { l.LatencyP50 = 6 }, func(l *rollcall.Load) { l.LatencyP99 = 60 },
	} {
		is := was
		if moved(was, is) {
			t.Error("nothing moved")
		}
		if change(&is); !moved(was, is) {
			t.Errorf("%+v has not moved", is)
		}
	}
}

// TestCloseWaitsForTheLoad: what load reads may be gone after Close.
func TestCloseWaitsForTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan struct{}), make(chan struct{})
		reg, err := startFake(t).client(t).Register(t.Context(), payments(), WithGrace(0), WithLoad(func() rollcall.Load {
			asked <- struct{}{}
			<-answer
			return rollcall.Load{}
		}))
		if err != nil {
			t.Fatal(err)
		}
		<-asked
		closed := make(chan struct{})
		go func() { defer close(closed); reg.Close(t.Context()) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while the load was asked for")
		default:
		}
		close(answer)
		<-closed
	})
}
