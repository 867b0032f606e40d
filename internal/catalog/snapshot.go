package catalog

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"github.com/rollcall-registry/rollcall"
)

// Snapshot is the state of the log at one revision. It is immutable: readers
// hold it as long as they like and never block anybody.
type Snapshot struct {
	log       rollcall.LogID
	revision  rollcall.Revision
	hash      hasher
	services  trie
	names     *btree.BTreeG[*rollcall.ServiceKey] // copy-on-write, in order
	instances int
	panics    int                                          // services
	guards    map[rollcall.ServiceKey]*rollcall.Guard      // copied on change, which is rare
	queries   map[rollcall.ServiceKey]*rollcall.NamedQuery // these too; nil if there are none
	unknown   map[unknownKey]rollcall.Change               // and these
}

type unknownKey struct {
	kind uint32
	key  string
}

func emptySnapshot(h hasher) *Snapshot {
	less := func(a, b *rollcall.ServiceKey) bool { return a.Compare(*b) < 0 }
	return &Snapshot{
		hash:  h,
		names: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true}),
	}
}

// Log returns the identity of the log that the snapshot is a state of.
func (s *Snapshot) Log() rollcall.LogID { return s.log }

// Revision returns the revision that the snapshot is the state at.
func (s *Snapshot) Revision() rollcall.Revision { return s.revision }

// View returns a service's view, nil if the service is not known. A service is
// known while it has an instance and for a while after.
func (s *Snapshot) View(key rollcall.ServiceKey) *View {
	return s.services.get(s.hash.of(key), key)
}

// Item returns an instance, nil if there is none.
func (s *Snapshot) Item(key rollcall.Key) *Item {
	v := s.View(key.ServiceKey)
	if v == nil {
		return nil
	}
	return v.Get(key.ID)
}

// Services returns the number of services that are known.
func (s *Snapshot) Services() int { return s.services.size }

// Instances returns the number of instances.
func (s *Snapshot) Instances() int { return s.instances }

// Health returns how many instances have each status that any has.
func (s *Snapshot) Health() map[rollcall.Status]int {
	all := map[rollcall.Status]int{}
	for v := range s.Views(rollcall.ServiceKey{}) {
		for _, status := range rollcall.Statuses() {
			if n := v.Count(status); n > 0 {
				all[status] += n
			}
		}
	}
	return all
}

// Views yields the services in order, beginning with the first one after
// (that is, behind) a key; the zero key is before all.
func (s *Snapshot) Views(after rollcall.ServiceKey) iter.Seq[*View] {
	return func(yield func(*View) bool) {
		s.names.Ascend(&after, func(k *rollcall.ServiceKey) bool {
			return *k == after || yield(s.View(*k))
		})
	}
}

// Panics returns the number of services in panic.
func (s *Snapshot) Panics() int { return s.panics }

// Guard returns the guard on a service, or with a zero key that on everything;
// nil if there is none.
func (s *Snapshot) Guard(key rollcall.ServiceKey) *rollcall.Guard { return s.guards[key] }

// Guards returns all guards, in order of what they guard.
func (s *Snapshot) Guards() []*rollcall.Guard {
	var gs []*rollcall.Guard
	for _, key := range slices.SortedFunc(maps.Keys(s.guards), rollcall.ServiceKey.Compare) {
		gs = append(gs, s.guards[key])
	}
	return gs
}

// State yields the changes that make up the snapshot, for a checkpoint or a
// backup: applied to nothing as one reset, they give the same snapshot.
func (s *Snapshot) State() iter.Seq[rollcall.Change] {
	return func(yield func(rollcall.Change) bool) {
		for v := range s.Views(rollcall.ServiceKey{}) {
			if !v.state(yield) {
				return
			}
		}
		for _, g := range s.Guards() {
			if !yield(rollcall.Change{At: g.Since, Revision: s.revision, Body: rollcall.GuardPut{Service: g.Key(), Guard: g}}) {
				return
			}
		}
		for c := range s.queryChanges() {
			if !yield(c) {
				return
			}
		}
		order := func(a, b unknownKey) int {
			if a.kind != b.kind {
				return int(a.kind) - int(b.kind)
			}
			return strings.Compare(a.key, b.key)
		}
		for _, k := range slices.SortedFunc(maps.Keys(s.unknown), order) {
			if !yield(s.unknown[k]) {
				return
			}
		}
	}
}

// slotSince is a mark in a state: its HealthPut has no finding but says since
// when the verdict has been what it is.
const slotSince rollcall.Slot = "since"

// marker says that the service is known, and its name where no instance has it.
func (v *View) marker() rollcall.SettingsPut {
	m := rollcall.SettingsPut{Service: *v.key, Settings: v.settings}
	if v.items.Len() == 0 && v.name != v.key.Service {
		m.Name = v.name
	}
	return m
}

// state yields first the settings, set or not: they say that the service is
// known, and since which revision and time it is as it is. Then the instances,
// then what is known of them, then overrides, then since when the verdicts are.
func (v *View) state(yield func(rollcall.Change) bool) bool {
	if !yield(rollcall.Change{At: v.changed, Revision: v.revision, Body: v.marker()}) {
		return false
	}
	var findings, since healthGroups
	for i := range v.All() {
		registered := time.Unix(0, i.registered).UTC()
		put := rollcall.InstancePut{Key: i.Key(), Incarnation: i.incarnation, RegisteredAt: registered, Record: i.Record()}
		if !yield(rollcall.Change{At: registered, Revision: i.revision, Body: put}) {
			return false
		}
		if i.evidence != nil {
			for _, f := range i.evidence.findings {
				findings.add(f, i.ID())
			}
		}
		if i.evidence != nil || i.since != i.registered {
			since.add(rollcall.Finding{Slot: slotSince, Status: i.status, Since: i.Since()}, i.ID())
		}
	}
	if !findings.state(v, yield) {
		return false
	}
	for i := range v.All() {
		if o := i.Override(); o != nil && !yield(v.override(i.ID(), o, o.Since)) {
			return false
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.orphans)) {
		if o := v.orphans[id]; !yield(v.override(id, o.override, o.since)) {
			return false
		}
	}
	return since.state(v, yield)
}

// healthGroups gathers the instances of which the same is found, in order of
// appearance, so that equal states give equal files.
type healthGroups struct {
	findings []rollcall.Finding
	ids      map[rollcall.Finding][]string
}

func (g *healthGroups) add(f rollcall.Finding, id string) {
	if g.ids == nil {
		g.ids = map[rollcall.Finding][]string{}
	}
	if g.ids[f] == nil {
		g.findings = append(g.findings, f)
	}
	g.ids[f] = append(g.ids[f], id)
}

func (g *healthGroups) state(v *View, yield func(rollcall.Change) bool) bool {
	for _, f := range g.findings {
		for part := range slices.Chunk(g.ids[f], rollcall.MaxHealthIDs) {
			put := rollcall.HealthPut{Service: *v.key, Slot: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard, IDs: part}
			if !yield(rollcall.Change{At: f.Since, Revision: v.revision, Body: put}) {
				return false
			}
		}
	}
	return true
}

func (v *View) override(id string, o *rollcall.Override, at time.Time) rollcall.Change {
	key := rollcall.Key{ServiceKey: *v.key, ID: id}
	return rollcall.Change{At: at, Revision: v.revision, Body: rollcall.OverridePut{Key: key, Override: o}}
}
