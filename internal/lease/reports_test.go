package lease

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

func (c *clock) report(t *testing.T, k rollcall.Key, slot rollcall.Slot, s rollcall.Status, known, changed bool) {
	t.Helper()
	gotKnown, gotChanged := c.Report(k, rollcall.Finding{Slot: slot, Status: s, Reason: "said so"})
	if gotKnown != known || gotChanged != changed {
		t.Errorf("%v reported as %v: known %v, changed %v; want %v, %v", slot, s, gotKnown, gotChanged, known, changed)
	}
}

func (c *clock) wantReports(t *testing.T, k rollcall.Key, want ...rollcall.Finding) {
	t.Helper()
	ev, _ := c.Evidence(k)
	if diff := cmp.Diff(want, ev.Reports, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reports differ:\n%s", diff)
	}
}

func TestReports(t *testing.T) {
	const db, web = rollcall.Slot("check/db"), rollcall.Slot("check/web")
	c := newClock(time.Hour)
	i := key("i")
	c.report(t, i, rollcall.SlotStatus, rollcall.Healthy, false, false)
	c.Set(i, grant(1, 0, 0, check("db", seconds(10), 0), check("web", seconds(20), 0)))
	c.wantReports(t, i)
	if !c.Has(i, db) || c.Has(i, "check/x") || c.Has(key("x"), db) {
		t.Error("Has is wrong")
	}
	c.report(t, i, "check/x", rollcall.Healthy, false, false)
	c.report(t, i, rollcall.SlotStatus, rollcall.Degraded, true, true)
	c.report(t, i, rollcall.SlotStatus, rollcall.Degraded, true, false)
	c.report(t, i, db, rollcall.Healthy, true, true)
	c.report(t, i, db, rollcall.Healthy, true, false)
	said := func(slot rollcall.Slot, s rollcall.Status) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: s, Reason: "said so"}
	}
	late := func(slot rollcall.Slot, ttl string) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: rollcall.Unhealthy, Reason: "not reported within " + ttl}
	}
	c.wantReports(t, i, said(db, rollcall.Healthy), said(rollcall.SlotStatus, rollcall.Degraded))

	// Each check lapses on its own, whether it ever spoke or not, and once.
	c.wantChange(t, i, 10*time.Second, Alive)
	c.wantReports(t, i, late(db, "10s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.wantChange(t, i, 10*time.Second-2*Tick, Alive)
	c.wantReports(t, i, late(db, "10s"), late(web, "20s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.wantQuiet(t, time.Hour)

	// A renewal is not a report.
	c.Renew(i)
	c.wantReports(t, i, late(db, "10s"), late(web, "20s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.report(t, i, web, rollcall.Healthy, true, true)
	c.wantChange(t, i, 20*time.Second, Alive)
	c.report(t, i, web, rollcall.Unhealthy, true, false)
	c.wantQuiet(t, time.Hour) // one that fails cannot get worse
}

func TestChecksOverRegistrations(t *testing.T) {
	const db, web = rollcall.Slot("check/db"), rollcall.Slot("check/web")
	said := func(slot rollcall.Slot) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: rollcall.Healthy, Reason: "said so"}
	}
	status := rollcall.Finding{Slot: rollcall.SlotStatus, Status: rollcall.Healthy, Reason: "said so"}
	for _, tt := range []struct {
		name        string
		incarnation rollcall.Revision
		db          rollcall.Check
		want        []rollcall.Finding
	}{
		{"an update", 1, check("db", seconds(10), seconds(60)), []rollcall.Finding{status, said(db)}},
		{"a registration", 2, check("db", seconds(10), seconds(60)), []rollcall.Finding{said(db)}},
		{"another ttl", 1, check("db", seconds(11), seconds(60)), []rollcall.Finding{status}},
		{"another deregister_after", 1, check("db", seconds(10), seconds(61)), []rollcall.Finding{status, said(db)}},
		{"another name", 1, check("db2", seconds(10), seconds(60)), []rollcall.Finding{status}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock(time.Hour)
			c.Set(key("i"), grant(1, 0, 0, check("db", seconds(10), seconds(60)), check("web", seconds(10), 0)))
			for _, slot := range []rollcall.Slot{db, web, rollcall.SlotStatus} {
				c.report(t, key("i"), slot, rollcall.Healthy, true, true)
			}
			c.wantQuiet(t, 5*time.Second)
			c.Set(key("i"), grant(tt.incarnation, 0, 0, tt.db))
			c.wantReports(t, key("i"), tt.want...)
			left := 10 * time.Second
			if len(tt.want) > 0 && tt.want[len(tt.want)-1].Slot == db {
				left = 5 * time.Second // its time runs on
			} else if tt.name == "another ttl" {
				left = 11 * time.Second
			}
			c.wantChange(t, key("i"), left, Alive)
		})
	}
}

func TestDeregisterAfter(t *testing.T) {
	const db = rollcall.Slot("check/db")
	for _, start := range []time.Duration{0, time.Hour} {
		c := newClock(start)
		i := key("i")
		c.Set(i, grant(1, 0, 0, check("db", seconds(10), seconds(60))))
		c.report(t, i, db, rollcall.Unhealthy, true, true)
		c.wantQuiet(t, 30*time.Second)
		c.report(t, i, db, rollcall.Unhealthy, true, false) // it fails since the first
		c.wantChange(t, i, 30*time.Second, Expired)
		if ev, _ := c.Evidence(i); ev.Why != "check db failed for 1m" {
			t.Errorf("%+v", ev)
		}
		// A renewal shows that it lives, but not that the check is well.
		if _, _, changed := c.Renew(i); !changed {
			t.Error("not revived")
		}
		c.wantChange(t, i, Tick, Expired)
		c.Renew(i)
		c.report(t, i, db, rollcall.Healthy, true, true)
		c.wantState(t, i, Alive)
		c.wantChange(t, i, 10*time.Second, Alive) // not reported
		c.wantChange(t, i, 60*time.Second-2*Tick, Expired)
	}
}
