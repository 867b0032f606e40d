package rollcallpb

import (
	"errors"
	"math"

	"github.com/rollcall-registry/rollcall"
)

// Events returns what a record of a watch tells, in order. A part of a large state
// is an event without a token, which only the last part has; whoever reads a watch
// puts them together. A record that ends the subscription is an error.
func (m *WatchResponse) Events() ([]rollcall.WatchEvent, error) {
	switch tell := m.GetTell().(type) {
	case *WatchResponse_State:
		return tell.State.events()
	case *WatchResponse_Changes:
		return tell.Changes.events()
	case *WatchResponse_Weights:
		return tell.Weights.events(), nil
	case *WatchResponse_Bookmark:
		t, err := token(tell.Bookmark.GetToken())
		return []rollcall.WatchEvent{{Type: rollcall.WatchBookmark, Revision: rollcall.Revision(tell.Bookmark.GetRevision()), Token: t}}, err
	case *WatchResponse_Ended:
		return nil, tell.Ended.Domain()
	}
	return nil, nil // of a kind that is not known here
}

func (m *State) events() ([]rollcall.WatchEvent, error) {
	ev := rollcall.WatchEvent{Type: rollcall.WatchSnapshot, Revision: rollcall.Revision(m.GetRevision())}
	if m.GetReset_() {
		ev.Type = rollcall.WatchReset
	}
	var err error
	if !m.GetMore() {
		if ev.Token, err = token(m.GetToken()); err != nil {
			return nil, err
		}
	}
	ev.Instances, err = instances(m.GetInstances())
	return []rollcall.WatchEvent{ev}, err
}

func (m *Changes) events() ([]rollcall.WatchEvent, error) {
	evs := make([]rollcall.WatchEvent, len(m.GetChanges()))
	for n, c := range m.GetChanges() {
		ev := &evs[n]
		*ev = rollcall.WatchEvent{Revision: rollcall.Revision(c.GetRevision()), Service: c.GetService(), Namespace: c.GetNamespace()}
		switch {
		case c.GetPut() != nil:
			i, err := c.GetPut().Domain()
			if err != nil {
				return nil, err
			}
			ev.Type, ev.Instance = rollcall.WatchPut, &i
		case c.GetHealth() != nil:
			h := c.GetHealth()
			ev.Type, ev.IDs, ev.Status, ev.Reason = rollcall.WatchHealth, h.GetIds(), h.GetStatus().Domain(), h.GetReason()
			for _, w := range h.GetEffectiveWeights() {
				ev.EffectiveWeights = append(ev.EffectiveWeights, uint16(min(w, math.MaxUint16)))
			}
		case c.GetRemove() != nil:
			ev.Type, ev.ID, ev.Reason = rollcall.WatchRemove, c.GetRemove().GetId(), c.GetRemove().GetReason()
		default:
			return nil, errors.New("a change says nothing that is known here")
		}
	}
	if len(evs) == 0 {
		return nil, errors.New("there are no changes in a record of changes")
	}
	var err error
	evs[len(evs)-1].Token, err = token(m.GetToken())
	return evs, err
}

func (m *Weights) events() (evs []rollcall.WatchEvent) {
	for _, s := range m.GetServices() {
		ev := rollcall.WatchEvent{
			Type: rollcall.WatchWeights, Generation: m.GetGeneration(), Service: s.GetService(), Namespace: s.GetNamespace(), Weights: make(map[string]uint16, len(s.GetIds())),
		}
		for n, id := range s.GetIds() {
			if n < len(s.GetWeights()) {
				ev.Weights[id] = uint16(min(s.GetWeights()[n], math.MaxUint16))
			}
		}
		evs = append(evs, ev)
	}
	return evs
}
