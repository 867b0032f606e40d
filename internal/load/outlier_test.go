package load

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var service = rollcall.NewServiceKey("", "payments")

// TestWhoIsEjected has the rules one by one; within a minute of the first reports.
func TestWhoIsEjected(t *testing.T) {
	everything := func(share float64, callers ...int) func(c, i int) float64 {
		return func(c, i int) float64 { return on(i, share, callers...)(c, i) }
	}
	loud := func(factor int, callers ...int) func(c, i int) int {
		return func(c, i int) int {
			if slices.Contains(callers, c) {
				return factor
			}
			return 1
		}
	}
	busy := func(factor int, instances ...int) func(c, i int) int {
		return func(c, i int) int { return loud(factor, instances...)(i, c) }
	}
	for _, tt := range []struct {
		name string
		fleet
		within time.Duration // the ejection of i-3; 0 is nobody's
	}{
		{"nine of ten requests fail", fleet{instances: 10, callers: 3, requests: 20, fails: on(3, 0.9)}, 5 * time.Second},
		{"nine of ten fail, and few requests", fleet{instances: 10, callers: 3, requests: 10, fails: on(3, 0.9)}, 15 * time.Second},
		{"four of ten fail", fleet{instances: 10, callers: 3, requests: 50, fails: on(3, 0.4)}, 15 * time.Second},
		{"of a small service", fleet{instances: 4, callers: 3, requests: 20, fails: on(3, 0.9)}, 5 * time.Second},

		{"85 % fail, and too few can be compared", fleet{instances: 4, callers: 3, requests: 100, fails: on(3, 0.85)}, 15 * time.Second},
		{"84 % do", fleet{instances: 4, callers: 3, requests: 100, fails: on(3, 0.84)}, 0},
		{"less than 50 requests in all", fleet{instances: 10, callers: 3, requests: 7, fails: on(3, 1)}, 0},
		{"five can be compared", fleet{instances: 5, callers: 3, requests: 100, fails: on(3, 0.5)}, 15 * time.Second},
		{"four can be", fleet{instances: 4, callers: 3, requests: 100, fails: on(3, 0.5)}, 0},
		{"less than 100 requests in all", fleet{instances: 10, callers: 3, requests: 15, fails: on(3, 0.8)}, 0},
		{"less than 100, of the others more", fleet{instances: 10, callers: 3, requests: 15, fails: on(3, 0.8), times: busy(4, 0, 1, 2, 4, 5, 6)}, 0},
		{"five, but four have 100 requests", fleet{instances: 10, callers: 3, requests: 15, fails: on(3, 0.8), times: busy(4, 0, 1, 2, 3)}, 0},
		{"five have", fleet{instances: 10, callers: 3, requests: 15, fails: on(3, 0.8), times: busy(4, 0, 1, 2, 3, 4)}, 15 * time.Second},
		// σ is 0.4 then, and 1.9 of it below the mean is nobody.
		{"half of the service fails", fleet{instances: 10, callers: 3, requests: 100, fails: func(c, i int) float64 { return 0.8 * float64(i%2) }}, 0},
		{"hardly worse than the others", fleet{instances: 10, callers: 3, requests: 1e6, fails: on(3, 0.05)}, 0},
		{"all are equally bad", fleet{instances: 10, callers: 5, requests: 100, fails: everything(0.9)}, 0},

		{"one lies", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7)}, 0},
		{"one lies aloud", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7), times: loud(1000, 7)}, 0},
		{"two lie", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8)}, 0},
		{"two lie aloud", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8), times: loud(1000, 7, 8)}, 0},
		{"three agree", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9)}, 20 * time.Second},
		// Three agree, but it works for the others: the first has a third, not
		// nearly all, of what is known.
		{"a third is the most", fleet{instances: 4, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), times: loud(1000, 7)}, 0},
		{"two thirds are the most of two", fleet{instances: 4, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), times: loud(1000, 7, 8)}, 0},

		{"a caller's network is broken", fleet{instances: 10, callers: 20, requests: 100, fails: everything(1, 4)}, 0},
		{"three callers' networks are", fleet{instances: 10, callers: 3, requests: 100, fails: everything(1, 0, 1, 2)}, 0},
		{"the only caller's network is", fleet{instances: 10, callers: 1, requests: 100, fails: everything(1, 0)}, 0},
		{"there is nothing to compare with", fleet{instances: 1, callers: 3, requests: 100, fails: everything(1)}, 0},

		{"three agree at one address", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), from: at("192.0.2.1", 7, 8, 9)}, 0},
		{"three agree in one network", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), from: within(7, 8, 9)}, 0},
		{"three agree at two addresses", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), from: at("192.0.2.1", 7, 8)}, 0},
		{"three agree on this machine", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), from: at("127.0.0.1", 7, 8, 9)}, 20 * time.Second},
		{"three agree, from nowhere", fleet{instances: 10, callers: 20, requests: 20, fails: on(3, 1, 7, 8, 9), from: at("", 7, 8, 9)}, 20 * time.Second},
		{"all are at one address", fleet{instances: 10, callers: 3, requests: 50, fails: on(3, 0.9), from: at("192.0.2.1", 0, 1, 2)}, listenFirst + 10*time.Second},
		{"all are, and one disagrees", fleet{instances: 10, callers: 3, requests: 50, fails: on(3, 0.9, 0, 1), from: at("192.0.2.1", 0, 1, 2)}, 0},

		{"two callers in all agree", fleet{instances: 10, callers: 2, requests: 50, fails: on(3, 0.9)}, listenFirst + 10*time.Second},
		{"one of two does", fleet{instances: 10, callers: 2, requests: 50, fails: on(3, 0.9, 0)}, 0},
		{"one caller in all", fleet{instances: 10, callers: 1, requests: 100, fails: on(3, 0.9)}, listenFirst + 10*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.fleet.start()
			f.run(time.Minute)
			if tt.within == 0 {
				if len(f.told) > 0 {
					t.Errorf("%+v", f.told)
				}
				return
			}
			if len(f.told) == 0 || f.told[0].Key.ID != id(3) || !f.told[0].Eject || f.told[0].at > tt.within {
				t.Fatalf("%+v; want i-3 to be ejected within %v", f.told, tt.within)
			}
			if few := tt.callers < quorum || tt.name == "all are at one address"; few && f.told[0].at < listenFirst {
				t.Errorf("ejected after %v, before it was known how many callers there are", f.told[0].at)
			}
			for _, v := range f.told {
				if v.Key.ID != id(3) {
					t.Errorf("%+v: it is as good as the others", v)
				}
			}
		})
	}
}

