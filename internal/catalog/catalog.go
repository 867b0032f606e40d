// Package catalog turns the log into immutable snapshots. One goroutine applies
// entries and publishes; any number of readers hold snapshots and views, which
// share all structure that did not change between them. The cost of a change is
// that of a path in two trees, whatever the size of the catalog or the service.
package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// KnownFor is for how long the log's word on what has no instance stands: the
// name of a service, and an override.
const KnownFor = 24 * time.Hour

// skew is how far the clocks of those who write and of those who forget may
// differ: what is forgotten must be past KnownFor for all of them.
const skew = time.Hour

// Event is one instance's before → after, or a change to its service alone.
// Items are nil where there was or is no instance.
type Event struct {
	Revision rollcall.Revision
	// Committed is when the log had it, by this process's clock; zero if it was
	// read back.
	Committed time.Time
	Service   rollcall.ServiceKey
	ID        string // empty: the service as a whole, or the query of that name
	Before    *Item
	After     *Item
	// Was is the image of the service's settings before, where ID is empty.
	Was   string
	Panic *Panic // set where the service's panic began or ended
	// Change caused it. Whoever keeps events for long should let go of it: it
	// keeps the batch it came in.
	Change *rollcall.Change
	Why    string // the Change's
	// Reset says that the event is a difference found after a reset: what lies
	// between Before and After is not known, nor is the Change.
	Reset bool

	name string // of the service as it was first written; "" if ID is empty
}

// Panic is what became of a service's panic, and when.
type Panic struct {
	On bool
	At time.Time
}

// HealthOnly reports whether the event is a change of verdict or checks, not of
// what was registered.
func (e *Event) HealthOnly() bool {
	return e.Before != nil && e.After != nil && e.Before.sameRegistration(e.After)
}

// Anew reports whether the event is a registration: of an instance that was not
// there, or of one that begins again.
func (e *Event) Anew() bool {
	return e.After != nil && (e.Before == nil || e.Before.Incarnation() != e.After.Incarnation())
}

// Catalog applies entries and publishes snapshots. Apply, Forget, DropEvents,
// Publish and Abandon belong to one goroutine; Snapshot and Synced may be called by any.
type Catalog struct {
	published atomic.Pointer[Snapshot]
	synced    atomic.Bool
	newest    index
	hash      hasher
	stamps    [stamps]atomic.Uint64
	shared    *shared
	panic     float64 // the share below which a service is in panic, unless it has one of its own

	// The writer's own.
	edit      uint64 // numbers the drafts between two publications
	next      *Snapshot
	queried   uint64 // the edit in which next's queries were copied
	drafts    map[rollcall.ServiceKey]draft
	committed time.Time // of the entry that is being applied
	dirty     bool      // something was applied
	reset     bool      // a reset is being read; next started empty
	events    []Event
	touched   []*View // by the entry that is being applied, some perhaps twice
	fresh     []draft // flushed and not published
	gone      []rollcall.ServiceKey
	moved     []uint64 // hashes of services whose stamp is to be raised
}

// draft is a view that is being made.
type draft struct {
	*View
	of   *View // which it replaces; nil: none
	hash uint64
}

// New returns an empty catalog that has seen no log.
func New() *Catalog {
	c := &Catalog{shared: &shared{budget: memos{limit: DefaultMemoBytes}}, hash: newHasher(), panic: DefaultPanic, edit: 1, drafts: map[rollcall.ServiceKey]draft{}}
	c.next = emptySnapshot(c.hash)
	c.published.Store(c.next)
	c.draft()
	return c
}

// Snapshot returns the newest published state.
func (c *Catalog) Snapshot() *Snapshot { return c.published.Load() }

// View returns the newest published view of a service, nil if it is not known:
// that of [Catalog.Snapshot] or a newer one.
func (c *Catalog) View(key rollcall.ServiceKey) *View {
	return c.newest.get(c.hash.of(key), key)
}

// Item returns the newest published state of an instance, nil if there is none.
func (c *Catalog) Item(key rollcall.Key) *Item {
	if v := c.View(key.ServiceKey); v != nil {
		return v.Get(key.ID)
	}
	return nil
}

