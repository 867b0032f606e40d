package lease

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// shard finds entries by the hash of their key, so that a key is kept once;
// entries whose hashes collide are chained.
type shard struct {
	mu      sync.RWMutex // guards entries, and the fields of each except deadline
	entries map[uint64]*entry
	len     int
}

// entry is one lease. There may be a million of them: what many have in common
// is shared, and what few have stands apart.
type entry struct {
	id          string
	shared      *shared      // nil: dropped
	more        *more        // nil for most
	deadline    atomic.Int64 // table time until which it is alive; its next renewal moves it
	incarnation rollcall.Revision
	lapsed      time.Duration // when it fell silent; once that was held back, when it was convicted
	look        uint32        // the tick at which it stands in the wheel, 0: none; guarded by Table.mu
	state       State
	flags       flags
}

// flags are what else there is to a lease's state.
type flags uint8

const (
	removing flags = 1 << iota // a removal is on its way to the log
	held                       // it is silent, and a guard does not have it convicted for that
	broken                     // its session's stream broke, and was not taken up again
	refused                    // it was seen to be dead
)

func (e *entry) is(f flags) bool { return e.flags&f != 0 }

func (e *entry) set(f flags, on bool) {
	if e.flags &^= f; on {
		e.flags |= f
	}
}

// terms are what the leases of a service tend to have in common.
type terms struct {
	service     rollcall.ServiceKey
	ttl         time.Duration // 0: mode none
	removeAfter time.Duration
	session     bool
}

// shared are terms and how many leases have them.
type shared struct {
	terms
	refs int // guarded by Table.mu
}

// more is what few leases have.
type more struct {
	reports  []report
	revision rollcall.Revision // of the grant whose checks are among them
	why      string            // of its removal
	cause    string            // of its conviction, if that is not silence
	chain    *entry
}

type report struct {
	finding  rollcall.Finding // Status 0: has not spoken
	check    Check
	ttl      time.Duration // 0: need not be repeated
	deadline time.Duration
	lapsed   bool          // it was good and is not reported any more: to be convicted, or held
	failing  time.Duration // table time since which it fails, if it does
	remove   time.Duration // deregister after failing for so long; 0: never
}

func (e *entry) key() rollcall.Key { return rollcall.Key{ServiceKey: e.shared.service, ID: e.id} }

// extra returns what more there is to a lease, for writing.
func (e *entry) extra() *more {
	if e.more == nil {
		e.more = new(more)
	}
	return e.more
}

func (e *entry) reports() []report {
	if e.more == nil {
		return nil
	}
	return e.more.reports
}

// chain returns the next entry with the same hash.
func (e *entry) chain() *entry {
	if e.more == nil {
		return nil
	}
	return e.more.chain
}

// setChain makes next the one behind e.
func (e *entry) setChain(next *entry) {
	if next != e.chain() {
		e.extra().chain = next
	}
}

// of reports whether e is the lease of an instance.
func (e *entry) of(key rollcall.Key) bool {
	return e.id == key.ID && e.shared.service == key.ServiceKey
}

func (s *shard) get(hash uint64, key rollcall.Key) *entry {
	e := s.entries[hash]
	for e != nil && !e.of(key) {
		e = e.chain()
	}
	return e
}

func (s *shard) add(hash uint64, e *entry) {
	e.setChain(s.entries[hash])
	s.entries[hash] = e
	s.len++
}

func (s *shard) remove(hash uint64, e *entry) {
	s.len--
	if s.entries[hash] == e {
		if s.entries[hash] = e.chain(); e.chain() == nil {
			delete(s.entries, hash)
		}
		return
	}
	for p := s.entries[hash]; ; p = p.chain() {
		if p.chain() == e {
			p.setChain(e.chain())
			return
		}
	}
}

// agree gives a lease its id, equal to the one it has, and its terms. The id
// may share memory with what was registered, so the newest is taken. The caller
// holds e's shard.
func (t *Table) agree(e *entry, id string, to terms) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.id = id
	if e.shared != nil && e.shared.terms == to {
		return
	}
	t.release(e.shared)
	s := t.terms[to]
	if s == nil {
		s = &shared{terms: to}
		t.terms[to] = s
	}
	s.refs++
	e.shared = s
}

// leave ends a lease. The caller holds e's shard.
func (t *Table) leave(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(e.shared)
	e.shared = nil
}

func (t *Table) release(s *shared) {
	if s == nil {
		return
	}
	if s.refs--; s.refs == 0 {
		delete(t.terms, s.terms)
	}
}

// begin gives a lease a full TTL, whatever was found of it. One that was found to
// have lapsed has it before the time to its removal begins; a suspect one stays
// that for so long.
func (e *entry) begin(found rollcall.Status, now time.Duration) {
	ttl := e.shared.ttl
	e.deadline.Store(int64(now + ttl))
	e.state, e.flags = Alive, 0
	if e.more != nil {
		e.more.cause = ""
	}
	switch {
	case ttl == 0:
	case found == rollcall.Suspect:
		e.state = Missing
	case found == rollcall.Unhealthy:
		e.state, e.lapsed = Lapsed, now+ttl
	}
}

// found returns what the lease alone says of the instance.
func (e *entry) found() rollcall.Status {
	switch e.state {
	case Alive:
		return rollcall.Healthy
	case Missing, Silent:
		return rollcall.Suspect
	}
	return rollcall.Unhealthy
}

// quiet reports whether a check of type ttl is not reported any more, and nobody
// has concluded anything from that.
func (e *entry) quiet() bool {
	for i := range e.reports() {
		if e.more.reports[i].lapsed {
			return true
		}
	}
	return false
}

// heard returns when it was last heard from.
func (e *entry) heard() time.Duration { return time.Duration(e.deadline.Load()) - e.shared.ttl }

// pinged reports whether it is a session that answers pings, as far as is known:
// one that was not heard from since time began may be about to come back.
func (e *entry) pinged() bool { return e.shared.session && !e.is(broken) && e.heard() > 0 }

// renewReports returns the reports that a registration with these checks begins
// with. One that is the same as before keeps what was found and since when it
// fails, and is under the new bound from then on.
func (e *entry) renewReports(checks []Check, fresh bool, now time.Duration) []report {
	var rs []report
	for _, r := range e.reports() {
		if _, isCheck := r.finding.Slot.Check(); !isCheck && !fresh {
			rs = append(rs, r)
		}
	}
	for _, c := range checks {
		n := report{
			finding: rollcall.Finding{Slot: rollcall.CheckSlot(c.Name)}, check: c,
			ttl: time.Duration(c.TTL), deadline: now + time.Duration(c.TTL), remove: time.Duration(c.DeregisterAfter),
		}
		for _, r := range e.reports() {
			if r.check.same(c) {
				n.finding, n.deadline, n.failing, n.lapsed = r.finding, r.deadline, r.failing, r.lapsed
			}
		}
		rs = append(rs, n)
	}
	return rs
}
