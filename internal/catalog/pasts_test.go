package catalog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// TestPasts: one past is made at a time, whoever asks; that of the last question is
// there for the next, for a while.
func TestPasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPasts()
		payments, billing := rollcall.NewServiceKey("", "payments"), rollcall.NewServiceKey("", "billing")
		now := time.Now()
		made, making, most := 0, 0, 0
		get := func(ago time.Duration, of rollcall.ServiceKey) {
			t.Helper()
			s, err := p.Get(t.Context(), now.Add(-ago), of, time.Now(), func() (*Snapshot, error) {
				made++
				making++
				most = max(most, making)
				time.Sleep(time.Second)
				making--
				return New().Snapshot(), nil
			})
			if s == nil || err != nil {
				t.Error(s, err)
			}
		}
		want := func(n int, when string) {
			t.Helper()
			if made != n {
				t.Errorf("%s: %d made, want %d", when, made, n)
			}
			made = 0
		}
		get(time.Hour, payments)
		get(time.Hour, payments)
		want(1, "asked twice")
		get(time.Hour, billing)
		get(time.Minute, billing)
		want(2, "another service, another time")
		get(time.Minute, rollcall.ServiceKey{})
		get(time.Minute, payments)
		want(1, "everything, of which a service is a part")
		time.Sleep(keepPast)
		get(time.Minute, payments)
		want(1, "after a while")
		get(0, payments)
		get(-time.Minute, payments) // the clock runs on
		get(-time.Minute, payments)
		want(3, "too young to be known as a whole")
		get(time.Hour, payments)
		time.Sleep(keepPast)
		if p.Sweep(); p.last != nil {
			t.Error("it is kept for ever")
		}

		made = 0
		for n := range 5 {
			go get(time.Duration(n)*time.Hour, payments)
		}
		synctest.Wait()
		p.Sweep() // does not wait
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan error)
		go func() {
			_, err := p.Get(ctx, now, payments, time.Now(), func() (*Snapshot, error) { return nil, errors.New("made for nobody") })
			refused <- err
		}()
		cancel()
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it to wait no longer than who asks", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want(5, "at once"); most != 1 {
			t.Errorf("%d were made at once", most)
		}
		broken := errors.New("broken")
		for range 2 {
			if _, err := p.Get(t.Context(), now, billing, now, func() (*Snapshot, error) { return nil, broken }); err != broken {
				t.Errorf("%v", err)
			}
		}
	})
}
