package registry_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// callers report on ten instances every five seconds; bad returns how many of a
// hundred requests to an instance fail for a caller.
func reports(t *testing.T, r *registry.Registry, callers int, d time.Duration, bad func(caller, instance int) int, until func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for ; time.Since(start) < d; time.Sleep(time.Second) {
		synctest.Wait()
		if until != nil && until() {
			break
		}
		second := int(time.Since(start) / time.Second)
		for c := range callers {
			if (second+c)%5 != 0 {
				continue
			}
			rep := rollcall.CallerReport{Caller: fmt.Sprint("web-", c), Window: rollcall.Duration(5 * time.Second)}
			for i := range 10 {
				n := bad(c, i)
				rep.Instances = append(rep.Instances, rollcall.Outcome{ID: fmt.Sprint("p-", i), OK: 100 - n, Errors: n})
			}
			if err := r.Report(t.Context(), rollcall.NewServiceKey("", "payments"), netip.Addr{}, &rep); err != nil {
				t.Fatal(err)
			}
		}
	}
	return time.Since(start)
}

func withTen(t *testing.T, o registry.Options, fn func(r *registry.Registry)) {
	t.Helper()
	duringWith(t, o, func(r *registry.Registry) {
		for i := range 10 {
			i := payments(fmt.Sprint("p-", i))
			i.Lease.Mode = rollcall.LeaseNone
			register(t, r, i)
		}
		fn(r)
	})
}

// TestEjection: one of ten instances that fails for three callers is out for
// everybody within 15 s, says why, and is back by itself.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unguarded(memory.New())
		key := rollcall.NewKey("", "payments", "p-3")
		out := func(r *registry.Registry) func() bool {
			return func() bool { return status(t, r, key) == rollcall.Unhealthy }
		}
		withTen(t, o, func(r *registry.Registry) {
			bad := func(_, i int) int {
				if i == 3 {
					return 90
				}
				return 1
			}
			if took := reports(t, r, 3, time.Minute, bad, out(r)); took > 15*time.Second {
				t.Errorf("ejected after %v", took)
			}
			if got := ids(t, r, rollcall.Query{Service: "payments"}); len(got) != 9 {
				t.Errorf("%v are in answers", got)
			}
			if f := instance(t, r, key).Health; f.Status != rollcall.Unhealthy || len(f.Reason) < len("callers: ") || f.Reason[:9] != "callers: " {
				t.Errorf("%+v", f)
			}
			es, _, err := r.Events(t.Context(), rollcall.EventFilter{ID: "p-3"}, "", 10)
			if err != nil || es[0].Via != "callers" || es[0].Why == "" {
				t.Errorf("%+v, %v", es, err)
			}
		})
		// Over a restart, too.
		duringWith(t, o, func(r *registry.Registry) {
			if !out(r)() {
				t.Error("a restart ended the ejection")
			}
			time.Sleep(45 * time.Second)
			synctest.Wait()
			if got := status(t, r, key); got != rollcall.Healthy {
				t.Errorf("%v 45 s later, want the ejection to be over", got)
			}
		})
	})
}

// TestLiar: one caller among twenty that says everything of one instance ejects
// nobody.
func TestLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withTen(t, unguarded(memory.New()), func(r *registry.Registry) {
			reports(t, r, 20, 5*time.Minute, func(c, i int) int {
				if c == 7 && i == 3 {
					return 100
				}
				return 1
			}, nil)
			if got := ids(t, r, rollcall.Query{Service: "payments"}); len(got) != 10 {
				t.Errorf("%v are in answers", got)
			}
		})
	})
}

func TestReportRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		register(t, r, payments("p-1"))
		rep := func() *rollcall.CallerReport {
			return &rollcall.CallerReport{Caller: "web", Window: 5e9, Instances: []rollcall.Outcome{{ID: "p-1", OK: 1}, {ID: "gone", Errors: 1}}}
		}
		if err := r.Report(t.Context(), rollcall.NewServiceKey("", "payments"), netip.Addr{}, rep()); err != nil {
			t.Errorf("%v, want what is not registered to be passed over", err)
		}
		if err := r.Report(t.Context(), rollcall.NewServiceKey("", "nobody"), netip.Addr{}, rep()); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("a service that is not there: %v", err)
		}
		wrong := rep()
		wrong.Instances[0].Errors = -1
		if err := r.Report(t.Context(), rollcall.NewServiceKey("", "payments"), netip.Addr{}, wrong); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("less than no errors: %v", err)
		}
	})
}
