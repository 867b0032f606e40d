package figures

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T13: killed with 1 M instances, a server serves again in at most 3 s, whether it has to
// read all of that from the log or from a checkpoint, and nothing is missing; an empty one
// in 100 ms. The files are in the page cache: it is the process that was killed, not the
// machine.
var restart = Figure{
	Name: "restart",
	What: "kill -9, then from the start of the process until a service is resolved",
	Rows: restartRows(),
	Run: func(b *Bench) error {
		for _, size := range restartSizes {
			f := fleet{services: 10_000, instances: size.instances}
			if b.Short && f.instances > 100_000 {
				b.progress("%s is left out: -short", size.name)
				continue
			}
			if err := b.restart("restart-"+size.name, f); err != nil {
				return err
			}
			b.end()
		}
		return nil
	},
}

var restartSizes = []struct {
	name      string
	instances int
	most      float64 // ms
}{{"empty", 0, 100}, {"100k", 100_000, 3000}, {"1m", 1_000_000, 3000}}

const restartRounds = 3

func restartRows() (rows []report.Row) {
	for _, size := range restartSizes {
		goals := []report.Goal{report.AtMost("serving_ms", size.most), report.Show("log_mb"), report.Show("checkpoint_mb"), report.Show("rss_mb")}
		name := "restart-" + size.name
		if size.instances == 0 {
			rows = append(rows, report.Row{Name: name, Unit: "until it serves", Value: "serving_ms", Goals: goals})
			continue
		}
		for _, from := range []string{"-log", "-checkpoint"} {
			rows = append(rows, report.Row{Name: name + from, Unit: "until it serves", Value: "serving_ms", Goals: goals})
		}
	}
	return rows
}

// restart fills a server, and kills and starts it some times; then once more, with a
// checkpoint.
func (b *Bench) restart(row string, f fleet) error {
	dir, err := os.MkdirTemp(b.dir, "rollcall-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := b.startIn(dir)
	if err != nil {
		return err
	}
	if err := b.fill(s, f); err != nil {
		return err
	}
	b.Stop(s)
	if f.instances == 0 {
		return b.restarts(row, dir, f)
	}
	if err := b.restarts(row+"-log", dir, f); err != nil {
		return err
	}
	if s, err = b.startIn(dir); err != nil {
		return err
	}
	if err := b.makeCheckpoint(s, f); err != nil {
		return err
	}
	b.Stop(s)
	return b.restarts(row+"-checkpoint", dir, f)
}

// restarts starts and kills a server on a data directory.
func (b *Bench) restarts(row, dir string, f fleet) error {
	for round := 1; round <= min(b.Rounds, restartRounds); round++ {
		logged, checkpoint := sizes(dir)
		start, all := time.Now(), proc.Busy()
		s, err := b.startIn(dir)
		if err != nil {
			return err
		}
		ready := time.Since(start)
		path := "/readyz"
		if f.instances > 0 {
			path = "/api/v1/services/service-00001"
		}
		if _, _, err := wire.Once(s.Addr, wire.Request("GET", path, s.Addr, "").Append(nil, 0, 0)); err != nil {
			return err
		}
		serving := time.Since(start)
		all = proc.Busy() - all
		if err := s.count(f.instances); err != nil {
			return fmt.Errorf("%s: after the restart: %w", row, err)
		}
		sample, err := s.resident()
		if err != nil {
			return err
		}
		used, err := proc.Read(s.PID)
		if err != nil {
			return err
		}
		b.Stop(s)
		sample.Seconds, sample.ServerCPU = serving.Seconds(), used.CPU.Seconds()
		sample.OtherCPU = max(all-used.CPU, 0).Seconds()
		sample.More["log_mb"], sample.More["checkpoint_mb"] = logged, checkpoint
		sample.More["ready_ms"], sample.More["serving_ms"] = ready.Seconds()*1000, serving.Seconds()*1000
		p := Params{"services": f.services, "instances": f.instances, "page_cache": "warm"}
		if err := b.keep(row, "rollcall", round, p, sample); err != nil {
			return err
		}
	}
	return nil
}

// makeCheckpoint changes instances until the server has written one, or another one.
func (b *Bench) makeCheckpoint(s Server, f fleet) error {
	b.progress("changing instances until there is a checkpoint")
	l := wire.Load{Addr: s.Addr, Conns: 64, Total: 2000}
	before, err := checkpoints(s.Addr)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if now, err := checkpoints(s.Addr); err != nil || now > before {
			return err // what it replaces is gone by then
		}
		l.Source = one(driver.RollcallChange(s.Addr, 50+n), f.turn())
		r, err := l.Run()
		if err == nil {
			err = r.Err
		}
		if err == nil && n > 5000 {
			err = fmt.Errorf("no checkpoint after %d changes", n*l.Total)
		}
		if err != nil {
			return err
		}
	}
}

// checkpoints returns how many checkpoints a server says it has written.
func checkpoints(addr string) (n int, err error) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "rollcall_checkpoint_seconds_count %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("the server tells nothing of its checkpoints"))
}

// sizes returns how much of a data directory is log and how much is checkpoint, in MB.
func sizes(dir string) (logged, checkpoint float64) {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		if strings.HasPrefix(info.Name(), "checkpoint-") {
			checkpoint += float64(info.Size()) / mb
		} else if filepath.Ext(name) == ".log" {
			logged += float64(info.Size()) / mb
		}
	}
	return logged, checkpoint
}
