package figures

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/plain"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/internal/store/local"
)

// T2: at least 80 % of a plain append and fdatasync at 64 writers; and on a slow disk no
// writer waits for more than the fsync under way, its own, and the work between.
var groupCommit = Figure{
	Name: "group-commit",
	What: "appends to the log from many writers in process, each waiting until its own is on disk",
	Rows: []report.Row{
		{Name: "group-commit-64", Unit: "appends", Goals: []report.Goal{report.Share("plain-log", 0.8), report.Compare("plain-log-filled")}},
		{Name: "group-commit-512", Unit: "appends", Goals: []report.Goal{report.Compare("plain-log"), report.Compare("plain-log-filled")}},
		{Name: "group-commit-slow", Unit: "appends", Goals: []report.Goal{report.P99Of("fsync_ms", 3), report.Compare("plain-log")}},
	},
	Run: func(b *Bench) error {
		for _, row := range []struct {
			name    string
			writers int
			delay   time.Duration
		}{
			{"group-commit-64", 64, 0},
			{"group-commit-512", 512, 0},
			{"group-commit-slow", 64, 2 * time.Millisecond},
		} {
			sides := []Side{
				b.commitSide("rollcall", commit{Log: "rollcall", Writers: row.writers, Delay: row.delay}),
				b.commitSide("plain-log", commit{Log: "plain", Writers: row.writers, Delay: row.delay}),
			}
			if row.delay == 0 {
				sides = append(sides, b.commitSide("plain-log-filled", commit{Log: "plain", Fill: 2 << 30, Writers: row.writers}))
			}
			p := Params{"writers": row.writers, "fsync_delay_ms": row.delay.Milliseconds(), "record_bytes": recordBytes}
			if err := b.Interleave(row.name, p, sides...); err != nil {
				return err
			}
		}
		return nil
	},
}

// recordBytes is about the size of a registration in the log.
const recordBytes = 400

// commit is the work of a child: appends to a log.
type commit struct {
	Log          string // rollcall or plain
	Dir          string
	Fill         int64 // write so many zeros to the plain file beforehand
	Writers      int
	Delay        time.Duration // added to each fsync
	Ramp, Length time.Duration
}

// commitSide returns a side that does the work in a child, in a fresh folder.
func (b *Bench) commitSide(name string, c commit) Side {
	return Side{name, func(w load.Window) (s report.Sample, err error) {
		c.Ramp, c.Length = w.Ramp, w.Length
		if c.Dir, err = os.MkdirTemp(b.dir, "log-"); err != nil {
			return s, err
		}
		defer os.RemoveAll(c.Dir)
		err = child.Run("commit", c, &s)
		return s, err
	}}
}

// appender is a log that many may write to.
type appender struct {
	write func(writer, n int) error
	syncs func() (n int64, took time.Duration) // nil: not counted
	close func() error
}

// commitWork is the role that does it.
func commitWork(config []byte) (any, error) {
	var c commit
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	open := c.openRollcall
	if c.Log == "plain" {
		open = c.openPlain
	}
	a, err := open()
	if err != nil {
		return nil, err
	}
	var cpu, all time.Duration
	var before, after proc.Usage
	w := load.Window{Ramp: c.Ramp, Length: c.Length}
	w.Begin = func() { cpu, all = proc.Self(), proc.Busy(); before, _ = proc.Read(os.Getpid()) }
	w.End = func() { cpu, all = proc.Self()-cpu, proc.Busy()-all; after, _ = proc.Read(os.Getpid()) }
	r := load.Workers(c.Writers, w, a.write)
	if r.Err != nil {
		return nil, r.Err
	}
	s := report.Of(r, 1)
	s.OtherCPU = max(all-cpu, 0).Seconds()
	s.ServerCPU, s.RSSBytes, s.WrittenBytes = cpu.Seconds(), after.RSS, after.Written-before.Written
	if a.syncs != nil {
		n, took := a.syncs()
		s.More = map[string]float64{"fsync_ms": float64(took) / float64(max(n, 1)) / 1e6}
	}
	return s, a.close()
}

func (c commit) openRollcall() (appender, error) {
	fs := plain.NewSlowFS(c.Delay)
	l, err := local.Open(c.Dir, local.Options{FS: fs})
	if err != nil {
		return appender{}, err
	}
	record := rollcall.Record(strings.Repeat("0123456789", recordBytes/10-7)) // the rest is names and the like
	at := time.Now().UTC()
	write := func(writer, n int) error {
		_, err := l.Append(context.Background(), rollcall.Batch{Changes: []rollcall.Change{{
			At: at, By: "bench", Via: "http",
			Body: rollcall.InstancePut{Key: rollcall.NewKey("default", "service-00001", fmt.Sprintf("i-%04d-%08d", writer, n)), Record: record},
		}}})
		return err
	}
	return appender{write, fs.Syncs, l.Close}, nil
}

func (c commit) openPlain() (appender, error) {
	l, err := plain.Open(filepath.Join(c.Dir, "log"))
	if err == nil && c.Fill > 0 {
		err = l.Fill(c.Fill)
	}
	if err != nil {
		return appender{}, err
	}
	l.Delay = c.Delay
	g := plain.NewGroup()
	go g.Run(l.Commit) // until the process ends
	record := make([]byte, recordBytes)
	acks := make([]chan error, c.Writers)
	for i := range acks {
		acks[i] = make(chan error, 1)
	}
	write := func(writer, _ int) error { return g.Write(record, acks[writer]) }
	return appender{write, nil, func() error { g.Stop(); return l.Close() }}, nil
}
