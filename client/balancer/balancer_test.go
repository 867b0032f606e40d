package balancer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var errDown = errors.New("connection refused")

// clock is virtual time.
type clock struct{ now time.Duration }

// fixed returns a balancer with a clock of its own and random bits that are the
// same each time.
func fixed(o Options, endpoints ...Endpoint) (*Balancer, *clock) {
	c := &clock{time.Hour}
	var mu sync.Mutex
	state := uint64(1)
	o.Now = func() time.Duration { return c.now }
	o.Rand = func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		state++
		return mix(state * golden)
	}
	b := New(o)
	b.Update(endpoints)
	return b, c
}

// some returns so many endpoints of the same weight.
func some(n int) (endpoints []Endpoint) {
	for i := range n {
		endpoints = append(endpoints, Endpoint{ID: fmt.Sprint(i), Weight: 100})
	}
	return endpoints
}

// request has a request take so long.
func request(t *testing.T, b *Balancer, c *clock, took func(id string) (time.Duration, error)) string {
	t.Helper()
	p, ok := b.Pick()
	if !ok {
		t.Fatal("nobody to pick")
	}
	d, err := took(p.ID())
	c.now += d
	p.Done(err)
	return p.ID()
}

func always(d time.Duration) func(string) (time.Duration, error) {
	return func(string) (time.Duration, error) { return d, nil }
}

// picks returns how many of n requests each got.
func picks(t *testing.T, b *Balancer, c *clock, n int, took func(string) (time.Duration, error)) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[request(t, b, c, took)]++
	}
	return got
}

func TestNobody(t *testing.T) {
	b, _ := fixed(Options{})
	if p, ok := b.Pick(); ok {
		t.Errorf("picked %q of nobody", p.ID())
	}
	b.Update([]Endpoint{{ID: "a", Weight: 1, Down: true}})
	if _, ok := b.Pick(); ok {
		t.Error("picked one that is down")
	}
	if _, ok := b.Probe(); ok {
		t.Error("a probe of nobody")
	}
}

func TestShares(t *testing.T) {
	for _, test := range []struct {
		name      string
		endpoints []Endpoint
		want      map[string]int // of 10,000
	}{
		{"by weight", []Endpoint{{ID: "a", Weight: 1}, {ID: "b", Weight: 3}, {ID: "c", Weight: 6}}, map[string]int{"a": 1000, "b": 3000, "c": 6000}},
		{"weight 0 takes nothing", []Endpoint{{ID: "a"}, {ID: "b", Weight: 3}}, map[string]int{"b": 10_000}},
		{"nobody has a weight", []Endpoint{{ID: "a"}, {ID: "b"}}, map[string]int{"a": 5000, "b": 5000}},
		{"down takes nothing", []Endpoint{{ID: "a", Weight: 1, Down: true}, {ID: "b", Weight: 1}, {ID: "c", Weight: 1}}, map[string]int{"b": 5000, "c": 5000}},
		{"one is much heavier", []Endpoint{{ID: "a", Weight: 65535}, {ID: "b", Weight: 7}}, map[string]int{"a": 9999, "b": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, c := fixed(Options{Probes: -1}, test.endpoints...)
			got := picks(t, b, c, 10_000, always(time.Millisecond))
			for id, n := range test.want {
				if d := got[id] - n; d < -5 || d > 5 {
					t.Errorf("%s got %d of 10,000, want %d", id, got[id], n)
				}
			}
			if len(got) != len(test.want) {
				t.Errorf("picked %v, want %v", got, test.want)
			}
		})
	}
}

// TestEven: over any stretch each instance has its share, give or take a few.
func TestEven(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(100)...)
	last, longest := map[string]int{}, 0
	for n := range 10_000 {
		id := request(t, b, c, always(time.Millisecond))
		if before, ok := last[id]; ok {
			longest = max(longest, n-before)
		}
		last[id] = n
	}
	if longest > 250 {
		t.Errorf("one of a hundred was not picked in %d turns", longest)
	}
}

// TestOrders: callers do not all begin with the same instance, nor do they go on
// from it to the same next one.
func TestOrders(t *testing.T) {
	first, pairs := map[string]int{}, map[string]bool{}
	for range 200 {
		b := New(Options{})
		b.Update(some(10))
		p, _ := b.Pick()
		q, _ := b.Pick()
		first[p.ID()]++
		pairs[p.ID()+q.ID()] = true
	}
	if len(pairs) < 50 {
		t.Errorf("200 callers begin in %d ways", len(pairs))
	}
	for id, n := range first {
		if n > 60 {
			t.Errorf("%d of 200 callers begin with %s", n, id)
		}
	}
}

