package view

import (
	"cmp"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/outcome"
)

// State is what a watch has told so far. It belongs to one goroutine.
type State struct {
	// Own is the service that is asked for, to which ids belong that nothing else is
	// said of.
	Own rollcall.ServiceKey
	// Every says that there may be instances that are not to be used: those without a
	// weight. Else all of the result are.
	Every bool
	// Shown says that all of the result is shown, whoever takes traffic.
	Shown bool
	// Digest returns a new digest of an instance's requests.
	Digest func(rollcall.Key) *outcome.Digest

	entries []*Entry // by key
}

// View returns a view of the state as it is.
func (s *State) View() *View {
	return &View{entries: slices.Clone(s.entries), all: s.Shown}
}

// Foreign reports whether there are instances of other services than that which is
// asked for.
func (s *State) Foreign() bool {
	n := len(s.entries)
	return n > 0 && (s.entries[0].key.ServiceKey != s.Own || s.entries[n-1].key.ServiceKey != s.Own)
}

// Take takes in a record and reports whether anything is another than before.
func (s *State) Take(ev *rollcall.WatchEvent) (changed bool) {
	switch ev.Type {
	case rollcall.WatchSnapshot, rollcall.WatchReset:
		s.whole(ev.Instances)
		return true
	case rollcall.WatchPut:
		if ev.Instance == nil {
			return false
		}
		s.put(ev.Instance)
		return true
	case rollcall.WatchRemove:
		n, found := find(s.entries, s.key(ev, ev.ID))
		if found {
			s.entries = slices.Delete(s.entries, n, n+1)
		}
		return found
	case rollcall.WatchHealth:
		for n, id := range ev.IDs {
			weight := uint16(0) // unless it is told, it takes no traffic
			if n < len(ev.EffectiveWeights) {
				weight = ev.EffectiveWeights[n]
			}
			changed = s.health(s.key(ev, id), ev, weight) || changed
		}
	case rollcall.WatchWeights:
		for id, weight := range ev.Weights {
			changed = s.weigh(s.key(ev, id), weight) || changed
		}
	}
	return changed
}

func (s *State) key(ev *rollcall.WatchEvent, id string) rollcall.Key {
	return rollcall.NewKey(cmp.Or(ev.Namespace, s.Own.Namespace), cmp.Or(ev.Service, s.Own.Service), id)
}

func (s *State) whole(instances []rollcall.Instance) {
	before := s.entries
	s.entries = make([]*Entry, len(instances))
	for n := range instances {
		s.entries[n] = s.entry(&instances[n], before)
	}
	slices.SortStableFunc(s.entries, func(a, b *Entry) int {
		return cmp.Or(a.key.ServiceKey.Compare(b.key.ServiceKey), cmp.Compare(a.key.ID, b.key.ID))
	})
	s.entries = slices.CompactFunc(s.entries, func(a, b *Entry) bool { return a.key == b.key })
}

// entry returns an instance as an entry, with the digest that it had before.
func (s *State) entry(i *rollcall.Instance, before []*Entry) *Entry {
	e := &Entry{Instance: *i, key: i.Key(), weight: i.WeightOrDefault(), status: rollcall.Healthy}
	if i.Health != nil {
		e.status = i.Health.Status
	}
	if i.EffectiveWeight != nil {
		e.weight = *i.EffectiveWeight
	}
	e.up = !s.Every || e.weight > 0
	if n, found := find(before, e.key); found {
		e.Digest = before[n].Digest
	} else if s.Digest != nil {
		e.Digest = s.Digest(e.key)
	}
	return e
}

func (s *State) put(i *rollcall.Instance) {
	e := s.entry(i, s.entries)
	n, found := find(s.entries, e.key)
	if found {
		s.entries[n] = e
		return
	}
	s.entries = slices.Insert(s.entries, n, e)
}

func (s *State) health(key rollcall.Key, ev *rollcall.WatchEvent, weight uint16) bool {
	n, found := find(s.entries, key)
	if !found {
		return false
	}
	e := *s.entries[n]
	e.Instance.Health, e.status = &rollcall.Health{Status: ev.Status, Reason: ev.Reason}, ev.Status
	e.weight, e.Instance.EffectiveWeight = weight, &weight
	e.up = !s.Every || weight > 0
	s.entries[n] = &e
	return true
}

// weigh sets a weight. Whether one takes traffic at all is said by its health: a
// weight is told outside the order of what else is, and may be of before or after.
func (s *State) weigh(key rollcall.Key, weight uint16) bool {
	n, found := find(s.entries, key)
	if !found {
		return false
	}
	e := *s.entries[n]
	if s.Every && (weight > 0) != e.up {
		return false
	}
	if e.weight == weight {
		return false
	}
	e.weight, e.Instance.EffectiveWeight = weight, &weight
	s.entries[n] = &e
	return true
}
