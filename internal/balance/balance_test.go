package balance

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	full  = flag.Bool("balance.full", false, "all loads, policies and seeds with a hundred servers, for some ten minutes")
	seed  = flag.Uint64("balance.seed", 1, "the first seed")
	seeds = flag.Int("balance.seeds", 10, "how many seeds from that on, in a full run")
	doc   = flag.String("balance.doc", "", "file in which the tables are put between the lines that say so")
	plots = flag.String("balance.plots", "", "directory in which charts and runs are put")
)

// few is how many servers there are in a run that is not full.
const few = 30

// TestBalance: at and beyond all allocations the slowest requests are not half as
// slow as with weighted round robin and not 0.8 times as slow as with P2C; below,
// all work as much.
//
//	go test ./internal/balance -run TestBalance -balance.full -v -timeout 1h
func TestBalance(t *testing.T) {
	c := Comparison{Policies: append(Policies()[:7:7], Asked(), Unprobed(), Ours()), Loads: Loads}
	count, size := *seeds, servers
	if !*full {
		c.Policies, c.Loads = []Policy{Policies()[2], Policies()[4], Asked(), Ours()}, []float64{1.15, 0.8}
		count, size = 1, few
	}
	if raceEnabled { // nothing is shared here, and it takes ten times as long
		c.Loads = c.Loads[:1]
	}
	var b strings.Builder
	c.Results = runAll(c.Policies, c.Loads, count, func(load float64) World {
		w := Testbed(load)
		w.Servers, w.Callers = size, size
		return brief(w)
	})
	for l, load := range c.Loads {
		check(t, &c, l, load)
	}
	c.Write(&b)
	if *full {
		b.WriteString("\n")
		happened := func(w World) (found [][]Result) {
			for _, of := range runAll(c.Policies, []float64{w.Load}, count, func(float64) World { return w }) {
				found = append(found, of[0])
			}
			return found
		}
		WriteScenarios(&b, c.Policies, happened(Slow()), happened(Failing(size)), happened(Joining(size)))
		b.WriteString("\n")
		lost := []int{0, 6, 9, 12, 20}
		WriteZones(&b, lost, runZones(lost, count))
	}
	t.Logf("\n%s", b.String())
	if *doc != "" {
		if err := replace(*doc, b.String()); err != nil {
			t.Fatal(err)
		}
	}
	if *plots != "" {
		if err := draw(*plots, &c); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares with the targets. Where callers ask the registry for each request
// it is half of weighted round robin as well, but only what P2C has.
func check(t *testing.T, c *Comparison, l int, load float64) {
	ours := c.of("Rollcall", l)
	if load < 1 {
		if m := worst(ours, maxMean); m > 1.05 {
			t.Errorf("load %g: a server works %.3f times as much as the mean", load, m)
		}
		if m := worst(ours, cold); m > 1.05 {
			t.Errorf("load %g: from the beginning on a server works %.3f times as much as the mean", load, m)
		}
		return
	}
	for of, most := range map[string]float64{"Rollcall": 0.8, Asked().Name: 1} {
		if r := ratio(c.of(of, l), c.of("weighted round robin", l), p99); r > 0.5 {
			t.Errorf("load %g: p99 of %s is %.3f times that of weighted round robin", load, of, r)
		}
		if r := ratio(c.of(of, l), c.of("P2C", l), p99); r > most && (*full || of == "Rollcall") {
			t.Errorf("load %g: p99 of %s is %.3f times that of P2C", load, of, r)
		}
	}
}

// runAll runs policies at loads with seeds, as many at once as there are
// processors.
func runAll(policies []Policy, loads []float64, count int, world func(load float64) World) [][][]Result {
	results := make([][][]Result, len(policies))
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	var runs sync.WaitGroup
	for i, p := range policies {
		results[i] = make([][]Result, len(loads))
		for l, load := range loads {
			results[i][l] = make([]Result, count)
			for n := range count {
				room <- struct{}{}
				runs.Go(func() {
					results[i][l][n] = Run(world(load), p, *seed+uint64(n))
					<-room
				})
			}
		}
	}
	runs.Wait()
	return results
}

func runZones(lost []int, count int) (results [][]Result) {
	for _, n := range lost {
		results = append(results, runAll([]Policy{Ours()}, []float64{0}, count, func(float64) World { return Uneven(servers, n) })[0][0])
	}
	return results
}

// replace puts text between the lines of a file that say that it is generated.
func replace(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	const begin, end = "<!-- generated: simulation -->\n", "<!-- end -->\n"
	before, rest, _ := strings.Cut(string(b), begin)
	_, after, _ := strings.Cut(rest, end)
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

func draw(dir string, c *Comparison) error {
	var runs bytes.Buffer
	c.WriteRuns(&runs)
	if err := os.WriteFile(filepath.Join(dir, "runs.csv"), runs.Bytes(), 0o644); err != nil {
		return err
	}
	for name, chart := range c.charts() {
		var b bytes.Buffer
		chart.write(&b)
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// TestSameSeed: the same seed finds the same, and another something else.
func TestSameSeed(t *testing.T) {
	w := Testbed(0.9)
	w.Servers, w.Callers, w.Settle, w.Window = 10, 10, 2e9, 5e9
	for _, p := range append(Policies(), Unprobed(), Asked()) {
		found := func(seed uint64) string {
			r := Run(w, p, seed)
			return fmt.Sprint(r.Sent, r.P50, r.P99, r.P999, r.Errors, r.MaxMean)
		}
		if d := cmp.Diff(found(7), found(7)); d != "" {
			t.Errorf("%s: %s", p.Name, d)
		}
		if found(7) == found(8) {
			t.Errorf("%s: another seed finds the same", p.Name)
		}
	}
}
