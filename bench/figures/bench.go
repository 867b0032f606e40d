package figures

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Options are how to measure.
type Options struct {
	Rounds   int
	Length   time.Duration // of a round
	Warmup   time.Duration // of each side, once
	Short    bool          // little data: to see that it works
	Churn    time.Duration // how long instances come and go
	Binary   string        // of rollcall
	Data     string        // folder for data directories, on the disk to measure
	Rollcall Peer          // a server that runs already, instead of the binary
	Consul   Peer
	Etcd     Peer
	Embed    bool   // run an etcd of our own
	CoreDNS  string // binary; "" builds one
	Progress io.Writer
}

// Peer is a server that somebody else has started; without an Addr there is none. Without
// a PID, what it uses is not known.
type Peer struct {
	Addr string
	PID  int
}

// Bench is what a figure runs on. Its methods may be called by one goroutine.
type Bench struct {
	Options
	Results *report.Results
	dir     string // for data
	next    int    // the next instance that nobody has registered
	mu      sync.Mutex
	started []*child.Process // guarded by mu
	ending  []func()         // what else to do at the end of a figure
}

// New returns a bench with a folder of its own below o.Data. It must be closed.
func New(o Options, r *report.Results) (*Bench, error) {
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Data, "rollcall-bench-")
	return &Bench{Options: o, Results: r, dir: dir}, err
}

// Close ends what runs still, and removes its data. It may be called at any time.
func (b *Bench) Close() error {
	b.stop()
	return os.RemoveAll(b.dir)
}

// stop ends all servers that were started.
func (b *Bench) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.started {
		p.Kill()
	}
	b.started = nil
}

// later has something done at the end of the figure.
func (b *Bench) later(f func()) { b.ending = append(b.ending, f) }

func (b *Bench) end() {
	for _, f := range b.ending {
		f()
	}
	b.ending = nil
	b.stop()
}

