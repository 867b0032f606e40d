// Package lease keeps what is known of instances and never logged: until when
// each must be heard from, and what was last found of it. It judges nobody;
// it tells which instances may have to be judged anew, and what speaks for and
// against them. Its [Guard] decides whether silence alone is enough.
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

// Grace is how long a broken session may take to come back before that counts.
const Grace = 200 * time.Millisecond

// comeback is for how long after a pause of the process a session that breaks counts
// as left, and not as broken: its client heard nothing either, went away, and tries
// again every two seconds.
const comeback = 2 * time.Second

// Ping is how often whoever holds a session of a TTL should ask whether the other
// side is there: every 2 s, or more often if the TTL asks for it.
func Ping(ttl time.Duration) time.Duration { return min(2*time.Second, ttl/5) }

// missAfter is how long a session may be silent until it is suspect: two pings,
// and some time to answer the second.
func missAfter(ttl time.Duration) time.Duration { return Ping(ttl) * 9 / 4 }

// Grant is what an instance's registration says of its lease.
type Grant struct {
	Incarnation rollcall.Revision
	Revision    rollcall.Revision // of the registration or update that says so; 0: nobody asks
	Lease       rollcall.Lease
	Checks      []Check
	// Found is what the log says of the lease: Healthy, Suspect or Unhealthy.
	Found rollcall.Status
}

// Check is a check as far as a table needs to tell whether it is the same as
// before: one that is probed is not, at another address or with other ports.
type Check struct {
	rollcall.Check
	Endpoint string // an image of the instance's address and ports; empty for checks of type ttl
}

func (c Check) same(o Check) bool { return c.Endpoint == o.Endpoint && c.Same(o.Check) }

// State is how a lease stands.
type State uint8

const (
	Alive   State = iota
	Missing       // a session that left pings unanswered: suspect
	Silent        // not heard from within TTL, or its session broke: to be convicted, or held
	Lapsed        // convicted: marked
	Expired       // nor heard from within RemoveAfter since, or a check failed for too long: to be removed
)

// Evidence is what is known of an instance beyond the log.
type Evidence struct {
	Incarnation rollcall.Revision
	State       State
	// Held, Broken and Refused say of a Silent or Lapsed state that a guard holds it,
	// that it is a session whose stream broke, and that the instance was seen to
	// be dead: Cause says how.
	Held, Broken, Refused bool
	Cause                 string
	TTL                   time.Duration
	// Silence is for how long it has not been heard from.
	Silence time.Duration
	// Why tells the reason for an Expired state.
	Why string
	// Reports are the findings of its checks and reports, by slot. Sources that have
	// not spoken since the table knows the instance are left out: for them what
	// is in the log stands.
	Reports []rollcall.Finding
	// Revision is that of the grant whose checks they are of; 0 if it had none.
	Revision rollcall.Revision
}

// Table keeps the leases. All methods may be called by any goroutine, Tick by
// one at a time.
type Table struct {
	now    func() time.Duration // monotonic
	paused atomic.Int64         // what the clock is ahead: until Begin, and in pauses
	most   atomic.Int64         // table time that is not passed before the next tick
	amiss  atomic.Int64         // table time until which breaks are the last pause's doing
	begun  atomic.Bool
	ended  atomic.Bool // nobody lapses any more
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
	t.most.Store(int64(Tick + Pause))
	t.begun.Store(true)
}

// End ends it: the server stops, and sends its clients elsewhere, so that who falls
// silent from here on does as it was told.
func (t *Table) End() { t.ended.Store(true) }

