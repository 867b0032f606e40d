package lease

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// town is a census of instances that are heard from, late or silent.
type town struct {
	lives  map[rollcall.Key]string // "heard", "late", "silent" or "marked"
	shares map[rollcall.ServiceKey]float64
	guard  *Guard
	now    time.Time
	begun  []rollcall.Guard
	ended  []rollcall.ServiceKey
}

func newTown(services, each int) *town {
	w := &town{lives: map[rollcall.Key]string{}, shares: map[rollcall.ServiceKey]float64{}, now: time.Unix(1_700_000_000, 0)}
	for s := range services {
		for i := range each {
			w.lives[w.key(s, i)] = "heard"
		}
	}
	w.guard = NewGuard(w)
	return w
}

func (w *town) key(service, id int) rollcall.Key {
	return rollcall.NewKey("", fmt.Sprint("s-", service), fmt.Sprintf("%03d", id))
}

func (w *town) Count(service rollcall.ServiceKey) (c Count, share float64) {
	for key, is := range w.lives {
		switch {
		case service != rollcall.ServiceKey{} && key.ServiceKey != service:
		case is == "heard":
			c.Heard++
		case is == "marked":
			c.Marked++
		default:
			c.Late++
		}
	}
	share, ok := w.shares[service]
	if !ok {
		share = GuardShare
	}
	return c, share
}

func (w *town) Silent(key rollcall.Key) bool { return w.lives[key] == "silent" }

func (w *town) take(d Decision) (convicted int) {
	for _, key := range d.Convict {
		w.lives[key] = "marked"
	}
	w.begun, w.ended = append(w.begun, d.Begun...), append(w.ended, d.Ended...)
	return len(d.Convict)
}

// silence has instances fall silent, in one go.
func (w *town) silence(keys ...rollcall.Key) (convicted int) {
	for _, key := range keys {
		w.lives[key] = "silent"
	}
	return w.take(w.guard.Decide(w.now, keys))
}

// pass lets time pass and returns how many were convicted in each minute.
func (w *town) pass(minutes int) (convicted []int) {
	for range minutes {
		n := 0
		for range 60 {
			n += w.take(w.guard.Review(w.now))
			w.now = w.now.Add(time.Second)
		}
		convicted = append(convicted, n)
	}
	return convicted
}

func (w *town) some(service, n int) (keys []rollcall.Key) {
	for i := range n {
		keys = append(keys, w.key(service, i))
	}
	return keys
}

// TestGuardConvicts: who falls silent alone is gone, and the others do not wait
// for a guard's window.
func TestGuardConvicts(t *testing.T) {
	w := newTown(2, 20)
	if n := w.silence(w.key(0, 0)); n != 1 || w.begun != nil {
		t.Errorf("%d convicted, guards %v", n, w.begun)
	}
	if n := w.silence(w.key(0, 1), w.key(0, 2), w.key(1, 0)); n != 3 {
		t.Errorf("%d convicted, want all: three of twenty may go within a minute", n)
	}
	if n := w.silence(w.key(0, 3)); n != 0 || len(w.begun) != 1 || w.begun[0].Service != "s-0" {
		t.Errorf("%d convicted, guards %v, want the fourth held", n, w.begun)
	}
	if n := w.silence(); n != 0 {
		t.Error("nobody convicted somebody")
	}
}

// TestGuardCountsTheLate: the first of many is not convicted before the others
// fall silent too.
func TestGuardCountsTheLate(t *testing.T) {
	w := newTown(1, 20)
	for _, key := range w.some(0, 10) {
		w.lives[key] = "late"
	}
	if n := w.silence(w.key(0, 0)); n != 0 || len(w.begun) != 1 {
		t.Errorf("%d convicted, guards %v", n, w.begun)
	}
}

// TestGuardEnds: with the evidence, whatever it is.
func TestGuardEnds(t *testing.T) {
	w := newTown(3, 20)
	w.silence(w.some(0, 8)...)
	if len(w.begun) != 1 || w.guard.Held(w.key(0, 0).ServiceKey) != 8 {
		t.Fatalf("guards %v hold %d", w.begun, w.guard.Held(w.key(0, 0).ServiceKey))
	}
	w.pass(0)
	w.lives[w.key(0, 0)] = "heard"
	w.lives[w.key(0, 1)] = "marked" // seen to be dead
	delete(w.lives, w.key(0, 2))    // deregistered
	w.take(w.guard.Review(w.now))
	if n := w.guard.Held(w.key(0, 0).ServiceKey); n != 5 || w.ended != nil {
		t.Fatalf("%d held, ended %v", n, w.ended)
	}
	for _, key := range w.some(0, 8)[3:] {
		w.lives[key] = "heard"
	}
	w.take(w.guard.Review(w.now))
	if len(w.ended) != 1 || w.ended[0] != w.key(0, 0).ServiceKey {
		t.Errorf("ended %v", w.ended)
	}
	if n := w.silence(w.key(0, 4)); n != 1 {
		t.Errorf("%d convicted after the guard, want one", n)
	}
}

