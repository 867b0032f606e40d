package figures

import (
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// At least 30,000 positions a second, each in a request of its own, while 500 of them a
// second reach the log. Over sessions they are measured beside the code that reads them
// (BenchmarkSessionReports of internal/httpapi).
var positions = Figure{
	Name: "positions",
	What: "100,000 instances that move, in turn: one new position per request",
	Rows: []report.Row{{Name: "positions", Unit: "positions", Goals: []report.Goal{
		report.Rate(30_000), report.Compare("bare"),
	}}},
	Run: func(b *Bench) error {
		const conns = 64
		s, err := b.Start()
		if err != nil {
			return err
		}
		f := fleet{services: 1000, instances: 100_000}
		if err := b.fill(s, f); err != nil {
			return err
		}
		ways := [2]wire.Template{driver.RollcallMove(s.Addr, 1), driver.RollcallMove(s.Addr, 2)}
		ceiling, err := b.Bare(s, ways[0].Append(nil, 0, 0), false)
		if err != nil {
			return err
		}
		next, rounds := f.turn(), 0
		move := func(int) wire.Source {
			return wire.Source{Next: func(dst []byte) ([]byte, int) {
				service, id := next()
				if id == 0 {
					rounds++
				}
				return ways[rounds%2].Append(dst, service, id), service
			}}
		}
		l := wire.Load{Conns: conns, Source: move}
		p := Params{"services": f.services, "instances": f.instances, "connections": conns}
		return b.Interleave("positions", p, s.Side("rollcall", 1, l), ceiling.Side("bare", 1, l))
	},
}
