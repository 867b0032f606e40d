package rollcall_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// selections all select differently.
var selections = []rollcall.Query{
	{},
	{Health: "any"},
	{Health: "healthy"},
	{Filter: "true"},
	{Near: "52.52,13.40"},
	{Limit: 1},
	{Limit: 11},
	{Pick: 1},
	{Subset: "web-1"},
	{SubsetSize: 20},
	{Subset: "web-1", SubsetSize: 20},
	{At: at},
	{At: at.Add(1)},
	{Capability: []rollcall.Match{{Name: "gpu", Value: "1"}}},
	{Capability: []rollcall.Match{{Name: "gpu", Value: "11"}}},
	{Capability: []rollcall.Match{{Name: "gpu"}}},
	{Capability: []rollcall.Match{{Name: "gpu", Value: "1"}, {Name: "gpu", Value: "2"}}},
	{Capability: []rollcall.Match{{Name: "gpu", Value: "1"}, {Name: "cpu", Value: "1"}}},
	{Capability: []rollcall.Match{{}}},
	{Capability: []rollcall.Match{{Name: "a", Value: "1&cap.b=2"}}},
	{Capability: []rollcall.Match{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}},
	{Capability: []rollcall.Match{{Name: "a=1&cap.b", Value: "2"}}},
	{Metadata: []rollcall.Match{{Name: "gpu", Value: "1"}}},
	{Metadata: []rollcall.Match{{Name: "team", Value: "checkout"}}, Health: "any"},
	{Filter: "limit=1"},
	{Filter: "a", Near: "b"},
	{Filter: "b", Near: "a"},
}

func TestSelection(t *testing.T) {
	rng := newRand(t)
	texts := map[string]int{}
	for n, q := range selections {
		text := q.Selection()
		if other, found := texts[text]; found {
			t.Errorf("%+v and %+v have the same text %q", selections[other], q, text)
		}
		texts[text] = n
		for range 20 {
			if same := alike(rng, q); same.Selection() != text {
				t.Errorf("%+v has the text %q, %+v has %q", q, text, same, same.Selection())
			}
		}
	}
	if text := (&rollcall.Query{}).Selection(); text != "" {
		t.Errorf("the default selection reads %q", text)
	}
}

// alike returns a query that selects as q does.
func alike(rng *rand.Rand, q rollcall.Query) rollcall.Query {
	some := func() bool { return rng.IntN(2) == 0 }
	if some() {
		q.Namespace, q.Service = "other", "else"
	}
	if q.Health == "" && some() {
		q.Health = rollcall.HealthRoutable
	}
	if some() {
		q.MinRevision, q.MaxAge, q.Consistent = 7, time.Second, true
		q.After, q.Wait = rollcall.Token{Log: logID, Revision: 1}, time.Minute
	}
	if some() {
		q.Caller = "web-1"
	}
	if !q.At.IsZero() && some() {
		q.At = q.At.In(time.FixedZone("", 3600))
	}
	for _, ms := range []*[]rollcall.Match{&q.Capability, &q.Metadata} {
		*ms = slices.Clone(*ms)
		if len(*ms) > 0 && some() {
			*ms = append(*ms, (*ms)[rng.IntN(len(*ms))])
		}
		rng.Shuffle(len(*ms), func(i, j int) { (*ms)[i], (*ms)[j] = (*ms)[j], (*ms)[i] })
	}
	return q
}

func TestSelectionLeavesTheQueryAsItIs(t *testing.T) {
	q := rollcall.Query{Capability: []rollcall.Match{{Name: "b"}, {Name: "a"}, {Name: "a"}}}
	want := slices.Clone(q.Capability)
	q.Selection()
	if !slices.Equal(q.Capability, want) {
		t.Errorf("capabilities became %v", q.Capability)
	}
}

func TestPlainSelectionDoesNotAllocate(t *testing.T) {
	for _, q := range []rollcall.Query{
		{Service: "payments"},
		{Service: "payments", Health: rollcall.HealthRoutable, Capability: []rollcall.Match{}, MinRevision: 4, Wait: time.Second, Caller: "c"},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if q.Selection() != "" {
				t.Error("not plain")
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations, want none", q, n)
		}
	}
}

func TestQueryValues(t *testing.T) {
	q := rollcall.Query{
		Namespace: "n", Service: "s", Health: "any", Filter: "cap.gpu >= 2", Near: "52.52,13.40", Limit: 1, Pick: 2,
		Caller: "c", Subset: "u", SubsetSize: 3, At: at.In(time.FixedZone("", 3600)),
		Capability:  []rollcall.Match{{Name: "gpu", Value: "2"}, {Name: "gpu", Value: "3"}},
		Metadata:    []rollcall.Match{{Name: "team", Value: ""}},
		MinRevision: 4, MaxAge: time.Minute, Consistent: true,
		After: rollcall.Token{Log: logID, Revision: 5, Generation: 6}, Wait: 30 * time.Second,
	}
	const want = "after=0123456789abcdef-5-6&at=2026-01-02T03%3A04%3A05Z&caller=c&cap.gpu=2&cap.gpu=3&consistent=1&" +
		"filter=cap.gpu+%3E%3D+2&health=any&limit=1&max_age=1m0s&meta.team=&min_revision=4&namespace=n&" +
		"near=52.52%2C13.40&pick=2&subset=u&subset_size=3&wait=30s"
	if got := q.Values().Encode(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (&rollcall.Query{Service: "s"}).Values().Encode(); got != "" {
		t.Errorf("the default query reads %q", got)
	}
}

func TestKeys(t *testing.T) {
	q := rollcall.Query{Service: "Payments"}
	i := rollcall.Instance{Namespace: "DEFAULT", Service: "PAYMENTS", ID: "P-1"}
	if q.Key().String() != "default/payments" || i.Key().ServiceKey != q.Key() {
		t.Errorf("%v and %v, want one service", q.Key(), i.Key())
	}
	if got := i.Key().String(); got != "default/payments/P-1" {
		t.Errorf("the key reads %q", got)
	}
	keys := []rollcall.ServiceKey{{Namespace: "a", Service: "b"}, {Namespace: "a", Service: "c"}, {Namespace: "a-", Service: "a"}, {Namespace: "b", Service: "a"}}
	for i, a := range keys {
		for j, b := range keys {
			if got, want := a.Compare(b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%v against %v: %d, want %d", a, b, got, want)
			}
		}
	}
}
