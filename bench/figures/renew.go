package figures

import (
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T7: at least 60,000 single heartbeats a second over HTTP, 75 % of a bare server and 30
// times Consul; 1 M a second in batches; and none of them touches the disk.
var renew = Figure{
	Name: "renew",
	What: "heartbeats of 100,000 instances, in turn: one per request, and 1,000",
	Rows: []report.Row{
		{Name: "renew", Unit: "renewals", Goals: []report.Goal{
			report.Rate(60_000), report.Share("bare", 0.75), report.Share("consul", 30), report.Compare("etcd"), report.NoWrites(),
		}},
		{Name: "renew-batch", Unit: "renewals", Goals: []report.Goal{report.Rate(1_000_000), report.NoWrites()}},
	},
	Run: func(b *Bench) error {
		const conns, batchConns, each = 64, 8, 1000
		s, err := b.Start()
		if err != nil {
			return err
		}
		f := fleet{services: 1000, instances: 100_000}
		if err := b.fill(s, f); err != nil {
			return err
		}
		d := driver.Rollcall(s.Addr)
		ceiling, err := b.Bare(s, d.Heartbeat.Append(nil, 0, 0), false)
		if err != nil {
			return err
		}
		single := wire.Load{Conns: conns, Source: one(d.Heartbeat, f.turn())}
		sides := []Side{s.Side("rollcall", 1, single), ceiling.Side("bare", 1, single)}
		for _, peer := range []func(int) ([]Side, error){b.consulRenew, b.etcdRenew} {
			more, err := peer(conns)
			if err != nil {
				return err
			}
			sides = append(sides, more...)
		}
		p := Params{"services": f.services, "instances": f.instances, "connections": conns}
		if err := b.Interleave("renew", p, sides...); err != nil {
			return err
		}
		batch := wire.Load{Conns: batchConns, Source: many(driver.RollcallHeartbeatBatch(s.Addr, each), f.turn())}
		p = Params{"services": f.services, "instances": f.instances, "connections": batchConns, "batch": each}
		return b.Interleave("renew-batch", p, s.Side("rollcall", each, batch))
	},
}