// TestQuietCallersCount: those who have nothing to report for a while are
// callers all the same, so two do not become "all there are".
func TestQuietCallersCount(t *testing.T) {
	quiet := false
	f := (&fleet{
		instances: 10, callers: 20, requests: 50, fails: on(3, 0.9, 7, 8),
		quiet: func(c int) bool { return quiet && c != 7 && c != 8 },
	}).start()
	f.run(time.Minute)
	quiet = true
	f.run(forgetAfter - 10*time.Second)
	if len(f.told) > 0 {
		t.Fatalf("%+v", f.told)
	}
	f.run(40 * time.Second)
	if got := f.ejections(); len(got) != 1 {
		t.Errorf("ejected were %v; want i-3 once the others are forgotten", got)
	}
}

// TestNoMoreThanATenth are ejected at once, the worst first, and at least one.
func TestNoMoreThanATenth(t *testing.T) {
	for _, tt := range []struct{ instances, most int }{{6, 1}, {10, 1}, {19, 1}, {30, 3}} {
		f := (&fleet{instances: tt.instances, callers: 5, requests: 100, fails: func(c, i int) float64 {
			if i < 5 {
				return 0.9 + float64(i)/100
			}
			return 0
		}}).start()
		f.run(time.Hour)
		if f.most != tt.most {
			t.Errorf("of %d instances %d were ejected at once, want %d", tt.instances, f.most, tt.most)
		}
		if got := f.ejections(); got[0] != id(4) {
			t.Errorf("of %d instances %s was ejected first, want the worst", tt.instances, got[0])
		}
	}
}

