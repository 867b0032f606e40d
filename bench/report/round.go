// Package report keeps what was measured, round by round, and makes the table of it.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
)

// Sample is what one side did in one round. Units are in the names; an operation is what
// the row's unit says.
type Sample struct {
	Seconds       float64            `json:"seconds"`
	PerSecond     float64            `json:"per_second"`
	GoodPerSecond float64            `json:"good_per_second"` // in time to be worth something
	Failed        int64              `json:"failed"`          // requests
	Refused       int64              `json:"refused"`         // found no free connection
	Unanswered    int64              `json:"unanswered"`
	Error         string             `json:"error,omitempty"` // of the first that failed
	P50Ms         float64            `json:"p50_ms"`
	P99Ms         float64            `json:"p99_ms"`
	P999Ms        float64            `json:"p999_ms"`
	MaxMs         float64            `json:"max_ms"`
	ServerCPU     float64            `json:"server_cpu_seconds"` // 0: not known
	GeneratorCPU  float64            `json:"generator_cpu_seconds"`
	OtherCPU      float64            `json:"other_cpu_seconds"` // of neither: should be next to nothing
	RSSBytes      int64              `json:"server_rss_bytes"`
	WrittenBytes  int64              `json:"server_disk_write_bytes"`
	More          map[string]float64 `json:"more,omitempty"` // what only this figure has
	Note          string             `json:"note,omitempty"` // what must be said of it
}

// Of turns a result into a sample; each request stands for per operations.
func Of(r *load.Result, per int) Sample {
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	s := Sample{
		Seconds:       r.Length.Seconds(),
		PerSecond:     float64(r.Done) * float64(per) / r.Length.Seconds(),
		GoodPerSecond: float64(r.Good) * float64(per) / r.Length.Seconds(),
		Failed:        r.Failed, Refused: r.Refused, Unanswered: r.Unanswered,
		P50Ms: ms(r.Latency.Quantile(0.5)), P99Ms: ms(r.Latency.Quantile(0.99)), P999Ms: ms(r.Latency.Quantile(0.999)),
		MaxMs: ms(r.Latency.Max()),
	}
	if r.Err != nil {
		s.Error = r.Err.Error()
	}
	return s
}

// PerCPU returns the operations per CPU-second of the server; 0 if that is not known.
func (s Sample) PerCPU() float64 {
	if s.ServerCPU == 0 {
		return 0
	}
	return s.PerSecond * s.Seconds / s.ServerCPU
}

// Round is one line of the raw results.
type Round struct {
	Row    string         `json:"row"`
	Side   string         `json:"side"`
	Round  int            `json:"round"`
	Start  time.Time      `json:"start"`
	Params map[string]any `json:"params"` // of the scenario
	Sample
}

// Run is the first file of the results: what holds for all rounds.
type Run struct {
	Commit  string       `json:"commit"`
	Start   time.Time    `json:"start"`
	Args    []string     `json:"args"`
	Machine proc.Machine `json:"machine"`
}

const runFile, roundsFile = "run.json", "rounds.jsonl"

// Results are the rounds of a run, in memory and in a folder.
type Results struct {
	Run    Run
	Rounds []Round
	file   *os.File
}

// Create begins results in a folder; one that holds results already is continued.
func Create(dir string, run Run) (*Results, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r, err := Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r = &Results{Run: run}
		text, err := json.MarshalIndent(run, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, runFile), append(text, '\n'), 0o644); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case r.Run.Commit != run.Commit:
		return nil, fmt.Errorf("%s holds results of commit %s", dir, r.Run.Commit)
	}
	r.file, err = os.OpenFile(filepath.Join(dir, roundsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return r, err
}

// Open reads results back. Of rounds that were measured more than once, the last count.
func Open(dir string) (*Results, error) {
	r := &Results{}
	text, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.Run); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, roundsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(bufio.NewReader(f)); d.More(); {
		var round Round
		if err := d.Decode(&round); err != nil {
			return nil, err
		}
		r.keep(round)
	}
	return r, nil
}

// Add keeps a round.
func (r *Results) Add(round Round) error {
	r.keep(round)
	if r.file == nil {
		return nil
	}
	return json.NewEncoder(r.file).Encode(round)
}

func (r *Results) keep(round Round) {
	r.Rounds = slices.DeleteFunc(r.Rounds, func(o Round) bool {
		return o.Row == round.Row && o.Side == round.Side && o.Round == round.Round
	})
	r.Rounds = append(r.Rounds, round)
}

// Of returns the rounds of one side of a row, in order.
func (r *Results) Of(row, side string) (rounds []Round) {
	for _, round := range r.Rounds {
		if round.Row == row && round.Side == side {
			rounds = append(rounds, round)
		}
	}
	slices.SortFunc(rounds, func(a, b Round) int { return a.Round - b.Round })
	return rounds
}

// Close closes the file.
func (r *Results) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Median returns the median of a value over rounds; of an even number, the mean of the
// middle two; 0 if there are none.
func Median(rounds []Round, value func(Round) float64) float64 {
	all := make([]float64, len(rounds))
	for i, r := range rounds {
		all[i] = value(r)
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
