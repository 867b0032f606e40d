package local

import (
	"context"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// opened returns what is kept in dir, with a registry that tells one state, or nothing.
func opened(dir string, state *rollcall.WatchEvent) *Local {
	l := New()
	l.Dir = dir
	l.Timeout = func() time.Duration { return time.Second }
	l.Log = func() *slog.Logger { return slog.New(slog.DiscardHandler) }
	l.Registry.Follow = func(ctx context.Context, _ rollcall.Query, _ []rollcall.Instance) iter.Seq2[rollcall.WatchEvent, error] {
		return func(yield func(rollcall.WatchEvent, error) bool) {
			if state == nil || yield(*state, nil) {
				<-ctx.Done()
			}
		}
	}
	return l
}

// TestReadyWaitsOnce: who begins from disk waits for the registry from the beginning
// of a subscription on, and not again each time it asks.
func TestReadyWaitsOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		inst := rollcall.Instance{Service: "payments", ID: "a", Address: "10.0.0.1", Ports: map[string]uint16{"default": 80}}
		l := opened(dir, &rollcall.WatchEvent{Type: rollcall.WatchSnapshot, Revision: 1, Token: rollcall.Token{Log: rollcall.NewLogID(), Revision: 1}, Instances: []rollcall.Instance{inst}})
		if _, err := l.Pick(t.Context(), "payments"); err != nil {
			t.Fatal(err)
		}
		l.Close()

		l = opened(dir, nil)
		defer l.Close()
		h, err := l.Subscribe(rollcall.Query{Service: "payments"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 3 {
			if v, err := h.Ready(t.Context()); err != nil || v.of.Known() != 1 {
				t.Fatal(v, err)
			}
		}
		if _, err := l.Pick(t.Context(), "payments"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != diskAfter {
			t.Errorf("it waited for %v in all, want %v", took, diskAfter)
		}
	})
}
