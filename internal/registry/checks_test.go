package registry

import (
	"log/slog"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

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
