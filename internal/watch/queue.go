package watch

import (
	"sync"
	"time"
)

// Queue is where the groups of many readers stand while they have something to be
// told, so that few goroutines can serve them all. One clock says for all of them
// whose bookmarks are due.
type Queue struct {
	wake func()

	mu    sync.Mutex // guards what follows
	first *Group     // in order of the news
	last  *Group
	slots [BookmarkEvery/clockTick + 2]*Group // by when their bookmarks may be due
	hand  int                                 // the slot that is next
	count int                                 // of the groups in slots
	timer *time.Timer                         // of the clock; nil: it was never needed
	going bool                                // the clock
}

// clockTick is by how much a bookmark may come late.
const clockTick = 100 * time.Millisecond

// NewQueue returns an empty queue. It calls wake whenever a group came in: where news
// are published and with locks held, so wake neither waits nor calls back.
func NewQueue(wake func()) *Queue { return &Queue{wake: wake} }

// NewGroup returns a group without members.
func (q *Queue) NewGroup() *Group { return &Group{queue: q} }

// Take returns the group that has waited longest, nil if none does. Whoever takes one
// polls it until there is nothing more, or yields it.
func (q *Queue) Take() *Group {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.first
	if g != nil {
		q.first, g.behind = g.behind, nil
	}
	return g
}

// Waits reports whether a group is there.
func (q *Queue) Waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first != nil
}

// push puts a group at the end.
func (q *Queue) push(g *Group) {
	q.mu.Lock()
	if q.first == nil {
		q.first = g
	} else {
		q.last.behind = g
	}
	q.last = g
	q.mu.Unlock()
	q.wake()
}

// expect has the clock look at a group after some time, at most [BookmarkEvery],
// unless it does already.
func (q *Queue) expect(g *Group, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.clocked {
		return
	}
	at := (q.hand + int(after/clockTick)) % len(q.slots)
	g.clocked, g.after, q.slots[at] = true, q.slots[at], g
	q.count++
	switch {
	case q.going:
		return
	case q.timer == nil:
		q.timer = time.AfterFunc(clockTick, q.tick)
	default:
		q.timer.Reset(clockTick)
	}
	q.going = true
}

// tick looks at the groups of a slot. The clock stands still while there is no group.
func (q *Queue) tick() {
	now := time.Now()
	q.mu.Lock()
	g := q.slots[q.hand]
	q.slots[q.hand] = nil
	q.hand = (q.hand + 1) % len(q.slots)
	q.mu.Unlock()
	for g != nil {
		next := g.after
		q.mu.Lock()
		g.clocked, g.after = false, nil
		q.count--
		q.mu.Unlock()
		if wait, ok := g.wait(now); ok {
			q.expect(g, wait)
		}
		g = next
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.going = q.count > 0; q.going {
		q.timer.Reset(clockTick)
	}
}
