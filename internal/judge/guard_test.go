package judge

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestCensus: a service is as large as it is, also if not all of its instances are
// looked at.
func TestCensus(t *testing.T) {
	for _, n := range []int{0, 1, counted, counted + 1, 5000, 2 * counted, 2*counted + 1, 10_000} {
		c := catalog.New()
		leases := lease.New(func() time.Duration { return 0 })
		leases.Begin()
		e := rollcall.Entry{Log: "0123456789abcdef", Revision: 1, Reset: true}
		for i := range n {
			i := rollcall.Instance{Service: "payments", ID: fmt.Sprint("p-", i)}
			i.Normalize()
			e.Changes = append(e.Changes, rollcall.Change{Revision: 1, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}})
			leases.Set(i.Key(), lease.Grant{Incarnation: 1, Lease: i.Lease, Found: rollcall.Healthy})
		}
		if err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		c.Publish()
		j := New(Options{Snapshot: c.Snapshot, Leases: leases, Logger: slog.New(slog.DiscardHandler)})
		if got, _ := (census{j}).Count(rollcall.NewServiceKey("", "payments")); got != (lease.Count{Heard: n}) {
			t.Errorf("%+v of %d", got, n)
		}
	}
}
