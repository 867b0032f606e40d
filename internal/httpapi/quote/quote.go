// Package quote puts into answers what others wrote: as strings of JSON, and no
// more of it than an answer has room for.
package quote

import (
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Append writes s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func Append(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its error says that bytes were replaced
	return b
}

// Shorten cuts s to at most n bytes of valid UTF-8 without control characters.
func Shorten(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
