package rollcall_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

const logID = rollcall.LogID("0123456789abcdef")

func TestToken(t *testing.T) {
	for _, tt := range []struct {
		text string
		want rollcall.Token
		ok   bool
	}{
		{"0123456789abcdef-812-4", rollcall.Token{Log: logID, Revision: 812, Generation: 4}, true},
		{"0123456789abcdef-0-0", rollcall.Token{Log: logID}, true},
		{"0123456789abcdef-18446744073709551615-18446744073709551615", rollcall.Token{Log: logID, Revision: math.MaxUint64, Generation: math.MaxUint64}, true},
		{text: ""},
		{text: "812"},
		{text: "812-4"},
		{text: "0123456789abcdef"},
		{text: "0123456789abcdef-"},
		{text: "0123456789abcdef-812"},
		{text: "0123456789abcdef-812-"},
		{text: "0123456789abcdef--4"},
		{text: "0123456789abcdef-812-4-"},
		{text: "0123456789abcdef-812-4-1"},
		{text: "0123456789abcdef-+812-4"},
		{text: "0123456789abcdef--812-4"},
		{text: "0123456789abcdef-0x1-4"},
		{text: "0123456789abcdef-18446744073709551616-4"},
		{text: "0123456789ABCDEF-812-4"},
		{text: "0123456789abcde-812-4"},
		{text: "0123456789abcdef0-812-4"},
		{text: "0123456x89abcdef-812-4"},
		{text: `"0123456789abcdef-812-4"`},
		{text: strings.Repeat("a", 1<<16)},
	} {
		got, err := rollcall.ParseToken(tt.text)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%.60q: %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if tt.ok && got.String() != tt.text {
			t.Errorf("%q is written %q", tt.text, got)
		}
	}
}

func TestTokenJSON(t *testing.T) {
	for _, want := range []rollcall.Token{{}, {Log: logID, Revision: 7, Generation: 9}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := rollcall.Token{Log: "old", Revision: 1}
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", b, got, err, want)
		}
		if got.IsZero() != (want == rollcall.Token{}) {
			t.Errorf("%+v.IsZero() is %v", got, got.IsZero())
		}
	}
	if (rollcall.Token{}).String() != "" {
		t.Errorf("the zero token reads %q", rollcall.Token{})
	}
}

func FuzzParseToken(f *testing.F) {
	for _, s := range []string{"", "-", "--", "0123456789abcdef-812-4", "0123456789abcdef-007-00", "ffffffffffffffff-18446744073709551615-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := rollcall.ParseToken(s)
		if err != nil {
			if token != (rollcall.Token{}) {
				t.Errorf("%q is refused and gives %+v", s, token)
			}
			return
		}
		if !token.Log.Valid() || token.IsZero() {
			t.Errorf("%q gives %+v", s, token)
		}
		if back, err := rollcall.ParseToken(token.String()); err != nil || back != token {
			t.Errorf("%+v, written %q, reads back as %+v, %v", token, token, back, err)
		}
	})
}

func TestNewLogID(t *testing.T) {
	seen := map[rollcall.LogID]bool{}
	for range 1000 {
		id := rollcall.NewLogID()
		if !id.Valid() || seen[id] {
			t.Fatalf("%q is not valid, or not new", id)
		}
		seen[id] = true
	}
}
