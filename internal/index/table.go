// Package index finds instances of services that are too big to be looked through
// for every query: by what they can do, and by how near they are. A [Table] makes
// the index of a service when it is first asked for, and keeps it in step with the
// catalog (Apply) and with positions that move (Move, Forget) until nobody asks
// any more. In the same way it finds those of all services that run at an address
// (At) or on a node (On).
//
// An instance has a slot, a small number. Positions are in a [geo.Index]; for each
// capability or metadata name that queries ask about there is, by value, the set of
// slots that have it. Both only propose: whether an instance is in an answer is
// decided by the predicate that the caller passes, and what a predicate said of an
// instance is remembered under the text of the query, for as long as the instance
// stays as it is.
//
// Queries of one service run at once. They hold its lock only to look at what is
// in memory here, never while they ask a predicate; moves that find them there are
// left to the next query.
package index

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
)

// DefaultLeast is how many instances a service has at least to be given an index:
// looking through fewer is as fast.
const DefaultLeast = 512

// kept is for how long an index, or one of its columns, is kept unused.
const kept = 10 * time.Minute

// shrunk is by which factor a service becomes smaller before its index is given
// up. If it is still big enough, a new one of its size is made.
const shrunk = 4

// Options say where a table finds what it indexes.
type Options struct {
	// View returns the newest published view of a service, nil if there is none.
	View func(rollcall.ServiceKey) *catalog.View
	// Snapshot returns the newest published snapshot, for [Table.At] and [Table.On];
	// nil if nobody asks them.
	Snapshot func() *catalog.Snapshot
	// At returns where an instance has moved since it was registered, if it has;
	// nil if none do.
	At    func(rollcall.Key) (rollcall.Position, bool)
	Least int // 0: DefaultLeast
}

// Table keeps the indexes of services. Apply and Sweep may not run at once with
// themselves; all else may be called by any goroutine.
type Table struct {
	o       Options
	seed    maphash.Seed
	applied atomic.Uint64 // the revision that indexes are in step with
	some    atomic.Bool   // there is an index
	room    sync.Pool     // of *[]uint32, for the bits of a query

	addresses, nodes places

	mu       sync.RWMutex // guards services; taken before a service's lock, never behind it
	services map[rollcall.ServiceKey]*Service
}

// New returns a table without indexes.
func New(o Options) *Table {
	if o.Least == 0 {
		o.Least = DefaultLeast
	}
	t := &Table{o: o, seed: maphash.MakeSeed(), services: map[rollcall.ServiceKey]*Service{}}
	t.addresses.hash, t.nodes.hash = t.hashAddress, t.hashNode
	return t
}

func (t *Table) get(key rollcall.ServiceKey) *Service {
	if !t.some.Load() {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.services[key]
}

// Of returns the index of a view's service, nil if the service is better looked
// through: because it is small, or because the view has just been published and is
// ahead of its index. The index may be ahead of the view. It is kept in step only
// while it is in use: ask for it again for the next query. The view must not be one
// of the past.
//
// Whoever asks first makes the index, which takes a second for a million instances;
// others wait for it meanwhile. To look through the service would cost each of them
// a good part of that second, and slow down the making.
func (t *Table) Of(v *catalog.View) *Service {
	s := t.get(v.Key())
	if s == nil {
		if v.Len() < t.o.Least {
			return nil
		}
		s = t.begin(v.Key())
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	<-s.ready
	if s.gone.Load() || uint64(v.Revision()) > t.applied.Load() && !s.covers(v) {
		return nil
	}
	return s
}

// begin returns the index of a service, made if nobody else makes it.
func (t *Table) begin(key rollcall.ServiceKey) *Service {
	t.mu.Lock()
	s := t.services[key]
	if s != nil {
		t.mu.Unlock()
		return s
	}
	s = &Service{table: t, key: key, ready: make(chan struct{}), slots: map[string]uint32{}, verdicts: map[string]*verdicts{}}
	t.services[key] = s
	t.some.Store(true)
	t.mu.Unlock()
	defer close(s.ready)
	// Its events are noted from now on. All earlier ones were published.
	if v := t.o.View(key); v != nil && v.Len() >= t.o.Least/shrunk {
		s.build(v)
	} else {
		t.drop(s)
	}
	return s
}

func (t *Table) drop(s *Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.gone.Store(true)
	if t.services[s.key] == s {
		delete(t.services, s.key)
	}
	t.some.Store(len(t.services) > 0)
}

// Apply brings the indexes in step with a snapshot that was just published, given
// its events. It belongs to the apply loop, which calls it before it tells anybody
// of the snapshot. It costs nothing for services without an index, and does not wait
// for one that is being made.
func (t *Table) Apply(snapshot *catalog.Snapshot, events []catalog.Event) {
	t.addresses.apply(events)
	t.nodes.apply(events)
	if t.some.Load() {
		if len(events) > 0 && events[0].Reset {
			t.reset()
		}
		for len(events) > 0 {
			n := 1
			for n < min(len(events), atOnce) && events[n].Service == events[0].Service {
				n++
			}
			if s := t.get(events[0].Service); s != nil && !s.apply(events[:n]) {
				t.drop(s)
			}
			events = events[n:]
		}
	}
	t.applied.Store(uint64(snapshot.Revision()))
}

// reset gives up all indexes: where everything may be different, it is faster to
// make them anew, and those who ask do it.
func (t *Table) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.services {
		s.gone.Store(true)
	}
	clear(t.services)
	t.some.Store(false)
}

// Move says that an instance is at p now. Of two calls for one instance the later
// one counts. A position that is not valid says nothing.
func (t *Table) Move(key rollcall.Key, p rollcall.Position) {
	if s := t.get(key.ServiceKey); s != nil && geo.Valid(p) {
		s.move(move{id: key.ID, at: geo.At(p)})
	}
}

// Forget says that where an instance had moved does not count any more, as
// Options.At knows already: it is where it was registered.
func (t *Table) Forget(key rollcall.Key) {
	if s := t.get(key.ServiceKey); s != nil {
		s.move(move{id: key.ID, back: true})
	}
}

// Sweep gives up what nobody asked for since it was last asked for ten minutes ago.
// Call it every minute or so.
func (t *Table) Sweep(now time.Time) {
	t.addresses.sweep(now)
	t.nodes.sweep(now)
	var idle []*Service
	t.mu.RLock()
	for _, s := range t.services {
		if s.used.Swap(false) || s.since.IsZero() {
			s.since = now
		}
		if now.Sub(s.since) >= kept {
			idle = append(idle, s)
		}
	}
	t.mu.RUnlock()
	for _, s := range idle {
		t.drop(s)
	}
	t.mu.RLock()
	services := make([]*Service, 0, len(t.services))
	for _, s := range t.services {
		services = append(services, s)
	}
	t.mu.RUnlock()
	for _, s := range services {
		s.sweep(now)
	}
}
