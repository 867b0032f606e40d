package check

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

// fleet is a runner whose probes are answered here.
type fleet struct {
	*Runner
	mu      sync.Mutex
	answers map[string]func(context.Context) Outcome // by instance; healthy without
	begun   []probed
	now     map[string]int // probes under way, by check
	most    int            // that were under way at once
	results []Result
}

type probed struct {
	check   string // "ID/NAME"
	address string
	vouched bool
	at      time.Duration
}

var (
	healthy = Outcome{Status: rollcall.Healthy, Output: "fine"}
	failing = Outcome{Status: rollcall.Unhealthy, Output: "broken"}
	hard    = Outcome{Status: rollcall.Unhealthy, Output: "refused", Hard: true}
)

// newFleet returns a fleet that runs until the test ends.
func newFleet(t *testing.T, o Options) *fleet {
	f := &fleet{answers: map[string]func(context.Context) Outcome{}, now: map[string]int{}}
	o.Report = func(r Result) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.results = append(f.results, r)
	}
	f.Runner = New(o)
	f.Runner.probe = f.answer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func (f *fleet) answer(ctx context.Context, key rollcall.Key, to *Target, c *rollcall.Check) Outcome {
	name := key.ID + "/" + c.Name
	f.mu.Lock()
	f.begun = append(f.begun, probed{name, to.Address, to.Vouched, f.Runner.now()})
	f.now[name]++
	f.most = max(f.most, f.total())
	if f.now[name] > 1 {
		panic("two probes of one check at a time")
	}
	answer := f.answers[key.ID]
	f.mu.Unlock()
	o := healthy
	if answer != nil {
		o = answer(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[name]--
	return o
}

func (f *fleet) total() (n int) {
	for _, k := range f.now {
		n += k
	}
	return n
}

// says has the probes of an instance answered with these outcomes in turn, the
// last one for ever.
func (f *fleet) says(id string, outcomes ...Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[id] = func(context.Context) Outcome {
		f.mu.Lock()
		defer f.mu.Unlock()
		o := outcomes[0]
		if len(outcomes) > 1 {
			outcomes = outcomes[1:]
		}
		return o
	}
}

// hangs has the probes of an instance wait until they are given up.
func (f *fleet) hangs(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[id] = func(ctx context.Context) Outcome { <-ctx.Done(); return failed(ctx.Err()) }
}

func (f *fleet) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// told returns the results since it was last called, without times.
func (f *fleet) told() (told []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.results {
		told = append(told, fmt.Sprintf("%s/%s %v %q %v", r.Key.ID, r.Check, r.Status, r.Reason, r.Hard))
		if r.Incarnation != incarnation {
			told = append(told, fmt.Sprintf("of incarnation %d", r.Incarnation))
		}
	}
	f.results = nil
	slices.Sort(told)
	return told
}

// of returns when the probes of a check began.
func (f *fleet) of(name string) (at []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.begun {
		if p.check == name {
			at = append(at, p.at)
		}
	}
	return at
}

func key(id string) rollcall.Key { return rollcall.NewKey("", "s", id) }

const incarnation = 7

func target(names ...string) Target {
	t := Target{Incarnation: incarnation, Address: "10.0.0.1", Ports: map[string]uint16{"default": 80}}
	for _, n := range names {
		t.Checks = append(t.Checks, rollcall.Check{Name: n, Type: rollcall.CheckTCP})
	}
	return t
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		if f.Standing(key("a")) != nil {
			t.Error("unknown, it stands")
		}
		to := target("x", "y")
		to.Checks = append(to.Checks, rollcall.Check{Name: "z", Type: rollcall.CheckTTL, TTL: 1e9})
		f.says("b", failing)
		f.Set(key("a"), to)
		f.Set(key("b"), target("x"))
		if n := f.Len(); n != 3 {
			t.Errorf("%d checks", n)
		}
		if s := f.Standing(key("a")); s != nil {
			t.Errorf("not probed yet, it stands as %v", s)
		}
		began := time.Now()
		f.passes(time.Second + gather) // the first result counts at once
		equal(t, []string{`a/x healthy "fine" false`, `a/y healthy "fine" false`, `b/x unhealthy "broken" false`}, f.told())
		f.passes(time.Hour) // and is not repeated
		equal(t, []string(nil), f.told())
		want := []rollcall.Finding{{Slot: "check/x", Status: rollcall.Unhealthy, Reason: "broken"}}
		got := f.Standing(key("b"))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(rollcall.Finding{}, "Since")); diff != "" || got[0].Since.Sub(began) > time.Second {
			t.Error(got, diff)
		}
		f.Drop(key("a"))
		f.Drop(key("b"))
		f.Drop(key("c"))
		if len(f.due) > 0 {
			t.Errorf("%d checks are still to come", len(f.due))
		}
		before := len(f.begun)
		f.passes(time.Hour)
		if n := len(f.begun) - before; n > 0 || f.Len() != 0 || f.Standing(key("b")) != nil {
			t.Errorf("dropped, %d checks were probed %d times", f.Len(), n)
		}
		s := f.Stats()
		if a, b := s.Probes[Label{"tcp", "healthy"}], s.Probes[Label{"tcp", "unhealthy"}]; a < 700 || b < 350 || s.Busy != 0 || s.Checks != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		f.says("a", healthy, failing, failing, healthy, failing, failing, failing, failing, hard, hard, healthy, healthy)
		f.Set(key("a"), target("x"))
		f.passes(time.Hour)
		f.mu.Lock()
		var told []string
		for _, r := range f.results {
			told = append(told, fmt.Sprint(r.Status, " ", r.Hard))
		}
		f.mu.Unlock()
		equal(t, []string{"healthy false", "unhealthy false", "unhealthy true", "healthy false"}, told)
		at := f.of("a/x")
		for n, probe := range []int{0, 6, 8, 11} { // those that tipped it
			if d := f.results[n].At.Sub(f.start) - at[probe]; d != 0 {
				t.Errorf("result %d came %v after probe %d", n, d, probe)
			}
		}
	})
}

