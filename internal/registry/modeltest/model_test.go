package modeltest

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var (
	seedFlag   = flag.Uint64("model.seed", 0, "seed of the model tests; 0 draws one")
	stepsFlag  = flag.Int("model.steps", 200, "commands in one run of the model")
	forFlag    = flag.Duration("model.for", 0, "for how long to run the model again with other seeds; 0 is two runs")
	shrinkFlag = flag.Duration("model.shrink", 20*time.Second, "for how long to look for fewer commands that fail")
	fileFlag   = flag.String("model.replay", "", "file of commands, one a line, to run instead")
)

func seed(t testing.TB) uint64 {
	if *seedFlag == 0 {
		return rand.Uint64()
	}
	return *seedFlag
}

// plan is what runs differ in beside their commands.
type plan struct {
	durable bool // on a log that is closed and opened again
	names   bool // with names that are written in several ways
}

// run does commands to a new world, in time of its own, and returns after how
// many of them something was wrong, and what.
func run(t *testing.T, p plan, commands []command) (w *world, done int, err error) {
	synctest.Test(t, func(*testing.T) {
		if w, err = newWorld(p); err != nil {
			return
		}
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			w.quit()
		}()
		for _, k := range kinds {
			c := &watcher{q: k.q, slow: k.slow}
			w.watchers = append(w.watchers, c)
			if err = c.open(w, rollcall.Token{}); err != nil {
				return
			}
		}
		w.listenAll()
		for _, c := range commands {
			if err = w.do(c); err != nil {
				err = fmt.Errorf("command %d, %s:\n%w", done, c, err)
				return
			}
			done++
		}
		for _, c := range w.watchers {
			for more := c.slow; more; {
				if more, err = c.read(w); err != nil {
					return
				}
			}
		}
		err = w.end()
	})
	return w, done, err
}

// quit ends all goroutines, whatever happened.
func (w *world) quit() {
	if w.reg == nil {
		return
	}
	w.hangUp()
	for _, c := range w.watchers {
		c.close()
	}
	w.stop()
	w.log.close()
	synctest.Wait()
}

// shrink leaves out commands for as long as the rest still fails.
func shrink(t *testing.T, p plan, commands []command, until time.Time) ([]command, error) {
	_, _, err := run(t, p, commands)
	for size := len(commands) / 2; size > 0; {
		smaller := false
		for at := 0; at < len(commands) && time.Now().Before(until); {
			rest := slices.Concat(commands[:at], commands[min(at+size, len(commands)):])
			if _, n, failed := run(t, p, rest); failed != nil && alike(failed, err) {
				commands, err, smaller = rest[:min(n+1, len(rest))], failed, true
			} else {
				at += size
			}
		}
		if time.Now().After(until) {
			break
		}
		if !smaller {
			size /= 2
		}
	}
	return commands, err
}

// alike reports whether two errors say the same, whatever the numbers in them.
func alike(a, b error) bool {
	words := func(err error) string {
		_, text, _ := strings.Cut(err.Error(), "\n")
		text, _, _ = strings.Cut(text, "\n")
		text = strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return -1
			}
			return r
		}, text)
		return text[:min(len(text), 30)]
	}
	return words(a) == words(b)
}

// TestModel does random things to a registry with its catalog, its watches, its
// answers and its door, and to a model of maps, and compares them at every
// revision. It runs in time of its own: hours of leases take seconds.
//
//	go test ./internal/registry/modeltest -run TestModel -model.seed N [-model.steps N] [-v]
//	go test ./internal/registry/modeltest -run TestModel -model.for 10m
func TestModel(t *testing.T) {
	if *fileFlag != "" {
		replayFile(t)
		return
	}
	first := seed(t)
	seen := map[string]int{}
	tested := map[promise]int{}
	begin := time.Now()
	runs := 0
	for s := first; runs < 2 && (runs == 0 || *seedFlag == 0) || time.Since(begin) < *forFlag; s++ {
		runs++
		p := plan{durable: s%2 == 0, names: s%3 == 0}
		g := generator{rng: rand.New(rand.NewPCG(s, 0)), names: p.names}
		var commands []command
		for range *stepsFlag {
			commands = append(commands, g.next())
		}
		w, done, err := run(t, p, commands)
		if err != nil {
			t.Errorf("-model.seed %d -model.steps %d: %v", s, *stepsFlag, err)
			fewer, err := shrink(t, p, commands[:min(done+1, len(commands))], time.Now().Add(*shrinkFlag))
			var lines []string
			for _, c := range fewer {
				lines = append(lines, c.String())
			}
			t.Fatalf("these %d commands suffice (%+v):\n%s\nfor\n%v", len(fewer), p, strings.Join(lines, "\n"), err)
		}
		for what, n := range w.seen {
			seen[what] += n
		}
		for promise, n := range w.tested {
			tested[promise] += n
		}
	}
	t.Logf("-model.seed %d: %d runs of %d commands in %v", first, runs, *stepsFlag, time.Since(begin).Round(time.Millisecond))
	for _, p := range promises {
		if tested[p] == 0 && *stepsFlag >= 200 {
			t.Errorf("never put to the test: %s", p)
		}
		t.Logf("%9d × %s", tested[p], p)
	}
	t.Logf("%v", seen)
}

// replayFile runs commands from a file.
func replayFile(t *testing.T) {
	b, err := os.ReadFile(*fileFlag)
	if err != nil {
		t.Fatal(err)
	}
	var commands []command
	for line := range strings.Lines(string(b)) {
		var c command
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		commands = append(commands, c)
	}
	for _, p := range []plan{{}, {durable: true}, {names: true}, {durable: true, names: true}} {
		if _, _, err := run(t, p, commands); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
