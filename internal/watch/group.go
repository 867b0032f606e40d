package watch

import (
	"sync"
	"time"
)

// Group reads many subscriptions for one reader: a subscription in it costs its
// cursor and its place. Topics say which of its members may have news, so that
// nobody looks at the others, and a group with news stands in its [Queue] until
// somebody takes it. Poll belongs to who took it, one goroutine at a time;
// everything else may be called by any.
//
// Lock order: Member.mu before Hub.mu before topic.mu before Group.mu before Queue.mu.
type Group struct {
	queue *Queue

	mu     sync.Mutex // guards what follows
	ready  *Member    // the first of those that may have news, in order of the news
	newest *Member    // the last of them
	turn   bool       // a member whose bookmark is due goes before those
	busy   bool       // it stands in the queue, or somebody took it
	first  *Member    // of all, by when their bookmarks are due
	last   *Member

	behind  *Group // in the queue; guarded by Queue.mu, as what follows
	after   *Group // in the same slot of its clock
	clocked bool
}

// Member is a subscription in a group.
type Member struct {
	// Value is its owner's, to know it again by.
	Value any

	group *Group
	at    int // index in topic.members; guarded by topic.mu

	mu  sync.Mutex // held by who uses the subscription
	sub *Subscription
	out bool

	queued         bool      // among those that may have news; guarded by Group.mu, as what follows
	next           *Member   // of them
	due            time.Time // its next bookmark
	before, behind *Member
}

// Add takes a subscription in, which belongs to the group from then on.
func (g *Group) Add(s *Subscription, value any) *Member {
	m := &Member{Value: value, group: g, sub: s}
	g.mu.Lock()
	g.append(m, time.Now())
	g.mu.Unlock()
	g.queue.expect(g, BookmarkEvery)
	t := s.topic
	t.mu.Lock()
	m.at = len(t.members)
	t.members = append(t.members, m)
	t.mu.Unlock()
	g.notify(m) // there is a first batch, or something was missed
	return m
}

// Remove takes a member out and closes its subscription. It may be called again.
func (g *Group) Remove(m *Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out {
		return
	}
	m.out = true
	t := m.sub.topic
	t.mu.Lock()
	last := t.members[len(t.members)-1]
	t.members[m.at], last.at = last, m.at
	t.members[len(t.members)-1] = nil
	t.members = t.members[:len(t.members)-1]
	t.mu.Unlock()
	g.mu.Lock()
	g.unlink(m)
	g.mu.Unlock()
	m.sub.Close()
}

// Poll returns the next batch of any member, as [Subscription.Next] does for one.
// With an error that is a member's, which is to be removed then, it returns that
// one. Without a member nobody has anything, and the group is no longer the
// caller's.
func (g *Group) Poll() (*Member, *Batch, error) {
	for {
		m, due := g.take(time.Now())
		if m == nil {
			return nil, nil, nil
		}
		if b, err := m.look(due); b != nil || err != nil {
			return m, b, err
		}
	}
}

// Yield puts a group that was taken behind all others, rather than polling on.
func (g *Group) Yield() { g.queue.push(g) }

// take returns the member to look at next and whether its bookmark is due, or nil
// if there is nobody. Those with news and those who are due take turns.
func (g *Group) take(now time.Time) (m *Member, due bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	due = g.first != nil && !now.Before(g.first.due)
	switch {
	case g.ready != nil && !(due && g.turn):
		m = g.ready
		g.ready, m.next = m.next, nil
		m.queued, g.turn = false, true
		return m, false
	case due:
		m, g.turn = g.first, false
		g.unlink(m)
		g.append(m, now)
		return m, true
	}
	g.busy = false
	return nil, false
}

// wait returns how long it is until a bookmark is due, and false if there never
// will be one. If one is due now, the group goes into the queue.
func (g *Group) wait(now time.Time) (time.Duration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		return 0, false
	}
	if wait := g.first.due.Sub(now); wait > 0 {
		return wait, true
	}
	if !g.busy {
		g.busy = true
		g.queue.push(g)
	}
	return clockTick, true
}

// look returns what there is for a member, nil if that is nothing.
func (m *Member) look(due bool) (*Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out {
		return nil, nil
	}
	b, err := m.sub.now(due)
	if b == nil || b.Type == Bookmark {
		return b, err
	}
	g := m.group
	g.mu.Lock()
	g.unlink(m)
	g.append(m, time.Now())
	g.mu.Unlock()
	g.notify(m) // there may be more
	return b, err
}

// notify says that a member may have news. It is called where news are published, and
// so allocates nothing: the collector may make pay who does.
func (g *Group) notify(m *Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.queued {
		return
	}
	m.queued = true
	if g.ready == nil {
		g.ready = m
	} else {
		g.newest.next = m
	}
	g.newest = m
	if !g.busy {
		g.busy = true
		g.queue.push(g)
	}
}

// append puts a member at the end of those who wait for a bookmark.
func (g *Group) append(m *Member, now time.Time) {
	m.due, m.before, m.behind = now.Add(BookmarkEvery), g.last, nil
	if g.last == nil {
		g.first = m
	} else {
		g.last.behind = m
	}
	g.last = m
}

func (g *Group) unlink(m *Member) {
	if m.before == nil {
		g.first = m.behind
	} else {
		m.before.behind = m.behind
	}
	if m.behind == nil {
		g.last = m.before
	} else {
		m.behind.before = m.before
	}
	m.before, m.behind = nil, nil
}
