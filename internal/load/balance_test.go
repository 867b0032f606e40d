package load

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// clock is a table in virtual time.
type clock struct {
	*Table
	now   time.Time
	facts map[rollcall.Key]Facts
	asked int
}

func newClock() *clock {
	c := &clock{now: started, facts: map[rollcall.Key]Facts{}}
	c.Table = New(started, Options{Now: func() time.Time { return c.now }, Facts: func(k rollcall.Key) (Facts, bool) {
		c.asked++
		f, ok := c.facts[k]
		return f, ok
	}})
	return c
}

// pass lets seconds pass, calls each before each tick, and returns how often the
// weights of the service were published.
func (c *clock) pass(d time.Duration, each func()) (published int) {
	for end := c.now.Add(d); c.now.Before(end); {
		c.now = c.now.Add(time.Second)
		if each != nil {
			each()
		}
		published += len(c.Tick(c.now))
	}
	return published
}

func (c *clock) factor(key rollcall.Key) float64 {
	return float64(c.Weights(key.ServiceKey).Factor(key.ID)) / 256
}

func (c *clock) want(t *testing.T, key rollcall.Key, want float64) {
	t.Helper()
	if got := c.factor(key); math.Abs(got-want) > tell*want+1.0/256 {
		t.Errorf("after %v the factor of %s is %.3f, want %.3f", c.now.Sub(started), key.ID, got, want)
	}
}

func TestWarmUp(t *testing.T) {
	c := newClock()
	c.Warm(one, started.Add(time.Second), 10*time.Second)
	c.Warm(two, started.Add(-time.Hour), time.Minute) // long ago
	var last uint64
	for second, want := range []float64{.1, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1} {
		if c.pass(time.Second, nil) == 0 && second != 1 {
			t.Errorf("nothing was published after %d s", second+1)
		}
		c.want(t, one, want)
		c.want(t, two, 1)
		w := c.Weights(one.ServiceKey)
		if got := maps.Collect(w.Since(last)); second != 1 && (len(got) != 1 || got["1"] != w.Factor("1")) {
			t.Errorf("since %d: %v", last, got)
		}
		if w.Generation < last || w.Generation != c.Generation(one.ServiceKey) {
			t.Errorf("generation %d, of the service %d, after %d", w.Generation, c.Generation(one.ServiceKey), last)
		}
		last = w.Generation
	}
	if n := c.pass(time.Minute, nil); n != 0 {
		t.Errorf("published %d times when it was warm", n)
	}
	if f := c.Weights(one.ServiceKey).Factor("1"); f != 256 {
		t.Errorf("a warm one has %d", f)
	}
	c.Warm(one, c.now, time.Hour)
	if !c.Refresh(one.ServiceKey, c.now) {
		t.Error("a refresh publishes nothing")
	}
	c.want(t, one, .1)
	c.Warm(one, c.now, 0)
	c.pass(time.Second, nil)
	c.want(t, one, 1)
}

// The end of a long warm-up is published, though it is no great step.
func TestWarmUpEnds(t *testing.T) {
	c := newClock()
	c.Warm(one, started, 1000*time.Second)
	c.pass(990*time.Second, nil)
	c.pass(10*time.Second, nil)
	if f := c.Weights(one.ServiceKey).Factor("1"); f != 256 {
		t.Errorf("it has %d of 256", f)
	}
}

// says reports each second that an instance has so many requests a second, at a
// utilisation, with a share of errors.
func says(c *clock, key rollcall.Key, rps, used, errors float64) {
	c.Report(key, rollcall.Load{RPS: rps, Utilization: used, Errors: errors})
}

