package load

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// zones is a service with instances in two zones, each with a demand, in
// utilisation of its instances if all of it stays there.
type zones struct {
	*clock
	demand [2]float64
	n      [2]int // instances
	lag    int    // seconds until callers follow
	past   [][2]float64
}

func (z *zones) key(zone, n int) rollcall.Key {
	k := rollcall.NewKey("", "a", fmt.Sprint(zone, "-", n))
	z.facts[k] = Facts{Locality: rollcall.Locality{Region: "r", Zone: fmt.Sprint(zone)}}
	return k
}

func (z *zones) spill(zone int) float64 {
	return z.Weights(rollcall.NewServiceKey("", "a")).Spill("r", fmt.Sprint(zone))
}

// used returns the utilisation of both zones by what spills.
func (z *zones) used() (used [2]float64) {
	spills := z.past[max(0, len(z.past)-1-z.lag)]
	for zone := range used {
		used[zone] += z.demand[zone] * (1 - spills[zone])
		if z.n[1-zone] > 0 {
			used[1-zone] += z.demand[zone] * spills[zone] * float64(z.n[zone]) / float64(z.n[1-zone])
		}
	}
	return used
}

func (z *zones) second() {
	z.past = append(z.past, [2]float64{z.spill(0), z.spill(1)})
	for zone, used := range z.used() {
		for n := range z.n[zone] {
			if (len(z.past)+n)%5 == 0 {
				says(z.clock, z.key(zone, n), 100*used, used, 0)
			}
		}
	}
}

func TestSpill(t *testing.T) {
	for _, tc := range []struct {
		name   string
		n      [2]int
		demand [2]float64
		spill  [2]float64 // in the end
		used   [2]float64
	}{
		{"room everywhere", [2]int{5, 5}, [2]float64{.5, .3}, [2]float64{0, 0}, [2]float64{.5, .3}},
		{"not crowded yet", [2]int{5, 5}, [2]float64{.69, .3}, [2]float64{0, 0}, [2]float64{.69, .3}},
		{"crowded", [2]int{5, 5}, [2]float64{.9, .2}, [2]float64{.305, 0}, [2]float64{.625, .475}},
		{"far too full", [2]int{5, 15}, [2]float64{2.5, .1}, [2]float64{.705, 0}, [2]float64{.7375, .6875}},
		{"the other is fuller", [2]int{5, 5}, [2]float64{.7, 1}, [2]float64{0, .125}, [2]float64{.825, .875}},
		{"there is no other", [2]int{5, 0}, [2]float64{.9, 0}, [2]float64{0, 0}, [2]float64{.9, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := &zones{clock: newClock(), n: tc.n, demand: tc.demand, lag: 2}
			z.pass(5*time.Minute, z.second)
			for range 300 {
				z.pass(time.Second, z.second)
				used := z.used()
				for zone, want := range tc.spill {
					if got := z.spill(zone); math.Abs(got-want) > .08 || (want == 0) != (got == 0) {
						t.Fatalf("zone %d spills %.3f, want %.3f; used %v", zone, got, want, used)
					}
					if got := used[zone]; math.Abs(got-tc.used[zone]) > .1 {
						t.Fatalf("zone %d is at %.3f, want %.3f", zone, got, tc.used[zone])
					}
				}
			}
		})
	}
}

// A zone that is crowded no more takes its demand back by and by, and what it took
// back does not make it crowded again.
func TestSpillEnds(t *testing.T) {
	z := &zones{clock: newClock(), n: [2]int{5, 5}, demand: [2]float64{.95, .1}}
	z.pass(5*time.Minute, z.second)
	if z.spill(0) < .3 {
		t.Fatalf("it spills %v", z.spill(0))
	}
	z.demand[0] = .66
	published := z.pass(3*time.Minute, z.second)
	if got := z.spill(0); got > .1 {
		t.Errorf("it spills %v", got)
	}
	if published > 30 { // weights too, as utilisations shift between reports
		t.Errorf("published %d times", published)
	}
	z.demand[0] = .3
	z.pass(time.Minute, z.second)
	if got := z.spill(0); got != 0 {
		t.Errorf("it spills %v", got)
	}
	if n := z.pass(time.Minute, z.second); n != 0 {
		t.Errorf("published %d times when it was over", n)
	}
}

// What is not heard of any more spills nothing.
func TestSpillOfTheSilent(t *testing.T) {
	z := &zones{clock: newClock(), n: [2]int{5, 5}, demand: [2]float64{.95, .1}}
	z.pass(5*time.Minute, z.second)
	z.pass(4*time.Minute, nil)
	if got := z.spill(0); got != 0 {
		t.Errorf("it spills %v", got)
	}
}

// A spill moves each second, however seldom there are reports.
func TestSpillMovesWithoutNews(t *testing.T) {
	z := &zones{clock: newClock(), n: [2]int{1, 1}}
	report := func() { says(z.clock, z.key(0, 0), 90, .9, 0); says(z.clock, z.key(1, 0), 10, .1, 0) }
	report()
	z.pass(12*time.Second, nil)
	report()
	z.pass(20*time.Second, nil)
	if got := z.spill(0); got < .2 {
		t.Errorf("after 20 s it spills %v", got)
	}
}

func TestCrowdStep(t *testing.T) {
	c := &crowd{}
	step := func(used, others, want float64) {
		t.Helper()
		c.step(used, others*2, 2, 1)
		if math.Abs(c.spill-want) > 1e-9 {
			t.Errorf("at %v it spills %v, want %v", used, c.spill, want)
		}
	}
	step(.699, 0, 0)
	step(.725, 0, .005) // crowded: .1 too much
	step(.725, 0, .010)
	step(.600, 0, .00875)
	step(.645, 0, .00975) // still crowded
	step(.549, 0, .00595)
	step(.645, 0, .00595) // not any more: it does not rise
	step(.725, 0, .01095)
	step(.725, .735, .01045)
	step(.725, .725, .01045)
	step(.725, .675, .01045)
	step(.725, .655, .01145)
	c.spill = .899
	step(1, 0, .9)
}
