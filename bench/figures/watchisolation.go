package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Pain 6: who watches one service is not woken by changes of another: 5,000 such watchers
// get nothing but bookmarks, and cost less than 5 % of a core.
var watchIsolation = Figure{
	Name: "watch-isolation",
	What: "100 changes a second of one service beside 5,000 watchers of another, and without them",
	Rows: []report.Row{{Name: "watch-isolation", Unit: "of a core", Value: "server_percent", Goals: []report.Goal{
		report.Exactly("records", 0), report.Beyond("alone", "server_percent", 5), report.Show("bookmarks"),
	}}},
	Run: func(b *Bench) error {
		const watchers, rate = 5000, 100
		f := fleet{services: 1, instances: watchedInstances}
		var sides []Side
		for _, name := range []string{"rollcall", "alone"} {
			s, err := b.fresh()
			if err != nil {
				return err
			}
			if err := b.fillEach(s, f, driver.Rollcall(s.Addr).Register); err != nil {
				return err
			}
			n := newNews(watchedInstances)
			if err := b.fillWatched(s, n); err != nil {
				return err
			}
			l := wire.Load{Addr: s.Addr, Conns: 8, Rate: rate, Source: n.source(driver.RollcallNews(s.Addr))}
			if name == "alone" {
				sides = append(sides, s.Side(name, 1, l).with(serverPercent))
				continue
			}
			g, err := b.watchers(s, watchers, "service-00000")
			if err != nil {
				return err
			}
			sides = append(sides, besideCrowd(name, s, g, l).with(serverPercent))
		}
		p := Params{"watchers": watchers, "watched_instances": f.instances, "rate": rate, "arrivals": "poisson"}
		return b.Longer("watch-isolation", p, 2, 20*time.Second, sides...)
	},
}

func serverPercent(s *report.Sample) {
	if s.More == nil {
		s.More = map[string]float64{}
	}
	s.More["server_percent"] = 100 * s.ServerCPU / s.Seconds
}

// besideCrowd returns a side that loads a server while a crowd watches, and counts what
// the crowd gets.
func besideCrowd(name string, s Server, g gathered, l wire.Load) Side {
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			if _, err := g.seen(); err != nil {
				return report.Sample{}, err
			}
			l.Window = w
			r, err := l.Run()
			if err != nil {
				return report.Sample{}, err
			}
			got, err := g.seen()
			if err != nil {
				return report.Sample{}, err
			}
			sample := report.Of(r, 1)
			sample.More = map[string]float64{"records": 0, "bookmarks": 0, "bytes": float64(got.Bytes)}
			for kind, n := range got.Records {
				if kind == "bookmark" {
					sample.More["bookmarks"] = float64(n)
				} else {
					sample.More["records"] += float64(n)
					sample.Note = fmt.Sprintf("watchers had %d records of type %q", n, kind)
				}
			}
			return sample, nil
		}, g.Server)
	}}
}
