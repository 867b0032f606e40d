// Program engines measures embedded storage engines as the log behind a registry: many
// writers, each waiting until its record of 400 bytes is on disk. One goroutine collects
// the waiting writers into a group and commits it with one fsync; engines with a group
// commit of their own are measured both ways.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// logger reports progress. (The standard logger is no good: raft-wal's dependencies seize it.)
var logger = log.New(os.Stderr, "", 0)

func main() {
	var (
		work    = flag.String("work", "commit", "what to measure: commit, reload, tear or size")
		engines = flag.String("engines", "all", "engines to measure, separated by commas")
		writers = flag.String("writers", "64,512", "numbers of concurrent writers")
		seconds = flag.Float64("seconds", 10, "length of a round")
		warm    = flag.Float64("warm", 2, "seconds of warm-up before a round")
		rounds  = flag.Int("rounds", 3, "rounds per engine, interleaved")
		dir     = flag.String("dir", os.TempDir(), "where to put the logs; choose the disk to measure")
		delay   = flag.Duration("fsync-delay", 0, "added to each fsync where the engine has a file layer")
		records = flag.Int("records", 1_000_000, "records to reload")
		out     = flag.String("out", "", "file to append raw rounds to, as JSON lines")
	)
	flag.Parse()

	chosen, err := choose(*engines, *work, *delay > 0)
	if err != nil {
		logger.Fatal(err)
	}
	root, err := os.MkdirTemp(*dir, "engines-")
	if err != nil {
		logger.Fatal(err)
	}
	defer os.RemoveAll(root)

	switch *work {
	case "commit":
		err = commit(chosen, root, *writers, *rounds, duration(*warm), duration(*seconds), *delay, *out)
	case "reload":
		err = reload(chosen, root, *records, *rounds, *out)
	case "load": // the child of reload
		err = load(chosen[0], *dir)
	case "tear":
		err = tear(chosen, root, *out)
	case "size":
		err = size(chosen, root, *out)
	default:
		err = fmt.Errorf("unknown work %q", *work)
	}
	if err != nil {
		os.RemoveAll(root)
		logger.Fatal(err)
	}
}

func duration(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// choose finds the named engines that can do the work.
func choose(names, work string, slow bool) (chosen []Spec, err error) {
	all := specs()
	for _, s := range all {
		named := slices.Contains(strings.Split(names, ","), s.Name)
		able := (!slow || s.Slow) && (work != "reload" || s.Reload) && (work != "tear" || s.Tear) && (work != "size" || !s.Native)
		if named && !able {
			return nil, fmt.Errorf("engine %s cannot do this", s.Name)
		}
		if able && (named || names == "all") {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no engine among %q", names)
	}
	return chosen, nil
}

// commit runs every engine once per round, in turning order, and prints the medians.
func commit(chosen []Spec, root, writers string, rounds int, warm, length, delay time.Duration, out string) error {
	var all []Round
	for _, w := range strings.Split(writers, ",") {
		n, err := strconv.Atoi(w)
		if err != nil {
			return err
		}
		for round := range rounds {
			for _, s := range turn(chosen, round) {
				r, err := measure(s, root, n, warm, length, delay)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				r.Round = round + 1
				logger.Printf("round %d, %d writers, %s: %.0f/s p99 %.2f ms", r.Round, n, s.Name, r.PerSecond, r.P99Ms)
				if err := save(out, r); err != nil {
					return err
				}
				all = append(all, r)
			}
		}
	}
	printRounds(all)
	return nil
}

// turn reverses the order in every other round, so that no engine always follows another.
func turn(chosen []Spec, round int) []Spec {
	c := slices.Clone(chosen)
	if round%2 == 1 {
		slices.Reverse(c)
	}
	return c
}

// save appends one JSON line to the file, if there is one.
func save(path string, v any) error {
	if path == "" {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Close()
}
