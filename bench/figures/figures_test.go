package figures

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/plot"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
	"github.com/rollcall-registry/rollcall/internal/lease/simulation"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// TestMain lets this test be its own child.
func TestMain(m *testing.M) {
	child.Main(Roles())
	os.Exit(m.Run())
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		for _, r := range f.Rows {
			if seen[r.Name] || !strings.HasPrefix(r.Name, f.Name) || r.Unit == "" || len(r.Goals) == 0 {
				t.Errorf("row %q of figure %q", r.Name, f.Name)
			}
			seen[r.Name] = true
		}
		if found := Find([]string{f.Name}); len(found) == 0 || f.What == "" {
			t.Errorf("figure %q is not found, or says nothing", f.Name)
		}
	}
}

// TestDriver: a server takes every request that the driver makes.
func TestDriver(t *testing.T) {
	addr := rollcalltest.Start(t).Addr
	d := driver.Rollcall(addr)
	f := fleet{services: 3, instances: 7}
	next := f.turn()
	for name, request := range map[string][]byte{
		"register":       d.Register.Append(nil, 1, 1),
		"register batch": driver.RollcallRegisterBatch(addr, 7).Append(nil, next),
	} {
		if _, body, err := wire.Once(addr, request); err != nil || strings.Contains(string(body), `"error"`) {
			t.Errorf("%s: %s, %v", name, body, err)
		}
	}
	for name, request := range map[string][]byte{
		"heartbeat":       d.Heartbeat.Append(nil, 1, 1),
		"heartbeat batch": driver.RollcallHeartbeatBatch(addr, 7).Append(nil, next),
		"resolve":         d.Resolve.Append(nil, 1, 0),
		"change":          driver.RollcallChange(addr, 50).Append(nil, 1, 1),
		"move":            driver.RollcallMove(addr, 50).Append(nil, 1, 1),
		"news":            driver.RollcallNews(addr).Append(nil, 1, 1),
	} {
		if _, body, err := wire.Once(addr, request); err != nil || strings.Contains(string(body), `"unknown":[{`) {
			t.Errorf("%s: %s, %v", name, body, err)
		}
	}
}