func TestUpdateKeeps(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(4)...)
	slow := func(id string) (time.Duration, error) {
		if id == "2" {
			return time.Second, nil
		}
		return time.Millisecond, nil
	}
	picks(t, b, c, 20, slow)
	b.Update(append(some(4), Endpoint{ID: "new", Weight: 100}))
	if got := picks(t, b, c, 100, slow); got["2"] > 0 || got["new"] < 10 {
		t.Errorf("after an update %v; the slow one is known, and the new one takes its share", got)
	}
	gone := b.endpoints["3"]
	if b.Update(some(2)); !gone.out.Load() {
		t.Error("one that is gone may still be another's alternative")
	}
	if got := picks(t, b, c, 100, slow); got["2"]+got["3"]+got["new"] != 0 {
		t.Errorf("picked %v, of whom some are gone", got)
	}
}

// TestSlowAlone: what the caller's own requests show is enough to leave one that
// is well slower, and not one that is a little.
func TestSlowAlone(t *testing.T) {
	for times, want := range map[float64][2]int{5: {0, 30}, 1.4: {90, 110}} {
		b, c := fixed(Options{Probes: -1}, some(10)...)
		took := func(id string) (time.Duration, error) {
			if id == "3" {
				return time.Duration(times * float64(10*time.Millisecond)), nil
			}
			return 10 * time.Millisecond, nil
		}
		if got := picks(t, b, c, 1000, took)["3"]; got < want[0] || got > want[1] {
			t.Errorf("one that is %g times slower got %d of 1,000, want %v", times, got, want)
		}
	}
}

// TestInFlight: requests that hang count, before any of them is over.
func TestInFlight(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(10)...)
	picks(t, b, c, 100, always(10*time.Millisecond))
	hang := map[string]int{}
	for range 400 {
		p, _ := b.Pick()
		hang[p.ID()]++
		if c.now += 10 * time.Millisecond; p.ID() != "3" {
			p.Done(nil)
		}
	}
	if hang["3"] > 6 {
		t.Errorf("one that does not answer was given %d of 400", hang["3"])
	}
}

// answerAll answers probes until none is due.
func answerAll(b *Balancer, said func(id string) (int, time.Duration)) (asked []string) {
	for {
		p, ok := b.Probe()
		if !ok {
			return asked
		}
		asked = append(asked, p.ID())
		n, latency := said(p.ID())
		p.Answer(n, latency)
	}
}

// probed returns how many of n requests each got if these are the answers.
func probed(t *testing.T, b *Balancer, c *clock, n int, said func(string) (int, time.Duration)) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[request(t, b, c, always(time.Millisecond))]++
		answerAll(b, said)
	}
	return got
}

func TestHot(t *testing.T) {
	const usual = 20 * time.Millisecond
	for _, test := range []struct {
		name        string
		inFlight    int
		latency     time.Duration
		least, most int // of 1,000, where 100 are its share
	}{
		{"crowded and slow", 20, 4 * usual, 0, 10},
		{"crowded only", 20, usual, 90, 110},
		{"slow only", 2, 4 * usual, 90, 110},
		{"a little slower", 20, usual * 13 / 10, 90, 110},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, c := fixed(Options{}, some(10)...)
			got := probed(t, b, c, 1000, func(id string) (int, time.Duration) {
				if id == "3" {
					return test.inFlight, test.latency
				}
				return 3, usual
			})
			if got["3"] < test.least || got["3"] > test.most {
				t.Errorf("got %d of 1,000, want %d to %d", got["3"], test.least, test.most)
			}
		})
	}
}

// TestHotByWeight: twice the weight may have twice as much in flight.
func TestHotByWeight(t *testing.T) {
	endpoints := some(10)
	endpoints[3].Weight = 200
	b, c := fixed(Options{}, endpoints...)
	got := probed(t, b, c, 1100, func(id string) (int, time.Duration) {
		if id == "3" {
			return 8, 80 * time.Millisecond
		}
		return 5, 20 * time.Millisecond
	})
	if got["3"] < 180 || got["3"] > 220 {
		t.Errorf("got %d of 1,100, want its share of 200", got["3"])
	}
}

