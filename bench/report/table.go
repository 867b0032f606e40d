package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table prints a line for each goal of each row that was measured. Behind the first
// columns, which are ours, stands what the goal asks for, what the other side reached in
// the same run, the median of the ratios, and whether that is enough.
func (r *Results) Table(w io.Writer, rows []Row) error {
	m := r.Run.Machine
	fmt.Fprintf(w, "commit %s, %s\n%s, %d cores, %.0f GiB, Linux %s, %s, %s\n", r.Run.Commit, r.Run.Start.Format("2006-01-02 15:04"),
		m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go, m.Filesystem)
	fmt.Fprintf(w, "server and load generator share the cores; generator: the share of one core that it took\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tmeasured\tp50 / p99 / p99.9 ms\tper CPU-s\tgenerator\ttarget\tlimit or peer\tratio\tmet")
	for _, row := range rows {
		ours := r.Of(row.Name, row.ours())
		if len(ours) == 0 {
			continue
		}
		first := r.measured(row, ours)
		for _, g := range row.Goals {
			line, ok := r.goal(row, g, ours)
			if !ok {
				continue
			}
			fmt.Fprintln(t, first+line)
			first = "\t\t\t\t\t"
		}
		if v := Median(ours, func(r Round) float64 { return r.OtherCPU / r.Seconds }); v > 0.1 {
			fmt.Fprintf(t, "\tother processes took %.0f %% of a core meanwhile\n", 100*v)
		}
		if failed := sum(ours, func(s Sample) int64 { return s.Failed + s.Unanswered }); failed > 0 {
			fmt.Fprintf(t, "\t%d requests failed: %s\n", failed, problem(ours))
		}
	}
	return t.Flush()
}

// measured is the columns of ours.
func (r *Results) measured(row Row, ours []Round) string {
	of := func(value func(Sample) float64) float64 {
		return Median(ours, func(r Round) float64 { return value(r.Sample) })
	}
	perCPU, generator := "–", "–"
	if v := of(Sample.PerCPU); v > 0 {
		perCPU = count(v)
	}
	if v := of(func(s Sample) float64 { return s.GeneratorCPU / s.Seconds }); v > 0 {
		generator = fmt.Sprintf("%.0f %%", 100*v)
	}
	latency := "–"
	if of(func(s Sample) float64 { return s.P50Ms }) > 0 {
		latency = fmt.Sprintf("%.2f / %.2f / %.2f", of(func(s Sample) float64 { return s.P50Ms }),
			of(func(s Sample) float64 { return s.P99Ms }), of(func(s Sample) float64 { return s.P999Ms }))
	}
	return fmt.Sprintf("%s\t%s %s/s\t%s\t%s\t%s\t", row.Name, count(of(rate)), row.Unit, latency, perCPU, generator)
}

// goal is the columns of a goal; ok is false if the other side was not measured.
func (r *Results) goal(row Row, g Goal, ours []Round) (line string, ok bool) {
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
		return "", false
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
	return fmt.Sprintf("%s\t%s\t%s\t%s", target, against, g.show(v), met), true
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