// time returns the table's time: that of the clock since Begin, less the pauses.
// It runs ahead of the last tick by no more than a tick and [Pause]: behind that
// is a pause that no tick has noticed yet, and when one does, time goes back by up
// to Pause. Most is read before paused, and moves after it: whoever reads them
// while they move sees no time that is later than before and after.
func (t *Table) time() time.Duration {
	if !t.begun.Load() {
		return 0
	}
	most := t.most.Load()
	return time.Duration(min(int64(t.now())-t.paused.Load(), most))
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
	t.agree(e, key.ID, terms{key.ServiceKey, ttl, time.Duration(g.Lease.RemoveAfter), g.Lease.Mode == rollcall.LeaseSession})
	if !known {
		s.add(hash, e)
	}
	switch {
	case fresh:
		if e.more != nil {
			e.more.why = ""
		}
		e.begin(g.Found, now)
	case !t.begun.Load():
		e.begin(g.Found, now)
	case ttl == 0 && e.state != Expired: // nothing is expected any more
		e.state, e.flags = Alive, 0
	case ttl != was && e.state == Alive:
		e.deadline.Store(int64(now + ttl))
	}
	e.incarnation = g.Incarnation
	if e.more != nil || len(g.Checks) > 0 {
		m := e.extra()
		if m.reports, m.revision = e.renewReports(g.Checks, fresh, now), 0; len(g.Checks) > 0 {
			m.revision = g.Revision
		}
	}
	t.schedule(e, now)
	return e.found() == g.Found
}

// Follow takes in what the log says of an instance's lease, as in [Grant], and
// reports whether the lease stands as it says; if not, the instance is to be
// judged anew. Until [Table.Begin] nobody could be heard here: what the log says
// is all there is to know, and leases follow it, whoever judged. From then on the
// table knows better, and the log is to be told.
func (t *Table) Follow(key rollcall.Key, found rollcall.Status) (agrees bool) {
	now := t.time()
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil {
		return true
	}
	if !t.begun.Load() {
		e.begin(found, now)
		t.schedule(e, now)
	}
	return e.found() == found
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
	if e == nil || e.is(removing) {
		s.mu.RUnlock()
		return 0, false, false
	}
	ttl = e.shared.ttl
	e.deadline.Store(int64(t.time() + ttl))
	lapsed := e.state != Alive || e.flags != 0
	s.mu.RUnlock()
	if lapsed {
		return t.revive(s, hash, key)
	}
	return ttl, true, false
}

// RenewOf is [Table.Renew] for one incarnation of an instance. It returns the one
// there is, 0 if the instance should register again, and renews only that one.
func (t *Table) RenewOf(key rollcall.Key, incarnation rollcall.Revision) (is rollcall.Revision, renewed, changed bool) {
	s, hash := t.shard(key)
	s.mu.RLock()
	e := s.get(hash, key)
	if e != nil && !e.is(removing) {
		is = e.incarnation
	}
	s.mu.RUnlock()
	if is != incarnation || is == 0 {
		return is, false, false
	}
	_, renewed, changed = t.Renew(key)
	return is, renewed, changed
}

func (t *Table) revive(s *shard, hash uint64, key rollcall.Key) (ttl time.Duration, known, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.is(removing) {
		return 0, false, false
	}
	changed = e.state != Alive
	waits := e.is(held) && e.quiet() // for a check to be reported
	e.state, e.flags = Alive, 0
	e.set(held, waits)
	if e.more != nil {
		e.more.cause = ""
	}
	now := t.time()
	e.deadline.Store(int64(now + e.shared.ttl))
	t.schedule(e, now)
	return e.shared.ttl, true, changed
}

// BreakOf notes that the stream broke of the session that keeps one incarnation
// of an instance. Unless that is renewed within [Grace], it falls silent then. During
// a pause of the process and shortly after, that is no evidence: it stays as it was
// last heard of.
func (t *Table) BreakOf(key rollcall.Key, incarnation rollcall.Revision) {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.incarnation != incarnation || !e.shared.session || e.state > Missing || e.shared.ttl == 0 {
		return
	}
	now := t.time()
	if int64(now) >= t.most.Load() || int64(now) < t.amiss.Load() {
		return
	}
	e.set(broken, true)
	if at := now + Grace; at < time.Duration(e.deadline.Load()) {
		e.deadline.Store(int64(at))
	}
	t.schedule(e, now)
}

