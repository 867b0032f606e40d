package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

func TestReportedChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := payments("p-1")
		i.Checks = []rollcall.Check{
			{Name: "ready", Type: rollcall.CheckTTL, TTL: rollcall.Duration(10 * time.Second)},
			{Name: "disk", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Hour), DeregisterAfter: rollcall.Duration(time.Minute)},
		}
		if got := register(t, r, i).Health; got.Status != rollcall.Starting || len(got.Checks) != 2 {
			t.Fatalf("%+v, want it to start until its checks were reported", got)
		}
		report := func(rep rollcall.Report) {
			t.Helper()
			if _, err := r.Renew(t.Context(), p1, &rep); err != nil {
				t.Fatal(err)
			}
		}
		says := func(want rollcall.Status) {
			t.Helper()
			if got := status(t, r, p1); got != want {
				t.Fatalf("%v (%s), want %v", got, instance(t, r, p1).Health.Reason, want)
			}
		}
		good, bad := rollcall.CheckReport{Status: rollcall.Healthy}, rollcall.CheckReport{Status: rollcall.Unhealthy, Note: "97 % full"}
		report(rollcall.Report{Checks: map[string]rollcall.CheckReport{"ready": good}})
		says(rollcall.Starting)
		report(rollcall.Report{Checks: map[string]rollcall.CheckReport{"disk": good}})
		says(rollcall.Healthy)

		// Renewed in time, but not reported.
		time.Sleep(9 * time.Second)
		report(rollcall.Report{})
		says(rollcall.Healthy)
		time.Sleep(1500 * time.Millisecond)
		says(rollcall.Unhealthy)
		report(rollcall.Report{Status: rollcall.Degraded, Note: "half", Checks: map[string]rollcall.CheckReport{"ready": good}})
		says(rollcall.Degraded)
		report(rollcall.Report{Status: rollcall.Healthy})
		says(rollcall.Healthy)
		for range 12 { // long enough not to be taken for one that flaps
			time.Sleep(5 * time.Second)
			report(rollcall.Report{Checks: map[string]rollcall.CheckReport{"disk": good, "ready": good}})
		}

		// Another registration keeps the standing of checks that are the same.
		i.Version = "2"
		register(t, r, i)
		says(rollcall.Healthy)

		_, err := r.Renew(t.Context(), p1, &rollcall.Report{Checks: map[string]rollcall.CheckReport{"no-such": good}})
		if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != "checks.no-such" {
			t.Errorf("a check that is not there: %v", err)
		}

		// A check that fails for too long removes the instance.
		report(rollcall.Report{Checks: map[string]rollcall.CheckReport{"disk": bad, "ready": good}})
		says(rollcall.Unhealthy)
		if got := instance(t, r, p1).Health.Reason; got != "check/disk: 97 % full" {
			t.Errorf("reason %q", got)
		}
		for range 13 {
			time.Sleep(5 * time.Second)
			r.Renew(t.Context(), p1, &rollcall.Report{Checks: map[string]rollcall.CheckReport{"disk": bad, "ready": good}})
		}
		synctest.Wait()
		if _, err := r.Instance(t.Context(), p1); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("%v, want it removed", err)
		}
	})
}

