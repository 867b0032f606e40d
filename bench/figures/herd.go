package figures

import (
	"fmt"
	"os"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Pain 7: 100,000 instances that all register again at once are back in at most 10 s,
// whether the server knows them still or has lost its data.
var herd = Figure{
	Name: "herd",
	What: "100,000 instances that register again at once, one per PUT on 256 connections",
	Rows: []report.Row{
		{Name: "herd-known", Unit: "until all are back", Value: "back_s", Goals: herdGoals},
		{Name: "herd-wiped", Unit: "until all are back", Value: "back_s", Goals: herdGoals},
	},
	Run: func(b *Bench) error {
		f := fleet{services: 1000, instances: 100_000}
		if b.Short {
			f.instances = 10_000
		}
		dir, err := os.MkdirTemp(b.dir, "rollcall-")
		if err != nil {
			return err
		}
		s, err := b.startIn(dir)
		if err != nil {
			return err
		}
		if err := b.fill(s, f); err != nil {
			return err
		}
		for round := 1; round <= b.Rounds; round++ {
			if err := b.herd("herd-known", s, f, round); err != nil {
				return err
			}
		}
		for round := 1; round <= b.Rounds; round++ {
			b.Stop(s)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if s, err = b.startIn(dir); err != nil {
				return err
			}
			if err := b.herd("herd-wiped", s, f, round); err != nil {
				return err
			}
		}
		return nil
	},
}

var herdGoals = []report.Goal{report.AtMost("back_s", 10)}

const herdConns = 256

// herd registers the whole fleet, and counts it afterwards.
func (b *Bench) herd(row string, s Server, f fleet, round int) error {
	l := wire.Load{Conns: herdConns, Total: f.instances, Source: one(driver.Rollcall(s.Addr).Register, f.turn())}
	start := time.Now()
	sample, err := s.Side("rollcall", 1, l).Run(load.Window{})
	if err != nil {
		return err
	}
	if _, err := s.until(func(st status) bool { return st.Health["healthy"] == f.instances }, 5*time.Second); err != nil {
		return fmt.Errorf("%s: not all are back: %w", row, err)
	}
	sample.More = map[string]float64{"back_s": time.Since(start).Seconds()}
	if b.Short {
		sample.Note = fmt.Sprintf("%d instances only", f.instances)
	}
	return b.keep(row, "rollcall", round, Params{"services": f.services, "instances": f.instances, "connections": herdConns}, sample)
}
