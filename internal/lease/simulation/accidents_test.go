package simulation

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// quiet is a world in which nothing happens.
func quiet() World {
	w := Day(200, 30*time.Minute)
	never := Accident{}
	w.Loss = 0
	w.Starvation, w.ClientPause, w.RegistryPause = never, never, never
	w.CutOne, w.CutRack, w.CutZone, w.CutAll = never, never, never, never
	w.ProcessCrash, w.HostDeath = never, never
	return w
}

func exactly(d time.Duration) Span { return Span{d, d} }

// TestQuiet: where nothing happens, nobody is removed or suspect.
func TestQuiet(t *testing.T) {
	r := Run(quiet(), 1)
	for _, s := range r.Sides {
		if s.Removed() != 0 || s.Behind+s.Out != 0 || s.Beats < 200*1800/6 {
			t.Errorf("%s: %d removed, behind for %v, out for %v, %d heartbeats", s.Name, s.Removed(), s.Behind, s.Out, s.Beats)
		}
	}
	if r.Accidents != [causes]int{} {
		t.Errorf("accidents %v", r.Accidents)
	}
}

// TestAccidents: what one kind of accident alone costs each side.
func TestAccidents(t *testing.T) {
	const often = 48 * 3 // in half an hour three times
	for name, c := range map[string]struct {
		set   func(*World)
		cause Cause
		check func(accidents, plain, beats, sessions int) bool
	}{
		"a pause of the registry is nobody's fault": {
			func(w *World) { w.RegistryPause = Accident{often, exactly(20 * time.Second)} }, RegistryPause,
			func(accidents, plain, beats, sessions int) bool {
				return plain >= 150*accidents && beats+sessions == 0
			},
		},
		"a cut of all, however long, removes nobody": {
			func(w *World) { w.CutAll = Accident{often, exactly(4 * time.Minute)} }, CutAll,
			func(_, plain, beats, sessions int) bool { return plain >= 200 && beats+sessions <= 2 },
		},
		"a zone is held for a minute": {
			func(w *World) { w.CutZone = Accident{48, exactly(time.Minute)} }, CutZone,
			func(_, plain, beats, sessions int) bool { return plain >= 40 && beats+sessions == 0 },
		},
		"one that is cut off is like one that died": {
			func(w *World) { w.CutOne = Accident{4, exactly(time.Minute)} }, CutOne,
			func(accidents, plain, beats, sessions int) bool {
				return plain <= accidents && plain >= accidents-2 && beats == plain && sessions == plain
			},
		},
		"a paused instance may leave": {
			func(w *World) { w.ClientPause = Accident{20, exactly(20 * time.Second)} }, ClientPause,
			func(_, plain, beats, sessions int) bool { return plain+beats+sessions == 0 },
		},
		"a starved host is heard from": {
			func(w *World) { w.Starvation = Accident{20, exactly(5 * time.Minute)} }, Starvation,
			func(_, plain, beats, sessions int) bool { return plain+beats+sessions == 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := quiet()
			c.set(&w)
			r := Run(w, 1)
			n := [3]int{r.Sides[0].Removed(), r.Sides[1].Removed(), r.Sides[2].Removed()}
			if r.Accidents[c.cause] == 0 || !c.check(r.Accidents[c.cause], n[0], n[1], n[2]) {
				t.Errorf("%d accidents, false removals %v", r.Accidents[c.cause], n)
			}
			for _, s := range r.Sides {
				if s.False[c.cause] != s.Removed() {
					t.Errorf("%s: removed for other reasons than %v: %v", s.Name, c.cause, s.False)
				}
			}
		})
	}
}

// TestCrashes: processes and hosts that are gone leave within a TTL and a tick; a
// session tells at once that its process is gone, and soon that its host may be.
func TestCrashes(t *testing.T) {
	w := quiet()
	w.ProcessCrash = Accident{6, exactly(time.Minute)}
	r := Run(w, 1)
	w = quiet()
	w.HostDeath = Accident{6, exactly(time.Minute)}
	dead := Run(w, 1)
	silent := w.TTL + 200*time.Millisecond
	for n, most := range []struct{ crashed, died, behind time.Duration }{
		{silent, silent, silent}, {silent, silent, silent}, {time.Second / 2, silent, 5 * time.Second},
	} {
		s, d := r.Sides[n], dead.Sides[n]
		if len(s.Crashed) < 5 || Quantile(s.Crashed, 1) > most.crashed || s.Missed+d.Missed > 0 {
			t.Errorf("%s: %d processes found to be gone after up to %v, %d missed", s.Name, len(s.Crashed), Quantile(s.Crashed, 1), s.Missed+d.Missed)
		}
		if len(d.Died) < 4 || Quantile(d.Died, 1) > most.died || Quantile(d.DiedFirst, 1) > most.behind {
			t.Errorf("%s: %d of dead hosts behind others after up to %v, out after %v", s.Name, len(d.Died), Quantile(d.DiedFirst, 1), Quantile(d.Died, 1))
		}
		if s.Removed()+d.Removed() > 0 {
			t.Errorf("%s: false removals %v, %v", s.Name, s.False, d.False)
		}
	}
}

// TestPlaces: racks and zones hold everybody, each about its share.
func TestPlaces(t *testing.T) {
	s := &sim{World: Day(1000, 0)}
	s.settle(rand.New(rand.NewPCG(1, 1)))
	var all int
	for n, rack := range s.places[CutRack] {
		all += len(rack)
		if share := float64(len(rack)) / 1000; share < racks[n]-0.01 || share > racks[n]+0.01 {
			t.Errorf("rack %d has %v of all", n, share)
		}
	}
	var sizes []int
	for _, zone := range s.places[CutZone] {
		sizes = append(sizes, len(zone))
	}
	if want := []int{480, 272, 248}; all != 1000 || !slices.Equal(sizes, want) {
		t.Errorf("%d in racks, zones of %v, want %v", all, sizes, want)
	}
}

// TestQueue: events come in order of time, those of a clock first, then in that in
// which they were asked for.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var q queue
	var now, after event
	left := 0
	for n := range 50_000 {
		if n < 25_000 {
			for range 2 {
				d := time.Duration(rng.ExpFloat64() * float64(time.Minute) * float64(n%3)) // some at once, some far ahead
				q.push(event{order: order(now.at()+d.Truncate(time.Millisecond), class(rng.IntN(2)))})
				left++
			}
		}
		after = q.pop()
		if left--; after.at() < now.at() || after.at() == now.at() && after.class() == now.class() && after.seq < now.seq && n > 0 {
			t.Fatalf("%d: %+v after %+v", n, after, now)
		}
		now = after
	}
	if left != 0 {
		t.Errorf("%d left", left)
	}
}
