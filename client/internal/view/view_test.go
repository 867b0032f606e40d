package view

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/client/internal/outcome"
)

var own = rollcall.NewServiceKey("", "payments")

func instance(id string, status rollcall.Status, weight uint16) rollcall.Instance {
	return rollcall.Instance{
		Namespace: rollcall.DefaultNamespace, Service: "payments", ID: id, EffectiveWeight: &weight, Health: &rollcall.Health{Status: status},
	}
}

func snapshot(instances ...rollcall.Instance) *rollcall.WatchEvent {
	return &rollcall.WatchEvent{Type: rollcall.WatchSnapshot, Instances: instances}
}

func healthy(n int) (all []rollcall.Instance) {
	for i := range n {
		all = append(all, instance(fmt.Sprintf("p-%05d", i), rollcall.Healthy, 100))
	}
	return all
}

// pickable returns the ids of those that a picker chooses from, with their weights.
func pickable(v *View) map[string]uint16 {
	m := map[string]uint16{}
	for _, e := range v.Endpoints(nil, own, true) {
		if !e.Down && e.Weight > 0 {
			m[e.ID] = e.Weight
		}
	}
	return m
}

func ids(v *View) (ids []string) {
	for _, i := range v.Instances() {
		ids = append(ids, i.ID)
	}
	return ids
}

// TestWhoIsPicked: the suspect only if nobody better is left, all in a panic, which
// those show that are unhealthy and have a weight, or that nearly all are suspect.
func TestWhoIsPicked(t *testing.T) {
	const h, d, s, u, g = rollcall.Healthy, rollcall.Degraded, rollcall.Suspect, rollcall.Unhealthy, rollcall.Draining
	type of struct {
		status rollcall.Status
		weight uint16
	}
	for _, test := range []struct {
		name          string
		of            []of
		shown, picked string
	}{
		{"all", []of{{h, 100}, {d, 50}}, "01", "01"},
		{"suspect and better", []of{{h, 100}, {s, 10}}, "01", "0"},
		{"suspect alone", []of{{u, 0}, {s, 10}}, "1", "1"},
		{"draining and down", []of{{g, 0}, {u, 0}, {h, 1}}, "2", "2"},
		{"panic", []of{{h, 100}, {u, 100}, {u, 0}, {s, 10}}, "013", "013"},
		{"panic without the unhealthy", []of{{h, 100}, {s, 10}, {s, 10}, {u, 0}}, "012", "012"},
		{"half are no panic", []of{{h, 100}, {h, 100}, {s, 10}, {s, 10}}, "0123", "01"},
		{"idle", []of{{h, 0}, {h, 7}}, "1", "1"},
		{"the better one is idle", []of{{h, 0}, {s, 7}}, "1", "1"},
		{"nobody", []of{{g, 0}, {u, 0}}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := State{Own: own, Every: true}
			var all []rollcall.Instance
			for n, o := range test.of {
				all = append(all, instance(fmt.Sprint(n), o.status, o.weight))
			}
			st.Take(snapshot(all...))
			v := st.View()
			if got := strings.Join(ids(v), ""); got != test.shown || v.Len() != len(test.shown) {
				t.Errorf("%q are in the result of %d, want %q", got, v.Len(), test.shown)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(pickable(v))), ""); got != test.picked {
				t.Errorf("%q are picked, want %q", got, test.picked)
			}
		})
	}
}