// Measure runs a figure, and ends its servers.
func (b *Bench) Measure(f Figure) error {
	defer b.end()
	b.next = 0
	if b.Rollcall.Addr != "" { // which may remember earlier runs
		b.next = int(time.Now().Unix()%900) * 1_000_000
	}
	if err := f.Run(b); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// Params say what a scenario is made of, for the raw results.
type Params map[string]any

// Side is one system under one load.
type Side struct {
	Name string
	Run  func(w load.Window) (report.Sample, error)
}

// with returns a side whose samples are given something more.
func (s Side) with(more func(*report.Sample)) Side {
	return Side{s.Name, func(w load.Window) (report.Sample, error) {
		sample, err := s.Run(w)
		if err == nil {
			more(&sample)
		}
		return sample, err
	}}
}

// Interleave warms the sides up and then measures each once a round: A-B, B-A, A-B ...
func (b *Bench) Interleave(row string, p Params, sides ...Side) error {
	return b.interleave(row, p, b.Rounds, b.Length, sides)
}

// Longer is [Bench.Interleave] for what shows only in some time: at most so many rounds,
// each so long.
func (b *Bench) Longer(row string, p Params, rounds int, length time.Duration, sides ...Side) error {
	if b.Short {
		length = b.Length
	}
	return b.interleave(row, p, min(rounds, b.Rounds), max(length, b.Length), sides)
}

func (b *Bench) interleave(row string, p Params, rounds int, length time.Duration, sides []Side) error {
	for _, s := range sides {
		b.progress("%s: %s: warming up", row, s.Name)
		if _, err := s.Run(load.Window{Length: b.Warmup}); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for round := 1; round <= rounds; round++ {
		for _, s := range sides {
			if err := b.round(row, p, s, round, length); err != nil {
				return err
			}
		}
		slices.Reverse(sides)
	}
	return nil
}

// round measures and keeps one round.
func (b *Bench) round(row string, p Params, s Side, n int, length time.Duration) error {
	start := time.Now()
	// A moment for connections and caches to be there.
	sample, err := s.Run(load.Window{Ramp: length / 10, Length: length})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	note := amounts(sample)
	if n := sample.Failed + sample.Unanswered; n > 0 {
		note += fmt.Sprintf(", %d FAILED: %s", n, sample.Error)
	}
	b.progress("%s: %s: round %d: %.0f/s, p50 %.2f ms, p99 %.2f ms, server %.2f cores, generator %.2f, others %.2f%s", row, s.Name, n,
		sample.PerSecond, sample.P50Ms, sample.P99Ms, sample.ServerCPU/sample.Seconds, sample.GeneratorCPU/sample.Seconds,
		sample.OtherCPU/sample.Seconds, note)
	return b.Results.Add(report.Round{Row: row, Side: s.Name, Round: n, Start: start.UTC(), Params: p, Sample: sample})
}

// keep keeps a round of a figure that has rounds of its own.
func (b *Bench) keep(row, side string, n int, p Params, sample report.Sample) error {
	text := amounts(sample)
	if sample.Failed+sample.Unanswered > 0 {
		text += fmt.Sprintf(", %d FAILED: %s", sample.Failed+sample.Unanswered, sample.Error)
	}
	b.progress("%s: %s: round %d%s", row, side, n, text)
	return b.Results.Add(report.Round{Row: row, Side: side, Round: n, Start: time.Now().UTC(), Params: p, Sample: sample})
}

// amounts lists what only this figure has.
func amounts(s report.Sample) (text string) {
	for _, name := range slices.Sorted(maps.Keys(s.More)) {
		text += fmt.Sprintf(", %s %.4g", name, s.More[name])
	}
	return text
}

// Rate returns the median rate of a side that was measured.
func (b *Bench) Rate(row, side string) float64 {
	return report.Median(b.Results.Of(row, side), func(r report.Round) float64 { return r.PerSecond })
}

func (b *Bench) progress(format string, args ...any) {
	fmt.Fprintf(b.Progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Server is a server that is measured.
type Server struct {
	Name string
	Addr string // host:port
	GRPC string // host:port, if it is Rollcall's and was asked to
	DNS  string // host:port, if it was asked to
	PID  int    // 0: what it uses is not known
}

// Start starts Rollcall on an empty data directory, or returns the one that runs.
func (b *Bench) Start(args ...string) (Server, error) {
	if b.Rollcall.Addr != "" {
		return Server{Name: "rollcall", Addr: b.Rollcall.Addr, PID: b.Rollcall.PID}, nil
	}
	return b.fresh(args...)
}

// fresh starts Rollcall on an empty data directory, also if another one runs: for what
// depends on what a server has done before.
func (b *Bench) fresh(args ...string) (Server, error) {
	dir, err := os.MkdirTemp(b.dir, "rollcall-")
	if err != nil {
		return Server{}, err
	}
	return b.startIn(dir, args...)
}

// startIn starts Rollcall on a data directory.
func (b *Bench) startIn(dir string, args ...string) (Server, error) {
	args = append([]string{"serve", "--http", "127.0.0.1:0", "--grpc", "off", "--dns", "off", "--data-dir", dir, "--log-level", "warn"}, args...)
	p, err := child.Exec(func(line string) (string, bool) {
		rest, ok := strings.CutPrefix(line, "rollcall ready http=")
		return rest, ok
	}, b.Binary, args...)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w; build it with make build", err)
		}
		return Server{}, err
	}
	s := b.owned("rollcall", p)
	doors := strings.Fields(s.Addr)
	s.Addr = doors[0]
	for _, d := range doors[1:] {
		switch name, addr, _ := strings.Cut(d, "="); name {
		case "grpc":
			s.GRPC = addr
		case "dns":
			s.DNS = addr
		}
	}
	return s, nil
}

// Child starts a server of this program's own roles.
func (b *Bench) Child(name, role string, config any) (Server, error) {
	p, err := child.Start(role, config)
	if err != nil {
		return Server{}, err
	}
	return b.owned(name, p), nil
}

func (b *Bench) owned(name string, p *child.Process) Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = append(b.started, p)
	return Server{Name: name, Addr: p.Addr, PID: p.PID()}
}

// Stop ends a server before the end of its figure, to make room.
func (b *Bench) Stop(s Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = slices.DeleteFunc(b.started, func(p *child.Process) bool {
		if p.PID() != s.PID {
			return false
		}
		p.Kill()
		return true
	})
}

// IDs hands out instances that nobody has registered yet, spread over the services.
func (b *Bench) IDs(services int) func() (service, id int) {
	return func() (int, int) {
		b.next++
		return b.next % services, b.next
	}
}

// Side returns a side that loads the server, each request standing for per operations.
func (s Server) Side(name string, per int, l wire.Load) Side {
	l.Addr = s.Addr
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			l.Window = w
			r, err := l.Run()
			if err != nil {
				return report.Sample{}, err
			}
			return report.Of(r, per), nil
		})
	}}
}

// watch adds to a sample what the server and this process used in the window.
// with are other processes of this program, whose work is the generator's.
func (s Server) watch(w load.Window, run func(load.Window) (report.Sample, error), with ...Server) (report.Sample, error) {
	var before, after proc.Usage
	var own, all time.Duration
	generator := func() time.Duration {
		used := proc.Self()
		for _, c := range with {
			if u, err := proc.Read(c.PID); err == nil {
				used += u.CPU
			}
		}
		return used
	}
	var failed error
	read := func(u *proc.Usage) {
		if s.PID != 0 {
			var err error
			*u, err = proc.Read(s.PID)
			failed = errors.Join(failed, err)
		}
	}
	w.Begin = func() { own, all = generator(), proc.Busy(); read(&before) }
	w.End = func() { own, all = generator()-own, proc.Busy()-all; read(&after) }
	sample, err := run(w)
	if err = errors.Join(err, failed); err != nil {
		return sample, err
	}
	sample.ServerCPU = (after.CPU - before.CPU).Seconds()
	sample.GeneratorCPU = own.Seconds()
	sample.OtherCPU = max(all.Seconds()-sample.ServerCPU-sample.GeneratorCPU, 0)
	sample.RSSBytes, sample.WrittenBytes = after.RSS, after.Written-before.Written
	return sample, nil
}
