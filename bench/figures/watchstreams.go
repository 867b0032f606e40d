package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// T5: 40,000 streams of gRPC on 400 connections have 10,000 changes a second, each of ten
// watchers, with a median of at most 5 ms and a p99 of at most 50 ms from when it was to be
// sent.
var watchStreams = Figure{
	Name: "watch-streams",
	What: "registrations that each go to 10 of 40,000 streams, from when one is due until a stream has it",
	Rows: watchStreamsRows(),
	Run: func(b *Bench) error {
		s, err := b.fresh("--grpc", "127.0.0.1:0")
		if err != nil {
			return err
		}
		w := streams{Addr: s.GRPC, Conns: 400, Streams: 100, Each: 1, Services: 4000}
		if b.Short {
			w.Conns = 80
		}
		c := &changers{Addr: s.GRPC, Conns: 64, Sessions: w.Services}
		if err := c.open(); err != nil {
			return err
		}
		b.progress("opening %d streams", w.Conns*w.Streams)
		g, err := b.Child("streams", "streams", w)
		if err != nil {
			return err
		}
		each := w.Conns * w.Streams / w.Services
		for _, rate := range watchStreamsRates {
			p := Params{"connections": w.Conns, "streams": w.Conns * w.Streams, "services": w.Services, "watchers_of_each": each,
				"changes_per_second": rate, "arrivals": "poisson"}
			if err := b.Interleave(watchStreamsRow(rate), p, streamsSide(s, g, c, float64(rate), each)); err != nil {
				return err
			}
		}
		return nil
	},
}

var watchStreamsRates = []int{1000, 3000, 10_000}

func watchStreamsRow(rate int) string { return fmt.Sprintf("watch-streams-%d", rate) }

func watchStreamsRows() (rows []report.Row) {
	for _, n := range watchStreamsRates {
		rows = append(rows, report.Row{Name: watchStreamsRow(n), Unit: "deliveries", Goals: []report.Goal{
			report.P50(5), report.P99(50), report.Show("server_cores"), report.Show("ack_p99_ms"), report.Show("merged_percent"),
		}})
	}
	return rows
}

// streamsSide returns a side that makes changes and counts when each of their watchers had
// them. Of two changes of one instance, a watcher may be told the later one alone.
func streamsSide(s, g Server, c *changers, rate float64, watchers int) Side {
	return Side{"rollcall", func(w load.Window) (report.Sample, error) {
		sample, err := s.watch(w, func(w load.Window) (report.Sample, error) {
			if err := c.run(rate, w); err != nil {
				return report.Sample{}, err
			}
			r := &load.Result{Length: w.Length}
			expected := int64(len(c.due) * watchers)
			for deadline := time.Now().Add(5 * time.Second); r.Done < expected && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
				all, err := g.arrivals()
				if err != nil {
					return report.Sample{}, err
				}
				for _, a := range all {
					if at, ok := c.due[int(a.Change)]; ok {
						r.Done++
						r.Latency.Record(time.Duration(a.At - proc.Clock(at)))
					}
				}
			}
			if err := c.wrong(); err != nil {
				return report.Sample{}, err
			}
			ack := float64(c.acked()) / 1e6
			r.Good = r.Done
			sample := report.Of(r, 1)
			sample.More = map[string]float64{"ack_p99_ms": ack, "merged_percent": 100 * float64(expected-r.Done) / float64(expected)}
			return sample, nil
		}, g)
		if err == nil {
			sample.More["server_cores"] = sample.ServerCPU / sample.Seconds
		}
		return sample, err
	}}
}
