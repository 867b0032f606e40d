package figures

import (
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T5: a stream of gRPC with one subscription takes at most 24 KB of the server's resident
// memory, and each further subscription on a stream 2 KB.
var watchStreamsMemory = Figure{
	Name: "watch-streams-memory",
	What: "resident memory for each of 40,000 idle streams on 400 connections, and for each of 40,000 more subscriptions on 400 streams",
	Rows: []report.Row{
		{Name: "watch-streams-memory", Unit: "a stream", Value: "each_kb", Goals: []report.Goal{report.AtMost("each_kb", 24), report.Show("peak_mb")}},
		{Name: "watch-streams-memory-further", Unit: "a further subscription", Value: "each_kb", Goals: []report.Goal{report.AtMost("each_kb", 2), report.Show("peak_mb")}},
	},
	Run: func(b *Bench) error {
		for round := 1; round <= min(b.Rounds, watchMemoryRounds); round++ {
			if _, err := b.streamsMemory("watch-streams-memory", round, nil, streams{Conns: 400, Streams: 100, Each: 1, Services: 4000}, 40_000); err != nil {
				return err
			}
			few, err := b.streamsMemory("", round, nil, streams{Conns: 400, Streams: 1, Each: 1, Services: 4000}, 1)
			if err != nil {
				return err
			}
			if _, err := b.streamsMemory("watch-streams-memory-further", round, &few, streams{Conns: 400, Streams: 1, Each: 101, Services: 4000}, 40_000); err != nil {
				return err
			}
		}
		return nil
	},
}

// streamsMemory looks how much streams add to a server that nobody has asked before, per
// so many; with few, what is beyond what they added. Without a row it keeps nothing.
func (b *Bench) streamsMemory(row string, round int, few *int64, w streams, per int) (added int64, err error) {
	s, err := b.fresh("--grpc", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer b.end()
	n := newNews(w.Services)
	filling := wire.Load{Addr: s.Addr, Conns: 8, Total: w.Services, Source: n.source(driver.RollcallNewsOf(s.Addr))}
	if _, err := filling.Run(); err != nil {
		return 0, err
	}
	time.Sleep(settle)
	before, err := proc.Read(s.PID)
	if err != nil {
		return 0, err
	}
	w.Addr = s.GRPC
	b.progress("opening %d streams with %d subscriptions each", w.Conns*w.Streams, w.Each)
	g, err := b.Child("streams", "streams", w)
	if err != nil {
		return 0, err
	}
	time.Sleep(watchMemoryIdle)
	if _, err := g.arrivals(); err != nil {
		return 0, err
	}
	sample, err := s.resident()
	if err != nil || row == "" {
		return sample.RSSBytes - before.RSS, err
	}
	added = sample.RSSBytes - before.RSS
	if few != nil {
		added -= *few
	}
	sample.More["each_kb"] = float64(added) / float64(per) / 1024
	p := Params{"connections": w.Conns, "streams": w.Conns * w.Streams, "subscriptions_of_each": w.Each, "services": w.Services, "idle": watchMemoryIdle.String()}
	return added, b.keep(row, "rollcall", round, p, sample)
}
