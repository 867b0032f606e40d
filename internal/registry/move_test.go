package registry_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		r := start(t, log)
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		i.Position = &rollcall.Position{Lat: 1, Lon: 1}
		was := register(t, r, i)
		if _, _, err := r.Move(t.Context(), rollcall.NewKey("", "payments", "nobody"), *i.Position); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("nobody moved: %v", err)
		}
		for _, p := range []rollcall.Position{{Lat: 91}, {Lon: -181}} {
			if _, _, err := r.Move(t.Context(), p1, p); !errors.Is(err, rollcall.ErrInvalid) {
				t.Errorf("it moved to %v: %v", p, err)
			}
		}
		move := func(p rollcall.Position) {
			t.Helper()
			item, load, err := r.Move(t.Context(), p1, p)
			if err != nil || item.Revision() != was.Revision || load != nil {
				t.Errorf("%v, %v at revision %v, want %v", err, load, item.Revision(), was.Revision)
			}
			if got := instance(t, r, p1); got.Position == nil || *got.Position != p {
				t.Errorf("it is at %v, want %v", got.Position, p)
			}
		}
		move(*i.Position)
		if _, moved := r.Position(p1); moved {
			t.Error("it moved to where it was registered")
		}
		move(rollcall.Position{Lat: 2, Lon: 2})
		move(*i.Position) // and back
		before := log.Status().Revision
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if p, moved := r.Position(p1); moved && p != *i.Position || log.Status().Revision != before {
			t.Errorf("back where it was registered it is at %v, or was logged", p)
		}
		move(rollcall.Position{Lat: 3, Lon: 3})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := log.Status().Revision - before; n != 1 {
			t.Errorf("one position took %d revisions", n)
		}
	})
}

// A renewal with a load and a position makes nothing anew: there may be tens of
// thousands of them a second.
func TestReportsAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	r := start(t, memory.New())
	register(t, r, payments("p-1"))
	rep := &rollcall.Report{Load: &rollcall.Load{RPS: 1, InFlight: 3}, Position: &rollcall.Position{Lat: 1}}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		rep.Position.Lon++
		if rep.Position.Lon == 180 {
			rep.Position.Lon = -180
		}
		if _, err := r.Renew(ctx, p1, rep); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
