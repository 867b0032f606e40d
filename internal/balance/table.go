package balance

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Comparison is what runs found: by policy, load and seed.
type Comparison struct {
	Policies []Policy
	Loads    []float64
	Results  [][][]Result
}

// measure is something that was found in each run; more is worse.
type measure struct {
	name  string
	of    func(Result) float64
	write func(float64) string
}

func seconds(v float64) string {
	if v >= deadline.Seconds() {
		return "5 s"
	}
	return fmt.Sprintf("%.0f ms", 1000*v)
}

var (
	p50      = measure{"p50", func(r Result) float64 { return r.P50.Seconds() }, seconds}
	p99      = measure{"p99", func(r Result) float64 { return r.P99.Seconds() }, seconds}
	p999     = measure{"p99.9", func(r Result) float64 { return r.P999.Seconds() }, seconds}
	failures = measure{"errors", func(r Result) float64 { return float64(r.Errors) / float64(r.Requests) }, percent}
	maxMean  = measure{"greatest utilisation by the mean of all", func(r Result) float64 { return r.MaxMean }, factor}
	cold     = measure{"the same from the beginning on", func(r Result) float64 { return r.Cold }, factor}
)

func percent(v float64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%.3f %%", 100*v)
}

func factor(v float64) string { return fmt.Sprintf("%.3f", v) }

// Worst returns the greatest value of a measure of all seeds.
func worst(of []Result, m measure) float64 {
	most := 0.0
	for _, r := range of {
		most = max(most, m.of(r))
	}
	return most
}

// ratio returns the greatest quotient of two policies' values with the same seed.
func ratio(a, b []Result, m measure) float64 {
	most := 0.0
	for i := range a {
		most = max(most, m.of(a[i])/m.of(b[i]))
	}
	return most
}

// of returns the results of a policy at a load.
func (c *Comparison) of(policy string, load int) []Result {
	i := slices.IndexFunc(c.Policies, func(p Policy) bool { return p.Name == policy })
	return c.Results[i][load]
}

// Write writes a table of each measure, in Markdown: the worst of all seeds.
func (c *Comparison) Write(w io.Writer) {
	head := "| load |"
	for _, load := range c.Loads {
		head += fmt.Sprintf(" %g |", load)
	}
	head += "\n|---|" + strings.Repeat("---|", len(c.Loads))
	fmt.Fprintf(w, "Rollcall against the targets, each load's worst of %d seeds:\n\n%s\n", len(c.Results[0][0]), head)
	rows := []struct {
		name string
		of   func(load int) float64
	}{
		{"p99 by that of weighted round robin", func(l int) float64 { return ratio(c.of("Rollcall", l), c.of("weighted round robin", l), p99) }},
		{"p99 by that of P2C", func(l int) float64 { return ratio(c.of("Rollcall", l), c.of("P2C", l), p99) }},
		{"p99 by that of Prequal", func(l int) float64 { return ratio(c.of("Rollcall", l), c.of("Prequal", l), p99) }},
		{maxMean.name, func(l int) float64 { return worst(c.of("Rollcall", l), maxMean) }},
		{cold.name, func(l int) float64 { return worst(c.of("Rollcall", l), cold) }},
	}
	if !slices.ContainsFunc(c.Policies, func(p Policy) bool { return p.Name == "Prequal" }) {
		rows = slices.Delete(rows, 2, 3)
	}
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |", row.name)
		for l := range c.Loads {
			fmt.Fprintf(w, " %s |", factor(row.of(l)))
		}
		fmt.Fprintln(w)
	}
	for _, m := range []measure{p99, p999, p50, failures, maxMean} {
		fmt.Fprintf(w, "\n%s, each the worst of the seeds:\n\n%s\n", strings.ToUpper(m.name[:1])+m.name[1:], head)
		for i, p := range c.Policies {
			name := p.Name
			if name == "Rollcall" {
				name = "**" + name + "**"
			}
			fmt.Fprintf(w, "| %s |", name)
			for l := range c.Loads {
				fmt.Fprintf(w, " %s |", m.write(worst(c.Results[i][l], m)))
			}
			fmt.Fprintln(w)
		}
	}
}

