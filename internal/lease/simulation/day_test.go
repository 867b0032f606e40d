package simulation

import (
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall/internal/lease"
)

var (
	instances = flag.Int("sim.instances", 200, "how many instances are simulated")
	length    = flag.Duration("sim.for", time.Hour, "for how long, of virtual time")
	seed      = flag.Uint64("sim.seed", 1, "the first seed")
	seeds     = flag.Int("sim.seeds", 1, "how many seeds from that on")
	doc       = flag.String("sim.doc", "", "file in which the tables are put between the lines that say so")
)

// TestDay: with whatever seed, what a registry can tell from a crash is mistaken
// for one at least a hundred times less often than with a plain TTL; a cut of a
// zone costs no more than the share that a guard lets go of; the rest is as with
// a plain TTL; and crashes are found no later.
//
//	go test ./internal/lease/simulation -run TestDay -sim.instances 1000 -sim.for 24h -sim.seeds 10 -v
func TestDay(t *testing.T) {
	days, packets, beats := make([]Result, *seeds), make([]Result, min(*seeds, 3)), make([]Result, min(*seeds, 3))
	var runs sync.WaitGroup
	run := func(results []Result, w World) {
		for n := range results {
			runs.Go(func() { results[n] = Run(w, *seed+uint64(n)) })
		}
	}
	run(days, Day(*instances, *length))
	run(packets, Lossy(*instances, *length, true))
	run(beats, Lossy(*instances, *length, false))
	runs.Wait()
	for _, r := range days {
		compare(t, r)
	}
	for _, r := range packets {
		if p := r.Sides[1].PerMillion(); p >= 1 {
			t.Errorf("seed %d: %.2f false removals per million heartbeats in a world of bad nodes", r.Seed, p)
		}
	}
	var b strings.Builder
	WriteDays(&b, days)
	b.WriteString("\n")
	WriteLossy(&b, packets, beats)
	t.Logf("\n%s", b.String())
	if *doc != "" {
		if err := replace(*doc, b.String()); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, r Result) {
	const few = 4 // in a short run each counts
	plain := r.Sides[0]
	for _, ours := range r.Sides[1:] {
		for what, of := range map[string]struct{ ours, most int }{
			"by what is no crash": {told(ours), told(plain) / 100},
			"by cuts of zones":    {ours.False[CutZone], r.Accidents[CutZone] * int(lease.GuardShare*float64(r.World.Instances))},
			"by cuts of few":      {untold(ours), untold(plain) * 11 / 10},
		} {
			if of.ours > of.most+few {
				t.Errorf("seed %d: %s: %d false removals %s, want at most %d: %v; plain TTL: %v", r.Seed, ours.Name, of.ours, what, of.most+few, ours.False, plain.False)
			}
		}
		for _, found := range [][2][]time.Duration{{plain.Crashed, ours.Crashed}, {plain.Died, ours.Died}} {
			// A TTL and a tick, unless the registry was paused or the network cut.
			if p50, most := Quantile(found[1], 0.5), r.World.TTL+200*time.Millisecond; p50 > most {
				t.Errorf("seed %d: %s: half of crashes are found after %v only", r.Seed, ours.Name, p50)
			}
		}
	}
	if p50, most := Quantile(r.Sides[2].Crashed, 0.5), 500*time.Millisecond; p50 > most {
		t.Errorf("seed %d: half of crashes of processes with sessions are found after %v only", r.Seed, p50)
	}
}

// untold returns false removals of those whom a registry cannot tell from the dead:
// who is cut off alone, or with less than a guard's share, is like a host that
// died.
func untold(s Side) int { return s.False[CutOne] + s.False[CutRack] }

func told(s Side) int { return s.Removed() - untold(s) - s.False[CutZone] }

// replace puts text between the lines of a file that say that it is generated.
func replace(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	const begin, end = "<!-- generated: simulation -->\n", "<!-- end -->\n"
	before, rest, _ := strings.Cut(string(b), begin)
	_, after, _ := strings.Cut(rest, end)
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

// TestSameSeed: the same seed finds the same, and another something else.
func TestSameSeed(t *testing.T) {
	w := Day(100, 10*time.Minute)
	a, b := Run(w, 7), Run(w, 7)
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	if cmp.Equal(a.Sides, Run(w, 8).Sides) {
		t.Error("another seed finds the same")
	}
}
