package watch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// desk is a queue that a test waits at.
type desk struct {
	*Queue
	came chan struct{}
}

func newDesk() *desk {
	came := make(chan struct{}, 1)
	return &desk{NewQueue(func() { notify(came) }), came}
}

// next waits for the next batch of any group.
func (d *desk) next(ctx context.Context) (*Member, *Batch, error) {
	for {
		for g := d.Take(); g != nil; g = d.Take() {
			if m, b, err := g.Poll(); m != nil {
				g.Yield()
				return m, b, err
			}
		}
		select {
		case <-d.came:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// joined has a subscription in a group, under a name.
func (w *world) joined(g *Group, topic Topic, sel Selection, name string) *Member {
	return g.Add(w.subscribe(topic, sel, 0), name)
}

// there returns what is said at once, as "name type@revision".
func there(t *testing.T, d *desk) (all []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	for {
		m, b, err := d.next(ctx)
		if err == context.Canceled {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%v %d@%d", m.Value, b.Type, b.Revision))
	}
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		d := newDesk()
		g := d.NewGroup()
		expect := func(want ...string) {
			t.Helper()
			if got := there(t, d); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		expect()
		a := w.joined(g, topicA, all, "a")
		one := w.joined(g, topicA, selections[2], "one") // sees version 1
		everything := w.joined(g, Topic{}, all, "everything")
		expect("a 0@0", "one 0@0", "everything 0@0")

		w.write(put("a", "1", "2"))
		w.publish()
		w.write(put("b", "1", "1"))
		w.publish()
		expect("a 2@1", "everything 2@2") // merged
		expect()

		// Bookmarks come for each that was not told anything.
		start := time.Now()
		time.Sleep(BookmarkEvery - 500*time.Millisecond)
		w.write(put("b", "1", "2"))
		w.publish()
		expect("everything 2@3")
		time.Sleep(500*time.Millisecond + clockTick)
		expect("one 3@3", "a 3@3")
		m, b, err := d.next(t.Context())
		if err != nil || m != everything || b.Type != Bookmark ||
			time.Since(start) < 2*BookmarkEvery-510*time.Millisecond || time.Since(start) > 2*BookmarkEvery-490*time.Millisecond+clockTick {
			t.Errorf("%v %+v after %v, %v; want the bookmark of everything", m, b, time.Since(start), err)
		}

		g.Remove(one)
		g.Remove(one)
		w.write(put("a", "2", "1"))
		w.publish()
		expect("a 2@4", "everything 2@4")
		w.hub.Moved(topicA)
		if m, _, err := d.next(t.Context()); m != a || err != ErrMoved {
			t.Errorf("%v, %v; want a, moved", m, err)
		}
		g.Remove(a)
		w.hub.Close()
		if m, _, err := d.next(t.Context()); m != everything || err != ErrClosed {
			t.Errorf("%v, %v; want everything, closed", m, err)
		}
		g.Remove(everything)
		if n := w.hub.Subscribers(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
		if g.first != nil || g.last != nil || len(w.hub.topics[topicA].members) != 0 {
			t.Error("members are left")
		}
	})
}

// TestGroupIsFair: bookmarks are told also while others have news all the time.
func TestGroupIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		d := newDesk()
		g := d.NewGroup()
		busy := w.joined(g, topicA, all, "busy")
		idle := w.joined(g, topicB, all, "idle")
		defer g.Remove(busy)
		defer g.Remove(idle)
		there(t, d)
		time.Sleep(BookmarkEvery)
		for told := 0; told < 3; told++ {
			w.write(put("a", "1", fmt.Sprint(told)))
			w.publish()
			if m, b, err := d.next(t.Context()); err != nil {
				t.Fatal(err)
			} else if m == idle && b.Type == Bookmark {
				return
			}
		}
		t.Error("who is busy goes before all others")
	})
}

// TestGroupMissesNothing has members come and go while others write and read.
func TestGroupMissesNothing(t *testing.T) {
	w := newWorld(t, wide)
	d := newDesk()
	g := d.NewGroup()
	const members, changes = 50, 400
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() {
		for range changes {
			w.write(put("a", "1", fmt.Sprint(w.rev)))
			w.publish()
		}
	})
	others.Go(func() {
		for n := range members {
			w.joined(g, topicA, all, fmt.Sprint(n))
			g.Remove(w.joined(g, topicA, all, "gone"))
		}
	})
	at, current := map[*Member]rollcall.Revision{}, 0
	for current < members {
		m, b, err := d.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if m.Value == "gone" {
			continue
		}
		if b.Revision < at[m] || b.Revision == at[m] && b.Type == Changes {
			t.Errorf("%v was told of %d after %d", m.Value, b.Revision, at[m])
		}
		if at[m] = b.Revision; b.Revision == changes {
			current++
		}
	}
}

// TestSignalAllocatesNothing, and a group stands in the queue once.
func TestSignalAllocatesNothing(t *testing.T) {
	w := newWorld(t, wide)
	d := newDesk()
	g := d.NewGroup()
	members := []*Member{w.joined(g, topicA, all, "a"), w.joined(g, topicA, all, "b")}
	topic := w.hub.topics[topicA]
	taken := 0
	poll := func() {
		for g := d.Take(); g != nil; g = d.Take() {
			for taken++; ; {
				if m, _, _ := g.Poll(); m == nil {
					break
				}
			}
		}
	}
	poll()
	taken = 0
	if n := testing.AllocsPerRun(100, func() { topic.signal(); topic.signal(); poll() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if taken != 101 || d.Waits() {
		t.Errorf("the group was taken %d times, want 101", taken)
	}
	for _, m := range members {
		g.Remove(m)
	}
}

// TestClock: it stands still once no group has members.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, wide)
		d := newDesk()
		g := d.NewGroup()
		for range 3 {
			m := w.joined(g, topicA, all, "a")
			if got := there(t, d); len(got) != 1 {
				t.Errorf("%q, want the state", got)
			}
			for range 3 {
				time.Sleep(BookmarkEvery + clockTick)
				if got := there(t, d); len(got) != 1 {
					t.Errorf("%q, want a bookmark", got)
				}
			}
			g.Remove(m)
			time.Sleep(BookmarkEvery + clockTick)
			d.mu.Lock()
			if d.going || d.count != 0 {
				t.Error("the clock goes on for nobody")
			}
			d.mu.Unlock()
		}
	})
}

// BenchmarkGroup measures a change for a thousand members of one group.
func BenchmarkGroup(b *testing.B) {
	h, publish := bench(b)
	d := newDesk()
	g := d.NewGroup()
	for range 1000 {
		g.Add(h.Subscribe(topicA, all, rollcall.Token{}, Reader{}), nil)
	}
	read := func() {
		for range 1000 {
			if _, _, err := d.next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	read()
	b.ReportAllocs()
	for b.Loop() {
		publish()
		read()
	}
}
