package registry_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

var update = flag.Bool("update", false, "write testdata/why.txt anew")

// instancesForWhy registers an instance for each thing that can be said of one.
func instancesForWhy(t *testing.T, r *registry.Registry) {
	t.Helper()
	share := func(service string, guard, panic float64) {
		t.Helper()
		s := rollcall.Settings{GuardShare: &guard, Panic: &panic}
		if err := r.SetSettings(t.Context(), rollcall.NewServiceKey("", service), &s); err != nil {
			t.Fatal(err)
		}
	}
	share("payments", 1, 0)
	share("frontend", 0.15, 0)
	share("search", 1, 0.5)
	add := func(service, id string, edit func(*rollcall.Instance)) rollcall.Key {
		t.Helper()
		i := payments(id)
		i.Service, i.Lease.Mode = service, rollcall.LeaseNone
		if edit != nil {
			edit(&i)
		}
		register(t, r, i)
		return i.Key()
	}
	say := func(key rollcall.Key, rep rollcall.Report) {
		t.Helper()
		if _, err := r.Renew(t.Context(), key, &rep); err != nil {
			t.Fatal(err)
		}
	}
	override := func(key rollcall.Key, o rollcall.Override) {
		t.Helper()
		if err := r.Override(t.Context(), key, &o); err != nil {
			t.Fatal(err)
		}
	}
	ttl := func(i *rollcall.Instance) { i.Lease.Mode = rollcall.LeaseTTL }
	check := func(i *rollcall.Instance) {
		i.Checks = []rollcall.Check{{Name: "disk", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Hour)}}
	}
	reported := func(s rollcall.Status, note string) rollcall.Report {
		return rollcall.Report{Checks: map[string]rollcall.CheckReport{"disk": {Status: s, Note: note}}}
	}

	add("payments", "plain", nil)
	add("payments", "rich", func(i *rollcall.Instance) {
		i.Capabilities = map[string]rollcall.Value{"gpu": rollcall.Number(2), "codecs": rollcall.Strings("av1", "h264")}
		i.Metadata = map[string]string{"team": "checkout"}
	})
	say(add("payments", "says-degraded", nil), rollcall.Report{Status: rollcall.Degraded, Note: "half of the disks"})
	say(add("payments", "says-unhealthy", nil), rollcall.Report{Status: rollcall.Unhealthy, Note: "no database"})
	say(add("payments", "says-starting", nil), rollcall.Report{Status: rollcall.Starting})
	add("payments", "check-unreported", check)
	say(add("payments", "check-failing", check), reported(rollcall.Unhealthy, "97 % full"))
	say(add("payments", "check-warning", check), reported(rollcall.Degraded, "91 % full"))
	say(add("payments", "check-passing", check), reported(rollcall.Healthy, ""))
	drained := add("payments", "draining", nil)
	if _, err := r.Drain(t.Context(), drained, true, 0); err != nil {
		t.Fatal(err)
	}
	override(add("payments", "override-out", nil), rollcall.Override{Status: rollcall.Unhealthy, Reason: "maintenance"})
	override(add("payments", "override-in", func(i *rollcall.Instance) { ttl(i); i.Lease.TTL = rollcall.Duration(2 * time.Second) }),
		rollcall.Override{Status: rollcall.Healthy, Reason: "its clock is broken"})
	flaps := add("payments", "flapping", nil)
	for n := range 3 {
		say(flaps, rollcall.Report{Status: []rollcall.Status{rollcall.Unhealthy, rollcall.Healthy}[n%2]})
		synctest.Wait()
	}
	add("payments", "silent", ttl)
	add("payments", "silent-and-refused", func(i *rollcall.Instance) { ttl(i); i.Address = "10.0.0.9" })
	alive := []rollcall.Key{add("payments", "renewed", ttl), add("frontend", "f-alive", ttl)}
	for n := range 3 {
		add("frontend", fmt.Sprint("f-", n), ttl)
	}
	session := func(service, id string) interface {
		Alive()
		Break(string)
	} {
		t.Helper()
		s, _, err := r.OpenSession(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		i := payments(id)
		i.Service = service
		if _, _, err := s.Register(t.Context(), i, 0); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for n := range 4 {
		key := add("search", fmt.Sprint("down-", n), check)
		say(key, reported(rollcall.Unhealthy, "503"))
	}
	add("search", "up", nil)

	// Ten of which one fails for its callers.
	for n := range 10 {
		add("payments", fmt.Sprint("p-", n), nil)
	}
	reports(t, r, 3, 14*time.Second, func(_, i int) int {
		if i == 3 {
			return 90
		}
		return 0
	}, nil)
	for _, key := range alive {
		say(key, rollcall.Report{})
	}
	open := session("payments", "session")
	session("payments", "session-broken").Break("reset by peer")
	session("payments", "session-quiet")
	time.Sleep(3 * time.Second)
	open.Alive()
	time.Sleep(2 * time.Second)
	open.Alive()
	synctest.Wait()
}

// TestWhy asks why each instance is in each answer, or is not: testdata/why.txt
// has the answers.
func TestWhy(t *testing.T) {
	queries := []rollcall.Query{
		{Service: "payments"},
		{Service: "payments", Health: "any"},
		{Service: "payments", Health: "unhealthy"},
		{Service: "payments", Limit: 2},
		{Service: "payments", Capability: []rollcall.Match{{Name: "gpu", Value: "2"}}},
		{Service: "payments", Capability: []rollcall.Match{{Name: "codecs", Value: "vp9"}}},
		{Service: "payments", Metadata: []rollcall.Match{{Name: "team", Value: "search"}}},
		{Service: "frontend"},
		{Service: "search"},
		{Service: "search", Limit: 3},
	}
	var got strings.Builder
	cases := 0
	synctest.Test(t, func(t *testing.T) {
		r := run(t, registry.Options{Log: memory.New(), Logger: discard(), Probe: func(_ context.Context, i *catalog.Item) (bool, string) {
			return i.Instance().Address == "10.0.0.9", "connection refused"
		}})
		instancesForWhy(t, r)
		for _, q := range queries {
			x, err := r.Why(t.Context(), &q, "")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "# %s?%s: %d match", q.Service, q.Values().Encode(), x.Total)
			if x.Panic {
				got.WriteString(", panic")
			}
			if x.Guard != nil {
				fmt.Fprintf(&got, ", guard: %s", x.Guard.Reason)
			}
			got.WriteByte('\n')
			a, err := r.Resolve(t.Context(), &q)
			if err != nil {
				t.Fatal(err)
			}
			items := itemsOf(a)
			for n, i := range x.Instances {
				cases++
				fmt.Fprintf(&got, "%-3s %-18s %s\n", map[bool]string{true: "in", false: "out"}[i.In], i.ID, i.Why)
				if i.In != (n < len(items)) || i.In && items[n].ID() != i.ID {
					t.Errorf("%+v: it is said to be in (%v), in another place than the answer has it", i, i.In)
				}
				if i.Why == "" {
					t.Errorf("%+v: no reason", i)
				}
			}
		}
		got.WriteString("# evidence\n")
		x, err := r.Why(t.Context(), &queries[0], "")
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range x.Instances {
			for _, e := range i.Evidence {
				fmt.Fprintf(&got, "    %-18s %s %v hard=%v %s\n", i.ID, e.Source, e.Status, e.Hard, e.Reason)
			}
		}
		if x, err := r.Why(t.Context(), &queries[0], "rich"); err != nil || len(x.Instances) != 1 || x.Instances[0].ID != "rich" {
			t.Errorf("about one: %+v, %v", x, err)
		}
		if _, err := r.Why(t.Context(), &queries[0], "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("about nobody: %v", err)
		}
	})
	if cases < 40 {
		t.Errorf("only %d cases", cases)
	}
	path := filepath.Join("testdata", "why.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("explained otherwise than in %s:\n%s", path, diff)
	}
}
