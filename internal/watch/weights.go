package watch

import (
	"maps"
	"math"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Weighed is an instance's effective weight.
type Weighed struct {
	Service rollcall.ServiceKey
	ID      string
	Weight  uint16
}

// resumed stands for the weights that a subscription was told before it was open.
const resumed = math.MaxUint64

// weighing is what a subscriber of a service with a selection was told last.
type weighing struct {
	since     uint64
	selection string
}

// Reweighed says that the weights of services were published anew. Any goroutine
// may call it.
func (h *Hub) Reweighed(services ...rollcall.ServiceKey) {
	if len(services) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, service := range services {
		for _, name := range above(service) {
			if t := h.topics[name]; t != nil && t.refs > 0 {
				t.reweigh(service, h.snapshot)
				t.signal()
			}
		}
	}
}

// keptWeighed is how many services a topic remembers to have been weighed before
// those that are gone are forgotten.
const keptWeighed = 1024

func (t *topic) reweigh(service rollcall.ServiceKey, s *catalog.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.weighed == nil {
		t.weighed = map[Topic]uint64{}
	}
	t.weighings++
	t.weighed[service] = t.weighings
	if len(t.weighed) > keptWeighed+2*s.Services() {
		maps.DeleteFunc(t.weighed, func(k Topic, _ uint64) bool { return s.View(k) == nil })
	}
	clear(t.weights)
}

// weigh returns the weights that were published since the subscription was told
// some, nil if there are none. What it was never told any of a service is repeated
// whole.
func (s *Subscription) weigh() *Batch {
	t := s.topic
	t.mu.Lock()
	var news []Topic
	if s.weighings != t.weighings && s.hub.Weights != nil {
		for service, at := range t.weighed {
			if s.weighings == resumed || at > s.weighings {
				news = append(news, service)
			}
		}
	}
	whole, as := s.weighings == resumed, t.weighings
	s.weighings = as
	t.mu.Unlock()
	if whole && s.hub.Weights != nil {
		news = s.hub.services(t.name)
	}
	if len(news) == 0 {
		return nil
	}
	if s.weighed == nil {
		s.weighed = map[Topic]uint64{}
	}
	key := weighing{s.weighed[t.name], s.selection.Text}
	if t.name.Service == "" {
		return s.weights(news)
	}
	t.mu.Lock()
	b := t.weights[key]
	t.mu.Unlock()
	if b == nil {
		b = s.weights(news)
		t.mu.Lock()
		if t.weights == nil {
			t.weights = map[weighing]*Batch{}
		}
		if b != nil && t.weighings == as { // else it is not the newest
			t.weights[key] = b
		}
		t.mu.Unlock()
	} else {
		s.weighed[t.name] = b.Generation
	}
	return b
}

// services returns those that a topic is about.
func (h *Hub) services(name Topic) (all []Topic) {
	if name.Service != "" {
		return []Topic{name}
	}
	h.mu.Lock()
	s := h.snapshot
	h.mu.Unlock()
	for v := range s.Views(Topic{Namespace: name.Namespace}) {
		if name.Namespace != "" && v.Key().Namespace != name.Namespace {
			break
		}
		all = append(all, v.Key())
	}
	return all
}

func (s *Subscription) weights(services []Topic) *Batch {
	s.hub.mu.Lock()
	state := s.hub.snapshot
	s.hub.mu.Unlock()
	b := &Batch{Type: Weights, Revision: s.revision}
	for _, service := range services {
		if state.View(service) == nil {
			delete(s.weighed, service)
			continue
		}
		ws, generation := s.hub.Weights(service, s.weighed[service])
		s.weighed[service] = generation
		b.Generation = max(b.Generation, generation)
		for _, w := range ws {
			if i := state.Item(rollcall.Key{ServiceKey: service, ID: w.ID}); i != nil && s.selection.Match(i) {
				b.Weighed = append(b.Weighed, w)
			}
		}
	}
	if len(b.Weighed) == 0 {
		return nil
	}
	return b
}