func TestLoadFactors(t *testing.T) {
	key := func(n int) rollcall.Key { return rollcall.NewKey("", "a", fmt.Sprint(n)) }
	for _, tc := range []struct {
		name  string
		loads [][3]float64 // requests a second, utilisation, failed ones a second
		want  []float64
	}{
		{"alike", [][3]float64{{10, .5, 0}, {10, .5, 0}}, []float64{1, 1}},
		{"one can do thrice as much", [][3]float64{{10, .5, 0}, {30, .5, 0}}, []float64{.5, 1.5}},
		{"errors count as utilisation", [][3]float64{{10, .25, 2.5}, {20, .5, 0}}, []float64{2. / 3, 4. / 3}},
		{"idle is unknown, and so average", [][3]float64{{10, .5, 0}, {0, 0, 0}, {30, .5, 0}}, []float64{.5, 1, 1.5}},
		{"without utilisation too", [][3]float64{{10, .5, 0}, {70, 0, 0}, {30, .5, 0}}, []float64{.5, 1, 1.5}},
		{"no more than four shares", [][3]float64{{10, .5, 0}, {10, .5, 0}, {10, .5, 0}, {10, .5, 0}, {10, .5, 0}, {10, .5, 0}, {1000, .5, 0}}, []float64{.125, .125, .125, .125, .125, .125, 4}},
		{"what is no number is nothing", [][3]float64{{10, .5, 0}, {math.NaN(), math.Inf(1), -1}, {30, .5, math.NaN()}}, []float64{.5, 1, 1.5}},
	} {
		c := newClock()
		report := func() {
			for n, l := range tc.loads {
				says(c, key(n), l[0], l[1], l[2])
			}
		}
		report()
		c.pass(9*time.Second, report)
		for n := range tc.loads {
			if f := c.factor(key(n)); f != 1 {
				t.Errorf("%s: a factor of %v before what is reported can be trusted", tc.name, f)
			}
		}
		c.pass(3*time.Second, report)
		for n, want := range tc.want {
			c.want(t, key(n), want)
		}
		if t.Failed() {
			t.Fatal(tc.name)
		}
		// What is old counts no more.
		c.pass(182*time.Second, nil)
		for n := range tc.loads {
			c.want(t, key(n), 1)
		}
		// Nor does what comes at once after a gap.
		report()
		c.pass(9*time.Second, report)
		for n := range tc.loads {
			c.want(t, key(n), 1)
		}
	}
}

func TestFactsAreAskedForOnce(t *testing.T) {
	c := newClock()
	report := func() {
		c.Report(one, rollcall.Load{RPS: 10, InFlight: 5})
		says(c, two, 5, .25, 0)
	}
	asked := func(n int) {
		t.Helper()
		report()
		report()
		if c.asked != n {
			t.Errorf("facts were asked for %d times, want %d", c.asked, n)
		}
		c.asked = 0
	}
	asked(4) // nobody knows them: again and again
	c.facts[one], c.facts[two] = Facts{Capacity: 20}, Facts{}
	asked(2)
	c.pass(12*time.Second, report)
	if u, ok := c.Handle(one).Utilization(); !ok || u != .25 {
		t.Errorf("utilisation %v, %v; want it by capacity", u, ok)
	}
	c.want(t, one, 4./3) // 40 and 20 requests a second, as busy
	c.facts[one] = Facts{Capacity: 10}
	asked(0)
	c.Changed(one)
	c.asked = 0
	asked(1)
	c.Forget(one)
	asked(1)
	c.Drop(one)
	asked(1)
	if u, ok := c.Handle(one).Utilization(); !ok || u != .5 {
		t.Errorf("utilisation %v, %v", u, ok)
	}
}

// What an instance that warms up is used for says nothing of how well its weight
// fits, and nothing of the others'.
func TestWarmOnesAreNotTrimmed(t *testing.T) {
	c := newClock()
	report := func() { says(c, one, 100, .5, 0); says(c, two, 10, .05, 0) }
	c.Warm(two, started, time.Hour)
	report()
	c.pass(5*time.Minute, report)
	c.want(t, one, 1)
	c.want(t, two, .1)
}

// One that is aside, since it drains, say, counts no more from the next sweep on,
// though it says nothing since; nor does what it says.
func TestAsideOnesAreNoMeasure(t *testing.T) {
	c := newClock()
	three := rollcall.NewKey("", "a", "3")
	c.facts[one], c.facts[two], c.facts[three] = Facts{}, Facts{}, Facts{}
	rps := 50.
	report := func() { says(c, one, 10, .5, 0); says(c, two, 10, .5, 0); says(c, three, rps, .5, 0) }
	c.pass(20*time.Second, report)
	c.want(t, one, 20./(140/3.))
	c.facts[three] = Facts{Aside: true}
	c.Changed(three)
	c.pass(time.Second, nil)
	c.want(t, one, 1)
	if z := c.find(one.ServiceKey).state.zones[zone{}]; z.n != 2 || z.peers != 2 {
		t.Errorf("%v count in the zone, %v are compared", z.n, z.peers)
	}
	rps = 1
	c.pass(5*time.Minute, report)
	c.want(t, one, 1)
	c.want(t, three, mostFactor)
	c.facts[three], rps = Facts{}, 50
	c.Changed(three)
	c.pass(20*time.Second, report)
	c.want(t, one, 20./(140/3.))
}

