package table

import (
	"testing"
	"time"
)

func TestDurationsAreHumane(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 40 * time.Millisecond: "40ms", 59 * time.Second: "59s", time.Minute: "1m", 192 * time.Second: "3m12s",
		5*time.Hour + 3*time.Minute: "5h3m", 26 * time.Hour: "1d2h", 48 * time.Hour: "2d", -time.Minute: "-1m",
	} {
		if got := Humane(d); got != want {
			t.Errorf("Humane(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestCellsAreClean(t *testing.T) {
	for s, want := range map[string]string{
		"plain é 日本": "plain é 日本", "a\tb\nc": `a\tb\nc`, "\x1b[2J": `\x1b[2J`, "\u202etxt": `\u202etxt`, "bad \xff": "bad \ufffd",
	} {
		if got := Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}
