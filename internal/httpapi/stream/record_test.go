package stream

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// TestOthersAreNamed: a record says which service it is of if that is not the one that
// is watched, though a watch is of one: its name may have meant a query until now.
func TestOthersAreNamed(t *testing.T) {
	own, other := rollcall.NewServiceKey("", "payments"), rollcall.NewServiceKey("", "spare")
	e := records{topic: own}
	e.changes(&watch.Batch{Type: watch.Changes, Changes: []watch.Change{
		{Kind: watch.Remove, Service: own, ID: "p-1"}, {Kind: watch.Remove, Service: other, ID: "p-1"},
	}})
	e.weighed(&watch.Batch{Type: watch.Weights, Weighed: []watch.Weighed{{Service: own, ID: "p-1", Weight: 1}, {Service: other, ID: "p-1", Weight: 2}}})
	for n, line := range strings.Split(strings.TrimSpace(string(e.buf)), "\n") {
		if got, want := strings.Contains(line, `"service":"spare"`), n%2 == 1; got != want {
			t.Errorf("line %d: %s", n, line)
		}
	}
	if n := strings.Count(string(e.buf), "\n"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, e.buf)
	}
}

// Who is gone is told of with what the log says of it, as far as a record has
// room.
func TestDeparture(t *testing.T) {
	for why, want := range map[string]string{
		"no renewal for 1m15s": "no renewal for 1m15s", "deregistered": "deregistered", "": "deregistered",
		strings.Repeat("x", 500): strings.Repeat("x", 77) + "…",
	} {
		gone := watch.Change{Kind: watch.Remove, Why: why}
		if got := gone.Departure(reason); got != want {
			t.Errorf("%q is told as %q, want %q", why, got, want)
		}
	}
}