func testBench(t *testing.T) *Bench {
	b, err := New(Options{Rounds: 2, Length: 100 * time.Millisecond, Data: t.TempDir(), Progress: io.Discard}, new(report.Results))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// TestCrowd: a crowd sees every change, at the time of this process's clock, and no more
// of what it has told of already.
func TestCrowd(t *testing.T) {
	const conns = 20
	b := testBench(t)
	s := Server{Addr: rollcalltest.Start(t).Addr}
	n := newNews(3)
	if err := b.fillWatched(s, n); err != nil {
		t.Fatal(err)
	}
	g, err := b.watchers(s, conns, driver.Watched)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r, err := wire.Load{Addr: s.Addr, Conns: 1, Total: 2, Source: n.source(driver.RollcallNews(s.Addr))}.Run()
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	due := n.take(start, time.Now())
	all, err := g.seenAll(due, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	each, missing := took(due, all, conns)
	if len(each) != 2 || missing != 0 || each[0] <= 0 || each[1] > time.Since(start) {
		t.Errorf("%v, %d missing", each, missing)
	}
	if again, err := g.seen(); err != nil || again.Open != conns || again.Records["put"] != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestSteadiness(t *testing.T) {
	var rss []float64
	for i := range 400 {
		rss = append(rss, 100+float64(max(100-i, 0))) // settles within the first quarter
	}
	rss[399] = 1000 // no median
	if medians, d := steadiness(rss, 20); len(medians) != 15 || d != 0 {
		t.Errorf("%v, %v", medians, d)
	}
	for i := 300; i < 400; i++ {
		rss[i] = 110
	}
	if _, d := steadiness(rss, 20); d < 0.09 || d > 0.11 {
		t.Errorf("deviation %v", d)
	}
}

// TestCharts: curves are drawn of what was measured, and only of that.
func TestCharts(t *testing.T) {
	r := new(report.Results)
	for round, ms := range []float64{3, 1, 2} {
		r.Add(report.Round{Row: "curves-fanout-100", Side: "rollcall", Round: round, Sample: report.Sample{More: map[string]float64{"last_ms": ms}}})
	}
	charts := Charts(r)
	if len(charts) != 1 || len(charts[0].Lines) != 1 || charts[0].Lines[0].Points[0] != (plot.Point{X: 100, Y: 2, Least: 1, Most: 3}) {
		t.Errorf("%+v", charts)
	}
}

// TestLiveness: days are kept for each side, and drawn.
func TestLiveness(t *testing.T) {
	b := testBench(t)
	w := simulation.Day(40, 20*time.Minute)
	for seed := 1; seed <= 2; seed++ {
		if err := b.day("liveness", seed, w); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.day("liveness-loss-5", 1, w); err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{"plain TTL", "heartbeats", "sessions"} {
		if rounds := b.Results.Of("liveness", side); len(rounds) != 2 || rounds[1].Params["seed"] != 2 || rounds[0].PerSecond == 0 {
			t.Errorf("%s: %+v", side, rounds)
		}
	}
	charts := Charts(b.Results)
	if len(charts) != 2 || len(charts[0].Lines) != 3 || len(charts[0].Lines[0].Points) != 2 || len(charts[1].Lines[2].Points) != 1 {
		t.Errorf("%+v", charts)
	}
}

func TestMarks(t *testing.T) {
	if got := marksOf([]byte(`[{"build":"000000007"},{"build":"4711"},{"build":"000000008"}]`)); !slices.Equal(got, []int{7, 8}) {
		t.Errorf("marks %v", got)
	}
	if kind := recordType([]byte(`{"type":"health","revision":7}`)); kind != "health" {
		t.Errorf("type %q", kind)
	}
}

// TestInterleave: sides take turns, and each round is kept.
func TestInterleave(t *testing.T) {
	b := testBench(t)
	var order string
	side := func(name string) Side {
		return Side{name, func(w load.Window) (report.Sample, error) {
			if w.Length == b.Length {
				order += name
			}
			return report.Sample{Seconds: 1}, nil
		}}
	}
	if err := b.Interleave("row", nil, side("A"), side("B")); err != nil {
		t.Fatal(err)
	}
	if order != "ABBA" || len(b.Results.Of("row", "B")) != 2 {
		t.Errorf("order %s, kept %v", order, b.Results.Rounds)
	}
}

// TestBare: a bare server answers as much as another one, from a process that can be
// watched.
func TestBare(t *testing.T) {
	b := testBench(t)
	addr := rollcalltest.Start(t).Addr
	d := driver.Rollcall(addr)
	like := Server{Name: "rollcall", Addr: addr}
	request := d.Register.Append(nil, 1, 1)
	s, err := b.Bare(like, request, true)
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := wire.Once(addr, request)
	if err != nil {
		t.Fatal(err)
	}
	reply, body, err := wire.Once(s.Addr, request)
	if err != nil || len(body) != len(want) || reply.Header.Get("ETag") == "" {
		t.Errorf("%d bytes, want %d; %v, %v", len(body), len(want), reply.Header, err)
	}
	sample, err := s.Side("bare", 1, wire.Load{Conns: 4, Source: one(d.Register, fleet{3, 7}.turn())}).Run(load.Window{Length: 200 * time.Millisecond})
	if err != nil || sample.PerSecond == 0 || sample.ServerCPU == 0 || sample.GeneratorCPU == 0 || sample.RSSBytes == 0 || sample.Failed > 0 {
		t.Errorf("%+v, %v", sample, err)
	}
}

// TestChildren: work in a child comes back as a sample.
func TestChildren(t *testing.T) {
	b := testBench(t)
	for _, s := range []Side{
		b.commitSide("rollcall", commit{Log: "rollcall", Writers: 4, Delay: time.Millisecond}),
		b.commitSide("plain-log", commit{Log: "plain", Writers: 4}),
		b.lookupSide("rollcall", 10),
		b.lookupSide("map", 10),
	} {
		sample, err := s.Run(load.Window{Length: 50 * time.Millisecond})
		if err != nil || sample.PerSecond == 0 {
			t.Errorf("%s: %+v, %v", s.Name, sample, err)
		}
	}
}
