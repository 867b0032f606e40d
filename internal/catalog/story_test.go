package catalog

import (
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestStoriesHaveTheNameAsShown: what became of an instance is told of its service by the
// name that it had then, also when nobody knows the service any more.
func TestStoriesHaveTheNameAsShown(t *testing.T) {
	c, at := New(), time.Unix(1_700_000_000, 0).UTC()
	write(t, c, 0)
	i := rollcall.Instance{Service: "Payments", ID: "p-1"}
	i.Normalize()
	var all []Event
	for n, body := range []rollcall.Body{
		rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)},
		rollcall.HealthPut{Service: i.Key().ServiceKey, Slot: rollcall.SlotStatus, Status: rollcall.Unhealthy, IDs: []string{"p-1"}},
		rollcall.OverridePut{Key: i.Key(), Override: &rollcall.Override{Status: rollcall.Healthy, Since: at}},
		rollcall.InstanceRemove{Key: i.Key()},
	} {
		_, events := write(t, c, rollcall.Revision(n+1), rollcall.Change{At: at, Body: body})
		all = append(all, events...)
	}
	known := c.Snapshot()
	c.Forget(at.Add(time.Hour), 0)
	gone, _ := c.Publish()
	if known.View(i.Key().ServiceKey) == nil || gone.View(i.Key().ServiceKey) != nil {
		t.Fatal("the service is not forgotten")
	}
	types := []string{"registered", "health", "override", "removed"}
	if len(all) != len(types) {
		t.Fatalf("%d events, want %d", len(all), len(types))
	}
	for n, want := range types {
		for _, s := range []*Snapshot{known, gone} {
			if ev, ok := all[n].Story(s); !ok || ev.Type != want || ev.Service != "Payments" || all[n].Service.Service != "payments" {
				t.Errorf("%s of %q, want %s of Payments", ev.Type, ev.Service, want)
			}
		}
	}
}
