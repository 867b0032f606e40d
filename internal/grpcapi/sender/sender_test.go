package sender

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// desk is senders that a test gives work.
type desk struct {
	*Pool
	hub *watch.Hub
}

func newDesk(tell func(*watch.Group)) *desk {
	hub := watch.NewHub(time.Now)
	hub.Publish(catalog.New().Snapshot(), nil, 0)
	d := &desk{New(tell), hub}
	d.Begin()
	return d
}

// group is one that has something to be told, and goes on having it with bookmarks.
func (d *desk) group() *watch.Group {
	g := d.Queue.NewGroup()
	g.Add(d.hub.Subscribe(rollcall.ServiceKey{}, watch.Selection{}, rollcall.Token{}, watch.Reader{}), nil)
	return g
}

// TestStuckSenders: however many readers are slow, others are told at once, and when
// those are through there are no more senders than before.
func TestStuckSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		slow, stuck := make(chan struct{}), 20
		told := make(chan time.Time, 100)
		d := newDesk(func(g *watch.Group) {
			mu.Lock()
			wait := stuck > 0
			stuck--
			mu.Unlock()
			if wait {
				<-slow
			}
			for m, _, _ := g.Poll(); m != nil; m, _, _ = g.Poll() {
				told <- time.Now()
			}
		})
		defer d.End()
		start := time.Now()
		for range 21 {
			d.group()
		}
		if at := <-told; at.Sub(start) > 22*lookEvery {
			t.Errorf("who is not slow was told after %v", at.Sub(start))
		}
		time.Sleep(time.Second) // which none of the slow ones has an end in
		if n := d.working.Load(); n != 0 {
			t.Errorf("%d senders work", n)
		}
		if d.looking.Load() {
			t.Error("it is looked for stuck ones though nothing is to be told")
		}
		close(slow)
		for range 20 {
			<-told
		}
		synctest.Wait()
		d.mu.Lock()
		if n := len(d.all); n != int(d.most) {
			t.Errorf("there are %d senders, want %d", n, d.most)
		}
		d.mu.Unlock()
	})
}

// TestSendersEnd: also before they began, and twice.
func TestSendersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(nil)
		p.End()
		p.Begin()
		p.End()
		if p.all != nil {
			t.Error("they began after their end")
		}
	})
}

// TestOneSenderForEach: a group that has news all the time is told by one sender at a
// time.
func TestOneSenderForEach(t *testing.T) {
	var mu sync.Mutex
	at := map[*watch.Group]int{}
	var left sync.WaitGroup
	left.Add(2000)
	d := newDesk(func(g *watch.Group) {
		mu.Lock()
		if at[g]++; at[g] > 1 {
			t.Error("two senders tell one group")
		}
		mu.Unlock()
		m, _, _ := g.Poll()
		mu.Lock()
		at[g]--
		mu.Unlock()
		if m != nil {
			g.Yield()
			left.Done()
		}
	})
	defer d.End()
	g := d.Queue.NewGroup()
	for range 2000 {
		g.Add(d.hub.Subscribe(rollcall.ServiceKey{}, watch.Selection{}, rollcall.Token{}, watch.Reader{}), nil)
	}
	left.Wait()
}
