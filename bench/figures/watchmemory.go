package figures

import (
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// T5: an idle watcher takes at most 32 KB of the server's resident memory, its connection
// included. What the kernel has for it is not in that.
var watchMemory = Figure{
	Name: "watch-memory",
	What: "resident memory for each of 9,500 idle connections: with a watch, and kept alive without",
	Rows: []report.Row{
		{Name: "watch-memory", Unit: "a watcher", Value: "each_kb", Goals: []report.Goal{report.AtMost("each_kb", 32), report.Show("peak_mb")}},
		{Name: "watch-memory-idle", Unit: "a connection", Value: "each_kb", Goals: []report.Goal{report.Show("each_kb"), report.Show("peak_mb")}},
	},
	Run: func(b *Bench) error {
		for round := 1; round <= min(b.Rounds, watchMemoryRounds); round++ {
			for _, keep := range []bool{false, true} {
				if err := b.watchMemory(round, keep); err != nil {
					return err
				}
				b.end()
			}
		}
		return nil
	},
}

const (
	watchMemoryConns  = 9500
	watchMemoryRounds = 3
	watchMemoryIdle   = 12 * time.Second // time for two bookmarks each
)

// watchMemory looks how much connections add to a server that nobody has asked before.
func (b *Bench) watchMemory(round int, keep bool) error {
	row, request := "watch-memory", driver.RollcallWatch
	if keep {
		row, request = "watch-memory-idle", driver.RollcallOf
	}
	s, err := b.fresh()
	if err != nil {
		return err
	}
	if err := b.fillWatched(s, newNews(watchedInstances)); err != nil {
		return err
	}
	time.Sleep(settle)
	before, err := proc.Read(s.PID)
	if err != nil {
		return err
	}
	g, err := b.gather(crowd{
		Addr: s.Addr, Conns: watchMemoryConns, Keep: keep,
		Request: string(request(s.Addr, driver.Watched).Append(nil, 0, 0)),
	})
	if err != nil {
		return err
	}
	time.Sleep(watchMemoryIdle)
	if _, err := g.seen(); err != nil {
		return err
	}
	sample, err := s.resident()
	if err != nil {
		return err
	}
	sample.More["each_kb"] = float64(sample.RSSBytes-before.RSS) / watchMemoryConns / 1024
	p := Params{"connections": watchMemoryConns, "instances": watchedInstances, "idle": watchMemoryIdle.String()}
	return b.keep(row, "rollcall", round, p, sample)
}
