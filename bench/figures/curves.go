package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/plot"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// How what is measured elsewhere at one size depends on the size. There are no goals, and
// so no rows in the table: the program draws the rounds.
var curves = Figure{
	Name:  "curves",
	What:  "rates, latencies, fan-out and memory against sizes, to be drawn by the command plot (only if named)",
	Asked: true,
	Run: func(b *Bench) error {
		for _, n := range b.sizes() {
			if err := b.curve("instances", n, fleet{services: n / 10, instances: n}, 64); err != nil {
				return err
			}
		}
		for _, conns := range curveConns {
			if err := b.curve("connections", conns, fleet{services: 1000, instances: 10_000}, conns); err != nil {
				return err
			}
		}
		for _, n := range curveWatchers {
			if err := b.fanout(fmt.Sprintf("curves-fanout-%d", n), n); err != nil {
				return err
			}
			b.end()
		}
		for _, n := range b.sizes() {
			f := fleet{services: n / 100, instances: n}
			row := fmt.Sprintf("curves-memory-%d", n)
			if err := b.memory(row, f, 10*time.Second); err != nil {
				return err
			}
			b.end()
			if err := b.memoryEtcd(row, f); err != nil {
				return err
			}
			b.end()
		}
		return nil
	},
}

var (
	curveSizes    = []int{1000, 10_000, 100_000, 1_000_000}
	curveConns    = []int{1, 4, 16, 64, 256, 1024}
	curveWatchers = []int{100, 300, 1000, 3000, 9500}
)

// sizes returns numbers of instances.
func (b *Bench) sizes() []int {
	if b.Short {
		return curveSizes[:3]
	}
	return curveSizes
}

const curveRounds = 3

// curve measures one point of the curves against instances or connections: rates in a
// closed loop, then latencies at half of these.
func (b *Bench) curve(against string, x int, f fleet, conns int) error {
	s, err := b.fresh()
	if err != nil {
		return err
	}
	defer b.end()
	if err := b.fill(s, f); err != nil {
		return err
	}
	b.next = f.instances
	d := driver.Rollcall(s.Addr)
	for _, work := range []struct {
		name   string
		source func(int) wire.Source
	}{
		{"resolve", one(d.Resolve, f.zipf())},
		{"register", one(d.Register, b.IDs(f.services))},
	} {
		row := func(what string) string { return fmt.Sprintf("curves-%s-%s-%s-%d", work.name, what, against, x) }
		p := Params{"services": f.services, "instances": f.instances, "connections": conns}
		closed := s.Side("rollcall", 1, wire.Load{Conns: conns, Source: work.source})
		if err := b.Longer(row("rate"), p, curveRounds, b.Length, closed); err != nil {
			return err
		}
		rate := b.Rate(row("rate"), "rollcall") / 2
		p = Params{"services": f.services, "instances": f.instances, "connections": conns, "rate": rate, "arrivals": "poisson"}
		open := s.Side("rollcall", 1, wire.Load{Conns: conns, Rate: rate, Source: work.source})
		if err := b.Longer(row("latency"), p, curveRounds, b.Length, open); err != nil {
			return err
		}
	}
	return nil
}

// Charts returns what can be drawn of results: the curves that were measured.
func Charts(r *report.Results) (charts []plot.Chart) {
	rate := func(s report.Sample) float64 { return s.PerSecond }
	p99 := func(s report.Sample) float64 { return s.P99Ms }
	more := func(name string) func(report.Sample) float64 {
		return func(s report.Sample) float64 { return s.More[name] }
	}
	for _, against := range []struct {
		name, label string
		xs          []int
	}{{"instances", "instances registered", curveSizes}, {"connections", "connections", curveConns}} {
		lines := func(what string, value func(report.Sample) float64) (lines []plot.Line) {
			for _, work := range []string{"resolve", "register"} {
				lines = append(lines, line(r, work, "curves-"+work+"-"+what+"-"+against.name, "rollcall", against.xs, value))
			}
			return lines
		}
		x := plot.Axis{Label: against.label, Log: true}
		charts = append(charts,
			plot.Chart{
				Name: "rate-" + against.name, Title: "Throughput against " + against.name, X: x,
				Y: plot.Axis{Label: "requests per second"}, Lines: lines("rate", rate),
			},
			plot.Chart{
				Name: "latency-" + against.name, Title: "Latency at half of the peak against " + against.name, X: x,
				Y: plot.Axis{Label: "p99 in ms", Log: true}, Lines: lines("latency", p99),
			})
	}
	charts = append(charts,
		plot.Chart{
			Name: "fanout", Title: "One change to many watchers: until the last has it", X: plot.Axis{Label: "watchers, a connection each", Log: true},
			Y: plot.Axis{Label: "ms", Log: true}, Lines: both(r, "curves-fanout", curveWatchers, more("last_ms")), Target: 200,
		},
		plot.Chart{
			Name: "memory", Title: "Resident memory of the server", X: plot.Axis{Label: "instances registered", Log: true},
			Y: plot.Axis{Label: "MB", Log: true}, Lines: both(r, "curves-memory", curveSizes, more("rss_mb")),
		},
	)
	return withPoints(append(charts, livenessCharts(r)...))
}

// both returns lines of Rollcall and of etcd.
func both(r *report.Results, prefix string, xs []int, value func(report.Sample) float64) []plot.Line {
	return []plot.Line{line(r, "Rollcall", prefix, "rollcall", xs, value), line(r, "etcd", prefix, "etcd", xs, value)}
}

// line makes a line of rows whose names end with what they are drawn against.
func line(r *report.Results, name, prefix, side string, xs []int, value func(report.Sample) float64) plot.Line {
	l := plot.Line{Name: name}
	for _, x := range xs {
		rounds := r.Of(fmt.Sprintf("%s-%d", prefix, x), side)
		if len(rounds) == 0 {
			continue
		}
		p := plot.Point{X: float64(x), Y: report.Median(rounds, func(r report.Round) float64 { return value(r.Sample) })}
		p.Least, p.Most = p.Y, p.Y
		for _, round := range rounds {
			p.Least, p.Most = min(p.Least, value(round.Sample)), max(p.Most, value(round.Sample))
		}
		l.Points = append(l.Points, p)
	}
	return l
}

// withPoints leaves out lines and charts without points.
func withPoints(charts []plot.Chart) (kept []plot.Chart) {
	for _, c := range charts {
		var lines []plot.Line
		for _, l := range c.Lines {
			if len(l.Points) > 0 {
				lines = append(lines, l)
			}
		}
		if c.Lines = lines; len(lines) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}