// What a zone gets is decided by where callers are: in one that is fuller than
// another nobody is trimmed for that.
func TestTrimIsByZone(t *testing.T) {
	c := newClock()
	c.facts[one], c.facts[two] = Facts{Locality: rollcall.Locality{Region: "r", Zone: "a"}}, Facts{Locality: rollcall.Locality{Region: "r", Zone: "b"}}
	c.pass(10*time.Minute, func() { says(c, one, 80, .8, 0); says(c, two, 20, .2, 0) })
	c.want(t, one, 1)
	c.want(t, two, 1)
}

// One that fails at once is idle: it gets no more for that.
func TestFailingOnesAreNotRaised(t *testing.T) {
	c := newClock()
	c.pass(10*time.Minute, func() { says(c, one, 100, .05, 100); says(c, two, 100, .5, 0) })
	if a, b := c.factor(one), c.factor(two); a > b/2 {
		t.Errorf("it has %.3f, beside %.3f", a, b)
	}
}

// One that is less busy than others, but with which requests stay for longer, is
// held back by something else: it gets no more.
func TestHeldOnesAreNotRaised(t *testing.T) {
	for inFlight, raised := range map[int]bool{5: true, 20: false} {
		c := newClock()
		three := rollcall.NewKey("", "a", "3")
		c.pass(10*time.Minute, func() {
			c.Report(one, rollcall.Load{RPS: 50, Utilization: .3, InFlight: inFlight})
			c.Report(two, rollcall.Load{RPS: 100, Utilization: .6, InFlight: 10})
			c.Report(three, rollcall.Load{RPS: 100, Utilization: .6, InFlight: 10})
		})
		if f := c.factor(one); f > 1.5 != raised {
			t.Errorf("with %d in flight it has %.3f", inFlight, f)
		}
	}
}

// Beyond capacity nobody is trimmed, and what was fades.
func TestTrimFades(t *testing.T) {
	c := newClock()
	used := 1.
	report := func() { says(c, one, 50*used, .5*used, 0); says(c, two, 100*used, used, 0) }
	c.pass(10*time.Minute, report)
	c.want(t, one, mostTrim)
	c.want(t, two, leastTrim)
	used = 2
	c.pass(time.Minute, report)
	c.want(t, one, 1)
	c.want(t, two, 1)
}

// The trim goes so far and no further: more is not its to decide.
func TestTrimIsBounded(t *testing.T) {
	c := newClock()
	report := func() { // all can do 100, but one is always at a tenth, and one full
		says(c, one, 10, .1, 0)
		says(c, two, 100, 1, 0)
		says(c, rollcall.NewKey("", "a", "3"), 55, .55, 0)
	}
	report()
	c.pass(30*time.Minute, report)
	c.want(t, one, mostTrim)
	c.want(t, two, leastTrim)
	c.want(t, rollcall.NewKey("", "a", "3"), 1)
}

