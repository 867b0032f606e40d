package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

var columns = []string{"figure", "measured", "p50 / p99 / p99.9 ms", "per CPU-s", "generator", "target", "limit or peer", "ratio", "met"}

// ownColumns is how many of the columns are about ours and not about a goal.
const ownColumns = 5

// Table prints a line for each goal of each row that was measured. Behind the first
// columns, which are ours, stands what the goal asks for, what the other side reached in
// the same run, the median of the ratios, and whether that is enough.
func (r *Results) Table(w io.Writer, rows []Row) error {
	r.heading(w, "\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, row := range rows {
		lines, notes := r.lines(row)
		for _, l := range lines {
			fmt.Fprintln(t, strings.Join(l, "\t"))
		}
		for _, n := range notes {
			fmt.Fprintln(t, "\t"+n)
		}
	}
	return t.Flush()
}

// Markdown prints the same as a table in Markdown, with what is to be said of rows below
// it.
func (r *Results) Markdown(w io.Writer, rows []Row) error {
	r.heading(w, "  \n")
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	var below []string
	for _, row := range rows {
		lines, notes := r.lines(row)
		for _, l := range lines {
			fmt.Fprintf(w, "| %s |\n", strings.Join(l, " | "))
		}
		for _, n := range notes {
			below = append(below, fmt.Sprintf("* %s: %s", row.Name, n))
		}
	}
	if len(below) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(below, "\n"))
	}
	return nil
}

func (r *Results) heading(w io.Writer, end string) {
	m := r.Run.Machine
	fmt.Fprintf(w, "commit %s, %s%s%s, %d cores, %.0f GiB, Linux %s, %s, %s%s", r.Run.Commit, r.Run.Start.Format("2006-01-02 15:04"), end,
		m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go, m.Filesystem, end)
	fmt.Fprintf(w, "server and load generator share the cores; generator: the share of one core that it took\n\n")
}

// lines returns the lines of a row, one for each goal, and what is to be said below; none
// if it was not measured.
func (r *Results) lines(row Row) (lines [][]string, notes []string) {
	ours := r.Of(row.Name, row.ours())
	if len(ours) == 0 {
		return nil, nil
	}
	first := r.measured(row, ours)
	for _, g := range row.Goals {
		line, ok := r.goal(row, g, ours)
		if !ok {
			continue
		}
		lines = append(lines, append(first, line...))
		first = make([]string, ownColumns)
	}
	for _, o := range ours {
		if o.Note != "" && !slices.Contains(notes, o.Note) {
			notes = append(notes, o.Note)
		}
	}
	if v := Median(ours, func(r Round) float64 { return r.OtherCPU / r.Seconds }); v > 0.1 {
		notes = append(notes, fmt.Sprintf("other processes took %.0f %% of a core meanwhile", 100*v))
	}
	if failed := sum(ours, func(s Sample) int64 { return s.Failed + s.Unanswered }); failed > 0 {
		notes = append(notes, fmt.Sprintf("%d requests failed: %s", failed, problem(ours)))
	}
	return lines, notes
}

// measured is the columns of ours.
func (r *Results) measured(row Row, ours []Round) []string {
	of := func(value func(Sample) float64) float64 {
		return Median(ours, func(r Round) float64 { return value(r.Sample) })
	}
	value, latency, perCPU, generator := count(of(rate))+" "+row.Unit+"/s", "–", "–", "–"
	if v := of(Sample.PerCPU); v > 0 {
		perCPU = count(v)
	}
	if row.Value != "" {
		value = amount(row.Value, of(func(s Sample) float64 { return s.More[row.Value] })) + " " + row.Unit
	}
	if v := of(func(s Sample) float64 { return s.GeneratorCPU / s.Seconds }); v > 0 {
		generator = fmt.Sprintf("%.0f %%", 100*v)
	}
	if of(func(s Sample) float64 { return s.P50Ms }) > 0 {
		latency = fmt.Sprintf("%.2f / %.2f / %.2f", of(func(s Sample) float64 { return s.P50Ms }),
			of(func(s Sample) float64 { return s.P99Ms }), of(func(s Sample) float64 { return s.P999Ms }))
	}
	return []string{row.Name, value, latency, perCPU, generator}
}

// goal is the columns of a goal; ok is false if the other side was not measured.
func (r *Results) goal(row Row, g Goal, ours []Round) (line []string, ok bool) {
	var values, limits []float64
	others := map[int]Sample{}
	for _, o := range r.Of(row.Name, g.Against) {
		others[o.Round] = o.Sample
	}
	for _, o := range ours {
		other, there := others[o.Round]
		if g.Against != "" && !there {
			continue
		}
		values = append(values, g.value(o.Sample, other))
		if g.limit != nil {
			limits = append(limits, g.limit(o.Sample, other))
		} else {
			limits = append(limits, other.PerSecond)
		}
	}
	if len(values) == 0 {
		return nil, false
	}
	v := median(values)
	target, against, met := "–", "–", "–"
	if g.Target != "" {
		target, met = g.Target, "not met"
		if g.met(v) {
			met = "met"
		}
	}
	if g.Against != "" {
		against = g.Against + " " + count(median(limits)) + g.unit
	}
	return []string{target, against, g.show(v), met}, true
}

func sum(rounds []Round, value func(Sample) int64) (n int64) {
	for _, r := range rounds {
		n += value(r.Sample)
	}
	return n
}

// problem is the first error of any round.
func problem(rounds []Round) string {
	for _, r := range rounds {
		if r.Error != "" {
			return r.Error
		}
	}
	return "no answer"
}