// TestEjectionsGrowAndEnd: by 30 s each time, to five minutes, ±10 %, and by
// themselves; and they begin anew after a while without.
func TestEjectionsGrowAndEnd(t *testing.T) {
	bad := 0.9
	f := (&fleet{instances: 10, callers: 5, requests: 100, fails: func(c, i int) float64 { return on(3, bad)(c, i) }}).start()
	f.run(2 * time.Hour)
	var jittered, mostJittered bool
	times := 0
	for n := 0; n+1 < len(f.told); n += 2 {
		out, in := f.told[n], f.told[n+1]
		times++
		want := min(time.Duration(times)*ejectLeast, ejectMost)
		got := out.Until.Sub(f.began) - out.at
		if !out.Eject || in.Eject || out.Key != in.Key {
			t.Fatalf("%+v, then %+v", out, in)
		}
		if got < want*9/10 || got > min(want*11/10, ejectMost) {
			t.Errorf("ejected for %v the %d-th time, want %v ± 10 %%", got, times, want)
		}
		if late := in.at - out.at - got; late < 0 || late > window {
			t.Errorf("back after %v, %v late", in.at-out.at, late)
		}
		jittered = jittered || got != want
		mostJittered = mostJittered || times > 20 && got < ejectMost
	}
	if times < 24 || !jittered || !mostJittered {
		t.Errorf("%d ejections, jittered: %v, and the longest: %v", times, jittered, mostJittered)
	}

	// It is good for nearly as long as the last ejection lasted: they go on.
	bad = 0.01
	again := func(good time.Duration) time.Duration {
		t.Helper()
		for bad = 0.01; f.ejects[id(3)]; {
			f.run(time.Second)
		}
		f.run(good)
		bad = 0.9
		for !f.ejects[id(3)] {
			f.run(time.Second)
		}
		last := f.told[len(f.told)-1]
		return last.Until.Sub(f.began) - last.at
	}
	if got := again(4 * time.Minute); got < 270*time.Second {
		t.Errorf("after 4 min that it stayed in: ejected for %v, want about 300 s", got)
	}
	if got := again(5 * time.Minute); got > 33*time.Second {
		t.Errorf("after 5 min that it stayed in: ejected for %v, want about 30 s", got)
	}
}

// TestNoise: what is healthy stays in for a day, with so little traffic that
// chance has its way with each number, and with enough to be compared.
func TestNoise(t *testing.T) {
	const seed = 7
	everything := func(share float64) func(c, i int) float64 { return func(c, i int) float64 { return share } }
	for name, f := range map[string]*fleet{
		"low traffic":      {instances: 10, callers: 20, requests: 1, fails: everything(0.01)},
		"enough":           {instances: 6, callers: 10, requests: 6, fails: everything(0.01)},
		"a single caller":  {instances: 6, callers: 1, requests: 60, fails: everything(0.01)},
		"bad, but equally": {instances: 6, callers: 6, requests: 15, fails: everything(0.3)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.luck = rand.New(rand.NewPCG(seed, seed))
			f.start().run(24 * time.Hour)
			if len(f.told) > 0 {
				t.Errorf("%+v", f.told)
			}
		})
	}
}

