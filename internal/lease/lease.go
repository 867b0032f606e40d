// Package lease keeps what is known of instances and never logged: until when
// each must be heard from, and what it last said of itself. It judges nobody;
// it tells which instances may have to be judged anew, and what speaks for and
// against them.
//
// Deadlines stand on a clock of the table's own, which stops while the process
// is paused: silence that nobody could have heard convicts nobody.
package lease

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Tick is how often the owner of a table should call [Table.Tick].
const Tick = 100 * time.Millisecond

// Pause is how late a tick must be for the table to count it as a pause of the
// process itself.
const Pause = time.Second

// Grant is what an instance's registration says of its lease.
type Grant struct {
	Incarnation rollcall.Revision
	Lease       rollcall.Lease
	Checks      []rollcall.Check // those of type ttl
	// Lapsed is what the log says: that the lease was found to have lapsed.
	Lapsed bool
}

// State is how a lease stands.
type State uint8

const (
	Alive   State = iota
	Lapsed        // not heard from within TTL: to be marked
	Expired       // nor within RemoveAfter since, or a check failed for too long: to be removed
)

// Evidence is what is known of an instance beyond the log.
type Evidence struct {
	Incarnation rollcall.Revision
	State       State
	TTL         time.Duration
	// Why tells the reason for an Expired state.
	Why string
	// Reports are the findings of its own reports, by slot. Sources that have
	// not spoken since the table knows the instance are left out: for them what
	// is in the log stands.
	Reports []rollcall.Finding
}

// Table keeps the leases. All methods may be called by any goroutine, Tick by
// one at a time.
type Table struct {
	now    func() time.Duration // monotonic
	paused atomic.Int64         // what the clock is ahead: until Begin, and in pauses
	begun  atomic.Bool
	seed   maphash.Seed
	shards [64]shard

	mu     sync.Mutex // guards what follows; taken after a shard's
	last   time.Duration
	pauses time.Duration // total length of pauses
	// wheel holds every lease with a deadline in the slot of the tick at which
	// it is to be looked at next; those too far ahead are looked at in between.
	wheel [1024][]*entry
	tick  int64 // the last one that was worked off
	terms map[terms]*shared
}

// New returns an empty table on a monotonic clock. Its time stands still until
// [Table.Begin].
func New(now func() time.Duration) *Table {
	t := &Table{now: now, seed: maphash.MakeSeed(), terms: map[terms]*shared{}}
	for i := range t.shards {
		t.shards[i].entries = map[uint64]*entry{}
	}
	return t
}

// Begin lets time begin, once renewals can be heard: leases that were set before
// have their full TTL from here.
func (t *Table) Begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = t.now()
	t.paused.Store(int64(t.last))
	t.begun.Store(true)
}

// time returns the table's time: that of the clock since Begin, less the pauses.
func (t *Table) time() time.Duration {
	if !t.begun.Load() {
		return 0
	}
	return t.now() - time.Duration(t.paused.Load())
}

func (t *Table) shard(key rollcall.Key) (*shard, uint64) {
	h := maphash.String(t.seed, key.ID)
	h = bits.RotateLeft64(h, 21) ^ maphash.String(t.seed, key.Service)
	h = bits.RotateLeft64(h, 21) ^ maphash.String(t.seed, key.Namespace)
	return &t.shards[h>>58], h
}

// Len returns the number of leases.
func (t *Table) Len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += s.len
		s.mu.RUnlock()
	}
	return n
}

// Set begins or changes the lease of an instance. A new incarnation is a sign
// of life: it gets a full TTL and its checks start over, except that what was
// reported of checks that are the same stays. An update leaves the lease as it
// is, except that another TTL is one from now on: silence is not held against an
// instance by a rule that did not hold when it was silent. Set reports, as does
// [Table.Follow], whether the lease now stands as the log says.
func (t *Table) Set(key rollcall.Key, g Grant) (agrees bool) {
	now := t.time()
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	fresh := e == nil || e.incarnation != g.Incarnation
	ttl := time.Duration(g.Lease.TTL)
	if g.Lease.Mode == rollcall.LeaseNone {
		ttl = 0
	}
	was, known := ttl, e != nil
	if known {
		was = e.shared.ttl
	} else {
		e = new(entry)
	}
	t.agree(e, key.ID, terms{key.ServiceKey, ttl, time.Duration(g.Lease.RemoveAfter)})
	if !known {
		s.add(hash, e)
	}
	switch {
	case fresh:
		e.removing = false
		if e.more != nil {
			e.more.why = ""
		}
		e.begin(g.Lapsed, now)
	case !t.begun.Load():
		e.begin(g.Lapsed, now)
	case ttl == 0 && e.state == Lapsed: // nothing is expected any more
		e.state = Alive
	case ttl != was && e.state == Alive:
		e.deadline.Store(int64(now + ttl))
	}
	e.incarnation = g.Incarnation
	if e.more != nil || len(g.Checks) > 0 {
		e.extra().reports = e.renewReports(g.Checks, fresh, now)
	}
	t.schedule(e)
	return (e.state != Alive) == g.Lapsed
}