// Synced reports whether the catalog has read its log from the start. Before
// that, that something is missing from it means nothing.
func (c *Catalog) Synced() bool { return c.synced.Load() }

// draft begins the next snapshot as a copy of the newest.
func (c *Catalog) draft() {
	n := *c.next
	n.names = n.names.Copy()
	c.next = &n
	c.edit++
	clear(c.drafts)
}

// Apply applies one entry to the draft of the next snapshot. The pages of a
// reset replace everything; nothing of it shows before its last page. It
// returns an error only for an entry that no log can hold.
func (c *Catalog) Apply(e rollcall.Entry) error {
	c.dirty, c.committed = true, e.Committed
	if e.Reset && !c.reset {
		// Whatever is not published yet comes out in the difference.
		c.next = emptySnapshot(c.hash)
		clear(c.drafts)
		c.edit++
		c.reset = true
	}
	c.next.log, c.next.revision = e.Log, e.Revision
	c.touched = c.touched[:0]
	for i := range e.Changes {
		if err := c.change(&e.Changes[i]); err != nil {
			return fmt.Errorf("entry %d: %w", e.Revision, err)
		}
	}
	c.settle(&e)
	if e.Reset && !e.More {
		c.reset = false
		c.flush()
		if c.events = nil; c.Synced() { // else nobody has seen what it differs from
			c.events = difference(c.Snapshot(), c.next)
		}
		for v := range c.Snapshot().Views(rollcall.ServiceKey{}) {
			c.gone = append(c.gone, *v.key)
		}
	}
	return nil
}

// eventsReused is up to how many events are collected in the same place again: those of
// a few batches of registrations, some 3 MB.
const eventsReused = 1 << 14

// Publish makes what was applied visible and returns it with its events, in
// order. It does nothing in the middle of a reset.
func (c *Catalog) Publish() (*Snapshot, []Event) {
	if c.reset || !c.dirty {
		return c.Snapshot(), nil
	}
	c.flush()
	s, events := c.next, c.events
	if len(events) > eventsReused {
		c.events = nil
	} else { // no longer than they are: events are kept for minutes
		events = slices.Clone(events)
		clear(c.events)
		c.events = c.events[:0]
	}
	c.index(s)
	// What a query's name means may be another than it was, whatever the service.
	queried := c.queried == c.edit || c.Snapshot().NamedQueries() != s.NamedQueries()
	c.published.Store(s)
	c.stamp(queried)
	c.synced.Store(true) // nothing is applied before a log's first reset
	c.dirty = false
	c.draft()
	return s, events
}

// Abandon drops what was applied and not published, as does the reader of a log
// that lost it halfway and will read it again behind the newest snapshot.
func (c *Catalog) Abandon() {
	c.next = c.Snapshot()
	c.events, c.dirty, c.reset = nil, false, false
	c.fresh, c.gone = nil, nil
	c.draft()
}

// DropEvents drops the oldest events of what is not published yet, once they are
// twice as many as are to be kept, and returns the revision behind which those
// that are left are complete: 0 if nothing was dropped.
func (c *Catalog) DropEvents(keep int) (since rollcall.Revision) {
	n := len(c.events) - keep
	if n < keep {
		return 0
	}
	since = c.events[n-1].Revision
	c.events = slices.Delete(c.events, 0, n)
	return since
}

// index brings the index in line with a snapshot that is about to be published.
func (c *Catalog) index(s *Snapshot) {
	for _, d := range c.fresh {
		c.newest.set(d.hash, *d.key, d.View)
		c.moved = append(c.moved, d.hash)
	}
	for _, key := range c.gone {
		hash := s.hash.of(key)
		c.newest.set(hash, key, s.View(key)) // which may be back already
		c.moved = append(c.moved, hash)
	}
	clear(c.fresh)
	c.fresh, c.gone = c.fresh[:0], nil
}

// flush puts the drafts of views into the draft of the snapshot.
func (c *Catalog) flush() {
	for _, d := range c.drafts {
		c.shared.budget.drop(d.of)
		c.next.services.set(c.edit, d.hash, d.View)
		c.fresh = append(c.fresh, d)
	}
	clear(c.drafts)
}