// TestRestart: health is as last known, leases have a full TTL, and nobody is
// evicted because the registry was away.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		run := func(test func(r *registry.Registry)) {
			ctx, cancel := context.WithCancel(t.Context())
			r := registry.New(unguarded(log))
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			if err := r.WaitSynced(ctx); err != nil {
				t.Fatal(err)
			}
			r.Serving()
			test(r)
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		sick := payments("sick")
		sick.Checks = []rollcall.Check{{Name: "ready", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Hour)}}
		sickKey, silentKey := rollcall.NewKey("", "payments", "sick"), rollcall.NewKey("", "payments", "silent")
		var token rollcall.Token
		run(func(r *registry.Registry) {
			register(t, r, payments("silent"))
			time.Sleep(16 * time.Second)
			register(t, r, payments("p-1"))
			register(t, r, sick)
			bad := rollcall.CheckReport{Status: rollcall.Unhealthy, Note: "no database"}
			if _, err := r.Renew(t.Context(), sickKey, &rollcall.Report{Checks: map[string]rollcall.CheckReport{"ready": bad}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
				i.Position = &rollcall.Position{Lat: 1, Lon: 2}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
			if err != nil {
				t.Fatal(err)
			}
			token = a.Token()
		})
		time.Sleep(time.Hour)
		run(func(r *registry.Registry) {
			for key, want := range map[rollcall.Key]rollcall.Status{p1: rollcall.Healthy, sickKey: rollcall.Unhealthy, silentKey: rollcall.Unhealthy} {
				if got := status(t, r, key); got != want {
					t.Errorf("%v is %v after the restart, want %v as before", key, got, want)
				}
			}
			if got := instance(t, r, sickKey).Health.Reason; got != "check/ready: no database" {
				t.Errorf("reason %q", got)
			}
			if p := instance(t, r, p1).Position; p == nil || p.Lat != 1 {
				t.Errorf("position %v, want the one it moved to", p)
			}
			// The watch goes on where it was: only the position is new.
			sub, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments", After: token}, watch.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			if b, err := sub.Next(t.Context()); err != nil || b.Type != watch.Changes || len(b.Changes) != 1 || b.Changes[0].ID != "p-1" {
				t.Errorf("%+v, %v, want one change of p-1", b, err)
			}
			time.Sleep(14 * time.Second)
			if got := status(t, r, p1); got != rollcall.Healthy {
				t.Errorf("%v within a TTL of the restart", got)
			}
			time.Sleep(2 * time.Second)
			if got := status(t, r, p1); got != rollcall.Unhealthy {
				t.Errorf("%v a TTL after the restart", got)
			}
			// What was marked before has its time to be removed from now.
			if got := status(t, r, silentKey); got != rollcall.Unhealthy {
				t.Errorf("the silent one is %v", got)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, err := r.Instance(t.Context(), silentKey); !errors.Is(err, rollcall.ErrNotFound) {
				t.Errorf("%v, want the silent one removed", err)
			}
		})
	})
}

func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		nobody := &rollcall.Query{Service: "nobody"}
		if _, err := r.Resolve(t.Context(), nobody); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("a fresh log that nobody misses: %v", err)
		}
		// Somebody renews what another log had.
		if _, err := r.Renew(t.Context(), p1, nil); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("renewal: %v, want it to be told to register again", err)
		}
		if _, err := r.Resolve(t.Context(), nobody); !errors.Is(err, rollcall.ErrSettling) {
			t.Errorf("unknown while settling: %v", err)
		}
		if _, _, err := r.Watch(t.Context(), nobody, watch.Reader{}); !errors.Is(err, rollcall.ErrSettling) {
			t.Errorf("watch of the unknown while settling: %v", err)
		}
		register(t, r, payments("p-1"))
		if got := ids(t, r, rollcall.Query{Service: "payments"}); len(got) != 1 {
			t.Errorf("known while settling: %v", got)
		}
		time.Sleep(23 * time.Second)
		if _, err := r.Resolve(t.Context(), nobody); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("after 1.5 TTL: %v", err)
		}
	})
}

