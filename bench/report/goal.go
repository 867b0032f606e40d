package report

import (
	"fmt"
	"strings"
)

// Row is one scenario, and what is to be reached in it.
type Row struct {
	Name string
	Unit string // of what is counted a second
	Ours string // the side that has the goals; "" is rollcall
	// Value names what is shown as measured, of what only the figure has; "" is the rate.
	Value string
	Goals []Goal
}

// Goal is one line of the table: a value of ours, or of a pair of ours and another side
// in the same round. The median over the rounds is what counts.
type Goal struct {
	Target  string                           // as it is shown; "" is none, the value is only reported
	Against string                           // the other side; "" is none
	value   func(ours, other Sample) float64 // of one round
	limit   func(ours, other Sample) float64 // what the other side reached; nil: its rate
	unit    string                           // of that, as it is shown
	show    func(value float64) string
	met     func(value float64) bool // nil if there is no target
}

// ours returns the name of the side that has the goals.
func (r Row) ours() string {
	if r.Ours == "" {
		return "rollcall"
	}
	return r.Ours
}

func rate(s Sample) float64 { return s.PerSecond }

// Rate is a goal of so many operations a second.
func Rate(least float64) Goal {
	return Goal{
		Target: "≥ " + count(least) + "/s",
		value:  func(ours, _ Sample) float64 { return ours.PerSecond },
		show:   func(v float64) string { return fmt.Sprintf("%.2f ×", v/least) },
		met:    func(v float64) bool { return v >= least },
	}
}

// P99 is a goal for the 99th percentile of latency, in milliseconds.
func P99(most float64) Goal {
	return Goal{
		Target: fmt.Sprintf("p99 ≤ %g ms", most),
		value:  func(ours, _ Sample) float64 { return ours.P99Ms },
		show:   func(v float64) string { return fmt.Sprintf("%.2f ms", v) },
		met:    func(v float64) bool { return v <= most },
	}
}

// P50 is a goal for the median of latency, in milliseconds.
func P50(most float64) Goal {
	g := P99(most)
	g.Target = fmt.Sprintf("p50 ≤ %g ms", most)
	g.value = func(ours, _ Sample) float64 { return ours.P50Ms }
	return g
}

// Share is a goal of at least so many times what another side does.
func Share(against string, least float64) Goal {
	return Goal{
		Target: "≥ " + times(least), Against: against,
		value: func(ours, other Sample) float64 { return ours.PerSecond / other.PerSecond },
		show:  times,
		met:   func(v float64) bool { return v >= least },
	}
}

// PerCPU is [Share] per CPU-second of the servers.
func PerCPU(against string, least float64) Goal {
	g := Share(against, least)
	g.Target += " per CPU-s"
	g.value = func(ours, other Sample) float64 { return ours.PerCPU() / other.PerCPU() }
	g.limit = func(_, other Sample) float64 { return other.PerCPU() }
	return g
}

// Compare only reports what share of another side ours is.
func Compare(against string) Goal {
	g := Share(against, 0)
	g.Target, g.met = "", nil
	return g
}

// Goodput is a goal of at least so much of another side's rate in answers that come in time.
func Goodput(against string, least float64) Goal {
	g := Share(against, least)
	g.Target = "goodput " + g.Target
	g.value = func(ours, other Sample) float64 { return ours.GoodPerSecond / other.PerSecond }
	return g
}

// Slower is a goal of taking at most so many times as long as another side for each.
func Slower(against string, most float64) Goal {
	g := Share(against, most)
	g.Target = fmt.Sprintf("≤ %g × its time", most)
	g.value = func(ours, other Sample) float64 { return other.PerSecond / ours.PerSecond }
	g.show = func(v float64) string { return fmt.Sprintf("%.2f ×", v) }
	g.met = func(v float64) bool { return v <= most }
	return g
}

// P99Times is a goal of at most so many times another side's 99th percentile.
func P99Times(against string, most float64) Goal {
	g := Slower(against, most)
	g.Target = fmt.Sprintf("p99 ≤ %g × its", most)
	g.value = func(ours, other Sample) float64 { return ours.P99Ms / other.P99Ms }
	g.limit = func(_, other Sample) float64 { return other.P99Ms }
	g.unit = " ms p99"
	return g
}

