package watch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// poll begins one from a revision.
func (w *world) poll(caller string, sel Selection, after rollcall.Revision) *Subscription {
	return w.hub.Poll(topicA, sel, rollcall.Token{Log: w.log, Revision: after}, caller, 30*time.Second)
}

func TestPoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.write(put("a", "1", "1"))
		w.publish()
		w.poll("", all, 1).Close()
		w.wantCounts(1, 0, 0) // nobody
		s := w.poll("web-1", all, 1)
		w.wantCounts(1, 1, 0)

		w.write(put("a", "2", "1"))
		w.publish()
		w.wantCounts(2, 0, 1)
		next(t, s)
		s.Answered(2)
		s.Close()
		w.wantCounts(2, 0, 1) // answered, but who knows whether that arrived?
		id := w.hub.Watchers(topicA)[0].Subscription

		done := w.waiting(t.Context(), 2)
		w.poll("web-1", selections[1], 2).Close() // the same caller, but another question
		w.poll("web-2", all, 2).Close()
		waits(t, done)
		s = w.poll("web-1", all, 1) // the answer was lost
		waits(t, done)
		s.Answered(2)
		s.Close()
		s = w.poll("web-1", all, 2)
		isDone(t, done, 1, 0)
		if ws := w.hub.Watchers(topicA); len(ws) != 3 || ws[0].Subscription != id && ws[1].Subscription != id {
			t.Errorf("%+v, want %s among three", ws, id)
		}

		// It is waited for between polls, and for 10 s beside its wait.
		s.Answered(2)
		s.Close()
		w.write(put("a", "3", "1"))
		w.publish()
		start := time.Now()
		done = w.waiting(t.Context(), 3)
		time.Sleep(40*time.Second - 1)
		waits(t, done)
		if b := <-done; b.Acknowledged != 0 || b.Pending != 0 || time.Since(start) != 40*time.Second {
			t.Errorf("%+v after %v; want them forgotten after 40 s", b, time.Since(start))
		}
		w.wantCounts(3, 0, 0)
		if n := len(w.hub.pollers); n != 0 {
			t.Errorf("%d pollers are remembered", n)
		}
	})
}

// While a poll is open its caller is not forgotten, and one that comes back in
// time is not either.
func TestPollerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		w.write(put("a", "1", "1"))
		w.publish()
		w.poll("web-1", all, 1).Close()
		time.Sleep(39 * time.Second)
		first, again := w.poll("web-1", all, 1), w.poll("web-1", all, 1)
		first.Close()
		time.Sleep(time.Hour)
		w.wantCounts(1, 1, 0)
		again.Close()
		time.Sleep(39 * time.Second)
		w.wantCounts(1, 1, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		w.wantCounts(1, 0, 0)
		if n := len(w.hub.readers); n != 0 {
			t.Errorf("%d readers are left", n)
		}
		w.poll("web-1", all, 1).Close()
		w.hub.Close()
		w.wantCounts(1, 0, 0)
	})
}

// What a poller does not select passes it by while it polls.
func TestPollerIsCurrent(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	s := w.poll("web-1", selections[2], 1) // sees version 1
	w.write(put("a", "2", "2"))
	w.publish()
	next(t, s)
	w.wantCounts(2, 1, 0)
	s.Answered(1) // nothing new
	s.Close()
	w.wantCounts(2, 1, 0)
	w.write(put("a", "3", "2"))
	w.publish()
	w.wantCounts(3, 0, 1)
	s = w.poll("web-1", selections[2], 1)
	defer s.Close()
	next(t, s)
	w.wantCounts(3, 1, 0)
}

// Names are remembered, but not without end.
func TestPollersAreBounded(t *testing.T) {
	w := newWorld(t, wide)
	w.write(put("a", "1", "1"))
	w.publish()
	for n := range mostPollers + 10 {
		w.poll(fmt.Sprint("web-", n), all, 1).Close()
	}
	w.wantCounts(1, mostPollers, 0)
	w.hub.Close()
}
