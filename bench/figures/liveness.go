package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/plot"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/internal/lease/simulation"
)

// T12: at least a hundred times fewer false removals than a plain TTL in a simulated day,
// and crashes found no later. Virtual time: neither the machine nor its load matters.
var liveness = Figure{
	Name:  "liveness",
	What:  "false removals in a simulated day of 1,000 instances, beside a plain TTL (some ten minutes; only if named)",
	Asked: true,
	Rows: []report.Row{
		{Name: "liveness", Unit: "false removals", Ours: "heartbeats", Value: "false_removals", Goals: []report.Goal{
			report.Times("plain TTL", "false_removals", 0.01), report.Times("plain TTL", "crash_p50_s", 1.05), report.CompareMore("plain TTL", "death_p50_s"),
		}},
		{Name: "liveness-sessions", Unit: "false removals", Ours: "sessions", Value: "false_removals", Goals: []report.Goal{
			report.Times("plain TTL", "false_removals", 0.01), report.Times("plain TTL", "crash_p50_s", 1.05), report.CompareMore("plain TTL", "death_p50_s"),
		}},
	},
	Run: func(b *Bench) error {
		for seed := 1; seed <= b.days(); seed++ {
			if err := b.day("liveness", seed, b.world()); err != nil {
				return err
			}
		}
		for _, percent := range livenessLosses {
			w := b.world()
			w.Loss = float64(percent) / 100
			if err := b.day(fmt.Sprintf("liveness-loss-%d", percent), 1, w); err != nil {
				return err
			}
		}
		return nil
	},
}

// livenessLosses are percentages of heartbeats that are lost.
var livenessLosses = []int{1, 2, 5, 10, 20}

const livenessSeeds = 10

func (b *Bench) days() int {
	if b.Short {
		return 2
	}
	return livenessSeeds
}

func (b *Bench) world() simulation.World {
	if b.Short {
		return simulation.Day(200, time.Hour)
	}
	return simulation.Day(1000, 24*time.Hour)
}

// day simulates a day and keeps what it was for each side.
func (b *Bench) day(row string, seed int, w simulation.World) error {
	r := simulation.Run(w, uint64(seed))
	p := Params{"seed": seed, "instances": w.Instances, "hours": w.Length.Hours(), "loss": w.Loss}
	for i, s := range r.Sides {
		more := map[string]float64{
			"false_removals": float64(s.Removed()), "per_million_heartbeats": s.PerMillion(),
			"crash_p50_s": simulation.Quantile(s.Crashed, 0.5).Seconds(), "crash_p99_s": simulation.Quantile(s.Crashed, 0.99).Seconds(),
			"death_p50_s": simulation.Quantile(s.Died, 0.5).Seconds(), "death_p99_s": simulation.Quantile(s.Died, 0.99).Seconds(),
		}
		rate := float64(s.Beats) / w.Length.Seconds()
		sample := report.Sample{Seconds: w.Length.Seconds(), PerSecond: rate, GoodPerSecond: rate, More: more}
		if err := b.keep(row, s.Name, seed, p, sample); err != nil {
			return err
		}
		if row == "liveness" && i != 1 { // the same days, for the row about sessions
			if err := b.keep("liveness-sessions", s.Name, seed, p, sample); err != nil {
				return err
			}
		}
	}
	return nil
}

// livenessCharts returns false removals of each seed, and against loss. What has none is
// drawn at 1.
func livenessCharts(r *report.Results) []plot.Chart {
	removed := func(s report.Sample) float64 { return max(s.More["false_removals"], 1) }
	seeds := plot.Chart{
		Name: "false-removals", Title: "False removals in a day of 1,000 instances, by seed", X: plot.Axis{Label: "seed"},
		Y: plot.Axis{Label: "false removals", Log: true},
	}
	loss := plot.Chart{
		Name: "false-removals-loss", Title: "False removals in a day of 1,000 instances, against loss",
		X: plot.Axis{Label: "lost heartbeats, of sessions packets, in %", Log: true}, Y: plot.Axis{Label: "false removals", Log: true},
	}
	for _, side := range []string{"plain TTL", "heartbeats", "sessions"} {
		l := plot.Line{Name: side}
		for _, round := range r.Of("liveness", side) {
			y := removed(round.Sample)
			l.Points = append(l.Points, plot.Point{X: float64(round.Round), Y: y, Least: y, Most: y})
		}
		seeds.Lines = append(seeds.Lines, l)
		loss.Lines = append(loss.Lines, line(r, side, "liveness-loss", side, livenessLosses, removed))
	}
	return []plot.Chart{seeds, loss}
}
