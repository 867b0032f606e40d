package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"text/tabwriter"
	"time"
)

// Reload is one start of one engine on a log that is already there.
type Reload struct {
	Engine  string  `json:"engine"`
	Round   int     `json:"round"`
	Records int     `json:"records"`
	Seconds float64 `json:"seconds"`
	RSSMiB  float64 `json:"rss_mib"`      // after a collection, with the records in a map
	PeakMiB float64 `json:"peak_rss_mib"` // while reading
	DiskMiB float64 `json:"disk_mib"`
}

// reload writes a log with each engine, then starts a new process on it in every round.
func reload(chosen []Spec, root string, records, rounds int, out string) error {
	byEngine := map[string][]Reload{}
	for _, s := range chosen {
		dir := filepath.Join(root, s.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		e, err := s.Open(Config{Dir: dir})
		if err != nil {
			return err
		}
		if err := errors.Join(appendRecords(e, 0, records, 512), e.Close()); err != nil {
			return err
		}
	}
	for round := range rounds {
		for _, s := range turn(chosen, round) {
			settle()
			dir := filepath.Join(root, s.Name)
			child := exec.Command(os.Args[0], "-work", "load", "-engines", s.Name, "-dir", dir)
			child.Stderr = os.Stderr
			line, err := child.Output()
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			var r Reload
			if err := json.Unmarshal(line, &r); err != nil {
				return err
			}
			r.Round = round + 1
			if r.Records != records {
				return fmt.Errorf("%s: %d records of %d came back", s.Name, r.Records, records)
			}
			if err := save(out, r); err != nil {
				return err
			}
			byEngine[s.Name] = append(byEngine[s.Name], r)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "engine\treload s\tRSS MiB\tpeak MiB\tdisk MiB\t")
	for _, s := range chosen {
		rs := byEngine[s.Name]
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.0f\t\n", s.Name,
			median(rs, func(r Reload) float64 { return r.Seconds }),
			median(rs, func(r Reload) float64 { return r.RSSMiB }),
			median(rs, func(r Reload) float64 { return r.PeakMiB }),
			median(rs, func(r Reload) float64 { return r.DiskMiB }))
	}
	return w.Flush()
}

// load reads a log into a map, as a registry would at start, and prints what that took.
func load(s Spec, dir string) error {
	disk, err := diskUsage(dir)
	if err != nil {
		return err
	}
	state := map[string][]byte{}
	start := time.Now()
	e, err := s.Open(Config{Dir: dir, Replay: func(r []byte) {
		state[string(r[:keySize])] = append([]byte(nil), r[keySize:]...)
	}})
	if err != nil {
		return err
	}
	r := Reload{Engine: s.Name, Records: len(state), Seconds: time.Since(start).Seconds()}
	r.PeakMiB = mib(peakRSS())
	debug.FreeOSMemory()
	r.RSSMiB, r.DiskMiB = mib(nowRSS()), mib(disk)
	if len(state) == 0 { // also keeps the map alive until here
		return errors.New("no records")
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(r), e.Close())
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
