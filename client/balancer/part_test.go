package balancer

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestSetAgainstSums: the guide finds what a search through all finds.
func TestSetAgainstSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var endpoints []*endpoint
		for _, of := range some(1 + r.IntN(50)) {
			of.Weight = uint16(r.IntN(1 << (1 + r.IntN(16))))
			endpoints = append(endpoints, &endpoint{id: of.ID, rank: r.Uint64(), of: of})
		}
		s := newSet(endpoints, at("a"))
		for range 1000 {
			point := r.Uint64()
			want := slices.IndexFunc(s.ends, func(end uint64) bool { return point <= end })
			if got := s.at(point); got != s.members[want] {
				t.Fatalf("at %x is %s, want %s", point, got.id, s.members[want].id)
			}
		}
		for _, point := range []uint64{0, math.MaxUint64} {
			s.at(point)
		}
	}
}

// TestWindow: quantiles are those of the last values, sorted.
func TestWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var w window
	var all []float32
	for range 1000 {
		v := float32(r.IntN(50))
		w.add(v)
		all = append(all, v)
		last := slices.Sorted(slices.Values(all[max(0, len(all)-recent):]))
		for _, q := range []float64{0, 0.5, 0.84, 1} {
			if got, want := w.quantile(q), float64(last[int(q*float64(len(last)-1))]); got != want {
				t.Fatalf("after %d values the %g quantile is %v, want %v", len(all), q, got, want)
			}
		}
	}
}

func TestAnswerBounds(t *testing.T) {
	var a answer
	if _, fresh := a.load(0); fresh {
		t.Error("no answer is fresh")
	}
	for _, said := range []struct {
		inFlight, wantInFlight int
		latency, wantLatency   time.Duration
	}{
		{3, 3, 160 * time.Millisecond, 160 * time.Millisecond},
		{0, 0, 0, 0},
		{-1, 0, -time.Second, 0},
		{1 << 20, 1<<flightBits - 1, time.Hour, (1<<latencyBits - 1) * latencyUnit},
	} {
		now := 100 * 24 * time.Hour // beyond what 32 bits of milliseconds hold
		a.store(said.inFlight, said.latency, now)
		got, fresh := a.load(now + time.Second)
		if got != (state{said.wantInFlight, said.wantLatency}) || !fresh {
			t.Errorf("%d and %v come back as %v, fresh: %v", said.inFlight, said.latency, got, fresh)
		}
		if _, fresh := a.load(now + probeAge + 2*time.Millisecond); fresh {
			t.Error("an old answer is fresh")
		}
		a.used()
		if got, _ := a.load(now); got.inFlight != min(said.wantInFlight+1, 1<<flightBits-1) || got.latency != said.wantLatency {
			t.Errorf("with one more it is %v", got)
		}
	}
}

func TestAverage(t *testing.T) {
	var a average
	now := time.Hour
	a.add(100, 0.1, now)
	a.add(200, 0.1, now)
	if got := a.value(); math.Abs(got-110) > 0.1 {
		t.Errorf("a second value at the same time has a tenth of the say, not %v", got)
	}
	now += decay
	a.add(0, 0.1, now)
	if got := a.value(); math.Abs(got-110/math.E) > 0.1 {
		t.Errorf("after %v the old average has 1/e of the say, not %v", decay, got)
	}
	if got := a.fade(now + decay); math.Abs(got-110/math.E/math.E) > 0.1 {
		t.Errorf("after another %v it has faded to %v", decay, got)
	}
}

// TestTogether has everything happen at once, for the race detector, and then
// counts: nothing is in flight any more.
func TestTogether(t *testing.T) {
	b := New(Options{Locality: at("a")})
	b.Update(some(20))
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 2000 {
				p, ok := b.Pick()
				if !ok {
					t.Error("nobody to pick")
					return
				}
				if q, ok := b.Probe(); ok {
					q.Answer(i%20, time.Duration(i)*time.Microsecond)
				}
				if i%7 == n {
					p.Done(errDown)
				} else {
					p.Done(nil)
				}
			}
		})
	}
	all.Go(func() {
		for i := range 200 {
			b.Update(some(10 + i%20))
			b.Ejected()
		}
		b.Update(some(20))
	})
	all.Wait()
	for id, e := range b.endpoints {
		if n := e.inFlight.Load(); n != 0 {
			t.Errorf("%s has %d in flight", id, n)
		}
	}
}

// busy returns a balancer of a hundred instances in its steady state, some hot.
func busy(probes float64) *Balancer {
	b := New(Options{Probes: probes})
	b.Update(some(100))
	for i := range 2000 {
		p, _ := b.Pick()
		for {
			q, ok := b.Probe()
			if !ok {
				break
			}
			q.Answer(i%20, time.Duration(i%20)*time.Millisecond)
		}
		p.Done(nil)
	}
	return b
}

func TestNoAllocations(t *testing.T) {
	for _, probes := range []float64{3, -1} {
		b := busy(probes)
		if n := testing.AllocsPerRun(1000, func() {
			p, _ := b.Pick()
			if q, ok := b.Probe(); ok {
				q.Answer(3, time.Millisecond)
			}
			p.Done(nil)
		}); n != 0 {
			t.Errorf("probes %v: a pick, a probe and their answers allocate %v times", probes, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, probes := range map[string]float64{"fresh": 3, "alone": -1} {
		b.Run(name, func(b *testing.B) {
			balancer := busy(probes)
			now := balancer.now() // probes stay fresh
			begun := time.Now()
			balancer.now = func() time.Duration { return now + time.Since(begun)/1e6 } // a clock's cost
			b.ReportAllocs()
			for b.Loop() {
				p, _ := balancer.Pick()
				p.e.inFlight.Add(-1)
			}
		})
	}
}

func BenchmarkPickDone(b *testing.B) {
	balancer := busy(3)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := balancer.Pick()
			p.Done(nil)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	balancer := busy(3)
	var probe Probe
	for _, e := range balancer.endpoints {
		probe = Probe{balancer, e}
		break
	}
	for i := 0; b.Loop(); i++ {
		probe.Answer(i%20, time.Duration(i%20)*time.Millisecond)
	}
}

func BenchmarkUpdate(b *testing.B) {
	balancer, endpoints := busy(3), some(100)
	b.ReportAllocs()
	for b.Loop() {
		balancer.Update(endpoints)
	}
}
