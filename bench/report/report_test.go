package report

import (
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// results are three rounds in which the machine became faster and faster: the ratio of
// each pair is what tells.
func results(t *testing.T) (*Results, string) {
	dir := t.TempDir()
	r, err := Create(dir, Run{Commit: "c0ffee"})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		for side, rate := range map[string]float64{"rollcall": 9000, "bare": 10_000} {
			s := Sample{Seconds: 5, PerSecond: rate * float64(n), GoodPerSecond: rate, ServerCPU: 2.5, GeneratorCPU: 1, P50Ms: 1, P99Ms: float64(n), P999Ms: 9}
			s.More = map[string]float64{"allocations": 1}
			if err := r.Add(Round{Row: "register", Side: side, Round: n, Params: map[string]any{"connections": 64}, Sample: s}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r, dir
}

var rows = []Row{
	{Name: "register", Unit: "instances", Goals: []Goal{
		Rate(30_000), Share("bare", 0.85), Compare("bare"), Share("consul", 12), P99(2), AtMost("allocations", 0), NoWrites(),
		PerCPU("bare", 1.5), Slower("bare", 1.2), P99Times("bare", 1), P99Of("allocations", 3),
	}},
	{Name: "resolve", Unit: "replies", Goals: []Goal{Rate(1)}},
}

const table = `
figure    measured            p50 / p99 / p99.9 ms  per CPU-s  generator  target               limit or peer     ratio    met
register  18,000 instances/s  1.00 / 2.00 / 9.00    36,000     20 %       ≥ 30,000/s           –                 0.60 ×   not met
                                                                          ≥ 85 %               bare 20,000       90 %     met
                                                                          –                    bare 20,000       90 %     –
                                                                          p99 ≤ 2 ms           –                 2.00 ms  met
                                                                          allocations ≤ 0      –                 1        not met
                                                                          no disk writes       –                 0 B      met
                                                                          ≥ 150 % per CPU-s    bare 40,000       90 %     not met
                                                                          ≤ 1.2 × its time     bare 20,000       1.11 ×   met
                                                                          p99 ≤ 1 × its        bare 2 ms p99     1.00 ×   met
                                                                          p99 ≤ 3 × allocations  –               2.00 ×   met
`

// TestTable: what was not measured is not shown, and a table can be printed again from
// the raw rounds.
func TestTable(t *testing.T) {
	r, dir := results(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Results{"measured": r, "read back": again} {
		var b strings.Builder
		if err := r.Table(&b, rows); err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(b.String(), "\n\n")
		if words(got) != words(table) {
			t.Errorf("%s:\n%s\nwant%s", name, got, table)
		}
	}
}

// TestMore: what only a figure has is shown in its unit, also in Markdown.
func TestMore(t *testing.T) {
	r := &Results{}
	for side, mb := range map[string]float64{"rollcall": 1500, "alone": 1490.5} {
		s := Sample{Seconds: 1, More: map[string]float64{"rss_mb": mb, "back_s": 0.25, "records": 0}, Note: "in short"}
		if err := r.Add(Round{Row: "memory", Side: side, Round: 1, Sample: s}); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	err := r.Markdown(&b, []Row{{Name: "memory", Unit: "resident", Value: "rss_mb", Goals: []Goal{
		AtMost("rss_mb", 40), Beyond("alone", "rss_mb", 10), Times("alone", "rss_mb", 1), CompareMore("alone", "rss_mb"),
		Show("back_s"), Exactly("records", 0), P50(1),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "---|\n")
	want := `
| memory | 1,500 MB resident | – | – | – | rss ≤ 40 MB | – | 1,500 MB | not met |
| | | | | | rss beyond its ≤ 10 MB | alone 1,490 MB | 9.5 MB | met |
| | | | | | rss ≤ 1 × its | alone 1,490 MB | 1.01 × | not met |
| | | | | | – | alone 1,490 MB | 1.01 × | – |
| | | | | | – | – | back 0.25 s | – |
| | | | | | records = 0 | – | 0 | met |
| | | | | | p50 ≤ 1 ms | – | 0.00 ms | met |

* memory: in short`
	if words(got) != words(want) {
		t.Errorf("%s\nwant%s", got, want)
	}
}

// words is a table without its spacing.
func words(s string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(s)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// TestContinue: results of the same commit can be continued, and what is measured again
// replaces what was.
func TestContinue(t *testing.T) {
	r, dir := results(t)
	r.Close()
	if _, err := Create(dir, Run{Commit: "other"}); err == nil {
		t.Error("results of two commits in one folder")
	}
	r, err := Create(dir, Run{Commit: "c0ffee"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Add(Round{Row: "register", Side: "rollcall", Round: 3, Sample: Sample{PerSecond: 1}}); err != nil {
		t.Fatal(err)
	}
	if got := Median(r.Of("register", "rollcall"), func(r Round) float64 { return r.PerSecond }); got != 9000 {
		t.Errorf("median %v", got)
	}
}

func TestSample(t *testing.T) {
	r := &load.Result{Length: 2 * time.Second, Done: 10, Good: 5, Failed: 1}
	r.Latency.Record(3 * time.Millisecond)
	s := Of(r, 100)
	if s.PerSecond != 500 || s.GoodPerSecond != 250 || s.Failed != 1 || s.P50Ms < 3 || s.P50Ms > 3.1 {
		t.Errorf("%+v", s)
	}
	if s.PerCPU() != 0 {
		t.Errorf("%v per CPU-second of nobody", s.PerCPU())
	}
}