// Probes begin within a second, then keep to the interval within a tenth; the
// second one comes at any time in between.
func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{Workers: 1000})
		const n = 200
		for i := range n {
			f.Set(key(fmt.Sprint(i)), target("x"))
		}
		f.passes(10 * time.Minute)
		var first, second, rest []time.Duration
		for i := range n {
			at := f.of(fmt.Sprint(i) + "/x")
			first, second = append(first, at[0]), append(second, at[1]-at[0])
			for k := 2; k < len(at); k++ {
				rest = append(rest, at[k]-at[k-1])
			}
		}
		within(t, "first", first, 0, time.Second+gather)
		within(t, "second", second, time.Second, 10*time.Second+gather)
		within(t, "rest", rest, 9*time.Second, 11*time.Second+gather)
		if s := f.Stats(); s.Late != 0 {
			t.Errorf("%d late", s.Late)
		}
	})
}

// within expects durations from least to most, and nearly all of that range to
// be used.
func within(t *testing.T, what string, d []time.Duration, least, most time.Duration) {
	t.Helper()
	slack := (most - least) / 10
	a, b := slices.Min(d), slices.Max(d)
	if a < least || b > most || a > least+slack || b < most-slack {
		t.Errorf("%s: %v to %v, want %v to %v", what, a, b, least, most)
	}
}

