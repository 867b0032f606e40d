package figures

import (
	"fmt"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T15: at three times the load that it can bear, a server still gives 90 % of the answers
// that it gives at its peak, each within a second.
var overload = Figure{
	Name: "overload",
	What: "requests that arrive three times as fast as they can be served, on 2,000 connections",
	Rows: []report.Row{
		{Name: "overload-resolve", Unit: "replies", Goals: []report.Goal{report.Goodput("peak", 0.9)}},
		{Name: "overload-register", Unit: "instances", Goals: []report.Goal{report.Goodput("peak", 0.9)}},
	},
	Run: func(b *Bench) error {
		s, err := b.Start()
		if err != nil {
			return err
		}
		f := b.services(10)
		if err := b.fill(s, f); err != nil {
			return err
		}
		b.next = f.instances
		d := driver.Rollcall(s.Addr)
		if err := b.overload(s, "overload-resolve", one(d.Resolve, f.zipf())); err != nil {
			return err
		}
		return b.overload(s, "overload-register", one(d.Register, b.IDs(f.services)))
	},
}

// overload finds the peak and offers three times as much. Arrivals that find every
// connection taken are turned away, as by a balancer with a limit: the server has as many
// requests at once as there are connections, all the time.
func (b *Bench) overload(s Server, row string, source func(int) wire.Source) error {
	const conns, times = 2000, 3
	peak := s.Side("peak", 1, wire.Load{Conns: 64, Source: source})
	rate, err := b.rateOf(peak)
	if err != nil {
		return err
	}
	b.progress("%s: %.0f/s can be served", row, rate)
	over := s.Side("rollcall", 1, wire.Load{Conns: conns, Rate: times * rate, Line: -1, Source: source})
	p := Params{"connections": conns, "rate": times * rate, "arrivals": "poisson", "good_within": "1s", "peak_connections": 64}
	return b.Interleave(row, p, over, peak)
}

// rateOf finds out how fast a side is, for what depends on it.
func (b *Bench) rateOf(s Side) (float64, error) {
	if _, err := s.Run(load.Window{Length: b.Warmup}); err != nil {
		return 0, err
	}
	sample, err := s.Run(load.Window{Length: b.Length})
	if err == nil && sample.PerSecond == 0 {
		err = fmt.Errorf("%s: nothing was served: %s", s.Name, sample.Error)
	}
	return sample.PerSecond, err
}