// TestAlternative: of those that are cold the fastest takes the request, and if
// nobody is the one with the fewest in flight, which then has one more.
func TestAlternative(t *testing.T) {
	b, c := fixed(Options{}, some(4)...)
	for range 50 { // 0 and 1 are cold
		probed(t, b, c, 1, func(id string) (int, time.Duration) {
			return map[string]int{"0": 2, "1": 2, "2": 9, "3": 1}[id], map[string]time.Duration{"0": 30, "1": 20, "2": 90, "3": 25}[id] * time.Millisecond
		})
	}
	all := b.endpoints
	b.answers.hotFlight.store(5)
	if best := b.answers.best(all["2"], false, &b.failed, c.now); best != all["1"] {
		t.Errorf("instead of 2 came %s; of the cold 1 is the fastest", best.id)
	}
	all["2"].probed.store(9, time.Millisecond, c.now)
	if best := b.answers.best(all["0"], false, &b.failed, c.now); best != all["1"] {
		t.Errorf("instead of 0 came %s; who is crowded comes behind who is not", best.id)
	}
	if !b.answers.less(all["1"], all["2"], c.now) || b.answers.less(all["2"], all["1"], c.now) {
		t.Error("who is crowded comes before who is not, being faster")
	}
	all["1"].until.Store(int64(c.now + 1))
	if best := b.answers.best(all["0"], false, &b.failed, c.now); best != all["3"] {
		t.Errorf("instead of 0 came %s; 1 is ejected", best.id)
	}
	all["3"].out.Store(true)
	if best := b.answers.best(all["0"], false, &b.failed, c.now); best != all["2"] {
		t.Errorf("instead of 0 came %s; 3 is gone", best.id)
	}
	all["1"].until.Store(0)
	all["3"].out.Store(false)
	b.answers.hotFlight.store(0)
	for id, n := range map[string]int{"0": 2, "1": 2, "2": 9, "3": 1} {
		all[id].probed.store(n, time.Millisecond, c.now)
	}
	if best := b.answers.best(all["2"], false, &b.failed, c.now); best != all["3"] {
		t.Errorf("instead of 2 came %s; of the hot 3 has the fewest in flight", best.id)
	}
	p, _ := b.Pick()
	was := map[string]int{"0": 2, "1": 2, "2": 9, "3": 1}[p.ID()]
	if said, _ := p.e.probed.load(c.now); said.inFlight != was+1 {
		t.Errorf("who was picked had %d in flight, and is counted to have %d", was, said.inFlight)
	}
}

func TestStaleAnswers(t *testing.T) {
	b, c := fixed(Options{}, some(10)...)
	said := func(id string) (int, time.Duration) {
		if id == "3" {
			return 20, time.Second
		}
		return 3, 20 * time.Millisecond
	}
	probed(t, b, c, 200, said)
	if got := picks(t, b, c, 200, always(time.Millisecond))["3"]; got > 5 {
		t.Errorf("with fresh answers the hot one got %d of 200", got)
	}
	c.now += 2 * probeAge
	if got := picks(t, b, c, 200, always(time.Millisecond))["3"]; got < 15 {
		t.Errorf("with answers of long ago one got %d of 200, want about its share", got)
	}
}

// TestProbes: three for each pick, one of them of whoever comes next.
func TestProbes(t *testing.T) {
	b, c := fixed(Options{}, some(100)...)
	asked, known := 0, 0
	for n := range 1000 {
		p, _ := b.Pick()
		if at := time.Duration(uint32(p.e.probed.bits.Load()>>32)) * time.Millisecond; n > 10 && c.now-at < 50*time.Millisecond && p.e.probed.bits.Load() != 0 {
			known++
		}
		p.Done(nil)
		c.now += 10 * time.Millisecond
		asked += len(answerAll(b, func(string) (int, time.Duration) { return 3, time.Millisecond }))
	}
	if asked != 3000 {
		t.Errorf("%d probes for 1,000 picks", asked)
	}
	if known < 980 {
		t.Errorf("of 1,000 that were picked %d had been probed within four turns", known)
	}
	b, c = fixed(Options{Probes: -1}, some(100)...)
	picks(t, b, c, 10, always(0))
	if _, ok := b.Probe(); ok {
		t.Error("a probe although there are to be none")
	}
}