// view returns the draft of a service's view, made from the current one, or
// new. A draft belongs to the writer until it is published.
func (c *Catalog) view(key rollcall.ServiceKey) *View {
	if d, ok := c.drafts[key]; ok {
		return d.View
	}
	hash := c.next.hash.of(key)
	of := c.next.services.get(hash, key)
	v := of
	if v == nil {
		key := rollcall.ServiceKey{Namespace: strings.Clone(key.Namespace), Service: strings.Clone(key.Service)}
		v = &View{key: &key, name: key.Service, items: newItems(), shared: c.shared}
		c.next.names.Set(v.key)
	} else {
		v = &View{
			key: v.key, name: v.name, revision: v.revision, changed: v.changed, items: v.items.Copy(),
			counts: v.counts, dead: v.dead, panic: v.panic, settings: v.settings, orphans: v.orphans, shared: c.shared,
		}
	}
	c.drafts[*v.key] = draft{v, of, hash}
	return v
}

func (c *Catalog) change(ch *rollcall.Change) error {
	switch b := ch.Body.(type) {
	case rollcall.InstancePut:
		c.put(ch, b)
	case rollcall.InstanceRemove:
		c.remove(ch, b)
	case rollcall.HealthPut:
		c.health(ch, b)
	case rollcall.OverridePut:
		c.override(ch, b)
	case rollcall.SettingsPut:
		v := c.touch(b.Service, ch)
		was := v.Image()
		if v.settings = b.Settings; b.Name != "" {
			v.name = b.Name
		}
		c.decided(ch, b.Service, was)
	case rollcall.GuardPut:
		c.guard(ch, b)
	case rollcall.QueryPut:
		c.query(ch, b)
	case rollcall.Unknown:
		c.keep(ch, b)
	default:
		return fmt.Errorf("change of type %T", b)
	}
	return nil
}

// touch returns the draft of a service's view, stamped with a change.
func (c *Catalog) touch(key rollcall.ServiceKey, ch *rollcall.Change) *View {
	v := c.view(key)
	if v.items.Len() == 0 && ch.At.Sub(v.changed) > KnownFor {
		v.name = v.key.Service
	}
	if ch.Revision >= v.revision {
		v.revision, v.changed = ch.Revision, ch.At
	}
	if n := len(c.touched); n == 0 || c.touched[n-1] != v {
		c.touched = append(c.touched, v)
	}
	return v
}

func (c *Catalog) put(ch *rollcall.Change, b rollcall.InstancePut) {
	v := c.touch(b.Key.ServiceKey, ch)
	n := &Item{
		service: v.key, revision: ch.Revision, incarnation: b.Incarnation,
		registered: b.RegisteredAt.UnixNano(), status: rollcall.Healthy, since: ch.At.UnixNano(),
	}
	n.write(&b)
	if n.incarnation == 0 {
		n.incarnation = ch.Revision
	}
	if b.RegisteredAt.IsZero() {
		n.registered = ch.At.UnixNano()
	}
	old, _ := v.items.Set(n) // which only the writer sees until it is complete
	var o *rollcall.Override
	switch orphan, found := v.orphans[b.Key.ID]; {
	case old != nil:
		o = old.Override()
		n.status, n.since = old.status, old.since
	case found:
		if o = orphan.at(ch.At); o != nil && o.Expires != nil && !o.Expires.After(ch.At) {
			o = nil
		}
		v.orphans = maps.Clone(v.orphans)
		delete(v.orphans, b.Key.ID)
	}
	if old == nil && v.items.Len() == 1 {
		// The record has the service's earlier name, unless that was forgotten.
		if v.name = v.key.Service; record.ServiceName(b.Record) != "" {
			v.name = strings.Clone(record.ServiceName(b.Record))
		}
	}
	if findings := inherit(old, n, ch.At); len(findings) > 0 || o != nil || n.status != rollcall.Healthy {
		*n = *n.with(findings, o, ch.At.UnixNano())
	}
	c.placed(ch, v, old, n)
}

// place puts n where old is.
func (c *Catalog) place(ch *rollcall.Change, v *View, old, n *Item) {
	v.items.Set(n)
	c.placed(ch, v, old, n)
}

