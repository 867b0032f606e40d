package stream

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Who is gone is told of with what the log says of it, as far as a record has
// room.
func TestDeparture(t *testing.T) {
	for why, want := range map[string]string{
		"no renewal for 1m15s": "no renewal for 1m15s", "deregistered": "deregistered", "": "deregistered",
		strings.Repeat("x", 500): strings.Repeat("x", 77) + "…",
	} {
		if got := departure(&watch.Change{Kind: watch.Remove, Why: why}); got != want {
			t.Errorf("%q is told as %q, want %q", why, got, want)
		}
	}
}