func TestSet(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*Target)
		restart []string // checks that start over
	}{
		"nothing":          {func(*Target) {}, nil},
		"order":            {func(to *Target) { slices.Reverse(to.Checks) }, nil},
		"deregister_after": {func(to *Target) { to.Checks[0].DeregisterAfter = 1e9 }, nil},
		"the defaults":     {func(to *Target) { to.Checks[0] = to.Checks[0].WithDefaults() }, nil},
		"vouched":          {func(to *Target) { to.Vouched = true }, nil},
		"address":          {func(to *Target) { to.Address = "10.0.0.2" }, []string{"x", "y"}},
		"port":             {func(to *Target) { to.Ports = map[string]uint16{"default": 81} }, []string{"x", "y"}},
		"another port":     {func(to *Target) { to.Ports = map[string]uint16{"default": 80, "other": 1} }, []string{"x", "y"}},
		"type":             {func(to *Target) { to.Checks[0].Type = "http" }, []string{"x"}},
		"target":           {func(to *Target) { to.Checks[1].Target = ":81" }, []string{"y"}},
		"interval":         {func(to *Target) { to.Checks[1].Interval = 1e9 }, []string{"y"}},
		"rise":             {func(to *Target) { to.Checks[1].Rise = 9 }, []string{"y"}},
		"name":             {func(to *Target) { to.Checks[1].Name = "z" }, []string{"z"}},
		"one more":         {func(to *Target) { to.Checks = append(to.Checks, target("z").Checks...) }, []string{"z"}},
		"one less":         {func(to *Target) { to.Checks = to.Checks[:1] }, nil},
		"none":             {func(to *Target) { to.Checks = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, Options{})
				f.Set(key("a"), target("x", "y"))
				f.passes(20 * time.Second)
				before, probes := f.Standing(key("a")), len(f.of("a/x"))
				f.told()
				to := target("x", "y")
				tt.change(&to)
				f.Set(key("a"), to)
				var kept []rollcall.Finding
				var again []string // told
				for _, was := range before {
					name, _ := was.Slot.Check()
					still := slices.ContainsFunc(to.Checks, func(c rollcall.Check) bool { return c.Name == name })
					if still && !slices.Contains(tt.restart, name) {
						kept = append(kept, was)
						again = append(again, fmt.Sprintf("a/%s healthy %q false", name, "fine"))
					}
				}
				equal(t, again, f.told())
				sorted := cmpopts.SortSlices(func(a, b rollcall.Finding) bool { return a.Slot < b.Slot })
				if diff := cmp.Diff(kept, f.Standing(key("a")), sorted, cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
				f.passes(time.Second + gather)
				var told []string
				for _, c := range tt.restart {
					told = append(told, fmt.Sprintf("a/%s healthy %q false", c, "fine"))
				}
				equal(t, told, f.told())
				if f.Len() != len(to.Checks) || len(f.Standing(key("a"))) != len(to.Checks) {
					t.Errorf("%d checks, %v", f.Len(), f.Standing(key("a")))
				}
				if tt.restart == nil && len(to.Checks) > 0 && len(f.of("a/x")) > probes+1 {
					t.Error("the schedule did not stay")
				}
				f.passes(time.Minute)
				if last := f.begun[len(f.begun)-1]; len(to.Checks) > 0 && (last.address != to.Address || last.vouched != to.Vouched) {
					t.Errorf("%+v", last)
				}
			})
		})
	}
}

// What is told of a check that is kept is told of the registration that it is now of.
func TestSetAnotherIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		f.says("a", healthy, failing)
		to := target("x")
		to.Incarnation = 5
		f.Set(key("a"), to)
		f.passes(time.Second + gather)
		equal(t, []string{`a/x healthy "fine" false`, "of incarnation 5"}, f.told())
		f.Set(key("a"), target("x"))
		equal(t, []string{`a/x healthy "fine" false`}, f.told())
		f.passes(time.Minute)
		equal(t, []string{`a/x unhealthy "broken" false`}, f.told())
	})
}

// A probe under way is given up when its instance goes, and nothing of it is
// told.
func TestDropGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		f.answers["a"] = func(ctx context.Context) Outcome { <-ctx.Done(); return failing }
		to := target("x")
		to.Checks[0].Timeout, to.Checks[0].Interval = rollcall.Duration(time.Minute), rollcall.Duration(time.Hour)
		f.Set(key("a"), to)
		f.passes(time.Second + gather)
		if f.Stats().Busy != 1 {
			t.Error("it is not probed")
		}
		f.Drop(key("a"))
		f.passes(0)
		if f.Stats().Busy != 0 || f.told() != nil {
			t.Error("dropped, it is still probed")
		}
	})
}

