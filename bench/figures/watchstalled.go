package figures

import (
	"fmt"
	"net"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Pain 6: a watcher that does not read costs the server at most 4 MB, and the p99 of
// writers and of other watchers at most 10 %.
var watchStalled = Figure{
	Name: "watch-stalled",
	What: "1,000 changes a second of a service with ten watchers, with and without one more that does not read",
	Rows: []report.Row{
		{Name: "watch-stalled", Unit: "changes", Goals: []report.Goal{
			report.Beyond("alone", "grown_mb", 4), report.P99Times("alone", 1.1), report.Times("alone", "watchers_p99_ms", 1.1),
		}},
	},
	Run: func(b *Bench) error {
		side := func(name string, stalled bool) Side {
			return Side{name, func(w load.Window) (report.Sample, error) { return b.stalled(w, stalled) }}
		}
		p := Params{
			"watchers": stalledWatchers, "instances": watchedInstances, "rate": stalledRate, "arrivals": "poisson",
			"stalled_buffer_bytes": stalledBuffer,
		}
		return b.Longer("watch-stalled", p, 2, 30*time.Second, side("rollcall", true), side("alone", false))
	},
}

const (
	stalledWatchers = 10 // beside the one that does not read
	stalledRate     = 1000
	stalledBuffer   = 4096 // for what it does not read
)

// stalled measures one round on a server of its own, so that its memory tells of that
// round alone.
func (b *Bench) stalled(w load.Window, stalled bool) (sample report.Sample, err error) {
	s, err := b.fresh()
	if err != nil {
		return sample, err
	}
	defer b.Stop(s)
	n := newNews(watchedInstances)
	if err := b.fillWatched(s, n); err != nil {
		return sample, err
	}
	g, err := b.watchers(s, stalledWatchers, driver.Watched)
	if err != nil {
		return sample, err
	}
	defer b.Stop(g.Server)
	l := wire.Load{Addr: s.Addr, Conns: 64, Rate: stalledRate, Source: n.source(driver.RollcallNews(s.Addr))}
	l.Window = load.Window{Length: max(w.Length/6, time.Second)} // the server's memory grows to what this takes
	if _, err := l.Run(); err != nil {
		return sample, err
	}
	before, err := proc.Read(s.PID)
	if err != nil {
		return sample, err
	}
	if stalled {
		c, err := stall(s.Addr, driver.RollcallWatch(s.Addr, driver.Watched).Append(nil, 0, 0))
		if err != nil {
			return sample, err
		}
		defer c.Close()
	}
	n.take(time.Time{}, time.Time{})
	if _, err := g.seen(); err != nil {
		return sample, err
	}
	return s.watch(w, func(w load.Window) (report.Sample, error) {
		l.Window = w
		begin := time.Now().Add(w.Ramp)
		r, err := l.Run()
		if err != nil {
			return report.Sample{}, err
		}
		after, err := proc.Read(s.PID)
		if err != nil {
			return report.Sample{}, err
		}
		due := n.take(begin, begin.Add(w.Length))
		all, err := g.seenAll(due, time.Second)
		if err != nil {
			return report.Sample{}, err
		}
		each, missing := took(due, all, stalledWatchers)
		h := histogram(each)
		sample := report.Of(r, 1)
		sample.More = map[string]float64{
			"grown_mb":        float64(after.RSS-before.RSS) / mb,
			"peak_mb":         float64(after.Peak) / mb,
			"watchers_p50_ms": float64(h.Quantile(0.5)) / 1e6, // until the last of them has it
			"watchers_p99_ms": float64(h.Quantile(0.99)) / 1e6,
			"merged":          float64(missing), // with a later change, or lost
		}
		if missing > len(due)/100 {
			sample.Note = fmt.Sprintf("%d of %d changes were not seen by all", missing, len(due))
		}
		return sample, nil
	}, g.Server)
}

// stall begins to watch and then does not read.
func stall(addr string, request []byte) (net.Conn, error) {
	c, err := wire.Narrow(addr, stalledBuffer)
	if err == nil {
		_, err = c.Write(request)
	}
	return c, err
}
