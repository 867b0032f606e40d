package index

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// At returns up to most instances with an address, by their keys, whatever their
// health: as of the newest snapshot that Apply was called with. An IPv4 address is
// the same when it is mapped to an IPv6 one. Who asks first makes the index, which
// takes half a second for a million instances; others wait for it meanwhile. It is
// kept in step until nobody has asked for ten minutes.
func (t *Table) At(a netip.Addr, most int) []*catalog.Item {
	a = a.Unmap()
	return t.addresses.find(t.o.Snapshot, maphash.Comparable(t.seed, a), most, func(i *catalog.Item) bool {
		got, ok := addressOf(i)
		return ok && got == a
	})
}

// On is [Table.At] of the instances on a node, which has no upper and lower case.
func (t *Table) On(node string, most int) []*catalog.Item {
	return t.nodes.find(t.o.Snapshot, maphash.String(t.seed, strings.ToLower(node)), most, func(i *catalog.Item) bool {
		got, _ := record.Place(i.Record())
		return got != "" && strings.EqualFold(got, node)
	})
}

// addressOf returns an instance's address, unless that is the name of a host.
func addressOf(i *catalog.Item) (netip.Addr, bool) {
	_, address := record.Place(i.Record())
	a, err := netip.ParseAddr(address)
	return a.Unmap(), err == nil
}

func (t *Table) hashAddress(i *catalog.Item) (hash uint64, ok bool) {
	a, ok := addressOf(i)
	return maphash.Comparable(t.seed, a), ok
}

func (t *Table) hashNode(i *catalog.Item) (hash uint64, ok bool) {
	node, _ := record.Place(i.Record())
	return maphash.String(t.seed, strings.ToLower(node)), node != ""
}

// places finds instances by something that they have one of, whichever service
// they are of, from when it is first asked. It belongs to a table, whose apply loop
// keeps it in step.
type places struct {
	hash func(*catalog.Item) (uint64, bool) // false: it has none
	some atomic.Bool                        // there is a directory

	mu  sync.Mutex // guards dir
	dir *directory
}

// directory is what places knows since it was asked, until it is given up.
type directory struct {
	ready chan struct{} // closed when it was made
	used  atomic.Bool   // since the last sweep
	since time.Time     // it was last seen to be used; Sweep's own

	mu    sync.RWMutex // guards what follows
	gone  bool         // it is not kept in step any more
	built bool
	noted []catalog.Event // while it is being made
	items *btree.BTreeG[entry]
}

// entry is an instance under its hash. Two things that share one propose each
// other's instances.
type entry struct {
	hash uint64
	item *catalog.Item // nil: before all others
}

func (e entry) compare(o entry) int {
	switch {
	case e.hash != o.hash:
		return cmp.Compare(e.hash, o.hash)
	case e.item == nil || o.item == nil:
		return cmp.Compare(btoi(e.item != nil), btoi(o.item != nil))
	}
	a, b := e.item.Key(), o.item.Key()
	return cmp.Or(a.ServiceKey.Compare(b.ServiceKey), strings.Compare(a.ID, b.ID))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find returns up to most of the instances under a hash that match.
func (p *places) find(snapshot func() *catalog.Snapshot, hash uint64, most int, match func(*catalog.Item) bool) []*catalog.Item {
	for {
		d := p.get(snapshot)
		d.mu.RLock()
		if d.gone { // given up a moment ago
			d.mu.RUnlock()
			continue
		}
		var found []*catalog.Item
		d.items.Ascend(entry{hash: hash}, func(e entry) bool {
			if e.hash != hash || len(found) >= most {
				return false
			}
			if match(e.item) {
				found = append(found, e.item)
			}
			return true
		})
		d.mu.RUnlock()
		return found
	}
}

// get returns the directory, made if there is none.
func (p *places) get(snapshot func() *catalog.Snapshot) *directory {
	p.mu.Lock()
	d := p.dir
	if d == nil {
		d = &directory{ready: make(chan struct{})}
		p.dir = d
		p.some.Store(true)
		p.mu.Unlock()
		// Its events are noted from now on. All earlier ones were published.
		d.build(snapshot(), p.hash)
		return d
	}
	p.mu.Unlock()
	if !d.used.Load() {
		d.used.Store(true)
	}
	<-d.ready
	return d
}

// build fills the directory with a snapshot that holds at least all events before
// those that are noted.
func (d *directory) build(s *catalog.Snapshot, hash func(*catalog.Item) (uint64, bool)) {
	defer close(d.ready)
	all := make([]entry, 0, s.Instances())
	for v := range s.Views(rollcall.ServiceKey{}) {
		for i := range v.All() {
			if h, ok := hash(i); ok {
				all = append(all, entry{h, i})
			}
		}
	}
	slices.SortFunc(all, entry.compare)
	d.items = btree.NewBTreeGOptions(func(a, b entry) bool { return a.compare(b) < 0 }, btree.Options{NoLocks: true})
	for _, e := range all {
		d.items.Load(e)
	}
	for made := s.Revision(); ; {
		d.mu.Lock()
		events := d.noted
		if d.noted = nil; len(events) == 0 {
			d.built = true
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		for n := range events {
			if events[n].Revision > made {
				d.set(&events[n], hash)
			}
		}
	}
}

// apply works off events.
func (p *places) apply(events []catalog.Event) {
	if !p.some.Load() {
		return
	}
	if len(events) > 0 && events[0].Reset { // it is faster to make it anew
		p.drop()
		return
	}
	p.mu.Lock()
	d := p.dir
	p.mu.Unlock()
	for d != nil && len(events) > 0 {
		n := min(len(events), atOnce)
		d.mu.Lock()
		if d.built {
			for n := range events[:n] {
				d.set(&events[n], p.hash)
			}
		} else {
			d.noted = append(d.noted, events[:n]...)
		}
		d.mu.Unlock()
		events = events[n:]
	}
}

// set takes in what became of an instance.
func (d *directory) set(e *catalog.Event, hash func(*catalog.Item) (uint64, bool)) {
	var was, is entry
	var had, has bool
	if was.item = e.Before; was.item != nil {
		was.hash, had = hash(was.item)
	}
	if is.item = e.After; is.item != nil {
		is.hash, has = hash(is.item)
	}
	if had && !(has && was.hash == is.hash) {
		d.items.Delete(was)
	}
	if has {
		d.items.Set(is)
	}
}

// drop gives up the directory: whoever asks next makes another one.
func (p *places) drop() {
	p.mu.Lock()
	d := p.dir
	p.dir = nil
	p.some.Store(false)
	p.mu.Unlock()
	if d != nil {
		d.mu.Lock()
		d.gone, d.noted = true, nil
		d.mu.Unlock()
	}
}

// sweep gives it up if nobody asked for long.
func (p *places) sweep(now time.Time) {
	p.mu.Lock()
	d := p.dir
	p.mu.Unlock()
	if d == nil {
		return
	}
	if d.used.Swap(false) || d.since.IsZero() {
		d.since = now
	}
	if now.Sub(d.since) >= kept {
		p.drop()
	}
}