// TestWeightsComeOutOfOrder: whether one takes traffic is said by its health, and a
// weight from before or after does not contradict it.
func TestWeightsComeOutOfOrder(t *testing.T) {
	st := State{Own: own, Every: true}
	st.Take(snapshot(healthy(2)...))
	weigh := func(weight uint16) bool {
		return st.Take(&rollcall.WatchEvent{Type: rollcall.WatchWeights, Weights: map[string]uint16{"p-00000": weight}})
	}
	if !weigh(50) || weigh(50) || pickable(st.View())["p-00000"] != 50 {
		t.Errorf("weights are %v", pickable(st.View()))
	}
	if weigh(0); pickable(st.View())["p-00000"] != 50 {
		t.Errorf("one that is healthy lost its traffic to a weight: %v", pickable(st.View()))
	}
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{"p-00000"}, Status: rollcall.Unhealthy, Reason: "lease"})
	if weigh(100); len(pickable(st.View())) != 1 {
		t.Errorf("one that is unhealthy has traffic by a weight: %v", pickable(st.View()))
	}
	if got := st.View().Instance(own, "p-00000"); got != nil {
		t.Errorf("it is in the result: %+v", got)
	}
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{"p-00000"}, Status: rollcall.Healthy, EffectiveWeights: []uint16{30}})
	if got := pickable(st.View())["p-00000"]; got != 30 {
		t.Errorf("back with weight %d, want 30", got)
	}
}

// TestResult: of a result that the registry worked out all are shown and used, also if
// their ids are the same.
func TestResult(t *testing.T) {
	st := State{Own: own}
	other := instance("p-1", rollcall.Healthy, 300)
	other.Service = "payments-eu"
	st.Take(snapshot(instance("p-1", rollcall.Healthy, 100), other))
	es := st.View().Endpoints(nil, own, true)
	if len(es) != 2 || es[0].ID == es[1].ID || !st.Foreign() {
		t.Fatalf("endpoints %+v", es)
	}
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchWeights, Service: "payments-eu", Weights: map[string]uint16{"p-1": 7}})
	if es := st.View().Endpoints(nil, own, true); es[0].Weight != 100 || es[1].Weight != 7 {
		t.Errorf("endpoints %+v", es)
	}
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchRemove, ID: "p-1"})
	if v := st.View(); v.Len() != 1 || v.Instance(own, "p-1").Service != "payments-eu" {
		t.Errorf("left are %v", ids(v))
	}
}

// TestViewsShare: a view stays as it was, and has what did not change in common with
// the next.
func TestViewsShare(t *testing.T) {
	st := State{Own: own, Every: true}
	st.Take(snapshot(healthy(100)...))
	before := st.View()
	was := slices.Clone(before.Instances())
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{"p-00007"}, Status: rollcall.Draining})
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchRemove, ID: "p-00008"})
	after := st.View()
	same := 0
	for _, e := range after.entries {
		if slices.Contains(before.entries, e) {
			same++
		}
	}
	if same != 98 || after.Len() != 98 || before.Len() != 100 {
		t.Errorf("%d entries in common, %d and %d instances", same, before.Len(), after.Len())
	}
	if d := gocmp.Diff(was, before.Stored()); d != "" {
		t.Errorf("the view changed:\n%s", d)
	}
}

// TestDigestStays: what requests came to is counted on when an instance changes.
func TestDigestStays(t *testing.T) {
	var log outcome.Log
	st := State{Own: own, Every: true, Digest: log.Digest}
	st.Take(snapshot(healthy(2)...))
	d := st.entries[0].Digest
	again := instance("p-00000", rollcall.Degraded, 3)
	st.Take(&rollcall.WatchEvent{Type: rollcall.WatchPut, Instance: &again})
	st.Take(snapshot(healthy(2)...))
	if d == nil || st.entries[0].Digest != d || st.entries[1].Digest == d {
		t.Error("another digest")
	}
}

