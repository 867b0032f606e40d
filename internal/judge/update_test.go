package judge

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestUpdateOnItsWay: an update is seen before the leases know of it. What was reported
// of the check that it changes is not what the new one says.
func TestUpdateOnItsWay(t *testing.T) {
	c := catalog.New()
	leases := lease.New(func() time.Duration { return 0 })
	leases.Begin()
	i := rollcall.Instance{Service: "payments", ID: "p-1", Address: "10.0.0.1"}
	check := rollcall.Check{Name: "q", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Minute)}
	put := func(revision rollcall.Revision) {
		t.Helper()
		i.Checks = []rollcall.Check{check}
		i.Normalize()
		change := rollcall.Change{Revision: revision, Body: rollcall.InstancePut{Key: i.Key(), Incarnation: 1, Record: record.Pack(&i)}}
		if err := c.Apply(rollcall.Entry{Log: "0123456789abcdef", Revision: revision, Reset: revision == 1, Changes: []rollcall.Change{change}}); err != nil {
			t.Fatal(err)
		}
		c.Publish()
	}
	grant := func(revision rollcall.Revision) {
		leases.Set(i.Key(), lease.Grant{Incarnation: 1, Revision: revision, Lease: i.Lease, Checks: []lease.Check{{Check: check}}, Found: rollcall.Healthy})
	}
	j := New(Options{Snapshot: c.Snapshot, Leases: leases, Wall: time.Now, Undamped: true, Logger: slog.New(slog.DiscardHandler)})
	verdicts := func() int {
		b, _ := j.verdicts([]rollcall.Key{i.Key()}, nil)
		return len(b.Changes)
	}

	put(1)
	grant(1)
	leases.Report(i.Key(), rollcall.Finding{Slot: rollcall.CheckSlot("q"), Status: rollcall.Healthy})
	if n := verdicts(); n != 1 {
		t.Fatalf("%d changes for a report", n)
	}
	check.TTL = rollcall.Duration(time.Hour)
	put(2)
	if n := verdicts(); n != 0 {
		t.Errorf("%d changes, of a check that is another one by now", n)
	}
	if again := j.toJudge(); !slices.Equal(again, []rollcall.Key{i.Key()}) {
		t.Errorf("%v are judged again", again)
	}
	grant(2)
	if n := verdicts(); n != 0 {
		t.Errorf("%d changes for a check that was not reported", n)
	}
	leases.Report(i.Key(), rollcall.Finding{Slot: rollcall.CheckSlot("q"), Status: rollcall.Healthy})
	if n := verdicts(); n != 1 {
		t.Errorf("%d changes for a report of the new one", n)
	}
}
