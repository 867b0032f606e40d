package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

func put(t testing.TB, c *client.Client, inst rollcall.Instance) {
	t.Helper()
	inst.Address, inst.Ports = "10.0.0.1", map[string]uint16{"http": 8080}
	inst.Lease = rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: rollcall.Duration(10 * time.Minute)}
	if _, err := c.Put(context.Background(), inst); err != nil {
		t.Fatal(err)
	}
}

func TestPick(t *testing.T) { over(t, picks) }

func picks(t *testing.T, p protocol) {
	c := p.start(t)
	put(t, c, rollcall.Instance{Service: "payments", ID: "p-1"})
	put(t, c, rollcall.Instance{Namespace: "shop", Service: "payments", ID: "s-1"})
	for name, want := range map[string]string{"payments": "p-1", "default/Payments": "p-1", "shop/payments": "s-1"} {
		p, done, err := c.Pick(t.Context(), name)
		if err != nil || p.Instance().ID != want {
			t.Fatalf("%s: picked %v, %v, want %s", name, p.Instance(), err, want)
		}
		if a, err := p.Address(""); a != "10.0.0.1:8080" || err != nil {
			t.Errorf("address %q, %v", a, err)
		}
		done(nil)
	}
	if n := testing.AllocsPerRun(1000, func() {
		_, done, err := c.Pick(t.Context(), "payments")
		done(err)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_, _, err := c.Pick(t.Context(), "paymets")
	wantKind(t, err, rollcall.ErrNotFound)
	put(t, c, rollcall.Instance{Service: "paymets", ID: "q-1"}) // is picked up before that is forgotten
	until(t, func() bool {
		_, _, err = c.Pick(t.Context(), "paymets")
		return err == nil
	})
	if _, err := c.Drain(t.Context(), rollcall.NewKey("", "paymets", "q-1"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	_, done, err := c.Pick(t.Context(), "paymets") // the drain has waited for the view
	wantKind(t, err, client.ErrNoInstances)
	if done(nil); !strings.Contains(err.Error(), "1 instances, none of which takes traffic: 1 draining") {
		t.Errorf("the error reads %q", err)
	}
}

// TestPickIsWhatResolveAnswers: through random changes the view is what a resolve
// answers, and picks are of those of it that are used first, in a panic of all.
func TestPickIsWhatResolveAnswers(t *testing.T) { over(t, followsResolve) }

func followsResolve(t *testing.T, p protocol) {
	c := p.start(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	const n = 16
	for i := range n {
		put(t, c, rollcall.Instance{Service: "payments", ID: fmt.Sprint("p-", i)})
	}
	s, err := c.Subscribe(rollcall.Query{Service: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	panics, suspects := 0, 0
	for step := range 150 {
		key := rollcall.NewKey("", "payments", fmt.Sprint("p-", r.IntN(n)))
		what, err := change(t.Context(), c, r, key)
		if err != nil && !errors.Is(err, rollcall.ErrNotFound) {
			t.Fatal(what, err)
		}
		var ans rollcall.Answer
		var got, want map[string]bool
		until(t, func() bool { // a report's verdict comes behind its answer
			if ans, err = c.Resolve(t.Context(), rollcall.Query{Service: "payments"}); err != nil {
				t.Fatal(err)
			}
			v := s.View()
			if v.Token().Revision < ans.Revision || !slices.Equal(idsOf(v.Instances()), idsOf(ans.Instances)) {
				return false
			}
			want = firsts(&ans)
			got = picked(s)
			return maps.Equal(got, want)
		}, func() string {
			return fmt.Sprintf("seed %d, step %d, after %s of %s: in the view are %v, picked %v, want %v; panic %v", seed, step, what, key.ID,
				idsOf(s.View().Instances()), slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), ans.Panic)
		})
		if ans.Panic {
			panics++
		} else if len(ans.Instances) > 0 && ans.Instances[0].Health.Status == rollcall.Suspect {
			suspects++
		}
	}
	t.Logf("%d panics, %d times none but the suspect", panics, suspects)
}

// firsts returns who of an answer is used first: all in a panic, else the routable, and
// if there are none the suspect.
func firsts(ans *rollcall.Answer) map[string]bool {
	all, routable := map[string]bool{}, map[string]bool{}
	for _, i := range ans.Instances {
		all[i.ID] = true
		if i.Health.Status.Routable() {
			routable[i.ID] = true
		}
	}
	if ans.Panic || len(routable) == 0 {
		return all
	}
	return routable
}

// picked returns who is picked by so many that nobody is missed.
func picked(s *client.Subscription) map[string]bool {
	got := map[string]bool{}
	for range 2000 {
		p, err := s.Pick()
		if err != nil {
			break
		}
		got[p.Instance().ID] = true
		p.Done(context.Canceled) // how long nothing takes is chance
	}
	return got
}

// change does something random to an instance.
func change(ctx context.Context, c *client.Client, r *rand.Rand, key rollcall.Key) (string, error) {
	report := func(s rollcall.Status) error {
		_, err := c.Heartbeat(ctx, key, rollcall.Report{Status: s})
		return err
	}
	weights := []uint16{50, 200}
	of := r.IntN(16)
	if key.ID == "p-0" { // of one that is not well and takes no traffic nobody can tell whether it is dead
		weights, of = []uint16{0, 100}, r.IntN(3)
	}
	switch of {
	case 0:
		return "removal", c.Deregister(ctx, key)
	case 1, 2:
		_, err := c.Put(ctx, rollcall.Instance{
			Service: key.Service, ID: key.ID, Address: "10.0.0.2", Ports: map[string]uint16{"http": 80}, Weight: &weights[r.IntN(2)],
			Lease: rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: rollcall.Duration(10 * time.Minute)},
		})
		return "registration", err
	case 3:
		_, err := c.Drain(ctx, key, 0)
		return "drain", err
	case 4:
		return "end of a drain", c.EndDrain(ctx, key)
	case 5:
		return "override", c.Override(ctx, key, rollcall.Override{Status: rollcall.Unhealthy})
	case 6, 7:
		return "suspicion", c.Override(ctx, key, rollcall.Override{Status: rollcall.Suspect})
	case 8, 9:
		return "end of an override", c.ClearOverride(ctx, key)
	case 10, 11:
		return "health", report(rollcall.Healthy)
	case 12:
		return "degraded", report(rollcall.Degraded)
	}
	return "failure", report(rollcall.Unhealthy)
}

func idsOf(instances []rollcall.Instance) []string {
	var ids []string
	for _, i := range instances {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestResultsArePicked: of a named query, of the nearest, of a subset and of a health
// the view is what a resolve answers; and a name that comes to mean a query, or a
// service again, is followed.
func TestResultsArePicked(t *testing.T) { over(t, followsResults) }

func followsResults(t *testing.T, p protocol) {
	c := p.start(t)
	for i := range 30 {
		zone := rollcall.Locality{Region: "eu", Zone: []string{"a", "b"}[i%2]}
		put(t, c, rollcall.Instance{Service: "payments", ID: fmt.Sprint("p-", i), Locality: zone})
		put(t, c, rollcall.Instance{Service: "spare", ID: fmt.Sprint("p-", i), Locality: zone})
	}
	same := func(q rollcall.Query) *client.Subscription {
		t.Helper()
		s, err := c.Subscribe(q)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		q.Caller = "web-1"
		until(t, func() bool {
			ans, err := c.Resolve(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return s.View().Known() && slices.Equal(services(ans.Instances), services(s.View().Instances()))
		})
		return s
	}
	near := same(rollcall.Query{Service: "payments", Near: "zone:eu/a"})
	for range 300 {
		p, err := near.Pick()
		if err != nil || p.Instance().Locality.Zone != "a" {
			t.Fatalf("picked %v, %v", p.Instance(), err)
		}
		p.Done(nil)
	}
	if s := same(rollcall.Query{Service: "payments", Limit: 7}); s.View().Len() != 7 {
		t.Errorf("%d of 7", s.View().Len())
	}
	if s := same(rollcall.Query{Service: "payments", Subset: "web-1", SubsetSize: 12}); s.View().Len() != 12 {
		t.Errorf("%d of 12", s.View().Len())
	}
	same(rollcall.Query{Service: "payments", Health: "healthy"})
	draining, err := c.Subscribe(rollcall.Query{Service: "payments", Health: "draining"})
	if err != nil {
		t.Fatal(err)
	}
	defer draining.Close()
	all := same(rollcall.Query{Service: "payments", Health: "any"})
	if _, err := c.Drain(t.Context(), rollcall.NewKey("", "payments", "p-3"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if i := all.View().Instance("p-3"); i == nil || i.Health.Status != rollcall.Draining {
		t.Errorf("of all is shown %+v", i)
	}
	until(t, func() bool { return draining.View().Len() == 1 })
	if p, err := draining.Pick(); !errors.Is(err, client.ErrNoInstances) {
		t.Errorf("picked %v, which drains", p.Instance())
	}
	for range 300 {
		p, _ := all.Pick()
		if p.Done(nil); p.Instance().ID == "p-3" {
			t.Fatal("picked one that drains")
		}
	}

	plain := same(rollcall.Query{Service: "payments"})
	nq := rollcall.NamedQuery{Name: "payments", Split: []rollcall.Split{
		{Percent: 50, QueryTarget: rollcall.QueryTarget{Service: "payments"}}, {Percent: 50, QueryTarget: rollcall.QueryTarget{Service: "spare"}},
	}}
	if _, err := c.PutQuery(t.Context(), nq, 0); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return plain.View().Len() == 59 })
	got := map[string]int{}
	for range 1000 {
		p, err := plain.Pick()
		if err != nil {
			t.Fatal(err)
		}
		got[p.Instance().Service]++
		p.Done(context.Canceled) // how long nothing takes is chance
	}
	if got["spare"] < 450 || got["spare"] > 550 {
		t.Errorf("split as %v", got)
	}
	same(rollcall.Query{Service: "payments"})
	if err := c.DeleteQuery(t.Context(), nq.Key(), 0); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return plain.View().Len() == 29 })
	same(rollcall.Query{Service: "payments"})
}

func services(instances []rollcall.Instance) (keys []string) {
	for _, i := range instances {
		keys = append(keys, i.Key().String())
	}
	slices.Sort(keys)
	return keys
}

// TestOptions: a locality is stayed in, a namespace and a subset are those of picks.
func TestOptions(t *testing.T) {
	srv := rollcalltest.Start(t)
	c := dial(t, srv.Addr)
	for i := range 30 {
		put(t, c, rollcall.Instance{Namespace: "shop", Service: "payments", ID: fmt.Sprint("p-", i), Locality: rollcall.Locality{Region: "eu", Zone: []string{"a", "b"}[i%2]}})
	}
	picked := func(opts ...client.Option) (ids map[string]bool, zones map[string]int) {
		c, err := client.Dial(srv.Addr, append(opts, client.WithNamespace("shop"))...)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ids, zones = map[string]bool{}, map[string]int{}
		for range 1000 {
			p, done, err := c.Pick(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			ids[p.Instance().ID] = true
			zones[p.Instance().Locality.Zone]++
			done(nil)
		}
		return ids, zones
	}
	if ids, zones := picked(); len(ids) != 30 || zones["a"] < 400 {
		t.Errorf("picked %d instances, %v", len(ids), zones)
	}
	if _, zones := picked(client.WithLocality(rollcall.Locality{Region: "eu", Zone: "a"})); zones["a"] != 1000 {
		t.Errorf("picked in %v", zones)
	}
	if ids, _ := picked(client.WithSubset(12), client.WithCaller("web-1")); len(ids) != 12 {
		t.Errorf("picked %d instances, want 12", len(ids))
	}
}

func BenchmarkPick(b *testing.B) {
	c, err := client.Dial(rollcalltest.Start(b).Addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range 100 {
		put(b, c, rollcall.Instance{Service: "payments", ID: fmt.Sprint("p-", i)})
	}
	s, err := c.Subscribe(rollcall.Query{Service: "payments"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := b.Context()
	if _, _, err := c.Pick(ctx, "payments"); err != nil {
		b.Fatal(err)
	}
	b.Run("subscription", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Pick()
		}
	})
	b.Run("name", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Pick(ctx, "payments")
		}
	})
	b.Run("and done", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, done, err := c.Pick(ctx, "payments")
			done(err)
		}
	})
}