// WriteRuns writes every run as comma-separated values.
func (c *Comparison) WriteRuns(w io.Writer) {
	fmt.Fprintln(w, "policy,load,seed,requests,errors,p50_ms,p99_ms,p999_ms,max_mean,max_mean_cold")
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for i, p := range c.Policies {
		for l, load := range c.Loads {
			for _, r := range c.Results[i][l] {
				fmt.Fprintf(w, "%s,%g,%d,%d,%d,%.1f,%.1f,%.1f,%.4f,%.4f\n", strings.ReplaceAll(p.Name, ",", ""), load, r.Seed, r.Requests, r.Errors, ms(r.P50), ms(r.P99), ms(r.P999), r.MaxMean, r.Cold)
			}
		}
	}
}

// charts returns the comparison's charts by the name of their file.
func (c *Comparison) charts() map[string]*chart {
	waits := []float64{0.3, 0.5, 1, 2, 5}
	charts := map[string]*chart{
		"p99":         {title: "p99 of requests, the worst of the seeds", vertical: "seconds", least: 0.25, most: 5.5, ticks: waits, tick: "%g"},
		"p999":        {title: "p99.9 of requests, the worst of the seeds", vertical: "seconds", least: 0.5, most: 5.5, ticks: waits[1:], tick: "%g"},
		"utilisation": {title: "Greatest utilisation over a minute by the mean, the worst of the seeds", vertical: "max / mean", least: 1, most: 1.9, ticks: []float64{1, 1.05, 1.1, 1.2, 1.4, 1.6, 1.8}, tick: "%.2f"},
	}
	for name, m := range map[string]measure{"p99": p99, "p999": p999, "utilisation": maxMean} {
		for i, p := range c.Policies {
			if p.Name == Unprobed().Name || p.Name == Asked().Name {
				continue
			}
			values := make([]float64, len(c.Loads))
			for l := range values {
				values[l] = worst(c.Results[i][l], m)
			}
			charts[name].lines = append(charts[name].lines, line{p.Name, values})
		}
	}
	return charts
}

// WriteScenarios writes what became of each policy in worlds where something
// happens: the worst of the seeds.
func WriteScenarios(w io.Writer, policies []Policy, slow, failing, joining [][]Result) {
	fmt.Fprintln(w, "When something happens, each the worst of the seeds:")
	fmt.Fprintln(w, "\n| | one of ten 5 × slower: its share | p99 | one of a hundred fails: its share | errors | twenty cold join eighty: p99 | errors |\n|---|---|---|---|---|---|---|")
	share := measure{"", func(r Result) float64 { return r.Share(0) }, nil}
	for i, p := range policies {
		fmt.Fprintf(w, "| %s | %.0f %% | %s | %.0f %% | %s | %s | %s |\n", p.Name,
			100*worst(slow[i], share), seconds(worst(slow[i], p99)),
			100*worst(failing[i], share), percent(worst(failing[i], failures)),
			seconds(worst(joining[i], p99)), percent(worst(joining[i], failures)))
	}
}

// WriteZones writes what left a zone of which some died, by how many did: the
// least and the greatest of the seeds.
func WriteZones(w io.Writer, lost []int, results [][]Result) {
	fmt.Fprintln(w, "Of 30 servers of the zone b, beside 50 in a and 20 in c, some die. What then leaves the zone:")
	fmt.Fprintln(w, "\n| dead | 1 − healthy share × 1.4 | found | leaves a or c | greatest utilisation by the mean |\n|---|---|---|---|---|")
	for i, n := range lost {
		least, most, others, busiest := 1.0, 0.0, 0.0, 0.0
		for _, r := range results[i] {
			least, most = min(least, r.Away["b"]), max(most, r.Away["b"])
			others, busiest = max(others, r.Away["a"], r.Away["c"]), max(busiest, r.MaxMean)
		}
		fmt.Fprintf(w, "| %d | %.1f %% | %.1f–%.1f %% | %.1f %% | %.2f |\n", n, 100*Spill(servers, n), 100*least, 100*most, 100*others, busiest)
	}
}
