package rpc

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// watch begins a watch of a service.
func watch(t *testing.T, c *Client, service string) wire.Records {
	t.Helper()
	r, err := c.Watch(t.Context(), &rollcall.Query{Service: service}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// wantNext fails the test unless the next record is "type revision".
func wantNext(t *testing.T, r wire.Records, want string) rollcall.WatchEvent {
	t.Helper()
	ev, err := r.Next()
	if got := fmt.Sprint(ev.Type, " ", ev.Revision); err != nil || got != want {
		t.Fatalf("told %q, %v; want %q", got, err, want)
	}
	return ev
}

func TestSubscriptionsShareAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		var services []string
		f.watch = func(s *watchStream) error {
			for {
				n, q, err := s.subscribed()
				if err != nil {
					return err
				}
				services = append(services, q.GetService())
				if err := s.state(n, int(n)*10, false); err != nil {
					return err
				}
			}
		}
		c := f.client(t)
		first := watch(t, c, "a")
		second := watch(t, c, "b")
		wantNext(t, second, "snapshot 20")
		wantNext(t, first, "snapshot 10")
		if want := []string{"a", "b"}; f.streams.Load() != 1 || !slices.Equal(services, want) {
			t.Errorf("%q on %d streams, want %q on one", services, f.streams.Load(), want)
		}
		// The last to leave ends it, and the next opens another.
		first.Close()
		second.Close()
		synctest.Wait()
		wantNext(t, watch(t, c, "c"), "snapshot 10")
		if f.streams.Load() != 2 {
			t.Errorf("%d streams, want a second", f.streams.Load())
		}
	})
}

func TestPartsOfAStateAreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.watch = func(s *watchStream) error {
			n, _, err := s.subscribed()
			if err != nil {
				return err
			}
			for p := range 3 * queued { // more than wait otherwise
				if err := s.state(n, 7, true, fmt.Sprint("p-", p)); err != nil {
					return err
				}
			}
			if err := s.state(n, 7, false, "last"); err != nil {
				return err
			}
			<-s.Context().Done()
			return nil
		}
		r := watch(t, f.client(t), "payments")
		synctest.Wait()
		ev := wantNext(t, r, "snapshot 7")
		if n := len(ev.Instances); n != 3*queued+1 || ev.Instances[n-1].ID != "last" || ev.Token != token(7) {
			t.Errorf("%d instances, token %v", n, ev.Token)
		}
	})
}

func TestEndOfASubscriptionIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.watch = func(s *watchStream) error {
			for {
				n, q, err := s.subscribed()
				if err != nil {
					return err
				}
				if q.GetFilter() == "" {
					s.state(n, 3, false)
					continue
				}
				s.Send(&rollcallpb.WatchResponse{Subscription: n, Tell: &rollcallpb.WatchResponse_Ended{
					Ended: &rollcallpb.Error{Kind: "invalid", Detail: "no such field", Field: "filter"},
				}})
				s.bookmark(1, 4)
			}
		}
		c := f.client(t)
		good := watch(t, c, "a")
		bad, err := c.Watch(t.Context(), &rollcall.Query{Filter: "x"}, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = bad.Next()
		wantKind(t, err, rollcall.ErrInvalid)
		wantNext(t, good, "snapshot 3")
		wantNext(t, good, "bookmark 4")
	})
}

// Who does not read loses its subscription, with what came until then still to be
// read, and nobody else anything.
func TestSlowReaderCostsItselfAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		left := make(chan uint64, 1)
		f.watch = func(s *watchStream) error {
			for range 2 {
				if _, _, err := s.subscribed(); err != nil {
					return err
				}
			}
			for rev := range 2 * queued {
				s.bookmark(1, rev)
				if rev%100 == 0 {
					s.bookmark(2, rev)
				}
			}
			for {
				m, err := s.Recv()
				if err != nil {
					return err
				}
				if u := m.GetUnsubscribe(); u != nil {
					left <- u.GetSubscription()
				}
			}
		}
		c := f.client(t)
		slow, quick := watch(t, c, "a"), watch(t, c, "b")
		if n := <-left; n != 1 {
			t.Errorf("subscription %d was ended, want 1", n)
		}
		for rev := range queued {
			wantNext(t, slow, fmt.Sprint("bookmark ", rev))
		}
		if _, err := slow.Next(); err != errSlow {
			t.Errorf("ended with %v", err)
		}
		for rev := 0; rev < 2*queued; rev += 100 {
			wantNext(t, quick, fmt.Sprint("bookmark ", rev))
		}
	})
}