// placed counts and tells that n is where old was (nil if there was none).
func (c *Catalog) placed(ch *rollcall.Change, v *View, old, n *Item) {
	if old == nil {
		c.next.instances++
	} else {
		v.count(old, -1)
	}
	v.count(n, 1)
	n.forced = v.panic && n.status == rollcall.Unhealthy && !n.Dead()
	c.event(ch, v, n.ID(), old, n)
}

func (c *Catalog) remove(ch *rollcall.Change, b rollcall.InstanceRemove) {
	if v := c.next.viewOrDraft(c.drafts, b.Key.ServiceKey); v == nil || v.Get(b.Key.ID) == nil {
		return
	}
	v := c.touch(b.Key.ServiceKey, ch)
	old, _ := v.items.Delete(probe(b.Key.ID))
	v.count(old, -1)
	c.next.instances--
	if o := old.Override(); o != nil {
		v.adopt(strings.Clone(old.ID()), orphan{o, ch.At})
	}
	c.event(ch, v, old.ID(), old, nil)
}

// overrideAt is [View.Override] at a time of the log.
func (v *View) overrideAt(id string, at time.Time) *rollcall.Override {
	if i := v.Get(id); i != nil {
		return i.Override()
	}
	return v.orphans[id].at(at)
}

// at returns the override at a time of the log. One that has waited too long for its
// instance is none any more: only what the log says counts for that, so that whoever
// reads it finds the same, whatever was forgotten and when.
func (o orphan) at(t time.Time) *rollcall.Override {
	if t.Sub(o.since) <= KnownFor {
		return o.override
	}
	return nil
}

func (v *View) adopt(id string, o orphan) {
	if v.orphans = maps.Clone(v.orphans); v.orphans == nil {
		v.orphans = map[string]orphan{}
	}
	v.orphans[id] = o
}

func (c *Catalog) health(ch *rollcall.Change, b rollcall.HealthPut) {
	if c.next.viewOrDraft(c.drafts, b.Service) == nil {
		return
	}
	v := c.view(b.Service)
	if b.Slot == slotSince {
		for _, id := range b.IDs {
			if i := v.Get(id); i != nil {
				n := *i
				n.since = ch.At.UnixNano()
				v.items.Set(&n)
			}
		}
		return
	}
	f := rollcall.Finding{
		Slot: rollcall.Slot(strings.Clone(string(b.Slot))), Status: b.Status, Reason: strings.Clone(b.Reason), Hard: b.Hard, Since: ch.At,
	}
	for _, id := range b.IDs {
		old := v.Get(id)
		if old == nil {
			continue
		}
		n := old.withFinding(f, c.reset)
		if n == old {
			continue
		}
		c.touch(b.Service, ch)
		c.place(ch, v, old, n)
	}
}

func (c *Catalog) override(ch *rollcall.Change, b rollcall.OverridePut) {
	if b.Override == nil {
		v := c.next.viewOrDraft(c.drafts, b.Key.ServiceKey)
		if v == nil || v.overrideAt(b.Key.ID, ch.At) == nil {
			return
		}
	}
	v := c.touch(b.Key.ServiceKey, ch)
	old := v.Get(b.Key.ID)
	if old == nil {
		if b.Override != nil {
			v.adopt(b.Key.ID, orphan{b.Override, ch.At})
			return
		}
		v.orphans = maps.Clone(v.orphans)
		delete(v.orphans, b.Key.ID)
		return
	}
	var findings []rollcall.Finding
	if old.evidence != nil {
		findings = old.evidence.findings
	}
	c.place(ch, v, old, old.with(findings, b.Override, ch.At.UnixNano()))
}

func (c *Catalog) guard(ch *rollcall.Change, b rollcall.GuardPut) {
	if b.Guard == nil && c.next.guards[b.Service] == nil {
		return
	}
	if c.next.guards = maps.Clone(c.next.guards); c.next.guards == nil {
		c.next.guards = map[rollcall.ServiceKey]*rollcall.Guard{}
	}
	if c.next.guards[b.Service] = b.Guard; b.Guard == nil {
		delete(c.next.guards, b.Service)
	}
	c.decided(ch, b.Service, c.next.viewOrDraft(c.drafts, b.Service).Image())
}