// TestEvidence has what counts at which moment, exactly.
func TestEvidence(t *testing.T) {
	f := (&fleet{instances: 1, callers: 1}).start()
	say := func(window time.Duration, ok, errors int) {
		f.o.Report(service, netip.Addr{}, &rollcall.CallerReport{
			Caller: "c", Window: rollcall.Duration(window), Instances: []rollcall.Outcome{{ID: "i-0", OK: ok, Errors: errors}},
		})
	}
	key := rollcall.Key{ServiceKey: service, ID: "i-0"}
	want := func(requests, rate float64) {
		t.Helper()
		f.sweep()
		st, ok := f.o.Explain(key)
		if !ok || math.Abs(st.Requests-requests) > 1e-9 || math.Abs(st.SuccessRate-rate) > 1e-9 || st.Callers != 1 {
			t.Errorf("after %v: %+v, %v; want %v requests, %v of which succeed", f.now.Sub(f.began), st, ok, requests, rate)
		}
	}
	if _, ok := f.o.Explain(key); ok {
		t.Error("nobody has said anything")
	}
	say(time.Second, 60, 40)
	want(100, 0.6)
	f.now = f.began.Add(9 * time.Second)
	say(10*time.Second, 100, 0)
	want(200, 0.8)
	f.now = f.began.Add(12500 * time.Millisecond) // a quarter of the next window
	say(time.Minute, 60, 0)                       // 10 s of which count
	want(160, (120.0+10)/160)
	f.now = f.began.Add(29 * time.Second)
	say(time.Second, 0, 9)
	want(10, 0.1) // 1 of the report that is 16.5 s old, and its window 9 s
	f.now = f.began.Add(50 * time.Second)
	f.sweep()
	if _, ok := f.o.Explain(key); ok || f.o.tallies != 0 {
		t.Errorf("it is all old, and %d tallies are left", f.o.tallies)
	}
	f.now = f.now.Add(forgetAfter)
	if f.sweep(); len(f.o.services) != 0 {
		t.Error("the service is not forgotten")
	}
}

// TestBeyond has what one caller needs to see to agree.
func TestBeyond(t *testing.T) {
	for _, tt := range []struct {
		e, others evidence
		want      bool
	}{
		{evidence{0, 20}, evidence{100, 0}, true},
		{evidence{1, 9}, evidence{100, 0}, true},
		{evidence{0, 4}, evidence{100, 0}, false}, // e⁻¹⁸
		{evidence{0, 5}, evidence{100, 0}, true},  // e⁻²³
		{evidence{8, 2}, evidence{100, 1}, false}, // by chance: one time in twenty
		{evidence{80, 20}, evidence{1000, 10}, true},
		{evidence{0, 100}, evidence{0, 100}, false},
		{evidence{0, 1e6}, evidence{0, 0}, false},
		{evidence{0, 0}, evidence{100, 0}, false},
		{evidence{100, 0}, evidence{0, 100}, false},
		{evidence{900, 100}, evidence{2, 0}, false}, // the others may fail as often
		{evidence{0, 1e6}, evidence{1, 0}, true},
		{evidence{95e8, 5e8}, evidence{1e10, 1}, false},
		{evidence{94e8, 6e8}, evidence{1e10, 1}, true},
	} {
		if got := beyond(tt.e, tt.others); got != tt.want {
			t.Errorf("%+v beyond %+v: %v", tt.e, tt.others, got)
		}
	}
}

func TestStandingsAndDrop(t *testing.T) {
	f := (&fleet{instances: 10, callers: 4, requests: 100, fails: on(3, 0.9)}).start()
	f.run(15 * time.Second)
	bad, good := rollcall.Key{ServiceKey: service, ID: id(3)}, rollcall.Key{ServiceKey: service, ID: id(4)}
	v, ok := f.o.Ejected(bad)
	if !ok || !v.Eject || v != f.told[0].Verdict {
		t.Errorf("%+v, %v", v, ok)
	}
	if want := "90.0 % of 300 requests fail, for 3 of 3 callers more than on other instances; 9.9 % fail on average"; v.Reason != want {
		t.Errorf("reason %q, want %q", v.Reason, want)
	}
	if v, ok := f.o.Ejected(good); ok {
		t.Errorf("%+v", v)
	}
	st, _ := f.o.Explain(bad)
	if st.Callers != 3 || st.Agreeing != 3 || math.Abs(st.SuccessRate-0.1) > 1e-9 || st.Times != 1 {
		t.Errorf("%+v", st)
	}
	st, _ = f.o.Explain(good)
	if st.Callers != 4 || st.Agreeing != 0 || st.Mean < 0.98 || st.Sigma > 1e-6 {
		t.Errorf("%+v", st)
	}

	// Registered anew, it begins at once and without a past.
	f.o.Drop(bad)
	f.ejects[id(3)] = false
	if v, ok := f.o.Ejected(bad); ok {
		t.Errorf("%+v", v)
	}
	f.told = nil
	f.run(15 * time.Second)
	if len(f.told) != 1 || f.told[0].Until.Sub(f.began)-f.told[0].at > 33*time.Second {
		t.Errorf("%+v; want an ejection of about 30 s", f.told)
	}
	for i := range f.instances {
		f.o.Drop(rollcall.Key{ServiceKey: service, ID: id(i)})
	}
	f.o.Drop(rollcall.NewKey("", "other", "x"))
	if f.o.tallies != 0 {
		t.Errorf("%d tallies are left", f.o.tallies)
	}

	// A service that is gone leaves nothing.
	f.run(5 * time.Second)
	if f.o.Sweep(func(rollcall.ServiceKey) int { return 0 }); len(f.o.services) != 0 || f.o.tallies != 0 {
		t.Errorf("%d services, %d tallies", len(f.o.services), f.o.tallies)
	}
}