// Follow takes in whether the log says that an instance's lease has lapsed, and
// reports whether the lease stands as it says; if not, the instance is to be
// judged anew. Until [Table.Begin] nobody could be heard here: what the log says
// is all there is to know, and leases follow it, whoever judged. From then on the
// table knows better, and the log is to be told.
func (t *Table) Follow(key rollcall.Key, lapsed bool) (agrees bool) {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil {
		return true
	}
	if !t.begun.Load() {
		e.begin(lapsed, t.time())
		t.schedule(e)
	}
	return (e.state != Alive) == lapsed
}

// Drop forgets an instance.
func (t *Table) Drop(key rollcall.Key) {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.get(hash, key); e != nil {
		s.remove(hash, e)
		t.leave(e)
	}
}

// Renew keeps the lease of an instance. known is false if there is none, or if
// it is being removed: the instance should register again. changed says that
// the instance had lapsed and is to be judged anew.
func (t *Table) Renew(key rollcall.Key) (ttl time.Duration, known, changed bool) {
	s, hash := t.shard(key)
	s.mu.RLock()
	e := s.get(hash, key)
	if e == nil || e.removing {
		s.mu.RUnlock()
		return 0, false, false
	}
	ttl = e.shared.ttl
	e.deadline.Store(int64(t.time() + ttl))
	lapsed := e.state != Alive
	s.mu.RUnlock()
	if lapsed {
		return t.revive(s, hash, key)
	}
	return ttl, true, false
}

func (t *Table) revive(s *shard, hash uint64, key rollcall.Key) (ttl time.Duration, known, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.removing {
		return 0, false, false
	}
	changed = e.state != Alive
	e.state = Alive
	e.deadline.Store(int64(t.time() + e.shared.ttl))
	t.schedule(e)
	return e.shared.ttl, true, changed
}

// Report notes what an instance says of itself in one slot. known is false for
// a slot that the instance does not have; changed says that the report differs
// from the one before in status.
func (t *Table) Report(key rollcall.Key, f rollcall.Finding) (known, changed bool) {
	now := t.time()
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil {
		return false, false
	}
	reports := e.reports()
	for i := range reports {
		r := &reports[i]
		if r.finding.Slot != f.Slot {
			continue
		}
		changed = r.finding.Status != f.Status
		if bad := f.Status != rollcall.Healthy && f.Status != rollcall.Degraded; !bad {
			r.failing = 0
		} else if r.failing == 0 {
			r.failing = max(now, 1)
		}
		r.finding = f
		r.deadline = now + r.ttl
		t.schedule(e)
		return true, changed
	}
	if f.Slot != rollcall.SlotStatus {
		return false, false
	}
	m := e.extra()
	m.reports = append(m.reports, report{finding: f})
	return true, true
}

// Evidence returns what is known of an instance.
func (t *Table) Evidence(key rollcall.Key) (ev Evidence, ok bool) {
	s, hash := t.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(hash, key)
	if e == nil {
		return ev, false
	}
	ev = Evidence{Incarnation: e.incarnation, State: e.state, TTL: e.shared.ttl}
	if e.more != nil {
		ev.Why = e.more.why
	}
	for _, r := range e.reports() {
		if r.finding.Status != 0 {
			ev.Reports = append(ev.Reports, r.finding)
		}
	}
	return ev, true
}

// Removing marks that the removal of an expired instance is on its way, so that
// renewals are told to register again; it reports false if the instance is no
// longer expired. Removing(key, false) takes the mark back.
func (t *Table) Removing(key rollcall.Key, on bool) bool {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || on && e.state != Expired {
		return false
	}
	e.removing = on
	return true
}

// Has reports whether an instance has a slot that it may report.
func (t *Table) Has(key rollcall.Key, slot rollcall.Slot) bool {
	s, hash := t.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(hash, key)
	return e != nil && slices.ContainsFunc(e.reports(), func(r report) bool { return r.finding.Slot == slot })
}
