package figures

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Pain 7: while instances come and go, at a steady number of them, resident memory stays
// where it is: behind a warm-up of a quarter of the time, no minute's median is further
// than 5 % from the median of all.
var churn = Figure{
	Name: "churn",
	What: "resident memory while instances of a fleet of 20,000 come, go, change and are watched (-churn says how long)",
	Rows: []report.Row{{Name: "churn", Unit: "operations", Goals: []report.Goal{
		report.AtMost("deviation_percent", 5), report.Show("rss_mb"), report.Show("peak_mb"), report.Show("first_mb"), report.Show("last_mb"),
	}}},
	Run: func(b *Bench) error {
		f := fleet{services: 200, instances: 20_000}
		s, err := b.fresh()
		if err != nil {
			return err
		}
		if err := b.fill(s, f); err != nil {
			return err
		}
		sample, err := b.churn(s, f, b.Churn)
		if err != nil {
			return err
		}
		if b.Churn < churnFull {
			sample.Note = fmt.Sprintf("%v only, a twentieth of which counts as a minute; -churn %v is what counts", b.Churn, churnFull)
		}
		p := Params{"services": f.services, "instances": f.instances, "rate": churnRate, "watches_per_second": churnWatches, "length": b.Churn.String()}
		return b.keep("churn", "rollcall", 1, p, sample)
	},
}

const (
	churnFull    = 20 * time.Minute
	churnParts   = 20   // at least, of the time
	churnRate    = 2000 // operations a second: registrations, and as many deregistrations, renewals and changes
	churnWatches = 20   // a second, of 100 instances each
	// Beforehand, so many operations fill the histories, which hold 100,000 events.
	churnFill, churnFillRate = 200_000, 10_000
)

// churn loads a server and looks at its memory every second, or more often if there is
// little time.
func (b *Bench) churn(s Server, f fleet, length time.Duration) (sample report.Sample, err error) {
	b.progress("%d operations a second for %v", churnRate, length)
	l := wire.Load{Addr: s.Addr, Conns: 32, Rate: churnFillRate, Total: churnFill, Source: s.churnSource(f)}
	if r, err := l.Run(); err != nil || r.Err != nil {
		return sample, cmp.Or(err, r.Err)
	}
	l.Rate, l.Total = churnRate, 0
	ctx, cancel := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { watchAndLeave(ctx, s, f) })
	var rss []float64
	beside.Go(func() {
		for tick := time.NewTicker(min(time.Second, length/120)); ; {
			select {
			case <-tick.C:
				if u, err := proc.Read(s.PID); err == nil {
					rss = append(rss, float64(u.RSS)/mb)
				}
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	sample, err = s.Side("rollcall", 1, l).Run(load.Window{Length: length})
	cancel()
	beside.Wait()
	if err != nil {
		return sample, err
	}
	st, err := s.status()
	if err != nil {
		return sample, err
	}
	u, err := proc.Read(s.PID)
	if err != nil {
		return sample, err
	}
	medians, deviation := steadiness(rss, max(churnParts, int(length/time.Minute)))
	sample.More = map[string]float64{
		"deviation_percent": 100 * deviation, "rss_mb": float64(u.RSS) / mb, "peak_mb": float64(u.Peak) / mb,
		"first_mb": medians[0], "last_mb": medians[len(medians)-1], "instances": float64(st.Instances),
	}
	return sample, nil
}

// steadiness cuts values into so many parts and leaves out the first quarter of them. It
// returns the medians of the others, and how far at most one is from the median of these.
func steadiness(values []float64, parts int) (medians []float64, deviation float64) {
	parts = min(parts, len(values))
	for i := parts / 4; i < parts; i++ {
		part := slices.Clone(values[i*len(values)/parts : (i+1)*len(values)/parts])
		slices.Sort(part)
		medians = append(medians, part[len(part)/2])
	}
	sorted := slices.Sorted(slices.Values(medians))
	middle := sorted[len(sorted)/2]
	for _, m := range medians {
		deviation = max(deviation, math.Abs(m/middle-1))
	}
	return medians, deviation
}

// churnSource makes, in turn, a registration of a new instance, the deregistration of the
// oldest, a renewal and a change of one that is there.
func (s Server) churnSource(f fleet) func(int) wire.Source {
	d := driver.Rollcall(s.Addr)
	remove, change := driver.RollcallDeregister(s.Addr), [2]wire.Template{driver.RollcallChange(s.Addr, 50), driver.RollcallChange(s.Addr, 51)}
	n := 0
	return func(int) wire.Source {
		return wire.Source{Next: func(dst []byte) ([]byte, int) {
			n++
			turn := n / 4
			oldest := turn
			middle := oldest + f.instances/4 + turn*7919%(f.instances/2) // far from both ends
			switch n % 4 {
			case 0:
				id := f.instances + turn - 1
				return d.Register.Append(dst, id%f.services, id), 0
			case 1:
				return remove.Append(dst, oldest%f.services, oldest), 0
			case 2:
				return d.Heartbeat.Append(dst, middle%f.services, middle), 0
			}
			return change[turn/f.instances%2].Append(dst, middle%f.services, middle), 0
		}}
	}
}

// watchAndLeave opens watches, reads the first record and leaves.
func watchAndLeave(ctx context.Context, s Server, f fleet) {
	tick := time.NewTicker(time.Second / churnWatches)
	defer tick.Stop()
	buf := make([]byte, 64<<10)
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		c, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err != nil {
			continue // the load tells of a server that is gone
		}
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write(driver.RollcallWatch(s.Addr, fmt.Sprintf("service-%05d", n%f.services)).Append(nil, 0, 0))
		c.Read(buf)
		c.Close()
	}
}