// TestProbesByWeight: the heavy are asked as often as they are picked.
func TestProbesByWeight(t *testing.T) {
	b, c := fixed(Options{}, Endpoint{ID: "a", Weight: 1}, Endpoint{ID: "b", Weight: 9})
	got := map[string]int{}
	for range 1000 {
		request(t, b, c, always(time.Millisecond))
		for _, id := range answerAll(b, func(string) (int, time.Duration) { return 1, time.Millisecond }) {
			got[id]++
		}
	}
	if got["a"] < 280 || got["a"] > 320 {
		t.Errorf("a tenth of the weight was asked %d of 3,000 times", got["a"])
	}
}

func TestFailing(t *testing.T) {
	for _, probes := range []float64{-1, 3} {
		b, c := fixed(Options{Probes: probes}, some(10)...)
		fails := true
		took := func(id string) (time.Duration, error) {
			if id == "3" && fails {
				return 0, errDown // at once
			}
			return 10 * time.Millisecond, nil
		}
		said := func(id string) (int, time.Duration) {
			if id == "3" {
				return 0, 0
			}
			return 3, 10 * time.Millisecond
		}
		got := 0
		for range 3000 { // 30 s
			if request(t, b, c, took) == "3" {
				got++
			}
			answerAll(b, said)
		}
		if got > 60 {
			t.Errorf("probes %v: one that fails at once was given %d of 3,000", probes, got)
		}
		fails = false
		for range 6000 {
			request(t, b, c, took)
			answerAll(b, said)
		}
		if got := picks(t, b, c, 1000, took)["3"]; got < 60 {
			t.Errorf("probes %v: after a minute without failures it was given %d of 1,000", probes, got)
		}
	}
}

func TestEject(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(20)...)
	fail := func(id string, times int) {
		for range times {
			b.endpoints[id].inFlight.Add(1)
			Pick{b: b, e: b.endpoints[id], at: c.now}.Done(errDown)
		}
	}
	fail("1", ejectAfter-1)
	b.endpoints["1"].inFlight.Add(1)
	Pick{b: b, e: b.endpoints["1"], at: c.now}.Done(nil)
	fail("1", ejectAfter-1)
	if got := b.Ejected(); len(got) > 0 {
		t.Fatalf("%v ejected; a success was between the failures", got)
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		fail(id, ejectAfter)
	}
	got := b.Ejected()
	slices.Sort(got)
	if d := cmp.Diff([]string{"1", "2"}, got); d != "" {
		t.Errorf("a tenth of twenty is two: %s", d)
	}
	if got := picks(t, b, c, 100, always(0)); got["1"]+got["2"] > 0 {
		t.Errorf("picked %v, of whom 1 and 2 are ejected", got)
	}
	c.now += ejectFor + ejectFor/5
	if got := b.Ejected(); len(got) > 0 {
		t.Errorf("%v are still ejected after %v", got, ejectFor)
	}
	fail("1", ejectAfter)
	c.now += ejectFor + ejectFor/5
	if d := cmp.Diff([]string{"1"}, b.Ejected()); d != "" {
		t.Errorf("the second time in a row takes twice as long: %s", d)
	}
}

// TestEjectAll: one instance alone is picked, whatever it does.
func TestEjectAll(t *testing.T) {
	b, c := fixed(Options{}, some(1)...)
	got := picks(t, b, c, 20, func(string) (time.Duration, error) { return 0, errDown })
	if got["0"] != 20 {
		t.Errorf("got %v", got)
	}
}

func at(zone string) rollcall.Locality { return rollcall.Locality{Region: "r", Zone: zone} }

func TestRings(t *testing.T) {
	here := rollcall.Locality{Region: "r", Zone: "a", SubZone: "1"}
	for want, to := range []rollcall.Locality{here, {Region: "r", Zone: "a", SubZone: "2"}, at("b"), {Region: "s", Zone: "a", SubZone: "1"}} {
		if got := ring(here, to); got != want {
			t.Errorf("%v is in ring %d of %v, want %d", to, got, here, want)
		}
	}
	if got := ring(rollcall.Locality{}, rollcall.Locality{}); got != elsewhere {
		t.Errorf("who does not know where it is has ring %d", got)
	}
}