// TestGuardLetsGo: of those who stay silent while others are heard from, a share
// a minute, after the first two.
func TestGuardLetsGo(t *testing.T) {
	w := newTown(5, 20)
	w.silence(w.some(0, 12)...)
	if got, want := w.pass(6), []int{0, 0, 3, 3, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("convicted by minute: %v, want %v", got, want)
	}
	if len(w.ended) != 1 {
		t.Errorf("ended %v", w.ended)
	}
}

// TestGuardIsolated: when hardly anybody is heard from, nobody is let go of, for
// an hour.
func TestGuardIsolated(t *testing.T) {
	w := newTown(3, 10)
	all := slices.Concat(w.some(0, 10), w.some(1, 10), w.some(2, 8))
	if n := w.silence(all...); n != 0 {
		t.Fatalf("%d convicted", n)
	}
	for minute, n := range w.pass(59) {
		if n > 0 {
			t.Fatalf("%d convicted in minute %d", n, minute)
		}
	}
	total := 0
	for _, n := range w.pass(15) {
		if n > 4 {
			t.Errorf("%d convicted within a minute", n)
		}
		total += n
	}
	if total != 28 || len(w.ended) == 0 {
		t.Errorf("%d convicted in the end; ended %v", total, w.ended)
	}
}

// TestGuardAfterIsolation: those who are heard from first when a cut ends do not
// have the others convicted, who are about to be.
func TestGuardAfterIsolation(t *testing.T) {
	w := newTown(2, 50)
	all := slices.Concat(w.some(0, 50), w.some(1, 50))
	w.silence(all...)
	if n := w.pass(5); slices.Max(n) > 0 {
		t.Fatalf("%v convicted while nobody is heard from", n)
	}
	for _, key := range all[:20] {
		w.lives[key] = "heard"
	}
	for range 59 {
		if n := w.take(w.guard.Review(w.now)); n > 0 {
			t.Fatalf("%d convicted as soon as some are heard from again", n)
		}
		w.now = w.now.Add(time.Second)
	}
	if got, want := w.pass(2), []int{14, 14}; !slices.Equal(got, want) {
		t.Errorf("convicted by minute after that: %v, want %v", got, want)
	}
}

// TestGuardOfEverything: that no service loses more than one is no comfort if
// all do.
func TestGuardOfEverything(t *testing.T) {
	w := newTown(100, 1)
	var keys []rollcall.Key
	for s := range 50 {
		keys = append(keys, w.key(s, 0))
	}
	w.shares[w.key(7, 0).ServiceKey] = 1
	if n := w.silence(keys...); n != 1 || len(w.begun) != 1 || w.begun[0].Service != "" {
		t.Errorf("%d convicted, guards %v; want the one whose service has no guard", n, w.begun)
	}
	if n := w.guard.Held(rollcall.ServiceKey{}); n != 49 {
		t.Errorf("%d held", n)
	}

	// Of three instances two may go.
	w = newTown(3, 1)
	if n := w.silence(w.key(0, 0), w.key(1, 0)); n != 2 {
		t.Errorf("%d convicted of a small registry", n)
	}
	w = newTown(100, 1)
	w.shares[rollcall.ServiceKey{}] = 1
	if n := w.silence(keys...); n != 50 {
		t.Errorf("%d convicted without a guard on everything", n)
	}
}

// TestGuardRefused: evidence leaves room for others to be convicted without.
func TestGuardRefused(t *testing.T) {
	w := newTown(9, 3)
	w.silence(w.key(0, 0))
	w.guard.Refused(w.key(0, 0))
	if n := w.silence(w.key(0, 1)); n != 1 {
		t.Errorf("%d convicted", n)
	}

	// One that was held is not any more, at once.
	w = newTown(1, 20)
	w.silence(w.some(0, 10)...)
	before := w.guard.Held(rollcall.ServiceKey{})
	w.guard.Refused(w.key(0, 0))
	if now := w.guard.Held(rollcall.ServiceKey{}); before != 10 || now != 9 {
		t.Errorf("%d were held, and %d after one refused", before, now)
	}
}

