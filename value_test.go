package rollcall_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestValueRoundTrip(t *testing.T) {
	f := &filler{Rand: newRand(t)}
	for range 2000 {
		v := f.value()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back, again rollcall.Value
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		// Bytes that are not UTF-8 are lost in JSON, the first time.
		if err := json.Unmarshal([]byte(back.String()), &again); err != nil || !again.Equal(back) || again.Kind() != v.Kind() {
			t.Fatalf("%v reads back as %v, then as %v, %v", v, back, again, err)
		}
	}
}

func TestValueKinds(t *testing.T) {
	list := rollcall.List(rollcall.Bool(true), rollcall.Number(1))
	for _, tt := range []struct {
		v    rollcall.Value
		kind rollcall.Kind
		bool bool
		num  float64
		text string
		list int
		json string
	}{
		{rollcall.Value{}, rollcall.KindNone, false, 0, "", 0, "null"},
		{rollcall.Bool(true), rollcall.KindBool, true, 0, "", 0, "true"},
		{rollcall.Bool(false), rollcall.KindBool, false, 0, "", 0, "false"},
		{rollcall.Number(2), rollcall.KindNumber, false, 2, "", 0, "2"},
		{rollcall.Number(0), rollcall.KindNumber, false, 0, "", 0, "0"},
		{rollcall.String("v8"), rollcall.KindString, false, 0, "v8", 0, `"v8"`},
		{rollcall.String(""), rollcall.KindString, false, 0, "", 0, `""`},
		{list, rollcall.KindList, false, 0, "", 2, "[true,1]"},
		{rollcall.Strings("h264", "av1"), rollcall.KindList, false, 0, "", 2, `["h264","av1"]`},
		{rollcall.List(), rollcall.KindList, false, 0, "", 0, "[]"},
	} {
		v := tt.v
		if v.Kind() != tt.kind || v.Bool() != tt.bool || v.Number() != tt.num || v.Text() != tt.text || len(v.List()) != tt.list || v.String() != tt.json {
			t.Errorf("%v: kind %d, bool %v, number %v, text %q, %d elements; want %+v", v, v.Kind(), v.Bool(), v.Number(), v.Text(), len(v.List()), tt)
		}
	}
}

// TestValuesDiffer compares every value with every other.
func TestValuesDiffer(t *testing.T) {
	values := []rollcall.Value{
		{}, rollcall.Bool(true), rollcall.Bool(false), rollcall.Number(1), rollcall.Number(0), rollcall.String("1"), rollcall.String(""),
		rollcall.String("true"), rollcall.List(), rollcall.List(rollcall.Number(1)), rollcall.Strings("1"), rollcall.Strings("1", "1"),
	}
	for i, a := range values {
		for j, b := range values {
			if a.Equal(b) != (i == j) {
				t.Errorf("%v.Equal(%v) is %v", a, b, a.Equal(b))
			}
		}
	}
}

func TestListIsACopy(t *testing.T) {
	vs := []rollcall.Value{rollcall.Number(1)}
	l := rollcall.List(vs...)
	vs[0] = rollcall.Number(2)
	if !l.Equal(rollcall.List(rollcall.Number(1))) {
		t.Errorf("the list became %v", l)
	}
}

func TestValueRefuses(t *testing.T) {
	for _, s := range []string{`null`, `{}`, `{"a":1}`, `[[1]]`, `[null]`, `[1,{}]`, `1e400`, ``, `tru`} {
		var v rollcall.Value
		if err := json.Unmarshal([]byte(s), &v); err == nil {
			t.Errorf("%s was taken for %v", s, v)
		}
	}
	for _, n := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if b, err := json.Marshal(rollcall.Number(n)); err == nil {
			t.Errorf("%v was written as %s", n, b)
		}
	}
}

func TestValueMatches(t *testing.T) {
	codecs := rollcall.List(rollcall.String("h264"), rollcall.Number(2), rollcall.Bool(true))
	for _, tt := range []struct {
		v    rollcall.Value
		text string
		want bool
	}{
		{rollcall.Bool(true), "true", true},
		{rollcall.Bool(true), "false", false},
		{rollcall.Bool(true), "1", false},
		{rollcall.Bool(true), "TRUE", false},
		{rollcall.Bool(false), "false", true},
		{rollcall.Bool(false), "", false},
		{rollcall.Number(2), "2", true},
		{rollcall.Number(2), "2.0", true},
		{rollcall.Number(2), "0.2e1", true},
		{rollcall.Number(2), "3", false},
		{rollcall.Number(2), "two", false},
		{rollcall.Number(2), "", false},
		{rollcall.Number(0), "-0", true},
		{rollcall.Number(0), "", false},
		{rollcall.Number(math.MaxFloat64), "inf", false},
		{rollcall.String("v8"), "v8", true},
		{rollcall.String("v8"), "V8", false},
		{rollcall.String("v8"), "", false},
		{rollcall.String(""), "", true},
		{rollcall.String("2"), "2", true},
		{rollcall.String("2"), "2.0", false},
		{codecs, "h264", true},
		{codecs, "2.0", true},
		{codecs, "true", true},
		{codecs, "av1", false},
		{rollcall.List(), "", false},
		{rollcall.Value{}, "", false},
		{rollcall.Value{}, "null", false},
	} {
		if got := tt.v.Matches(tt.text); got != tt.want {
			t.Errorf("%v matches %q: %v, want %v", tt.v, tt.text, got, tt.want)
		}
	}
}
