package resolve

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const logID = rollcall.LogID("0123456789abcdef")

var service = rollcall.NewServiceKey("", "s")

// view returns a view of an instance for each status, named after it, and some
// that differ in what they can do.
func view(t testing.TB) *catalog.View {
	t.Helper()
	c := catalog.New()
	e := rollcall.Entry{Log: logID, Revision: 7, Reset: true}
	add := func(b rollcall.Body) {
		e.Changes = append(e.Changes, rollcall.Change{At: time.Unix(1, 0), Revision: 7, Body: b})
	}
	put := func(i rollcall.Instance) {
		i.Service = "s"
		i.Normalize()
		add(rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	}
	for _, s := range rollcall.Statuses() {
		put(rollcall.Instance{ID: s.String()})
		if s != rollcall.Healthy {
			add(rollcall.HealthPut{Service: service, Slot: rollcall.SlotStatus, Status: s, IDs: []string{s.String()}})
		}
	}
	put(rollcall.Instance{
		ID: "x", Metadata: map[string]string{"team": "checkout", "empty": "", "gpu": "9"},
		Capabilities: map[string]rollcall.Value{
			"gpu": rollcall.Number(2), "codecs": rollcall.Strings("h264", "av1"), "sizes": rollcall.List(rollcall.Number(1), rollcall.Number(2.5)),
			"canary": rollcall.Bool(true), "engine": rollcall.String("v8"),
		},
	})
	put(rollcall.Instance{
		ID: "y", Metadata: map[string]string{"team": "search"},
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(4), "canary": rollcall.Bool(false), "engine": rollcall.String("2")},
	})
	if err := c.Apply(e); err != nil {
		t.Fatal(err)
	}
	s, _ := c.Publish()
	return s.View(service)
}

func matches(pairs ...string) (ms []rollcall.Match) {
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		ms = append(ms, rollcall.Match{Name: name, Value: value})
	}
	return ms
}

// selecting returns the filter of what a name in DNS selects by.
func selecting(name string) string {
	return fmt.Sprintf(`lower(version) == %[1]q || cap.exists(k, lower(k) == %[1]q && cap[k] != false)`, name)
}