func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		a := register(t, r, payments("p-1"))
		other := payments("o-1")
		other.Service = "other"
		b := payments("b-1")
		b.Metadata = map[string]string{"track": "beta"}
		b.Lease.Mode = rollcall.LeaseNone
		q := rollcall.Query{Service: "payments", Wait: 10 * time.Second, Metadata: []rollcall.Match{{Name: "track", Value: "beta"}}}
		first, err := r.Resolve(t.Context(), &q)
		if err != nil || first.Token().Revision != a.Revision {
			t.Fatalf("%v, %v", first, err)
		}
		q.After = first.Token()
		poll := func() (*resolve.Answer, time.Duration) {
			t.Helper()
			begin := time.Now()
			a, err := r.Resolve(t.Context(), &q)
			if err != nil {
				t.Fatal(err)
			}
			return a, time.Since(begin)
		}
		// Changes that the query does not see do not answer it.
		go func() {
			time.Sleep(time.Second)
			r.Register(t.Context(), other, 0)
			r.Register(t.Context(), payments("p-2"), 0)
		}()
		if got, took := poll(); took != 10*time.Second || got.Token() != q.After {
			t.Errorf("answered after %v with token %v, want the same after 10 s", took, got.Token())
		}
		go func() {
			time.Sleep(3 * time.Second)
			r.Register(t.Context(), b, 0)
		}()
		got, took := poll()
		if items := itemsOf(got); took != 3*time.Second || len(items) != 1 || got.Token() == q.After {
			t.Errorf("answered after %v with %d instances", took, len(items))
		}
		// What happened before the poll answers it at once.
		if _, took := poll(); took != 0 {
			t.Errorf("a poll that is behind took %v", took)
		}
		// And so does a token of another log.
		q.After.Log = rollcall.NewLogID()
		if _, took := poll(); took != 0 {
			t.Errorf("a poll with a foreign token took %v", took)
		}
	})
}

func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := register(t, r, payments("p-1"))
		q := rollcall.Query{Service: "payments", MinRevision: i.Revision + 1}
		begin := time.Now()
		if _, err := r.Resolve(t.Context(), &q); !errors.Is(err, rollcall.ErrTimeout) || time.Since(begin) != 5*time.Second {
			t.Errorf("%v after %v, want a time-out after 5 s", err, time.Since(begin))
		}
		go func() {
			time.Sleep(time.Second)
			r.Register(t.Context(), payments("p-2"), 0)
		}()
		begin = time.Now()
		if a, err := r.Resolve(t.Context(), &q); err != nil || a.Revision < q.MinRevision || time.Since(begin) != time.Second {
			t.Errorf("%v, %v after %v", a, err, time.Since(begin))
		}
		for _, q := range []rollcall.Query{{Service: "payments", Consistent: true}, {Service: "payments", MaxAge: time.Millisecond}} {
			if _, err := r.Resolve(t.Context(), &q); err != nil {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}

func TestPages(t *testing.T) {
	r := start(t, memory.New())
	var want []string
	for s := range 5 {
		for n := range 4 {
			i := payments(fmt.Sprintf("i/%d", n))
			i.Service, i.Node = fmt.Sprintf("s%d", s), fmt.Sprintf("host-%d", n%2)
			register(t, r, i)
			if n%2 == 0 {
				want = append(want, i.Key().String())
			}
		}
	}
	for limit := 1; limit < 12; limit++ {
		var got []string
		for after := ""; ; {
			page, next, err := r.Instances(t.Context(), rollcall.InstanceFilter{Node: "host-0"}, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d instances, %v", len(page), err)
			}
			for _, i := range page {
				got = append(got, i.Key().String())
			}
			if after = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
		services := 0
		for after := ""; ; {
			page, next, err := r.Services(t.Context(), "default", time.Time{}, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d services, %v", len(page), err)
			}
			services += len(page)
			if after = next; next == "" {
				break
			}
		}
		if services != 5 {
			t.Errorf("pages of %d: %d services", limit, services)
		}
	}
	if got, _, err := r.Services(t.Context(), "elsewhere", time.Time{}, "", 10); len(got) != 0 || err != nil {
		t.Errorf("%v, %v in a namespace without services", got, err)
	}
}

func TestBackup(t *testing.T) {
	r := start(t, memory.New())
	register(t, r, payments("p-1"))
	if err := r.SetSettings(t.Context(), rollcall.NewServiceKey("", "payments"), &rollcall.Settings{Panic: new(0.3)}); err != nil {
		t.Fatal(err)
	}
	putQuery(t, r, rollcall.NamedQuery{Name: "pay"})
	var file bytes.Buffer
	if err := r.Backup(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	rd, err := record.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := rd.Next()
	if err != nil || rd.Header.Revision != 3 || len(changes) != 3 {
		t.Errorf("header %+v, %d changes, %v", rd.Header, len(changes), err)
	}
}
