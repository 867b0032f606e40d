package registry

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/load"
	memlog "github.com/rollcall-registry/rollcall/internal/store/memory"
)

// TestEjectedTooLate: a verdict on an instance that is registered anew before it is
// reported does not keep the new one out.
func TestEjectedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Log: memlog.New(), Logger: slog.New(slog.DiscardHandler), Defaults: rollcall.Settings{Panic: new(0.0)}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := r.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		r.Serving()
		i := rollcall.Instance{Service: "payments", ID: "p-3", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
		anew := func() {
			t.Helper()
			i.Version += "I" // the same again would only renew it
			if _, _, err := r.Register(ctx, i, 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want := func(s rollcall.Status, when string) {
			t.Helper()
			synctest.Wait()
			got, err := r.Instance(ctx, i.Key())
			if err != nil || got.Health.Status != s {
				t.Errorf("%s: %+v, %v; want %v", when, got.Health, err, s)
			}
		}
		ejected := map[rollcall.Key]struct{}{}
		verdict := load.Verdict{Key: i.Key(), Eject: true, Reason: "it fails"}

		anew()
		r.outliers.Restore(i.Key(), time.Now(), 1, verdict.Reason)
		r.follows(ejected, []load.Verdict{verdict})
		want(rollcall.Unhealthy, "ejected")
		anew()
		want(rollcall.Healthy, "registered anew")
		r.follows(ejected, []load.Verdict{verdict}) // of the one before
		want(rollcall.Healthy, "ejected too late")
		if len(ejected) > 0 {
			t.Errorf("%v are remembered", ejected)
		}

		// What was told of, and is gone in whatever way, is taken back by the next sweep.
		r.outliers.Restore(i.Key(), time.Now(), 1, verdict.Reason)
		r.follows(ejected, []load.Verdict{verdict})
		want(rollcall.Unhealthy, "ejected")
		r.outliers.Drop(i.Key())
		r.follows(ejected, nil)
		want(rollcall.Healthy, "no more ejected")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