// TestSpill: what leaves a zone is 1 − 1.4 × its healthy share.
func TestSpill(t *testing.T) {
	for down := range 10 {
		var endpoints []Endpoint
		for i := range 30 {
			e := Endpoint{ID: fmt.Sprint(i), Weight: 50, Registered: 100, Locality: at("a"), Down: i < down}
			if e.Down {
				e.Weight = 10
			}
			if i >= 10 {
				e.Locality, e.Weight = at("b"), 200
			}
			endpoints = append(endpoints, e)
		}
		b, c := fixed(Options{Locality: at("a"), Probes: -1}, endpoints...)
		away := 0
		for id, n := range picks(t, b, c, 10_000, always(time.Millisecond)) {
			if e := b.endpoints[id]; e.ring.Load() != sameZone {
				away += n
			}
		}
		if want := max(0, 1-1.4*float64(10-down)/10); math.Abs(float64(away)/10_000-want) > 0.01 {
			t.Errorf("with %d of 10 down %d of 10,000 leave the zone, want %.2f", down, away, want)
		}
	}
}

// TestHotStays: that an instance is hot, or looks slow, does not send requests to
// another zone.
func TestHotStays(t *testing.T) {
	var endpoints []Endpoint
	for i := range 20 {
		endpoints = append(endpoints, Endpoint{ID: fmt.Sprint(i), Weight: 100, Locality: at(string(rune('a' + i/10))), Down: i < 4})
	}
	for _, probes := range []float64{3, -1} {
		b, c := fixed(Options{Locality: at("a"), Probes: probes}, endpoints...)
		latency := func(id string) time.Duration {
			switch {
			case b.endpoints[id].ring.Load() != sameZone:
				return 10 * time.Millisecond
			case id < "7":
				return 100 * time.Millisecond
			}
			return 20 * time.Millisecond
		}
		away, hot := 0, 0
		for range 2000 {
			id := request(t, b, c, func(id string) (time.Duration, error) { return latency(id), nil })
			answerAll(b, func(id string) (int, time.Duration) { return int(latency(id) / (5 * time.Millisecond)), latency(id) })
			if b.endpoints[id].ring.Load() != sameZone {
				away++
			} else if id < "7" {
				hot++
			}
		}
		if away < 300 || away > 340 {
			t.Errorf("probes %v: %d of 2,000 left the zone, want 0.16 of them", probes, away)
		}
		if hot > 400 {
			t.Errorf("probes %v: the hot ones got %d of 2,000", probes, hot)
		}
	}
}

// TestFailureIsNotFast: a failure at once says nothing good of latency, and one
// that took long is as bad as an answer that did.
func TestFailureIsNotFast(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(1)...)
	e := b.endpoints["0"]
	for _, step := range []struct {
		took        time.Duration
		err         error
		least, most time.Duration
	}{
		{100 * time.Millisecond, nil, 100 * time.Millisecond, 100 * time.Millisecond},
		{0, errDown, 100 * time.Millisecond, 100 * time.Millisecond},
		{time.Second, errDown, 150 * time.Millisecond, 300 * time.Millisecond},
	} {
		request(t, b, c, func(string) (time.Duration, error) { return step.took, step.err })
		if got := time.Duration(e.latency.value()); got < step.least-time.Millisecond || got > step.most+time.Millisecond {
			t.Errorf("after %v and %v the latency is %v", step.took, step.err, got)
		}
	}
}

// TestShunned: who fails no more than all do is not left alone for it.
func TestShunned(t *testing.T) {
	b, c := fixed(Options{Probes: -1}, some(4)...)
	e := b.endpoints["0"]
	e.failed.add(0.5, 1, c.now)
	b.failed.add(0.1, 1, c.now)
	if !e.shunned(&b.failed, c.now) {
		t.Error("one that fails five times as often as the service is not shunned")
	}
	b.failed = average{}
	b.failed.add(0.4, 1, c.now)
	if e.shunned(&b.failed, c.now) {
		t.Error("one that fails about as often as the service is shunned")
	}
	b.failed = average{}
	if c.now += 2 * decay; e.shunned(&b.failed, c.now) {
		t.Errorf("half of requests failed, which is forgotten after %v", 2*decay)
	}
}

// TestBoundsByWeight: in flight is relative to weight when bounds are found, too.
func TestBoundsByWeight(t *testing.T) {
	b, _ := fixed(Options{}, Endpoint{ID: "a", Weight: 300}, Endpoint{ID: "b", Weight: 100})
	Probe{b, b.endpoints["a"]}.Answer(12, 10*time.Millisecond)
	if got := b.answers.turnFlight.load(); math.Abs(got-8) > 1e-6 {
		t.Errorf("12 in flight at 1.5 times the mean weight are %v", got)
	}
	if got := time.Duration(b.answers.turnLatency.load()); got.Round(time.Millisecond) != 15*time.Millisecond {
		t.Errorf("with a median of 10 ms the bound is %v", got)
	}
}