// What moves by less than 3 % is not published, and what was dropped is forgotten.
func TestPublication(t *testing.T) {
	c := newClock()
	used := .5
	report := func() { says(c, one, 10, .5, 0); says(c, two, 10, used, 0) }
	report()
	c.pass(time.Minute, report)
	before := c.Weights(one.ServiceKey)
	used = .505
	if n := c.pass(2*time.Second, report); n != 0 || c.Weights(one.ServiceKey) != before {
		t.Errorf("published %d times for one in a hundred", n)
	}
	used = .8
	if c.pass(5*time.Second, report); len(maps.Collect(c.Weights(one.ServiceKey).Since(before.Generation))) != 2 {
		t.Error("both should have moved")
	}
	if f := before.Factor("2"); f != 256 {
		t.Errorf("what was published before became %d", f)
	}
	// One that is registered again begins anew, at once.
	c.Drop(two)
	c.Move(two, berlin)
	if c.pass(time.Second, nil); c.factor(two) != 1 {
		t.Errorf("another one has the factor %v", c.factor(two))
	}
	// Those that are gone are not told of, whether anything was known of them in the
	// end or not.
	for _, last := range []func(){func() {}, func() { says(c, two, 10, .5, 0) }} {
		last()
		c.Drop(two)
		c.pass(time.Second, nil)
		if got := maps.Collect(c.Weights(one.ServiceKey).Since(0)); len(got) != 1 {
			t.Errorf("%v are told of", got)
		}
		says(c, two, 10, .5, 0)
		c.Warm(two, c.now, time.Hour)
		c.pass(time.Second, nil)
		c.want(t, two, .1)
	}
	c.Drop(one)
	c.Drop(two)
	c.pass(time.Second, nil)
	if w := c.Weights(one.ServiceKey); w.Factor("1") != 256 || w.Generation != 0 || c.Generation(one.ServiceKey) != 0 || len(c.weighed) != 0 {
		t.Errorf("of a service without instances is left: %+v, %d to sweep", w, len(c.weighed))
	}
}

// Publications of many instances against a map: whatever changes, all the others
// stay what they were.
func TestWeightsModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table := New(started, Options{})
	w, model, changed := &Weights{}, map[string]uint16{}, map[string]uint64{}
	for g := uint64(1); g < 300; g++ {
		d := w.draft(table.seed)
		for range random.IntN(60) {
			id := fmt.Sprint(random.IntN(2000))
			if random.IntN(8) == 0 {
				d.remove(id)
				delete(model, id)
				delete(changed, id)
				continue
			}
			value := uint16(random.IntN(300))
			if was, known := model[id]; known && was != value || !known && value != whole {
				model[id], changed[id] = value, g
			}
			d.set(id, value, g)
		}
		w = &d.Weights
		since := uint64(random.IntN(int(g)))
		want := map[string]uint16{}
		for id, at := range changed {
			if at > since {
				want[id] = model[id]
			}
		}
		if got := maps.Collect(w.Since(since)); !maps.Equal(got, want) {
			t.Fatalf("since %d at %d: %v, want %v", since, g, got, want)
		}
		for n := range 2000 {
			id := fmt.Sprint(n)
			want, ok := model[id]
			if !ok {
				want = whole
			}
			if got := w.Factor(id); got != want {
				t.Fatalf("%s has %d at %d, want %d", id, got, g, want)
			}
		}
		if d.n != len(model) {
			t.Fatalf("%d are counted, want %d", d.n, len(model))
		}
	}
}

// loop is a service in a closed loop: callers follow the weights, instances report
// every interval what a service of so many requests a second came to, over the
// last interval.
type loop struct {
	*clock
	can      []float64 // requests a second at which an instance is full
	base     []float64 // utilisation that comes from elsewhere
	bias     []float64 // what callers send is that many times its weight
	total    float64   // requests a second
	interval int       // seconds
	lag      int       // seconds until callers follow
	noise    float64   // of what is reported, relative

	random *rand.Rand
	past   [][]float64 // factors by second
	load   []float64   // utilisation, over the interval so far
	rps    []float64
	used   []float64 // now
}

func (l *loop) key(n int) rollcall.Key { return rollcall.NewKey("", "a", fmt.Sprint(n)) }

func (l *loop) second() {
	if l.load == nil {
		l.load, l.rps, l.used = make([]float64, len(l.can)), make([]float64, len(l.can)), make([]float64, len(l.can))
	}
	factors := make([]float64, len(l.can))
	for n := range factors {
		factors[n] = l.factor(l.key(n)) * l.bias[n]
	}
	l.past = append(l.past, factors)
	followed := l.past[max(0, len(l.past)-1-l.lag)]
	sum := 0.0
	for _, f := range followed {
		sum += f
	}
	for n, f := range followed {
		rps := l.total * f / sum
		l.used[n] = l.base[n] + rps/l.can[n]
		l.load[n] += l.used[n]
		l.rps[n] += rps
		if (len(l.past)+n)%l.interval != 0 {
			continue
		}
		wobble := 1 + l.noise*(2*l.random.Float64()-1)
		says(l.clock, l.key(n), l.rps[n]/float64(l.interval), l.load[n]/float64(l.interval)*wobble, 0)
		l.load[n], l.rps[n] = 0, 0
	}
}

