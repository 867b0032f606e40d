package catalog

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestPanic: while most instances of a service are presumed to be down, all that
// may work are served; those that are known to be dead never are.
func TestPanic(t *testing.T) {
	const n = 10
	service := rollcall.NewServiceKey("", "payments")
	for _, tt := range []struct {
		name                     string
		soft, hard, drain, start int // how many of the ten
		settings                 *rollcall.Settings
		usable                   int
	}{
		{"nobody", 0, 0, 0, 0, nil, 10},
		{"half", 5, 0, 0, 0, nil, 5},
		{"more than half", 6, 0, 0, 0, nil, 10},
		{"all", 10, 0, 0, 0, nil, 10},
		{"dead ones are neither counted nor served", 0, 8, 0, 0, nil, 2},
		{"the rest of many dead", 2, 7, 0, 0, nil, 3},
		{"one alone", 1, 9, 0, 0, nil, 0},
		{"draining ones are neither", 4, 0, 4, 0, nil, 6},
		{"nor are those that start", 1, 0, 0, 8, nil, 1},
		{"never", 9, 0, 0, 0, &rollcall.Settings{Panic: new(0.0)}, 1},
		{"at once", 1, 0, 0, 0, &rollcall.Settings{Panic: new(1.0)}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := New()
			first := rollcall.Entry{Log: "0123456789abcdef", Revision: 1, Reset: true}
			for i := range n {
				i := rollcall.Instance{Service: service.Service, ID: fmt.Sprint(i)}
				i.Normalize()
				first.Changes = append(first.Changes, rollcall.Change{Revision: 1, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}})
			}
			if tt.settings != nil {
				first.Changes = append(first.Changes, rollcall.Change{Revision: 1, Body: rollcall.SettingsPut{Service: service, Settings: tt.settings}})
			}
			entry := rollcall.Entry{Log: first.Log, Revision: 2}
			at := 0
			find := func(k int, f rollcall.HealthPut) {
				f.Service = service
				for ; k > 0; k-- {
					f.IDs = []string{fmt.Sprint(at)}
					at++
					entry.Changes = append(entry.Changes, rollcall.Change{Revision: 2, At: time.Unix(2, 0), Body: f})
				}
			}
			find(tt.soft, rollcall.HealthPut{Slot: rollcall.SlotLease, Status: rollcall.Unhealthy})
			find(tt.hard, rollcall.HealthPut{Slot: rollcall.SlotLease, Status: rollcall.Unhealthy, Hard: true})
			find(tt.drain, rollcall.HealthPut{Slot: rollcall.SlotDrain, Status: rollcall.Draining})
			find(tt.start, rollcall.HealthPut{Slot: rollcall.SlotStatus, Status: rollcall.Starting})
			usable := func(s *Snapshot) (k int) {
				for i := range s.View(service).All() {
					if i.Usable() {
						k++
					}
				}
				return k
			}
			for _, e := range []rollcall.Entry{first, entry} {
				if err := c.Apply(e); err != nil {
					t.Fatal(err)
				}
				c.Publish()
			}
			if got := usable(c.Snapshot()); got != tt.usable {
				t.Errorf("%d usable, want %d", got, tt.usable)
			}
			// All is well again, and nobody is left behind.
			for i := range entry.Changes {
				put := entry.Changes[i].Body.(rollcall.HealthPut)
				put.Status, put.Hard = rollcall.Healthy, false
				entry.Changes[i].Body, entry.Changes[i].Revision = put, 3
			}
			entry.Revision = 3
			if err := c.Apply(entry); err != nil {
				t.Fatal(err)
			}
			s, events := c.Publish()
			if got := usable(s); got != n || s.View(service).Panic() {
				t.Errorf("then %d usable, want all", got)
			}
			for _, e := range events {
				if e.After != nil && e.After.Forced() && s.Item(rollcall.Key{ServiceKey: service, ID: e.ID}) == e.After {
					t.Errorf("%s ends forced", e.ID)
				}
			}
		})
	}
}