func TestSelect(t *testing.T) {
	v := view(t)
	const everything = "degraded draining healthy starting suspect unhealthy x y"
	capability := func(pairs ...string) rollcall.Query { return rollcall.Query{Capability: matches(pairs...)} }
	metadata := func(pairs ...string) rollcall.Query { return rollcall.Query{Metadata: matches(pairs...)} }
	for _, tt := range []struct {
		name  string
		q     rollcall.Query
		want  string
		total int // 0: as many
	}{
		{"the default", rollcall.Query{}, "degraded healthy x y suspect", 0},
		{"routable", rollcall.Query{Health: "routable"}, "degraded healthy x y suspect", 0},
		{"any", rollcall.Query{Health: "any"}, everything, 0},
		{"healthy", rollcall.Query{Health: "healthy"}, "healthy x y", 0},
		{"degraded", rollcall.Query{Health: "degraded"}, "degraded", 0},
		{"suspect", rollcall.Query{Health: "suspect"}, "suspect", 0},
		{"starting", rollcall.Query{Health: "starting"}, "starting", 0},
		{"unhealthy", rollcall.Query{Health: "unhealthy"}, "unhealthy", 0},
		{"draining", rollcall.Query{Health: "draining"}, "draining", 0},

		{"a number", capability("gpu=2"), "x", 0},
		{"a number, written otherwise", capability("gpu=2.0"), "x", 0},
		{"another number", capability("gpu=3"), "", 0},
		{"no number", capability("gpu=two"), "", 0},
		{"one of a list", capability("codecs=av1"), "x", 0},
		{"two of a list", capability("codecs=av1", "codecs=h264"), "x", 0},
		{"not in the list", capability("codecs=av1", "codecs=vp9"), "", 0},
		{"a list is not its text", capability(`codecs=["h264","av1"]`), "", 0},
		{"a number of a list", capability("sizes=25e-1"), "x", 0},
		{"true", capability("canary=true"), "x", 0},
		{"false", capability("canary=false"), "y", 0},
		{"a text", capability("engine=v8"), "x", 0},
		{"a text that looks like a number", capability("engine=2"), "y", 0},
		{"a text is no number", capability("engine=2.0"), "", 0},
		{"a capability that nobody has", capability("tpu=1"), "", 0},
		{"nothing is not a value", capability("tpu="), "", 0},
		{"both of two", capability("gpu=4", "canary=false"), "y", 0},
		{"one of two", capability("gpu=4", "canary=true"), "", 0},

		{"metadata", metadata("team=checkout"), "x", 0},
		{"metadata is text", metadata("gpu=9.0"), "", 0},
		{"empty metadata", metadata("empty="), "x", 0},
		{"no metadata", metadata("none="), "", 0},
		{"capability and metadata", rollcall.Query{Capability: matches("gpu=4"), Metadata: matches("team=search")}, "y", 0},
		{"of two instances", rollcall.Query{Capability: matches("gpu=4"), Metadata: matches("team=checkout")}, "", 0},
		{"and health", rollcall.Query{Health: "degraded", Capability: matches("gpu=4")}, "", 0},

		{"a name in DNS", rollcall.Query{Filter: selecting("canary")}, "x", 0},
		{"another", rollcall.Query{Filter: selecting("gpu")}, "x y", 0},
		{"and no other", rollcall.Query{Filter: selecting("vp9")}, "", 0},

		{"limit", rollcall.Query{Limit: 3}, "degraded healthy x", 5},
		{"limit of one, any", rollcall.Query{Limit: 1, Health: "any"}, "degraded", 8},
		{"as many as the limit", rollcall.Query{Limit: 4}, "degraded healthy x y", 5},
		{"the last resort within the limit", rollcall.Query{Limit: 5}, "degraded healthy x y suspect", 0},
		{"less than the limit", rollcall.Query{Limit: 1 << 62}, "degraded healthy x y suspect", 5},
		{"limit and a match", rollcall.Query{Limit: 1, Capability: matches("gpu=4")}, "y", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := NewCompiler().Compile(&tt.q)
			if err != nil {
				t.Fatal(err)
			}
			items, total := plan.Select(v, nil)
			var ids []string
			for _, i := range items {
				ids = append(ids, i.ID())
			}
			want := strings.Fields(tt.want)
			if tt.total == 0 {
				tt.total = len(want)
			}
			if !slices.Equal(ids, want) || total != tt.total {
				t.Errorf("%v of %d, want %v of %d", ids, total, want, tt.total)
			}
			if plan.Whole() != (tt.q.Limit == 0) || plan.Text() != tt.q.Selection() {
				t.Errorf("whole %v, text %q", plan.Whole(), plan.Text())
			}
			matching := 0
			for i := range v.All() {
				if plan.Match(i) {
					matching++
				}
			}
			if matching != total {
				t.Errorf("%d match one by one, %d in all", matching, total)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, tt := range []struct {
		q     rollcall.Query
		kind  error
		field string
		says  []string
	}{
		{rollcall.Query{Health: "Healthy"}, rollcall.ErrInvalid, "health", []string{`"Healthy"`, "degraded", "routable", "any"}},
		{rollcall.Query{Health: "passing"}, rollcall.ErrInvalid, "health", []string{`"passing"`}},
		{rollcall.Query{Limit: -1}, rollcall.ErrInvalid, "limit", []string{"negative"}},
		{rollcall.Query{Filter: "cap.gpu >"}, rollcall.ErrInvalid, "filter", []string{"column"}},
		{rollcall.Query{Near: "52.52"}, rollcall.ErrInvalid, "near", []string{`"52.52"`, "zone:", "instance:"}},
		{rollcall.Query{Near: "91,0"}, rollcall.ErrInvalid, "near", []string{`"91,0"`}},
		{rollcall.Query{Near: "NaN,0"}, rollcall.ErrInvalid, "near", []string{`"NaN,0"`}},
		{rollcall.Query{Near: "zone:"}, rollcall.ErrInvalid, "near", []string{"zone:REGION/ZONE"}},
		{rollcall.Query{Near: "zone:a/b/c/d"}, rollcall.ErrInvalid, "near", []string{"zone:REGION/ZONE"}},
		{rollcall.Query{Near: "instance:payments"}, rollcall.ErrInvalid, "near", []string{"instance:SERVICE/ID"}},
		{rollcall.Query{Pick: 101}, rollcall.ErrInvalid, "pick", []string{"101"}},
		{rollcall.Query{Pick: -1}, rollcall.ErrInvalid, "pick", []string{"-1"}},
		{rollcall.Query{Pick: 1, Limit: 2}, rollcall.ErrInvalid, "pick", []string{"limit"}},
		{rollcall.Query{Pick: 1, Health: "any"}, rollcall.ErrInvalid, "pick", []string{"health"}},
		{rollcall.Query{Subset: "web-1", SubsetSize: 3}, rollcall.ErrInvalid, "subset_size", []string{"3", "12"}},
		{rollcall.Query{Subset: "web-1", Health: "any"}, rollcall.ErrInvalid, "subset", []string{"health"}},
		{rollcall.Query{SubsetSize: 20}, rollcall.ErrInvalid, "subset_size", []string{"subset=CALLER"}},
		{rollcall.Query{Subset: strings.Repeat("x", 257)}, rollcall.ErrInvalid, "subset", []string{"257"}},
	} {
		plan, err := NewCompiler().Compile(&tt.q)
		e, ok := errors.AsType[*rollcall.Error](err)
		if !ok || e.Kind != tt.kind || e.Field != tt.field || plan != nil {
			t.Errorf("%+v: %v, want %v about %s", tt.q, err, tt.kind, tt.field)
			continue
		}
		for _, s := range tt.says {
			if !strings.Contains(e.Detail, s) {
				t.Errorf("%+v: %q does not say %q", tt.q, e.Detail, s)
			}
		}
	}
}

// TestPlainPlanIsShared: the common case costs nothing.
func TestPlainPlanIsShared(t *testing.T) {
	q := rollcall.Query{Service: "s", Health: "routable", Caller: "web-1", MinRevision: 3, Wait: time.Second, Consistent: true}
	compiler := NewCompiler()
	if n := testing.AllocsPerRun(100, func() {
		plan, err := compiler.Compile(&q)
		if err != nil || plan != plain || plan.Text() != "" || !plan.Whole() {
			t.Fatalf("%+v, %v", plan, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestAnswer(t *testing.T) {
	v := view(t)
	a := Answer{Key: service, View: v, Plan: plain, Log: logID, Generation: 4, Revision: 9}
	if want := (rollcall.Token{Log: logID, Revision: 7, Generation: 4}); a.Token() != want {
		t.Errorf("the token is %v, want %v", a.Token(), want)
	}
	if items, total := a.Endpoints(); len(items) != 5 || total != 5 {
		t.Errorf("%d of %d", len(items), total)
	}
	a.Same = rollcall.Token{Log: logID, Revision: 3}
	if a.Token() != a.Same {
		t.Errorf("the token is %v, want %v", a.Token(), a.Same)
	}
}

func BenchmarkSelect(b *testing.B) {
	c := catalog.New()
	e := rollcall.Entry{Log: logID, Revision: 1, Reset: true}
	for n := range 10_000 {
		i := rollcall.Instance{Service: "s", ID: fmt.Sprint(n), Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(float64(n % 100))}}
		i.Normalize()
		e.Changes = append(e.Changes, rollcall.Change{Revision: 1, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}})
	}
	if err := c.Apply(e); err != nil {
		b.Fatal(err)
	}
	s, _ := c.Publish()
	v := s.View(service)
	for name, q := range map[string]rollcall.Query{
		"plain": {}, "limit=10": {Limit: 10}, "cap.gpu=7": {Capability: matches("gpu=7")}, "a name in DNS": {Filter: selecting("tpu")},
	} {
		b.Run(name+"/instances=10000", func(b *testing.B) {
			plan, err := NewCompiler().Compile(&q)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				plan.Select(v, nil)
			}
		})
	}
}