// TestRestore: an ejection is taken up after a restart, and ends.
func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since time.Duration // before now
		times int
		left  time.Duration
	}{
		{"just begun", 0, 1, 30 * time.Second},
		{"half over", 45 * time.Second, 3, 45 * time.Second},
		{"long over", time.Hour, 1, 0},
		{"the clock was put back", -time.Hour, 2, time.Minute},
		{"of unknown number", 10 * time.Second, 0, 20 * time.Second},
		{"the most", 0, 1 << 40, 300 * time.Second},
	} {
		f := (&fleet{instances: 10, callers: 3, requests: 100}).start()
		key := rollcall.Key{ServiceKey: service, ID: id(3)}
		f.o.Restore(key, f.now.Add(-tt.since), tt.times, "as the log has it")
		f.ejects[id(3)] = true
		v, ok := f.o.Ejected(key)
		if !ok || v.Key != key || v.Reason != "as the log has it" || v.Until.Sub(f.now) != tt.left {
			t.Errorf("%s: %+v, %v; want %v left", tt.name, v, ok, tt.left)
		}
		f.run(tt.left + window)
		if len(f.told) != 1 || f.told[0].Eject || f.told[0].at < tt.left {
			t.Errorf("%s: %+v", tt.name, f.told)
		}
		// It counts as one of a row.
		f.fails = on(3, 0.9)
		f.run(15 * time.Second)
		want := min(time.Duration(max(1, tt.times)+1)*ejectLeast, ejectMost)
		if len(f.told) != 2 || f.told[1].Until.Sub(f.began)-f.told[1].at < want*9/10 {
			t.Errorf("%s: %+v; want an ejection of about %v", tt.name, f.told, want)
		}
	}
}

// TestEjectedIsNotHeardOf: what is reported of an ejected instance neither
// brings it back nor is held against it later.
func TestEjectedIsNotHeardOf(t *testing.T) {
	f := (&fleet{instances: 10, callers: 3, requests: 100, fails: on(3, 0.9)}).start()
	f.run(10 * time.Second)
	if !f.ejects[id(3)] {
		t.Fatal("it is not ejected")
	}
	until := f.told[0].Until
	for _, share := range []float64{0.9, 0} {
		f.ejects[id(3)] = false // the callers have not heard of it
		f.fails = on(3, share)
		f.run(5 * time.Second)
	}
	if v, ok := f.o.Ejected(f.told[0].Key); !ok || v.Until != until || len(f.told) != 1 {
		t.Errorf("%+v, %v", v, ok)
	}
	if i := f.o.services[service].instances[id(3)]; len(i.by) > 0 {
		t.Errorf("%d tallies of an ejected instance", len(i.by))
	}
}

