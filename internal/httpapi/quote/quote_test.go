package quote_test

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
)

func TestAppend(t *testing.T) {
	for s, want := range map[string]string{
		"":             `""`,
		`a "b" \`:      `"a \"b\" \\"`,
		"\x00\n":       `"\u0000\n"`,
		"caf\xc3\xa9":  `"café"`,
		"broken \xff.": `"broken ` + "\ufffd" + `."`,
	} {
		if got := string(quote.Append([]byte("x"), s)); got != "x"+want {
			t.Errorf("%q is written as %s, want x%s", s, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{strings.Repeat("x", 20), 10, "xxxxxxx…"},
		{"ééééé", 8, "éé…"}, // never half of a character
		{"a\nb\x7f\u2028", 20, "a\ufffdb\ufffd\ufffd"},
	} {
		if got := quote.Shorten(c.s, c.n); got != c.want || len(got) > max(c.n, len(c.want)) {
			t.Errorf("%q in %d bytes is %q, want %q", c.s, c.n, got, c.want)
		}
	}
}