// CompareP99 only reports how many times another side's 99th percentile ours is.
func CompareP99(against string) Goal {
	g := P99Times(against, 0)
	g.Target, g.met = "", nil
	return g
}

// P99Of is a goal of at most so many times what ours has measured itself.
func P99Of(more string, most float64) Goal {
	return Goal{
		Target: fmt.Sprintf("p99 ≤ %g × %s", most, strings.ReplaceAll(more, "_", " ")),
		value:  func(ours, _ Sample) float64 { return ours.P99Ms / ours.More[more] },
		show:   func(v float64) string { return fmt.Sprintf("%.2f ×", v) },
		met:    func(v float64) bool { return v <= most },
	}
}

// AtMost is a goal for what only the figure has.
func AtMost(more string, most float64) Goal {
	name, _ := quantity(more)
	return Goal{
		Target: name + " ≤ " + amount(more, most),
		value:  func(ours, _ Sample) float64 { return ours.More[more] },
		show:   func(v float64) string { return amount(more, v) },
		met:    func(v float64) bool { return v <= most },
	}
}

// Exactly is a goal for what only the figure has.
func Exactly(more string, want float64) Goal {
	g := AtMost(more, want)
	g.Target = strings.Replace(g.Target, "≤", "=", 1)
	g.met = func(v float64) bool { return v == want }
	return g
}

// Show only reports what only the figure has.
func Show(more string) Goal {
	name, _ := quantity(more)
	g := AtMost(more, 0)
	g.Target, g.met = "", nil
	g.show = func(v float64) string { return name + " " + amount(more, v) }
	return g
}

// Beyond is a goal of at most so much more than another side.
func Beyond(against, more string, most float64) Goal {
	g := AtMost(more, most)
	g.Against = against
	g.Target = strings.Replace(g.Target, "≤", "beyond its ≤", 1)
	g.value = func(ours, other Sample) float64 { return ours.More[more] - other.More[more] }
	g.limit = func(_, other Sample) float64 { return other.More[more] }
	_, g.unit = quantity(more)
	return g
}

// Times is a goal of at most so many times another side's.
func Times(against, more string, most float64) Goal {
	g := Beyond(against, more, most)
	name, _ := quantity(more)
	g.Target = fmt.Sprintf("%s ≤ %g × its", name, most)
	g.value = func(ours, other Sample) float64 { return ours.More[more] / other.More[more] }
	g.show = func(v float64) string { return fmt.Sprintf("%.2f ×", v) }
	return g
}

// CompareMore only reports how many times another side's ours is.
func CompareMore(against, more string) Goal {
	g := Times(against, more, 0)
	g.Target, g.met = "", nil
	return g
}

// units are what the names of quantities end with.
var units = map[string]string{
	"ms": " ms", "s": " s", "bytes": " B", "kb": " KB", "mb": " MB", "percent": " %", "cores": " cores",
}

// quantity cuts a name like rss_mb into words and a unit.
func quantity(more string) (name, unit string) {
	name = more
	if i := strings.LastIndexByte(more, '_'); i >= 0 {
		if u, ok := units[more[i+1:]]; ok {
			name, unit = more[:i], u
		}
	}
	return strings.ReplaceAll(name, "_", " "), unit
}

// amount shows so much of a quantity.
func amount(more string, v float64) string {
	_, unit := quantity(more)
	if v == float64(int64(v)) || v >= 1000 || v <= -1000 {
		return count(v) + unit
	}
	return fmt.Sprintf("%.3g", v) + unit
}

// NoWrites is the goal that the disk is left alone.
func NoWrites() Goal {
	return Goal{
		Target: "no disk writes",
		value:  func(ours, _ Sample) float64 { return float64(ours.WrittenBytes) },
		show:   func(v float64) string { return count(v) + " B" },
		met:    func(v float64) bool { return v == 0 },
	}
}

// times shows a ratio: as a percentage below 2, else as a factor.
func times(v float64) string {
	if v < 2 {
		return fmt.Sprintf("%.0f %%", 100*v)
	}
	return fmt.Sprintf("%.1f ×", v)
}

// count shows a number with its thousands apart, and digits behind the point if small.
func count(v float64) string {
	if v < 10 && v != float64(int64(v)) {
		return fmt.Sprintf("%.2f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
