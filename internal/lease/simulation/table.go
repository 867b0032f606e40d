package simulation

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// WriteDays writes what days with several seeds found, in Markdown: false removals
// of each, of the one in which Rollcall was least better by cause, and the longest
// times to detect crashes.
func WriteDays(w io.Writer, days []Result) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	worst := Worst(days)
	line("False removals in %v of %d instances:\n", rollcall.Duration(days[0].World.Length), days[0].World.Instances)
	line("| seed | plain TTL | heartbeats | × fewer | sessions | × fewer |\n|---|---|---|---|---|---|")
	for _, r := range days {
		line("| %d | %d | %d | %.0f | %d | %.0f |", r.Seed, r.Sides[0].Removed(), r.Sides[1].Removed(), r.Fewer(1), r.Sides[2].Removed(), r.Fewer(2))
	}
	line("\nOf these by cause, with seed %d, the worst:\n", worst.Seed)
	line("| cause | accidents | plain TTL | heartbeats | sessions |\n|---|---|---|---|---|")
	for c := range causes {
		accidents := "always"
		if c != Loss {
			accidents = fmt.Sprint(worst.Accidents[c])
		}
		line("| %v | %s | %d | %d | %d |", c, accidents, worst.Sides[0].False[c], worst.Sides[1].False[c], worst.Sides[2].False[c])
	}
	s := worst.Sides
	line("| **all** | | **%d** | **%d** | **%d** |", s[0].Removed(), s[1].Removed(), s[2].Removed())
	line("| a million heartbeats, or answers to pings | | %.0f | %.1f | %.1f |", s[0].PerMillion(), s[1].PerMillion(), s[2].PerMillion())
	line("| well, but behind the others, of all time | | %s | %s | %s |", worst.share(s[0].Behind), worst.share(s[1].Behind), worst.share(s[2].Behind))
	line("| well, but out of answers, of all time | | %s | %s | %s |", worst.share(s[0].Out), worst.share(s[1].Out), worst.share(s[2].Out))
	line("\nTime from a crash until it shows, p50 / p99 / longest, each of the seed where it is longest:\n")
	line("| | plain TTL | heartbeats | sessions |\n|---|---|---|---|")
	for _, row := range []struct {
		what string
		of   func(Side) []time.Duration
	}{
		{"process crash: behind the others", func(s Side) []time.Duration { return s.CrashedFirst }},
		{"process crash: out", func(s Side) []time.Duration { return s.Crashed }},
		{"host death: behind the others", func(s Side) []time.Duration { return s.DiedFirst }},
		{"host death: out", func(s Side) []time.Duration { return s.Died }},
	} {
		line("| %s | %s | %s | %s |", row.what, longest(days, 0, row.of), longest(days, 1, row.of), longest(days, 2, row.of))
	}
}

// WriteLossy writes what [Lossy] worlds found: for each the most false removals per
// million heartbeats of all seeds.
func WriteLossy(w io.Writer, packets, beats []Result) {
	fmt.Fprintf(w, "Bad nodes and a starved registry, the worst of %d seeds:\n\n", len(packets))
	fmt.Fprintf(w, "| false removals per million heartbeats | plain TTL | heartbeats | sessions |\n|---|---|---|---|\n")
	for _, row := range []struct {
		what    string
		results []Result
	}{{"a fifth of packets lost on a twentieth of hosts", packets}, {"a fifth of heartbeats (of sessions: packets)", beats}} {
		fmt.Fprintf(w, "| %s ", row.what)
		for n := range 3 {
			most := 0.0
			for _, r := range row.results {
				most = max(most, r.Sides[n].PerMillion())
			}
			fmt.Fprintf(w, "| %.2f ", most)
		}
		fmt.Fprintln(w, "|")
	}
}

// Fewer returns how many times as many false removals a plain TTL has as a side.
func (r *Result) Fewer(side int) float64 {
	return float64(r.Sides[0].Removed()) / float64(max(r.Sides[side].Removed(), 1))
}

// Worst returns the result in which a side of ours has the least factor.
func Worst(results []Result) Result {
	return slices.MinFunc(results, func(a, b Result) int {
		if min(a.Fewer(1), a.Fewer(2)) < min(b.Fewer(1), b.Fewer(2)) {
			return -1
		}
		return 1
	})
}

func (r *Result) share(d time.Duration) string {
	return fmt.Sprintf("%.3f %%", 100*float64(d)/(float64(r.World.Length)*float64(r.World.Instances)))
}

func longest(results []Result, side int, of func(Side) []time.Duration) string {
	var worst [3]time.Duration
	for _, r := range results {
		sorted := of(r.Sides[side])
		for n, q := range []float64{0.5, 0.99, 1} {
			worst[n] = max(worst[n], Quantile(sorted, q))
		}
	}
	return fmt.Sprintf("%.2f / %.2f / %.2f s", worst[0].Seconds(), worst[1].Seconds(), worst[2].Seconds())
}
