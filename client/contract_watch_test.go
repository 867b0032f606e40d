package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// TestAcks: a drain waits for the loop over a watch that acknowledges, not only
// for its machine; also while the loop is busy with the first that it was told.
func TestAcks(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		addr := p.address(rollcalltest.Start(t))
		c := dial(t, addr)
		key := rollcall.NewKey("", "payments", "p-1")
		if _, err := c.Put(t.Context(), rollcall.Instance{Service: "payments", ID: "p-1", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}); err != nil {
			t.Fatal(err)
		}
		watcher, err := client.Dial(addr, client.WithAcks())
		if err != nil {
			t.Fatal(err)
		}
		defer watcher.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begun, ended := make(chan struct{}), make(chan struct{})
		busy := func(with client.EventType) {
			b, err := c.Drain(ctx, key, 50*time.Millisecond)
			if err != nil || b.Acknowledged != 0 || b.Pending != 1 {
				t.Errorf("a drain whose only watcher has not handled the %s: %+v, %v", with, b, err)
			}
		}
		go func() {
			defer close(ended)
			for ev, err := range watcher.Watch(ctx, rollcall.Query{Service: "payments"}) {
				switch {
				case ctx.Err() != nil:
				case err != nil:
					t.Error(err)
				case ev.Type == client.EventSnapshot:
					busy(ev.Type)
					close(begun)
				case ev.Type == client.EventRemove:
					busy(ev.Type)
				}
			}
		}()
		<-begun
		b, err := c.Drain(t.Context(), key, time.Minute)
		if err != nil || b.Acknowledged != 1 || b.Pending != 0 {
			t.Errorf("a drain whose only watcher has handled it: %+v, %v", b, err)
		}
		cancel()
		<-ended
	})
}

// TestWatchEndsWithTheClient: who watches without a context that ends is told when the
// client is closed.
func TestWatchEndsWithTheClient(t *testing.T) { over(t, watchEnds) }

func watchEnds(t *testing.T, p protocol) {
	c := p.start(t)
	var last error
	for ev, err := range c.Watch(t.Context(), rollcall.Query{Service: "payments"}) {
		if last = err; ev.Type == client.EventSnapshot {
			c.Close()
		}
	}
	if last == nil || !strings.Contains(last.Error(), "closed") {
		t.Errorf("ended with %v", last)
	}
}