func TestOutliersAreBounded(t *testing.T) {
	f := (&fleet{instances: 1, callers: mostCallers + 1, requests: 1}).start()
	f.run(5 * time.Second)
	s := f.o.services[service]
	if len(s.callers) != mostCallers || f.o.tallies != mostCallers {
		t.Errorf("%d callers, %d tallies", len(s.callers), f.o.tallies)
	}
	delete(s.instances[id(0)].by, s.callers[spoke{"c-0", f.at(0)}])
	f.o.tallies = mostTallies
	f.instances = 2
	f.run(4 * time.Second) // no sweep tidies up
	if len(s.instances) != 1 || len(s.instances[id(0)].by) != mostCallers-1 || f.o.tallies != mostTallies {
		t.Errorf("%d instances, %d tallies", len(s.instances), f.o.tallies)
	}
	f.o.tallies = mostCallers - 1
	f.quiet = func(int) bool { return true }
	f.run(forgetAfter + window)
	if len(f.o.services) != 0 || f.o.tallies != 0 {
		t.Errorf("%d services and %d tallies are left", len(f.o.services), f.o.tallies)
	}
}

// TestMadeUpNames: whoever makes up names shuts nobody out who is elsewhere, and they
// are forgotten like others.
func TestMadeUpNames(t *testing.T) {
	f := (&fleet{instances: 1, callers: 2000, requests: 1, from: func(c int) netip.Addr {
		if c < 1900 {
			return netip.AddrFrom4([4]byte{192, 0, 2, 1})
		}
		return new(fleet).at(c)
	}}).start()
	f.run(5 * time.Second)
	if s := f.o.services[service]; len(s.callers) != mostNames+100 || len(s.names) != 101 {
		t.Errorf("%d callers at %d addresses", len(s.callers), len(s.names))
	}
	f.quiet = func(c int) bool { return c >= 10 }
	f.run(forgetAfter + window)
	if s := f.o.services[service]; len(s.callers) != 10 || len(s.names) != 1 {
		t.Errorf("%d callers at %d addresses are left", len(s.callers), len(s.names))
	}
}

// TestAskedOnceASecond: however often a quorum cries, a sweep is asked for once
// a second.
func TestAskedOnceASecond(t *testing.T) {
	f := (&fleet{instances: 10, callers: 3, requests: 1, fails: on(3, 1)}).start()
	asked := 0
	for range 30 { // 3 s
		for c := range f.callers {
			if f.o.Report(service, f.at(c), f.report(c)) {
				asked++
			}
		}
		f.now = f.now.Add(100 * time.Millisecond)
	}
	if asked != 3 {
		t.Errorf("asked %d times in 3 s", asked)
	}
}

func TestOutliersAtOnce(t *testing.T) {
	o := NewOutliers(OutlierOptions{})
	f := fleet{instances: 10, requests: 100, fails: on(3, 0.9)}
	var wg sync.WaitGroup
	for c := range 4 {
		r := f.report(c)
		wg.Go(func() {
			for n := range 200 {
				key := rollcall.Key{ServiceKey: service, ID: id(n % 10)}
				o.Report(service, f.at(c), r)
				o.Sweep(func(rollcall.ServiceKey) int { return 10 })
				o.Ejected(key)
				o.Explain(key)
				if n%20 == 0 {
					o.Drop(key)
					o.Restore(key, time.Now(), 1, "")
				}
			}
		})
	}
	wg.Wait()
	for i := range 10 {
		o.Drop(rollcall.Key{ServiceKey: service, ID: id(i)})
	}
	if o.tallies != 0 {
		t.Errorf("%d tallies are left", o.tallies)
	}
}

// BenchmarkOutlierReport takes in one caller's report on 100 instances, of 100
// callers.
func BenchmarkOutlierReport(b *testing.B) {
	f := (&fleet{instances: 100, callers: 100, requests: 10, fails: on(3, 0.2)}).start()
	reports := make([]*rollcall.CallerReport, f.callers)
	for c := range reports {
		reports[c] = f.report(c)
		f.o.Report(service, f.at(c), reports[c])
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		f.now = f.now.Add(time.Millisecond)
		f.o.Report(service, f.at(n%len(reports)), reports[n%len(reports)])
	}
}

// BenchmarkOutlierSweep judges 100 instances of which 100 callers report.
func BenchmarkOutlierSweep(b *testing.B) {
	f := (&fleet{instances: 100, callers: 100, requests: 10, fails: on(3, 0.2, 1)}).start()
	f.run(5 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		f.o.services[service].fresh = true
		f.sweep()
	}
}