// Convict has silence count against an instance: it is marked, and removed
// RemoveAfter later. It reports false if the instance is not silent (any more).
func (t *Table) Convict(key rollcall.Key) bool {
	now := t.time()
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.state != Silent && !e.quiet() {
		return false
	}
	if e.state == Silent {
		if e.state = Lapsed; e.is(held) {
			e.lapsed = now
		}
	}
	e.set(held, false)
	for i := range e.reports() {
		if r := &e.more.reports[i]; r.lapsed {
			r.fail(now, e.more.cause)
		}
	}
	t.schedule(e, now)
	return true
}

// Hold has a guard keep a silent instance from being convicted. It reports false
// if the instance is not silent (any more).
func (t *Table) Hold(key rollcall.Key) bool {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.state != Silent && !e.quiet() {
		return false
	}
	e.set(held, true)
	return true
}

// Refuse notes that an instance that is silent or lapsed was seen to be dead, and
// how. changed says that this is news.
func (t *Table) Refuse(key rollcall.Key, cause string) (changed bool) {
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.state != Silent && e.state != Lapsed && !e.quiet() || e.is(refused) {
		return false
	}
	e.set(refused, true)
	e.extra().cause = cause
	return true
}

// Report notes what was found of an instance in one slot. known is false for
// a slot that the instance does not have; changed says that the finding differs
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
	return t.report(e, f, now)
}

// ReportOf is [Table.Report] for one incarnation of an instance: what was found of
// another is not known.
func (t *Table) ReportOf(key rollcall.Key, incarnation rollcall.Revision, f rollcall.Finding) (known, changed bool) {
	now := t.time()
	s, hash := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(hash, key)
	if e == nil || e.incarnation != incarnation {
		return false, false
	}
	return t.report(e, f, now)
}

// report notes a finding of e, whose shard the caller holds.
func (t *Table) report(e *entry, f rollcall.Finding, now time.Duration) (known, changed bool) {
	reports := e.reports()
	for i := range reports {
		r := &reports[i]
		if r.finding.Slot != f.Slot {
			continue
		}
		changed = r.finding.Status != f.Status || r.finding.Hard != f.Hard || r.lapsed
		r.lapsed = false
		if bad := f.Status != rollcall.Healthy && f.Status != rollcall.Degraded; !bad {
			r.failing = 0
		} else if r.failing == 0 {
			r.failing = max(now, 1)
		}
		r.finding = f
		r.deadline = now + r.ttl
		t.schedule(e, now)
		return true, changed
	}
	if _, isCheck := f.Slot.Check(); isCheck {
		return false, false
	}
	m := e.extra()
	m.reports = append(m.reports, report{finding: f})
	return true, true
}

// Silent reports whether an instance is silent, or does not report a check any
// more, and whether it was seen to be dead, whatever its lease.
func (t *Table) Silent(key rollcall.Key) (silent, dead bool) {
	s, hash := t.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(hash, key)
	return e != nil && (e.state == Silent || e.quiet()), e != nil && e.is(refused)
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
	ev = Evidence{
		Incarnation: e.incarnation, State: e.state, Held: e.is(held), Broken: e.is(broken), Refused: e.is(refused),
		TTL: e.shared.ttl, Silence: max(0, t.time()-e.heard()),
	}
	if e.more != nil {
		ev.Why, ev.Cause, ev.Revision = e.more.why, e.more.cause, e.more.revision
	}
	for _, r := range e.reports() {
		switch {
		case r.lapsed && ev.Held:
			f := r.finding
			f.Status, f.Reason = rollcall.Suspect, r.silence()+", as for too many at once"
			ev.Reports = append(ev.Reports, f)
		case r.lapsed: // not decided yet
		case r.finding.Status != 0:
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
	e.set(removing, on)
	return true
}

// Has reports whether an instance has a check of type ttl, in a slot that it may
// report.
func (t *Table) Has(key rollcall.Key, slot rollcall.Slot) bool {
	s, hash := t.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(hash, key)
	return e != nil && slices.ContainsFunc(e.reports(), func(r report) bool { return r.finding.Slot == slot && r.ttl > 0 })
}
