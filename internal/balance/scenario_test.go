package balance

import (
	"math"
	"testing"
	"time"
)

// one runs a policy with the seed that was asked for.
func one(w World, p Policy) Result { return Run(brief(w), p, *seed) }

// brief shortens what would take a minute with the race detector.
func brief(w World) World {
	if raceEnabled {
		w.Window = min(w.Window, 8*time.Second)
	}
	return w
}

// TestSlow: five seconds after one of ten became five times slower it has at most
// half of its share, by what callers see alone, with and without probes, and more
// so if the registry helps.
func TestSlow(t *testing.T) {
	for _, p := range []Policy{Silent(Ours()), Silent(Unprobed()), Ours(), Unprobed(), Asked()} {
		r := one(Slow(), p)
		if share := r.Share(0); share > 0.5 {
			t.Errorf("%s: the slow one has %.2f of its share", p.Name, share)
		}
		if r.Errors > 0 {
			t.Errorf("%s: %d errors", p.Name, r.Errors)
		}
	}
}

// TestFailing: one that answers with errors at once has well less than its share.
func TestFailing(t *testing.T) {
	policies := []Policy{Ours(), Silent(Ours()), Silent(Unprobed())}
	if raceEnabled {
		policies = policies[:1]
	}
	for _, p := range policies {
		if share := func() float64 { r := one(Failing(few), p); return r.Share(0) }(); share > 0.3 {
			t.Errorf("%s: the failing one has %.2f of its share", p.Name, share)
		}
	}
}

// TestJoining: a fifth is cold and joins the others under load, and nothing fails.
func TestJoining(t *testing.T) {
	r := one(Joining(few), Ours())
	if r.Errors > 0 {
		t.Errorf("%d errors", r.Errors)
	}
	if r.P99 > 500*time.Millisecond {
		t.Errorf("p99 is %v", r.P99)
	}
	for i := range few / 5 {
		if r.Share(i) < 0.05 {
			t.Errorf("server %d has %.2f of its share: it is not made use of", i, r.Share(i))
		}
	}
}

// TestZones: what leaves a zone is 1 − its healthy share × 1.4, give or take 5 %,
// and nobody works more than 1.3 times as much as the mean. A full run has more of
// them.
func TestZones(t *testing.T) {
	for _, lost := range []int{3, 4} {
		r := one(Uneven(few, lost), Ours())
		if got, want := r.Away["b"], Spill(few, lost); math.Abs(got-want) > 0.05 {
			t.Errorf("with %d of 9 dead %.3f leave the zone, want %.3f", lost, got, want)
		}
		if away := max(r.Away["a"], r.Away["c"]); away > 0 {
			t.Errorf("with %d of another zone's dead %.3f leave a zone that is well", lost, away)
		}
		if r.MaxMean > 1.3 {
			t.Errorf("with %d of 9 dead one works %.2f times as much as the mean", lost, r.MaxMean)
		}
		if r.Errors > 0 {
			t.Errorf("with %d of 9 dead %d errors", lost, r.Errors)
		}
	}
}

// TestModel: the simulation is right about what is known. With one core a server
// that is shared by all is as slow in the mean as theory has it, whatever the
// distribution of costs: S / (1 − load); and it works as much as it is given.
func TestModel(t *testing.T) {
	const load = 0.7

	r := newSim(World{Servers: 1, Callers: 1, Load: load, Calm: true}, Policies()[1], 1)
	sv := server{speed: 1, slow: 1, cores: 1}
	now, next, total, n := time.Duration(0), time.Duration(0), time.Duration(0), 0
	came := map[int32]time.Duration{}
	for id := int32(0); n < 200_000; {
		if at := sv.next(); at < next {
			now = at
			sv.advance(now)
			j := sv.pop()
			sv.inFlight--
			total += now - came[j.id]
			delete(came, j.id)
			n++
			continue
		}
		now = next
		next += time.Duration(r.arrivals.ExpFloat64() * 1e9 * meanCost / load)
		sv.advance(now)
		sv.inFlight++
		came[id] = now
		sv.push(job{sv.attained + r.cost(), id, 0})
		id++
	}
	if got, want := (total / time.Duration(n)).Seconds(), meanCost/(1-load); math.Abs(got/want-1) > 0.05 {
		t.Errorf("requests take %.4f s in the mean, want %.4f", got, want)
	}
	if got := sv.used / now.Seconds(); math.Abs(got-load) > 0.02 {
		t.Errorf("it works %.3f of the time, want %v", got, load)
	}
}
