package registry

import (
	"log/slog"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// What is probed follows the registration.
func TestTrackPut(t *testing.T) {
	r := New(Options{Log: memory.New(), Logger: slog.New(slog.DiscardHandler)})
	c := catalog.New()
	if err := c.Apply(rollcall.Entry{Reset: true}); err != nil {
		t.Fatal(err)
	}
	c.Publish()
	put := func(rev rollcall.Revision, checks ...rollcall.Check) {
		i := rollcall.Instance{Service: "payments", ID: "p-1", Address: "10.0.0.1", Checks: checks}
		i.Normalize()
		err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{
			Revision: rev, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		_, events := c.Publish()
		for n := range events {
			r.track(&events[n])
		}
	}
	report, probe := rollcall.Check{Name: "r", Type: rollcall.CheckTTL, TTL: 1e9}, rollcall.Check{Name: "p", Type: rollcall.CheckTCP}
	for rev, tt := range []struct {
		checks []rollcall.Check
		want   int
	}{{nil, 0}, {[]rollcall.Check{report}, 0}, {[]rollcall.Check{report, probe}, 1}, {[]rollcall.Check{report}, 0}, {[]rollcall.Check{probe}, 1}, {nil, 0}} {
		put(rollcall.Revision(rev+1), tt.checks...)
		if n := r.checks.Len(); n != tt.want {
			t.Errorf("after put %d %d checks are made, want %d", rev+1, n, tt.want)
		}
	}
}

// What a probe found of a registration that was replaced meanwhile does not count
// for the one that is there.
func TestLateResult(t *testing.T) {
	r := New(Options{Log: memory.New(), Logger: slog.New(slog.DiscardHandler)})
	key := rollcall.NewKey("", "payments", "p-1")
	r.leases.Set(key, lease.Grant{
		Incarnation: 7, Found: rollcall.Healthy,
		Checks: []lease.Check{{Check: rollcall.Check{Name: "c", Type: rollcall.CheckTCP}}},
	})
	for _, incarnation := range []rollcall.Revision{0, 6, 8, 7} {
		r.checked(check.Result{Key: key, Incarnation: incarnation, Check: "c", Status: rollcall.Degraded})
		ev, _ := r.leases.Evidence(key)
		if known := len(ev.Reports) > 0; known != (incarnation == 7) {
			t.Errorf("after a result of incarnation %d: %+v", incarnation, ev.Reports)
		}
	}
}
