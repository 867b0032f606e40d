package filter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

func TestTerms(t *testing.T) {
	one, two, gold := rollcall.Number(1), rollcall.Number(2), rollcall.String("gold")
	for _, tt := range []struct {
		text string
		want []Term
	}{
		{`cap.gpu == 2`, []Term{{"cap", "gpu", []rollcall.Value{two}}}},
		{`2.0 == cap.gpu`, []Term{{"cap", "gpu", []rollcall.Value{two}}}},
		{`cap.gpu == 2u`, []Term{{"cap", "gpu", []rollcall.Value{two}}}},
		{`cap["odd-name"] == 1`, []Term{{"cap", "odd-name", []rollcall.Value{one}}}},
		{`"gold" in cap.tier`, []Term{{"cap", "tier", []rollcall.Value{gold}}}},
		{`cap.tier in ["gold", 1, true]`, []Term{{"cap", "tier", []rollcall.Value{gold, one, rollcall.Bool(true)}}}},
		{`meta.team == "gold"`, []Term{{"meta", "team", []rollcall.Value{gold}}}},
		{`meta.team in ["gold"]`, []Term{{"meta", "team", []rollcall.Value{gold}}}},
		{`cap.canary`, []Term{{"cap", "canary", []rollcall.Value{rollcall.Bool(true)}}}},
		{`id != "" && (cap.gpu == 2 && (cap.tier == "gold"))`, []Term{{"cap", "gpu", []rollcall.Value{two}}, {"cap", "tier", []rollcall.Value{gold}}}},
		{`cap.gpu >= 2`, nil},
		{`cap.gpu != 2`, nil},
		{`!(cap.gpu == 2)`, nil},
		{`cap.gpu == 2 || cap.tier == "gold"`, nil},
		{`true ? cap.gpu == 2 : false`, nil},
		{`has(cap.gpu)`, nil},
		{`cap.gpu == cap.tpu`, nil},
		{`cap.gpu == [2]`, nil},
		{`cap.gpu in [2, [1]]`, nil},
		{`cap.gpu in []`, nil},
		{`cap.gpu == null`, nil},
		{`"gpu" in cap`, nil},
		{`cap.codecs[0] == "gold"`, nil},
		{`cap[id] == 2`, nil},
		{`ports.http == 2`, nil},
		{`cap.codecs.exists(c, cap.gpu == 2)`, nil},
	} {
		f, err := Compile(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		} else if d := cmp.Diff(tt.want, f.Terms()); d != "" {
			t.Errorf("%s: %s", tt.text, d)
		}
	}
}

// meets is what an index would look up.
func meets(s *Subject, t Term) bool {
	v := record.Capability(s.Record, t.Name)
	if t.Field == "meta" {
		text, ok := record.Metadata(s.Record, t.Name)
		if v = rollcall.String(text); !ok {
			return false
		}
	}
	for _, any := range t.Any {
		if v.Equal(any) {
			return true
		}
		for _, e := range v.List() {
			if e.Equal(any) {
				return true
			}
		}
	}
	return false
}

// TestTermsAdmitAllThatMatch makes expressions and instances of few values and
// looks for one that matches and does not meet a term.
func TestTermsAdmitAllThatMatch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[g.IntN(len(from))] }
	literal := func() string { return pick("1", "2", "2.0", "9007199254740993", "-1", `"1"`, `"x"`, "true", "false") }
	entry := func() string { return pick("cap.a", `cap["b"]`, "cap.c") }
	condition := func() string {
		switch g.IntN(6) {
		case 0:
			return entry() + " == " + literal()
		case 1:
			return literal() + " == " + entry()
		case 2:
			return literal() + " in " + entry()
		case 3:
			return entry() + " in [" + literal() + ", " + literal() + "]"
		case 4:
			return pick("!", "") + entry()
		}
		return "meta.a " + pick("==", "!=") + pick(`"x"`, `"1"`)
	}
	scalar := func() rollcall.Value {
		return [...]rollcall.Value{
			rollcall.Number(1), rollcall.Number(2), rollcall.Number(-1), rollcall.Number(9007199254740992),
			rollcall.String("1"), rollcall.String("x"), rollcall.Bool(true), rollcall.Bool(false),
		}[g.IntN(8)]
	}
	matched := 0
	for range 3000 {
		parts := []string{condition()}
		for g.IntN(2) == 0 {
			parts = append(parts, condition())
		}
		text := strings.Join(parts, pick(" && ", " && ", " || "))
		f, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for range 10 {
			i := rollcall.Instance{Service: "s", ID: "i", Capabilities: map[string]rollcall.Value{}, Metadata: map[string]string{"a": pick("x", "1")}}
			for _, name := range []string{"a", "b", "c"} {
				switch g.IntN(4) {
				case 0:
					i.Capabilities[name] = rollcall.List(scalar(), scalar())
				case 1, 2:
					i.Capabilities[name] = scalar()
				}
			}
			s := subject(i)
			if !f.Match(s) {
				continue
			}
			matched++
			for _, term := range f.Terms() {
				if !meets(s, term) {
					t.Fatalf("%s matches %v, which does not meet %v", text, fmt.Sprint(i.Capabilities, i.Metadata), term)
				}
			}
		}
	}
	if matched < 100 {
		t.Errorf("only %d matched", matched)
	}
}