// However many there are, one stream is opened when the one before broke.
func TestBrokenStreamIsOpenedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.watch = func(s *watchStream) error {
			for {
				n, _, err := s.subscribed()
				if err != nil {
					return err
				}
				s.state(n, int(f.streams.Load()), false)
			}
		}
		c := f.client(t)
		var all []wire.Records
		for range 50 {
			all = append(all, watch(t, c, "a"))
		}
		synctest.Wait()
		f.cut()
		for _, r := range all {
			wantNext(t, r, "snapshot 1")
			_, err := r.Next()
			wantKind(t, err, wire.ErrUnreachable)
		}
		ended := make(chan error, len(all))
		for range all {
			go func() {
				r, err := c.Watch(t.Context(), &rollcall.Query{}, false)
				if err == nil {
					_, err = r.Next()
				}
				ended <- err
			}()
		}
		for range all {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if f.streams.Load() != 2 {
			t.Errorf("%d streams, want 2", f.streams.Load())
		}
	})
}

// What was handled while nothing could be written is said by the newest alone.
func TestAcksAreOfTheNewest(t *testing.T) {
	w := newWatches(nil)
	s := w.subscribe(t.Context(), &rollcall.Query{})
	w.unsaid()
	for rev := range 20 {
		ev := rollcall.WatchEvent{Token: token(rev + 1)}
		s.Handled(&ev)
		s.Handled(&rollcall.WatchEvent{}) // names no state
	}
	if all := w.unsaid(); len(all) != 1 || all[0].GetAck().GetRevision() != 20 || all[0].GetAck().GetSubscription() != s.n {
		t.Errorf("%v is said, want that 20 was handled", all)
	}
	s.Handled(&rollcall.WatchEvent{Token: token(20)})
	if all := w.unsaid(); len(all) != 0 {
		t.Errorf("%v is said again", all)
	}
}

// A stream on which nothing comes is left, and so is its connection.
func TestSilentWatchIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.watch = func(s *watchStream) error {
			n, _, err := s.subscribed()
			if err != nil {
				return err
			}
			s.state(n, 3, false)
			<-s.Context().Done()
			return nil
		}
		c := f.client(t)
		r := watch(t, c, "a")
		wantNext(t, r, "snapshot 3")
		began := time.Now()
		_, err := r.Next()
		if took := time.Since(began); err != retry.ErrSilent || took != wire.Silence {
			t.Errorf("%v after %v, want after %v", err, took, wire.Silence)
		}
		wantNext(t, watch(t, c, "a"), "snapshot 3")
		if n := f.dialled(); n != 2 {
			t.Errorf("%d connections, want another", n)
		}
	})
}

// A server that cannot be watched now is left for one that may.
func TestWatchesGoElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := startFake(t), startFake(t)
		first.watch = func(s *watchStream) error { return told(rollcall.ErrNotSynced) }
		second.watch = func(s *watchStream) error {
			n, _, err := s.subscribed()
			if err == nil {
				err = s.state(n, 3, false)
			}
			<-s.Context().Done()
			return err
		}
		c := fakes{"first": first, "second": second}.client(t, "", "first", "second")
		_, err := watch(t, c, "a").Next()
		wantKind(t, err, rollcall.ErrNotSynced)
		wantNext(t, watch(t, c, "a"), "snapshot 3")
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.watch = func(s *watchStream) error { <-s.Context().Done(); return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := f.client(t).Watch(ctx, &rollcall.Query{}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = r.Next()
		wantKind(t, err, context.DeadlineExceeded)
	})
}
