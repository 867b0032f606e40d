package catalog

import (
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// Story tells the event as history has it, with the name that a service had then; that
// of what concerns it as a whole, or a query, is a snapshot's. ok is false of one that
// history does not have. It shares the memory of the change.
func (e *Event) Story(s *Snapshot) (ev rollcall.Event, ok bool) {
	if e.Panic != nil {
		ev = rollcall.Event{
			Revision: e.Revision, At: e.Panic.At, Type: "panic_ended", Namespace: e.Service.Namespace, Service: s.nameOf(e.Service),
			By: "rollcall", Via: "panic", Why: e.Why,
		}
		if e.Panic.On {
			ev.Type = "panic"
		}
		return ev, true
	}
	ev = rollcall.Event{
		Revision: e.Revision, At: e.Change.At, Namespace: e.Service.Namespace, Service: e.name, ID: e.ID,
		By: e.Change.By, Via: e.Change.Via, Why: e.Change.Why,
	}
	if e.ID == "" {
		ev.Service = s.nameOf(e.Service)
	}
	if e.Before != nil {
		ev.Before = e.Before.Status()
	}
	if e.After != nil {
		ev.After = e.After.Status()
	}
	switch b := e.Change.Body.(type) {
	case rollcall.InstancePut:
		ev.Type = "registered"
		if e.Before != nil && e.Before.Incarnation() == e.After.Incarnation() {
			ev.Type = "updated"
		}
	case rollcall.InstanceRemove:
		ev.Type = "removed"
	case rollcall.HealthPut:
		ev.Type = "health"
		if ev.Why == "" {
			ev.Why = strings.TrimSuffix(string(b.Slot)+": "+b.Reason, ": ")
		}
		if b.Slot == rollcall.SlotFlap && b.Status == rollcall.Degraded {
			ev.Type = "flapping"
		}
	case rollcall.OverridePut:
		ev.Type = "override"
		if b.Override == nil {
			ev.Type = "override_cleared"
		}
	case rollcall.SettingsPut:
		ev.Type = "settings"
	case rollcall.QueryPut:
		ev.Type = "query"
		if b.Query == nil {
			ev.Type = "query_removed"
		}
	case rollcall.GuardPut:
		ev.Type = "guard"
		if b.Guard == nil {
			ev.Type = "guard_ended"
		}
		if b.Service == (rollcall.ServiceKey{}) {
			ev.Service = ""
		}
	default:
		return ev, false
	}
	return ev, true
}

// nameOf returns the name of a service, or of a query, as it was first written.
func (s *Snapshot) nameOf(key rollcall.ServiceKey) string {
	if v := s.View(key); v != nil {
		return v.Name()
	}
	if q := s.Query(key); q != nil {
		return q.Name
	}
	return key.Service
}
