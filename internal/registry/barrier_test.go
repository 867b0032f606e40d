package registry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// A long poller is told by its next poll what it has; a drain waits for that,
// and for no longer than it is told to.
func TestDrainWaitsForPollers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		for _, id := range []string{"p-1", "p-2"} {
			i := payments(id)
			i.Lease.Mode = rollcall.LeaseNone
			register(t, r, i)
		}
		poll := func(after rollcall.Token) rollcall.Token {
			t.Helper()
			a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments", Caller: "web-1", After: after, Wait: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return a.Token()
		}
		a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments", Caller: "web-1"})
		if err != nil {
			t.Fatal(err)
		}
		drain := func(wait time.Duration) rollcall.Barrier {
			t.Helper()
			b, err := r.Drain(t.Context(), p1, true, wait)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		polled := make(chan rollcall.Token)
		go func() { polled <- poll(a.Token()) }()
		synctest.Wait()
		start := time.Now()
		if b := drain(3 * time.Second); b.Acknowledged != 0 || b.Pending != 1 || time.Since(start) != 3*time.Second {
			t.Errorf("%+v after %v, while the poller has not come back", b, time.Since(start))
		}
		token := <-polled
		time.Sleep(5 * time.Second)
		go func() {
			time.Sleep(2 * time.Second)
			polled <- poll(token)
		}()
		start = time.Now()
		// It drains already, and is waited for all the same.
		if b := drain(time.Minute); b.Acknowledged != 1 || b.Pending != 0 || time.Since(start) != 2*time.Second {
			t.Errorf("%+v after %v, when it came back after 2 s", b, time.Since(start))
		}
		if again := <-polled; again != token { // at the end of its wait
			t.Errorf("%v, want the token that it has", again)
		}
		if b := drain(0); b.Acknowledged != 1 || b.Elapsed != 0 {
			t.Errorf("%+v without a wait", b)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if ws, err := r.Watchers(t.Context(), p1.ServiceKey); err != nil || len(ws) != 0 {
			t.Errorf("%v, %v; want it forgotten after 20 s and 10 s", ws, err)
		}

		// One that only looks does not watch.
		a, err = r.Resolve(t.Context(), &rollcall.Query{Service: "payments", Caller: "web-1", After: token})
		if ws, _ := r.Watchers(t.Context(), p1.ServiceKey); err != nil || len(ws) != 0 {
			t.Errorf("%v, %v", ws, err)
		}
		for _, q := range []rollcall.Query{{Service: "payments", Caller: strings.Repeat("x", 257), After: token, Wait: time.Second}} {
			if _, err := r.Resolve(t.Context(), &q); !errors.Is(err, rollcall.ErrInvalid) {
				t.Errorf("a caller of 257 bytes polls: %v", err)
			}
			if _, _, err := r.Watch(t.Context(), &q, watch.Reader{}); !errors.Is(err, rollcall.ErrInvalid) {
				t.Errorf("a caller of 257 bytes watches: %v", err)
			}
		}
	})
}

func TestSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		sub, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments", Caller: "web-1"}, watch.Reader{Door: "test"})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		next := func() *watch.Batch {
			t.Helper()
			b, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		next()
		sub.Sent()
		i := register(t, r, payments("p-1"))
		seen := make(chan rollcall.Barrier)
		go func() {
			b, err := r.Seen(t.Context(), i.Key().ServiceKey, i.Revision, 30*time.Second)
			if err != nil {
				t.Error(err)
			}
			seen <- b
		}()
		synctest.Wait()
		if b := next(); b.Revision != i.Revision {
			t.Fatalf("%+v", b)
		}
		time.Sleep(time.Second)
		if ws, err := r.Watchers(t.Context(), i.Key().ServiceKey); err != nil || len(ws) != 1 || ws[0].Caller != "web-1" || ws[0].Lag != 1 {
			t.Errorf("%+v, %v", ws, err)
		}
		if err := r.Ack(t.Context(), sub.ID(), i.Revision); err != nil {
			t.Fatal(err)
		}
		if b := <-seen; b.Acknowledged != 1 || b.Pending != 0 || b.Elapsed != rollcall.Duration(time.Second) {
			t.Errorf("%+v", b)
		}

		// Who asks may leave.
		ctx, cancel := context.WithCancel(t.Context())
		i.Version = "2"
		i = register(t, r, i)
		time.AfterFunc(time.Second, cancel)
		if _, err := r.Seen(ctx, i.Key().ServiceKey, i.Revision, time.Minute); err != context.Canceled {
			t.Errorf("%v", err)
		}
	})
}
