package lease

import (
	"iter"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// overdue reports whether at least one renewal or report was missed: those come
// every third of a TTL, give or take a fifth.
func (e *entry) overdue(now time.Duration) bool {
	if e.state != Alive || e.is(broken) || e.shared.ttl > 0 && late(now-e.heard(), e.shared.ttl) {
		return true
	}
	for _, r := range e.reports() {
		if r.lapsed || r.ttl > 0 && r.failing == 0 && r.finding.Status.Usable() && late(now-(r.deadline-r.ttl), r.ttl) {
			return true
		}
	}
	return false
}

func late(silence, ttl time.Duration) bool { return silence > ttl*11/20 }

// owes reports whether something is to be heard of an instance at all.
func (e *entry) owes() bool {
	return e.shared.ttl > 0 || slices.ContainsFunc(e.reports(), func(r report) bool { return r.ttl > 0 })
}

// Count counts instances by how they keep what they owe: their lease, and their
// checks of type ttl. Those who owe nothing are not counted.
type Count struct {
	Heard  int
	Late   int // silent, or heard from so long ago that they may be about to be
	Marked int // convicted
}

func (c *Count) add(e *entry, now time.Duration) {
	switch {
	case !e.owes():
	case e.state >= Lapsed:
		c.Marked++
	case e.overdue(now):
		c.Late++
	default:
		c.Heard++
	}
}

// Of returns how many there are in all.
func (c Count) Of() int { return c.Heard + c.Late + c.Marked }

// Times scales a count that was taken of some up to that of all.
func (c Count) Times(all, some int) Count {
	if all == some {
		return c
	}
	f := float64(all) / float64(some)
	return Count{int(float64(c.Heard) * f), int(float64(c.Late) * f), int(float64(c.Marked) * f)}
}

// Count counts the leases of the given instances.
func (t *Table) Count(keys iter.Seq[rollcall.Key]) (c Count) {
	now := t.time()
	for key := range keys {
		s, hash := t.shard(key)
		s.mu.RLock()
		if e := s.get(hash, key); e != nil {
			c.add(e, now)
		}
		s.mu.RUnlock()
	}
	return c
}

// CountAll counts all leases. If there are many, it looks at some thousands.
func (t *Table) CountAll() (c Count) {
	const most = 64 // hashes of a shard
	now := t.time()
	looked, all := 0, 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		all += s.len
		n := 0
		for _, e := range s.entries { // in an order of chance
			for ; e != nil; e = e.chain() {
				looked++
				c.add(e, now)
			}
			if n++; n == most {
				break
			}
		}
		s.mu.RUnlock()
	}
	return c.Times(all, max(looked, 1))
}
