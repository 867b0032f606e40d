package client

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// holdFor is for how long a watcher keeps what it knew and a registry whose log
// is another does not have: its owners need about a TTL to notice and to come
// back, and until then "not there" means nothing.
const holdFor = rollcall.DefaultTTL * 3 / 2

// memory is what a watcher was told of and still has.
type memory struct {
	query    rollcall.Query
	known    map[rollcall.Key]rollcall.Instance
	held     map[rollcall.Key]struct{} // those that the registry does not have
	until    time.Time                 // it is waited for them
	revision rollcall.Revision         // the newest that was told
}

func newMemory(q rollcall.Query) *memory {
	return &memory{query: q, known: map[rollcall.Key]rollcall.Instance{}, held: map[rollcall.Key]struct{}{}}
}

// key returns the key of an instance that an event tells of by its id.
func (m *memory) key(ev *Event, id string) rollcall.Key {
	return rollcall.NewKey(cmp.Or(ev.Namespace, m.query.Namespace), cmp.Or(ev.Service, m.query.Service), id)
}

// see takes an event in and, if it is a reset, adds to it what is held. foreign:
// it is of another log than what was seen before.
func (m *memory) see(ev *Event, foreign bool, now time.Time) {
	m.revision = max(m.revision, ev.Revision)
	switch ev.Type {
	case EventSnapshot, EventReset:
		m.revision = ev.Revision
		m.whole(ev, foreign, now)
	case EventPut:
		if i := ev.Instance; i != nil {
			m.back(*i)
		}
	case EventRemove:
		key := m.key(ev, ev.ID)
		delete(m.known, key)
		delete(m.held, key)
	case EventHealth:
		for n, id := range ev.IDs {
			if i, ok := m.known[m.key(ev, id)]; ok {
				i.Health = &rollcall.Health{Status: ev.Status, Reason: ev.Reason}
				i.EffectiveWeight = new(uint16) // unless it is told, it takes no traffic
				if n < len(ev.EffectiveWeights) {
					i.EffectiveWeight = &ev.EffectiveWeights[n]
				}
				m.known[i.Key()] = i
			}
		}
	case EventWeights:
		for id, w := range ev.Weights {
			if i, ok := m.known[m.key(ev, id)]; ok {
				i.EffectiveWeight = &w
				m.known[i.Key()] = i
			}
		}
	}
}

func (m *memory) back(i rollcall.Instance) {
	m.known[i.Key()] = i
	delete(m.held, i.Key())
}

// whole takes in all that the registry has.
func (m *memory) whole(ev *Event, foreign bool, now time.Time) {
	before := m.known
	m.known = make(map[rollcall.Key]rollcall.Instance, len(ev.Instances))
	for n := range ev.Instances {
		m.back(ev.Instances[n])
	}
	if foreign {
		m.until = now.Add(holdFor)
		for key := range before {
			if _, ok := m.known[key]; !ok {
				m.held[key] = struct{}{}
			}
		}
	}
	if !m.until.After(now) {
		clear(m.held)
	}
	for _, key := range m.holding() {
		m.known[key] = before[key]
		ev.Instances = append(ev.Instances, before[key])
	}
}

// holding returns what is held, in order.
func (m *memory) holding() []rollcall.Key {
	return slices.SortedFunc(maps.Keys(m.held), func(a, b rollcall.Key) int {
		return cmp.Or(a.ServiceKey.Compare(b.ServiceKey), cmp.Compare(a.ID, b.ID))
	})
}

// expired returns the removals of what was held for long enough. While others are still
// being told of, who is not yet may be among those that follow: it is a bookmark that says
// that there are none, unless it takes twice as long.
func (m *memory) expired(now time.Time, current bool) (gone []Event) {
	until := m.until
	if !current {
		until = until.Add(holdFor)
	}
	if len(m.held) == 0 || until.After(now) {
		return nil
	}
	for _, key := range m.holding() {
		ev := Event{Type: EventRemove, Revision: m.revision, ID: key.ID, Reason: "not registered again within " + holdFor.String()}
		if i := m.known[key]; m.query.Service == "" || key.ServiceKey != m.query.Key() {
			ev.Namespace, ev.Service = i.Namespace, i.Service
		}
		delete(m.known, key)
		delete(m.held, key)
		gone = append(gone, ev)
	}
	return gone
}