// Run ends at once and leaves no probe behind.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{answers: map[string]func(context.Context) Outcome{}, now: map[string]int{}}
		f.Runner = New(Options{Workers: 2, Report: func(r Result) { t.Errorf("%+v", r) }})
		f.Runner.probe = f.answer
		for _, id := range []string{"a", "b", "c"} { // one more than there are workers
			f.hangs(id)
			to := target("x")
			to.Checks[0].Timeout, to.Checks[0].Interval = rollcall.Duration(time.Minute), rollcall.Duration(time.Hour)
			f.Set(key(id), to)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		f.passes(time.Second + gather)
		begun := time.Now()
		cancel()
		if err := <-done; err != context.Canceled || time.Since(begun) > 0 || f.total() != 0 {
			t.Errorf("%v after %v with %d probes", err, time.Since(begun), f.total())
		}
	})
}

// With more to do than workers can, probes come late: each is made in its turn,
// none is lost or made twice.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{Workers: 4})
		const n = 100
		for i := range n {
			id := fmt.Sprint(i)
			f.answers[id] = func(context.Context) Outcome { time.Sleep(800 * time.Millisecond); return healthy }
			f.Set(key(id), target("x"))
		}
		f.passes(5 * time.Minute) // 1,500 probes can be made, 3,000 are asked for
		least, most, all := 1<<30, 0, 0
		for i := range n {
			k := len(f.of(fmt.Sprint(i) + "/x"))
			least, most, all = min(least, k), max(most, k), all+k
		}
		if all < 1480 || all > 1500 || most-least > 3 {
			t.Errorf("%d probes, %d to %d of each", all, least, most)
		}
		if f.most != 4 {
			t.Errorf("%d at once", f.most)
		}
		if s := f.Stats(); s.Late < 1000 {
			t.Errorf("%d late", s.Late)
		}
	})
}

// Targets that swallow probes leave half of the workers to the others.
func TestSlowTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{Workers: 8})
		for i := range 500 { // would take 50 workers
			f.hangs(fmt.Sprint("slow", i))
			f.Set(key(fmt.Sprint("slow", i)), target("x"))
		}
		f.passes(2 * time.Minute) // until all are known to be slow
		f.Set(key("a"), target("x"))
		f.passes(time.Minute)
		f.mu.Lock()
		f.begun = nil
		f.mu.Unlock()
		f.passes(10 * time.Minute)
		if at := f.of("a/x"); len(at) < 58 {
			t.Errorf("%d probes in ten minutes", len(at))
		} else {
			for n := 1; n < len(at); n++ {
				if d := at[n] - at[n-1]; d > 11*time.Second+gather {
					t.Errorf("%v between two probes", d)
				}
			}
		}
		slow := 0
		for i := range 500 {
			slow += len(f.of(fmt.Sprint("slow", i, "/x")))
		}
		if slow < 4*600-50 { // four at a time, a second each
			t.Errorf("%d probes of slow ones", slow)
		}
		f.says("slow1", healthy) // and one that answers again is among the others
		f.passes(5 * time.Minute)
		f.mu.Lock()
		f.begun = nil
		f.mu.Unlock()
		f.passes(10 * time.Minute)
		if n := len(f.of("slow1/x")); n < 50 {
			t.Errorf("%d probes of one that answers again", n)
		}
		for i := range 500 {
			f.Drop(key(fmt.Sprint("slow", i)))
		}
		f.passes(time.Second + gather)
		if s := f.Stats(); s.Busy > 0 || f.slowBusy > 0 || len(f.slow) > 0 {
			t.Errorf("%+v, %d, %d", s, f.slowBusy, len(f.slow))
		}
	})
}

