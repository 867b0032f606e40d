package catalog

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/rollcall-registry/rollcall"
)

// View is one service in a snapshot: its instances by id, and the revision of
// its own last change. It is immutable once published.
type View struct {
	key      *rollcall.ServiceKey
	name     string // as first written
	revision rollcall.Revision
	changed  time.Time
	items    *btree.BTreeG[*Item] // copy-on-write, shared with older views
	counts   [rollcall.Draining + 1]int
	dead     int  // how many of them are known to be; see [Item.Dead]
	panic    bool // see panics
	settings *rollcall.Settings
	orphans  map[string]orphan // overrides of instances that are gone

	shared *shared
	memos  atomic.Pointer[[]*memo]
	// refused is when, in its count, the budget last had no room for a memo; its
	// lock guards it.
	refused uint64
}

// shared is what all views of a catalog have in common.
type shared struct {
	budget memos
	probes sync.Pool // of *Item to look others up with, so that nobody makes one
}

// orphan is an override that outlives its instance for a while.
type orphan struct {
	override *rollcall.Override
	since    time.Time
}

func newItems() *btree.BTreeG[*Item] {
	less := func(a, b *Item) bool { return a.ID() < b.ID() }
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// Key returns the service's key.
func (v *View) Key() rollcall.ServiceKey { return *v.key }

// Name returns the service's name as it was first written.
func (v *View) Name() string { return v.name }

// Revision returns the revision of the last change to the service.
func (v *View) Revision() rollcall.Revision { return v.revision }

// Len returns the number of instances, whatever their health.
func (v *View) Len() int { return v.items.Len() }

// Count returns the number of instances with a status.
func (v *View) Count(s rollcall.Status) int { return v.counts[s] }

func (v *View) count(i *Item, n int) {
	v.counts[i.status] += n
	if i.Dead() {
		v.dead += n
	}
}

// Panic reports whether so few instances are routable that all are served that
// may work.
func (v *View) Panic() bool { return v.panic }

// Routable returns the number of instances that are healthy or degraded: those
// that a resolver returns first. It returns suspect ones too, and in a panic others.
func (v *View) Routable() int { return v.counts[rollcall.Healthy] + v.counts[rollcall.Degraded] }

// Settings returns the service's settings; nil fields are defaults.
func (v *View) Settings() rollcall.Settings {
	if v.settings == nil {
		return rollcall.Settings{}
	}
	return *v.settings
}

// Get returns the instance called id, nil if there is none.
func (v *View) Get(id string) *Item {
	p, _ := v.shared.probes.Get().(*Item)
	if p == nil {
		p = new(Item)
	}
	p.text, p.idLen = id, uint32(len(id))
	i, _ := v.items.Get(p)
	p.text, p.idLen = "", 0
	v.shared.probes.Put(p)
	return i
}

// Override returns the operator's verdict on an instance, which need not exist;
// nil if there is none.
func (v *View) Override(id string) *rollcall.Override {
	if i := v.Get(id); i != nil {
		return i.Override()
	}
	return v.orphans[id].override
}

// Orphans yields the overrides of instances that are gone.
func (v *View) Orphans() iter.Seq2[string, *rollcall.Override] {
	return func(yield func(string, *rollcall.Override) bool) {
		for id, o := range v.orphans {
			if !yield(id, o.override) {
				return
			}
		}
	}
}

// All yields the instances by id.
func (v *View) All() iter.Seq[*Item] {
	return func(yield func(*Item) bool) { v.items.Scan(yield) }
}

// From yields the instances by id, beginning behind an id.
func (v *View) From(after string) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		v.items.Ascend(probe(after), func(i *Item) bool { return i.ID() == after || yield(i) })
	}
}

// Summary returns the service's counts.
func (v *View) Summary() rollcall.ServiceSummary {
	s := rollcall.ServiceSummary{
		Namespace: v.key.Namespace, Service: v.name, Revision: v.revision,
		Instances: v.Len(), Routable: v.Routable(), Health: map[rollcall.Status]int{},
	}
	for _, st := range rollcall.Statuses() {
		if n := v.counts[st]; n > 0 {
			s.Health[st] = n
		}
	}
	return s
}
