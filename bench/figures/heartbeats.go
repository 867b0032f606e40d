package figures

import (
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Pain 7: 100,000 instances with a TTL of 10 s, which agents renew for them at every third
// of it, take at most 0.3 of a core and 150 MB.
var heartbeatLoad = Figure{
	Name: "heartbeat-load",
	What: "100,000 leases of 10 s, each renewed every 3.3 s in batches of 100",
	Rows: []report.Row{{Name: "heartbeat-load", Unit: "renewals", Goals: []report.Goal{
		report.AtMost("server_cores", 0.3), report.AtMost("rss_mb", 150), report.NoWrites(),
	}}},
	Run: func(b *Bench) error {
		const ttl, each = 10 * time.Second, 100
		f := fleet{services: 1000, instances: 100_000}
		s, err := b.fresh()
		if err != nil {
			return err
		}
		if err := b.fillWith(s, f, driver.RollcallRegisterBatchWith(s.Addr, fillBatch, `"lease":{"ttl":"10s","remove_after":"1h"}`)); err != nil {
			return err
		}
		requests := 3 * float64(f.instances) / ttl.Seconds() / each
		l := wire.Load{Conns: 64, Rate: requests, Source: many(driver.RollcallHeartbeatBatch(s.Addr, each), f.turn())}
		p := Params{"services": f.services, "instances": f.instances, "ttl": ttl.String(), "batch": each, "rate": requests, "connections": l.Conns}
		side := s.Side("rollcall", each, l).with(func(sample *report.Sample) {
			sample.More = map[string]float64{"server_cores": sample.ServerCPU / sample.Seconds, "rss_mb": float64(sample.RSSBytes) / mb}
		})
		return b.Interleave("heartbeat-load", p, side)
	},
}