// decided tells that something changed for a service as a whole.
func (c *Catalog) decided(ch *rollcall.Change, service rollcall.ServiceKey, was string) {
	if !c.reset {
		c.events = append(c.events, Event{Revision: ch.Revision, Committed: c.committed, Service: service, Was: was, Change: ch, Why: ch.Why})
	}
}

func (c *Catalog) keep(ch *rollcall.Change, b rollcall.Unknown) {
	if c.next.unknown = maps.Clone(c.next.unknown); c.next.unknown == nil {
		c.next.unknown = map[unknownKey]rollcall.Change{}
	}
	key := unknownKey{b.Kind, b.Key}
	if b.Data == "" {
		delete(c.next.unknown, key)
		return
	}
	c.next.unknown[key] = *ch
}

// event tells what became of an instance.
func (c *Catalog) event(ch *rollcall.Change, v *View, id string, before, after *Item) {
	if !c.reset {
		c.events = append(c.events, Event{
			Revision: ch.Revision, Committed: c.committed, Service: *v.key, ID: id, Before: before, After: after, Change: ch, Why: ch.Why, name: v.name,
		})
	}
}

func (s *Snapshot) viewOrDraft(drafts map[rollcall.ServiceKey]draft, key rollcall.ServiceKey) *View {
	if d, ok := drafts[key]; ok {
		return d.View
	}
	return s.View(key)
}

// Forget drops services that have had no instance since before a time, at least
// [KnownFor] ago, and, a little later, overrides that have had no instance to
// stand for; and beyond most, such services (also those that only have settings)
// in any case, the oldest first. It changes no revision: what is forgotten was
// empty, and what the log says next means the same without it.
func (c *Catalog) Forget(before time.Time, most int) {
	if c.reset {
		return
	}
	c.flush()
	waits := before.Add(-skew)
	// First see, then change: the tree that is walked is the one that changes.
	var empty, stale []*View
	for v := range c.next.Views(rollcall.ServiceKey{}) {
		for _, o := range v.orphans {
			if o.since.Before(waits) {
				stale = append(stale, v)
				break
			}
		}
		if v.Len() == 0 {
			empty = append(empty, v)
		}
	}
	for _, v := range stale {
		d := c.view(*v.key)
		d.orphans = maps.Clone(d.orphans)
		maps.DeleteFunc(d.orphans, func(_ string, o orphan) bool { return o.since.Before(waits) })
	}
	c.flush()
	slices.SortFunc(empty, func(a, b *View) int { return a.changed.Compare(b.changed) })
	for n, old := range empty {
		v := c.next.View(*old.key)
		kept := v.settings != nil || len(v.orphans) > 0 || !v.changed.Before(before)
		if kept && len(empty)-n <= most {
			continue
		}
		c.shared.budget.drop(v)
		c.next.services.delete(c.edit, c.next.hash.of(*v.key), *v.key)
		c.next.names.Delete(v.key)
		c.gone = append(c.gone, *v.key)
	}
	c.dirty = true
}

// difference tells what became of each instance and each named query between two
// snapshots, whatever lies between them. Those that are unchanged are not mentioned.
func difference(old, now *Snapshot) (events []Event) {
	for v := range now.Views(rollcall.ServiceKey{}) {
		was := old.View(*v.key)
		for i := range v.All() {
			var before *Item
			if was != nil {
				before = was.Get(i.ID())
			}
			if before == nil || !before.equal(i) {
				events = append(events, Event{Revision: now.revision, Service: *v.key, ID: i.ID(), Before: before, After: i, Reset: true})
			}
		}
	}
	for v := range old.Views(rollcall.ServiceKey{}) {
		is := now.View(*v.key)
		for i := range v.All() {
			if is == nil || is.Get(i.ID()) == nil {
				events = append(events, Event{Revision: now.revision, Service: *v.key, ID: i.ID(), Before: i, Reset: true})
			}
		}
	}
	for _, key := range otherQueries(old, now) {
		events = append(events, Event{Revision: now.revision, Service: key, Reset: true})
	}
	return events
}
