package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// printRounds prints the median of each figure per engine and number of writers.
func printRounds(all []Round) {
	type cell struct {
		engine  string
		writers int
	}
	var order []cell
	byCell := map[cell][]Round{}
	for _, r := range all {
		c := cell{r.Engine, r.Writers}
		if _, ok := byCell[c]; !ok {
			order = append(order, c)
		}
		byCell[c] = append(byCell[c], r)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "writers\tengine\twrites/s\tof plain\tp50 ms\tp99 ms\tper CPU-s\tdisk B/write\tmin–max/s\t")
	for _, c := range order {
		rs := byCell[c]
		rate := func(r Round) float64 { return r.PerSecond }
		share := "–"
		if limit := byCell[cell{"plain", c.writers}]; len(limit) > 0 {
			share = fmt.Sprintf("%.0f %%", 100*median(rs, rate)/median(limit, rate))
		}
		low := slices.MinFunc(rs, func(a, b Round) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
		high := slices.MaxFunc(rs, func(a, b Round) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
		fmt.Fprintf(w, "%d\t%s\t%.0f\t%s\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f–%.0f\t\n", c.writers, c.engine,
			median(rs, rate), share,
			median(rs, func(r Round) float64 { return r.P50Ms }),
			median(rs, func(r Round) float64 { return r.P99Ms }),
			median(rs, func(r Round) float64 { return r.PerCPUSecond }),
			median(rs, func(r Round) float64 { return r.BytesPer }),
			low.PerSecond, high.PerSecond)
	}
	w.Flush()
}

// median of one figure; of an even number of rounds, the mean of the middle two.
func median[T any](rs []T, figure func(T) float64) float64 {
	v := make([]float64, len(rs))
	for i, r := range rs {
		v[i] = figure(r)
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