// However many checks aim at one host, by whatever name, eight probes of it are under
// way at once; the others wait for their turn, and keep nobody from other hosts.
func TestProbesOfOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{Workers: 40})
		for i := range 100 {
			id := fmt.Sprint(i)
			f.answers[id] = func(context.Context) Outcome { time.Sleep(800 * time.Millisecond); return healthy }
			to := target("x")
			switch i % 3 {
			case 1:
				to.Address = "::ffff:10.0.0.1"
			case 2:
				to.Address, to.Checks[0].Target = "10.0.0.2", "10.0.0.1:80"
			}
			f.Set(key(id), to)
		}
		for i := range 20 {
			to := target("x")
			to.Address = fmt.Sprint("10.0.1.", i)
			f.Set(key(fmt.Sprint("other", i)), to)
		}
		f.passes(5 * time.Minute)
		if f.most < perHost || f.most > perHost+20 {
			t.Errorf("%d at once", f.most)
		}
		least, most, all := 1<<30, 0, 0
		for i := range 100 {
			k := len(f.of(fmt.Sprint(i) + "/x"))
			least, most, all = min(least, k), max(most, k), all+k
		}
		if all < 2900 || most-least > 8 { // 3,000 can be made, which is what is asked for
			t.Errorf("%d probes, %d to %d of each", all, least, most)
		}
		for i := range 20 {
			at := f.of(fmt.Sprint("other", i, "/x"))
			for n := 1; n < len(at); n++ {
				if d := at[n] - at[n-1]; d > 11*time.Second+gather {
					t.Errorf("%v between two probes of another host", d)
				}
			}
		}
		if f.Stats().Late == 0 {
			t.Error("none was late")
		}
		for i := range 100 {
			f.Drop(key(fmt.Sprint(i)))
		}
		f.passes(time.Second)
		if f.Stats().Busy > 0 || len(f.hosts) > 0 {
			t.Errorf("dropped, %d are probed; %d hosts", f.Stats().Busy, len(f.hosts))
		}
	})
}

func TestHostOf(t *testing.T) {
	for _, tt := range []struct{ address, typ, target, want string }{
		{"10.0.0.1", "tcp", "", "10.0.0.1"},
		{"::ffff:10.0.0.1", "tcp", ":1", "10.0.0.1"},
		{"Db.Example.", "http", "/x", "db.example"},
		{"10.0.0.1", "http", "http://10.0.0.2:80/", "10.0.0.2"},
		{"10.0.0.1", "exec", "/bin/true", ""},
		{"10.0.0.1", "tcp", "?", ""},
	} {
		if got := hostOf(&Target{Address: tt.address}, &rollcall.Check{Type: rollcall.CheckType(tt.typ), Target: tt.target}); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// A time-out that this process noticed late is its own: it had not looked.
func TestOwnPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		pause := 30 * time.Second
		f.answers["a"] = func(context.Context) Outcome {
			f.mu.Lock()
			d := pause
			f.mu.Unlock()
			time.Sleep(d)
			return failed(context.DeadlineExceeded)
		}
		f.Set(key("a"), target("x"))
		f.passes(5 * time.Minute)
		equal(t, []string(nil), f.told())
		if s := f.Stats(); s.Probes[Label{"tcp", "none"}] < 5 || f.Standing(key("a")) != nil {
			t.Errorf("%+v", s)
		}
		f.mu.Lock()
		pause = time.Second
		f.mu.Unlock()
		f.passes(time.Minute)
		equal(t, []string{`a/x unhealthy "no answer in time" false`}, f.told())
	})
}

// A probe that could not be made says nothing.
func TestNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Options{})
		f.says("a", Outcome{Output: "no descriptors"}, Outcome{Output: "no descriptors"}, healthy)
		f.Set(key("a"), target("x"))
		f.passes(time.Second + gather)
		equal(t, []string(nil), f.told())
		f.passes(time.Minute)
		equal(t, []string{`a/x healthy "fine" false`}, f.told())
	})
}