// worst returns the greatest utilisation, against the mean.
func (l *loop) worst() float64 {
	sum := 0.0
	for _, u := range l.used {
		sum += u
	}
	return slices.Max(l.used) / (sum / float64(len(l.used)))
}

func newLoop(instances int) *loop {
	l := &loop{clock: newClock(), interval: 5, lag: 1, random: rand.New(rand.NewPCG(7, 7))}
	for range instances {
		l.can, l.base, l.bias = append(l.can, 100), append(l.base, 0), append(l.bias, 1)
	}
	l.total = 60 * float64(instances)
	return l
}

// TestBalances: with callers that follow the weights the fullest instance comes
// to be less than 5 % above the mean, and stays there.
func TestBalances(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(l *loop)
	}{
		{"machines of three sizes", func(l *loop) {
			for n := range l.can {
				l.can[n] = []float64{50, 100, 150}[n%3]
			}
		}},
		{"callers that send one half as much again", func(l *loop) { l.bias[3] = 1.5 }},
		{"the same, and slow to follow", func(l *loop) { l.bias[3], l.lag = 1.5, 5 }},
		{"the same, and reports twice a minute", func(l *loop) { l.bias[3], l.interval = 1.5, 10 }},
		{"a little that is steady", func(l *loop) { l.bias[3], l.bias[4], l.interval = 1.04, .96, 1 }},
		{"reports every second", func(l *loop) { l.bias[3], l.bias[4], l.interval = 1.5, .8, 1 }},
		{"the same, and slow to follow", func(l *loop) { l.bias[3], l.bias[4], l.interval, l.lag = 1.5, .8, 1, 5 }},
		{"neighbours that take a part of some", func(l *loop) { l.base[0], l.base[1], l.base[2] = .2, .3, .1 }},
		{"all of it", func(l *loop) {
			l.bias[3], l.bias[4], l.base[5], l.can[6], l.lag = 1.5, .8, .2, 150, 3
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLoop(10)
			tc.set(l)
			l.pass(5*time.Minute, l.second)
			began := l.worst()
			worst, published := 0.0, 0
			low, high := math.Inf(1), 0.0 // of one factor
			for range 600 {
				published += l.pass(time.Second, l.second)
				worst = max(worst, l.worst())
				f := l.factor(l.key(3))
				low, high = min(low, f), max(high, f)
			}
			t.Logf("after 5 min %.3f, then at worst %.3f; published %d times in 10 min; factor %.3f to %.3f", began, worst, published, low, high)
			if worst >= 1.05 {
				t.Errorf("the fullest instance is at %.3f of the mean", worst)
			}
			if high/low > 1.1 {
				t.Errorf("a factor swings from %.3f to %.3f", low, high)
			}
		})
	}
}

// TestNoiseIsNotFollowed: reports that wobble by a tenth do not make the load wobble
// as much.
func TestNoiseIsNotFollowed(t *testing.T) {
	l := newLoop(10)
	l.noise = .1
	l.pass(5*time.Minute, l.second)
	worst, published := 0.0, 0
	for range 600 {
		published += l.pass(time.Second, l.second)
		worst = max(worst, l.worst())
	}
	t.Logf("at worst %.3f, published %d times in 10 min", worst, published)
	if worst > 1.1 || published > 450 { // of 600 ticks with two reports each
		t.Errorf("at worst %.3f, published %d times", worst, published)
	}
}

// TestSlowCallers: those who are slow to follow, while reports come every second,
// make load swing for a while at most.
func TestSlowCallers(t *testing.T) {
	for _, lag := range []int{10, 15, 30} {
		l := newLoop(10)
		l.bias[3], l.interval, l.lag = 1.5, 1, lag
		l.pass(10*time.Minute, l.second)
		worst := 0.0
		for range 1200 {
			l.pass(time.Second, l.second)
			worst = max(worst, l.worst())
		}
		t.Logf("after %d s: at worst %.3f", lag, worst)
		if worst > 1.15 {
			t.Errorf("after %d s: at worst %.3f", lag, worst)
		}
	}
}
