package liveness

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/judge"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// world is a log of one writer at a time, its catalog, and what is heard.
type world struct {
	*Liveness
	t   *testing.T
	mu  chan struct{} // holds one while nobody writes
	c   *catalog.Catalog
	rev rollcall.Revision
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, mu: make(chan struct{}, 1), c: catalog.New()}
	w.Liveness = New(Options{
		Judge:   judge.Options{Snapshot: w.c.Snapshot, Append: w.append, Wall: time.Now, Logger: slog.New(slog.DiscardHandler)},
		Ejected: func() {},
	})
	w.c.PanicBelow(0)
	if err := w.c.Apply(rollcall.Entry{Reset: true}); err != nil {
		t.Fatal(err)
	}
	w.c.Publish()
	w.mu <- struct{}{}
	return w
}

func (w *world) append(_ context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	<-w.mu
	defer func() { w.mu <- struct{}{} }()
	w.rev++
	for n := range b.Changes {
		b.Changes[n].Revision = w.rev
	}
	if err := w.c.Apply(rollcall.Entry{Revision: w.rev, Changes: b.Changes}); err != nil {
		return 0, err
	}
	_, events := w.c.Publish()
	for n := range events {
		w.Track(&events[n])
	}
	return w.rev, nil
}

func (w *world) put(i rollcall.Instance) {
	w.t.Helper()
	i.Normalize()
	put := rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
	if _, err := w.append(w.t.Context(), rollcall.Batch{Changes: []rollcall.Change{{At: time.Now(), Body: put}}}); err != nil {
		w.t.Fatal(err)
	}
}

// What is probed follows the registration.
func TestTrackPut(t *testing.T) {
	w := newWorld(t)
	report, probe := rollcall.Check{Name: "r", Type: rollcall.CheckTTL, TTL: 1e9}, rollcall.Check{Name: "p", Type: rollcall.CheckTCP}
	for n, tt := range []struct {
		checks []rollcall.Check
		want   int
	}{{nil, 0}, {[]rollcall.Check{report}, 0}, {[]rollcall.Check{report, probe}, 1}, {[]rollcall.Check{report}, 0}, {[]rollcall.Check{probe}, 1}, {nil, 0}} {
		w.put(rollcall.Instance{Service: "payments", ID: "p-1", Address: "10.0.0.1", Checks: tt.checks})
		if got := w.Checks.Len(); got != tt.want {
			t.Errorf("after put %d %d checks are made, want %d", n+1, got, tt.want)
		}
	}
}

// What a probe found of a registration that was replaced meanwhile does not count
// for the one that is there.
func TestLateResult(t *testing.T) {
	w := newWorld(t)
	key := rollcall.NewKey("", "payments", "p-1")
	w.Leases.Set(key, lease.Grant{
		Incarnation: 7, Found: rollcall.Healthy,
		Checks: []lease.Check{{Check: rollcall.Check{Name: "c", Type: rollcall.CheckTCP}}},
	})
	for _, incarnation := range []rollcall.Revision{0, 6, 8, 7} {
		w.checked(check.Result{Key: key, Incarnation: incarnation, Check: "c", Status: rollcall.Degraded})
		ev, _ := w.Leases.Evidence(key)
		if known := len(ev.Reports) > 0; known != (incarnation == 7) {
			t.Errorf("after a result of incarnation %d: %+v", incarnation, ev.Reports)
		}
	}
}

// TestEjectedTooLate: a verdict on an instance that is registered anew before it is
// reported does not keep the new one out.
func TestEjectedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, func(context.Context) error { return nil }) }()
		i := rollcall.Instance{Service: "payments", ID: "p-3", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
		anew := func() {
			t.Helper()
			w.put(i)
			synctest.Wait()
		}
		want := func(s rollcall.Status, when string) {
			t.Helper()
			synctest.Wait()
			if got := w.c.Item(i.Key()); got.Status() != s {
				t.Errorf("%s: %v: %s; want %v", when, got.Status(), got.Reason(), s)
			}
		}
		ejected := map[rollcall.Key]struct{}{}
		verdict := load.Verdict{Key: i.Key(), Eject: true, Reason: "it fails"}

		anew()
		w.Outliers.Restore(i.Key(), time.Now(), 1, verdict.Reason)
		w.follows(ejected, []load.Verdict{verdict})
		want(rollcall.Unhealthy, "ejected")
		anew()
		want(rollcall.Healthy, "registered anew")
		w.follows(ejected, []load.Verdict{verdict}) // of the one before
		want(rollcall.Healthy, "ejected too late")
		if len(ejected) > 0 {
			t.Errorf("%v are remembered", ejected)
		}

		// What was told of, and is gone in whatever way, is taken back by the next sweep.
		w.Outliers.Restore(i.Key(), time.Now(), 1, verdict.Reason)
		w.follows(ejected, []load.Verdict{verdict})
		want(rollcall.Unhealthy, "ejected")
		w.Outliers.Drop(i.Key())
		w.follows(ejected, nil)
		want(rollcall.Healthy, "no more ejected")
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}
