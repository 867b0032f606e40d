package figures

import (
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Readers hardly notice writers: the p99 of reads at 30 % of their peak moves by at most
// 20 % while registrations come as fast as 16 connections can, or at a moderate rate.
var storm = Figure{
	Name: "storm",
	What: "latency of reads at 30 % of their peak, with and without registrations beside them",
	Rows: []report.Row{
		{Name: "storm", Unit: "replies", Goals: []report.Goal{report.P99Times("alone", 1.2)}},
		{Name: "storm-moderate", Unit: "replies", Goals: []report.Goal{report.P99Times("alone", 1.2)}},
	},
	Run: func(b *Bench) error {
		const conns, writers, moderate = 256, 16, 2000
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
		peak, err := b.rateOf(s.Side("peak", 1, wire.Load{Conns: resolveConns, Source: one(d.Resolve, f.zipf())}))
		if err != nil {
			return err
		}
		reads := wire.Load{Conns: conns, Rate: 0.3 * peak, Source: one(d.Resolve, f.zipf())}
		for _, row := range []struct {
			name string
			rate float64
		}{{"storm", 0}, {"storm-moderate", moderate}} {
			writes := wire.Load{Addr: s.Addr, Conns: writers, Rate: row.rate, Source: one(d.Register, b.IDs(f.services))}
			p := Params{
				"services": f.services, "connections": conns, "rate": 0.3 * peak, "arrivals": "poisson",
				"writers": writers, "writes_per_second": row.rate, // 0: as fast as they can
			}
			err := b.Interleave(row.name, p, s.Side("rollcall", 1, reads).beside(writes), s.Side("alone", 1, reads))
			if err != nil {
				return err
			}
		}
		return nil
	},
}
