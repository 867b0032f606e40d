package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T8: 100,000 instances that fall silent at once are all marked at most a second after
// their deadline, and who resolves meanwhile has a p99 of at most 5 ms.
var expiry = Figure{
	Name: "expiry",
	What: "100,000 instances that stop renewing at once, from the last deadline until all are marked",
	Rows: []report.Row{{Name: "expiry", Unit: "from the last deadline", Value: "marked_ms", Goals: []report.Goal{
		report.AtMost("marked_ms", 1000), report.P99(5), report.Show("spread_ms"),
	}}},
	Run: func(b *Bench) error {
		const ttl = 5 * time.Second
		f := fleet{services: 1000, instances: 100_000}
		if b.Short {
			f.instances = 10_000
		}
		s, err := b.fresh()
		if err != nil {
			return err
		}
		lease := fmt.Sprintf(`"lease":{"ttl":"%v","remove_after":"1h"}`, ttl)
		if err := b.fillWith(s, f, driver.RollcallRegisterBatchWith(s.Addr, fillBatch, lease)); err != nil {
			return err
		}
		p := Params{"services": f.services, "instances": f.instances, "ttl": ttl.String(), "resolves_per_second": expiryResolves, "arrivals": "poisson"}
		for round := 1; round <= b.Rounds; round++ {
			sample, err := b.expire(s, f, ttl)
			if err != nil {
				return err
			}
			if b.Short {
				sample.Note = fmt.Sprintf("%d instances only", f.instances)
			}
			if err := b.keep("expiry", "rollcall", round, p, sample); err != nil {
				return err
			}
		}
		return nil
	},
}

const expiryResolves = 2000

// expire renews all leases, then none, and waits until all are marked. Who resolves does
// so from when the first deadline is near until the server has had time for all.
func (b *Bench) expire(s Server, f fleet, ttl time.Duration) (sample report.Sample, err error) {
	first := time.Now() // no deadline is before this and the TTL
	renew := wire.Load{Addr: s.Addr, Conns: 4, Total: f.instances / fillBatch, Source: many(driver.RollcallHeartbeatBatch(s.Addr, fillBatch), f.turn())}
	r, err := renew.Run()
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return sample, err
	}
	last := time.Now() // and none behind this and the TTL
	if _, err := s.until(func(st status) bool { return st.Health["healthy"] == f.instances }, ttl/2); err != nil {
		return sample, err
	}
	time.Sleep(time.Until(first.Add(ttl)))
	var marked time.Time
	failed := make(chan error, 1)
	go func() {
		var err error
		marked, err = s.until(func(st status) bool { return st.Health["unhealthy"] == f.instances }, 30*time.Second)
		failed <- err
	}()
	reads := wire.Load{Conns: 64, Rate: expiryResolves, Source: one(driver.RollcallResolve(s.Addr), f.zipf())}
	sample, err = s.Side("rollcall", 1, reads).Run(load.Window{Length: last.Sub(first) + 1500*time.Millisecond})
	if err2 := <-failed; err == nil {
		err = err2
	}
	if err != nil {
		return sample, err
	}
	sample.More = map[string]float64{
		"marked_ms": marked.Sub(last.Add(ttl)).Seconds() * 1000,
		"spread_ms": last.Sub(first).Seconds() * 1000, // of the deadlines
	}
	return sample, nil
}