// TestRandomly compares with a map, after random records.
func TestRandomly(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	st := State{Own: own, Every: true}
	truth := map[rollcall.Key]rollcall.Instance{}
	random := func() rollcall.Instance {
		i := instance(fmt.Sprint("p-", r.IntN(20)), rollcall.Statuses()[r.IntN(6)], uint16(r.IntN(3)))
		i.Version = fmt.Sprint(r.Uint64())
		return i
	}
	for step := range 3000 {
		var ev rollcall.WatchEvent
		switch i := random(); r.IntN(20) {
		case 0:
			ev = *snapshot()
			clear(truth)
			for range r.IntN(15) {
				i := random()
				if _, known := truth[i.Key()]; !known {
					truth[i.Key()] = i
					ev.Instances = append(ev.Instances, i)
				}
			}
		case 1, 2, 3, 4, 5, 6:
			ev = rollcall.WatchEvent{Type: rollcall.WatchPut, Instance: &i}
			truth[i.Key()] = i
		case 7, 8, 9:
			ev = rollcall.WatchEvent{Type: rollcall.WatchRemove, ID: i.ID}
			delete(truth, i.Key())
		default:
			ev = rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{i.ID, random().ID}, Status: i.Health.Status}
			if ev.Status.Usable() {
				ev.EffectiveWeights = []uint16{*i.EffectiveWeight, uint16(r.IntN(3))}
			}
			for n, id := range ev.IDs {
				if was, known := truth[rollcall.Key{ServiceKey: own, ID: id}]; known {
					was.Health, was.EffectiveWeight = &rollcall.Health{Status: ev.Status}, new(uint16)
					if ev.EffectiveWeights != nil {
						was.EffectiveWeight = &ev.EffectiveWeights[n]
					}
					truth[was.Key()] = was
				}
			}
		}
		st.Take(&ev)
		want := slices.SortedFunc(maps.Values(truth), func(a, b rollcall.Instance) int { return cmp.Compare(a.ID, b.ID) })
		v := st.View()
		if d := gocmp.Diff(want, v.Stored()); d != "" && (len(want) > 0 || len(v.Stored()) > 0) {
			t.Fatalf("seed %d, step %d, after %+v:\n%s", seed, step, ev, d)
		}
		want = slices.DeleteFunc(want, func(i rollcall.Instance) bool { return *i.EffectiveWeight == 0 })
		if got := v.Instances(); len(got) != len(want) || v.Len() != len(want) {
			t.Fatalf("seed %d, step %d: %d in the result, want %d", seed, step, len(got), len(want))
		}
	}
}

func TestAddress(t *testing.T) {
	for _, test := range []struct {
		ports      map[string]uint16
		port, want string
	}{
		{map[string]uint16{"http": 80}, "", "[::1]:80"},
		{map[string]uint16{"http": 80, "default": 81}, "", "[::1]:81"},
		{map[string]uint16{"http": 80, "grpc": 81}, "grpc", "[::1]:81"},
		{map[string]uint16{"http": 80, "grpc": 81}, "", `port: p-1 of payments has no port called "default"; it has grpc, http`},
		{nil, "http", `port: p-1 of payments has no port called "http"`},
	} {
		e := Entry{Instance: rollcall.Instance{ID: "p-1", Address: "::1", Ports: test.ports}, key: rollcall.Key{ServiceKey: own, ID: "p-1"}}
		got, err := e.Address(test.port)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%v, port %q: %s, want %s", test.ports, test.port, got, test.want)
		}
	}
}

// BenchmarkChange is what a change in a service of 10,000 costs until it is picked by.
func BenchmarkChange(b *testing.B) {
	st := State{Own: own, Every: true}
	st.Take(snapshot(healthy(10_000)...))
	picker := balancer.New(balancer.Options{Probes: -1})
	var es []balancer.Endpoint
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		status := rollcall.Healthy
		if n%2 == 0 {
			status = rollcall.Degraded
		}
		st.Take(&rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{"p-05000"}, Status: status, EffectiveWeights: []uint16{100}})
		es = st.View().Endpoints(es[:0], own, true)
		picker.Update(es)
	}
}

func BenchmarkView(b *testing.B) {
	st := State{Own: own, Every: true}
	st.Take(snapshot(healthy(20_000)...))
	b.ReportAllocs()
	for b.Loop() {
		st.Take(&rollcall.WatchEvent{Type: rollcall.WatchHealth, IDs: []string{"p-05000"}, Status: rollcall.Healthy, EffectiveWeights: []uint16{100}})
		st.View()
	}
}