// TestGuardLift: an operator knows better.
func TestGuardLift(t *testing.T) {
	w := newTown(5, 20)
	service := w.key(0, 0).ServiceKey
	w.silence(w.some(0, 10)...)
	d, was := w.guard.Lift(w.now, service)
	if n := w.take(d); n != 10 || !was || len(w.ended) != 1 {
		t.Errorf("%d convicted, %v, ended %v", n, was, w.ended)
	}
	if n := w.silence(w.key(0, 11), w.key(0, 12)); n != 2 {
		t.Errorf("%d convicted while it is lifted", n)
	}
	w.pass(2)
	if n := w.silence(w.some(0, 19)[13:]...); n != 0 {
		t.Errorf("%d convicted after that", n)
	}
	if _, was := w.guard.Lift(w.now, w.key(1, 0).ServiceKey); was {
		t.Error("a guard that was not there ended")
	}
}

// TestGuardAdopted: one that the log has goes on until all is well.
func TestGuardAdopted(t *testing.T) {
	w := newTown(9, 10)
	for _, key := range w.some(0, 10) {
		w.lives[key] = "late"
	}
	w.guard.Adopt(w.now, w.key(0, 0).ServiceKey)
	if w.pass(1); w.ended != nil {
		t.Fatalf("ended %v while all are late", w.ended)
	}
	for _, key := range w.some(0, 10) {
		w.lives[key] = "heard"
	}
	if w.pass(1); len(w.ended) != 1 {
		t.Errorf("ended %v", w.ended)
	}
}

// TestGuardOfTheSlow: instances that always renew late do not keep a guard on that
// holds nobody.
func TestGuardOfTheSlow(t *testing.T) {
	w := newTown(9, 10)
	keys := w.some(0, 10)
	for _, key := range keys {
		w.lives[key] = "late"
	}
	w.silence(keys[0])
	if len(w.begun) != 1 {
		t.Fatalf("guards %v", w.begun)
	}
	w.pass(0)
	w.lives[keys[0]] = "late"
	if w.pass(1); w.ended != nil {
		t.Errorf("ended %v within a minute", w.ended)
	}
	if w.pass(1); len(w.ended) != 1 {
		t.Errorf("ended %v, want the one that held nobody for a minute", w.ended)
	}
}

// TestGuardProbes: those that are held, again and again.
func TestGuardProbes(t *testing.T) {
	w := newTown(9, 10)
	keys := w.some(0, 5)
	for _, key := range keys {
		w.lives[key] = "silent"
	}
	d := w.guard.Decide(w.now, keys)
	if len(d.Probe) != 5 || len(d.Hold) != 5 {
		t.Errorf("%d held, %d probed", len(d.Hold), len(d.Probe))
	}
	if d := w.guard.Review(w.now.Add(ProbeHeld - 1)); d.Probe != nil {
		t.Errorf("probed %v too early", d.Probe)
	}
	if d := w.guard.Review(w.now.Add(ProbeHeld)); len(d.Probe) != 5 {
		t.Errorf("probed %v", d.Probe)
	}
}

// BenchmarkReview is what a guard costs each second that holds very many.
func BenchmarkReview(b *testing.B) {
	w := newTown(0, 0)
	c := &crowd{silent: 100_000}
	w.guard = NewGuard(c)
	var keys []rollcall.Key
	for s := range 1000 {
		keys = append(keys, w.some(s, 100)...)
	}
	if d := w.guard.Decide(w.now, keys); len(d.Hold) != len(keys) {
		b.Fatalf("%d held", len(d.Hold))
	}
	b.Run("held=100000", func(b *testing.B) {
		for b.Loop() {
			w.now = w.now.Add(time.Second)
			w.guard.Review(w.now)
		}
	})
}

// crowd is a census in which everybody is silent.
type crowd struct{ silent int }

func (c *crowd) Count(service rollcall.ServiceKey) (Count, float64) {
	if service == (rollcall.ServiceKey{}) {
		return Count{Heard: c.silent / 2, Late: c.silent}, GuardShare
	}
	return Count{Late: 100}, GuardShare
}

func (c *crowd) Silent(rollcall.Key) bool { return true }
