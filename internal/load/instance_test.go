package load

import (
	"math"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func wantInFlight(t *testing.T, i *Instance, now time.Time, want float64, fresh bool) {
	t.Helper()
	if n, f := i.InFlight(now); math.Abs(n-want) > 1e-3*max(1, want) || f != fresh {
		t.Errorf("%v, %v in flight; want %v, %v", n, f, want, fresh)
	}
}

func TestInFlight(t *testing.T) {
	c := newClock()
	i := c.Handle(one)
	wantInFlight(t, i, c.now, 0, false)
	later := func(d time.Duration) { c.now = c.now.Add(d) }

	// Without reports: what was picked of late.
	later(time.Second)
	i.Picked(c.now)
	i.Picked(c.now)
	wantInFlight(t, i, c.now, 2, false)
	later(10 * time.Second)
	wantInFlight(t, i, c.now, 2/math.E, false)
	i.Picked(c.now)
	wantInFlight(t, i, c.now, 2/math.E+1, false)
	i.Picked(c.now.Add(-time.Second)) // another one, a little late
	wantInFlight(t, i, c.now, 2/math.E+2, false)

	// A report knows of them; requests last 200 ms.
	c.Report(one, rollcall.Load{InFlight: 7, LatencyP50: 200})
	wantInFlight(t, i, c.now, 7, true)
	i.Picked(c.now)
	wantInFlight(t, i, c.now, 8, true)
	later(200 * time.Millisecond)
	wantInFlight(t, i, c.now, 7+1/math.E, true)
	later(4800 * time.Millisecond)
	wantInFlight(t, i, c.now, 7, true)
	later(time.Millisecond)
	wantInFlight(t, i, c.now, math.Exp(-.5), false) // what it said is old

	// Requests last 100 ms at least.
	c.Report(two, rollcall.Load{InFlight: 1})
	i = c.Handle(two)
	i.Picked(c.now)
	later(100 * time.Millisecond)
	wantInFlight(t, i, c.now, 1+1/math.E, true)
}

// Whoever picks is not counted for longer than it matters, even after years.
func TestPicksGoRound(t *testing.T) {
	c := newClock()
	i := c.Handle(one)
	for range 5 {
		i.Picked(c.now)
		wantInFlight(t, i, c.now, 1, false)
		c.now = c.now.Add(100 * 24 * time.Hour)
		wantInFlight(t, i, c.now, 0, false)
	}
}

func TestLatency(t *testing.T) {
	c := newClock()
	i := c.Handle(one)
	want := func(want float64) {
		t.Helper()
		if ms, ok := i.Latency(); ok != (want > 0) || math.Abs(ms-want) > 1e-3*want {
			t.Errorf("%v ms, %v; want %v", ms, ok, want)
		}
	}
	want(0)
	report := func(after time.Duration, ms float64) {
		c.now = c.now.Add(after)
		c.Report(one, rollcall.Load{LatencyP50: ms})
	}
	report(0, 0)
	want(0)
	report(time.Second, 20)
	want(20)
	report(time.Second, 100)
	want(100)
	report(10*time.Second, 20)
	want(20 + 80/math.E)
	report(time.Second, 0) // not said
	want(20 + 80/math.E)
	report(time.Second, math.NaN())
	want(20 + 80/math.E)
}

func TestUtilization(t *testing.T) {
	for _, tc := range []struct {
		load     rollcall.Load
		capacity uint32
		want     float64
		ok       bool
	}{
		{rollcall.Load{}, 0, 0, true},
		{rollcall.Load{Utilization: .7, InFlight: 3}, 10, .7, true},
		{rollcall.Load{InFlight: 3}, 10, .3, true},
		{rollcall.Load{InFlight: 3}, 0, 0, false},
		{rollcall.Load{RPS: 3}, 0, 0, false},
		{rollcall.Load{RPS: 3}, 10, 0, true},
		{rollcall.Load{Utilization: math.NaN(), InFlight: -3}, 10, 0, true},
	} {
		c := newClock()
		c.facts[one] = Facts{Capacity: tc.capacity}
		c.Report(one, tc.load)
		if u, ok := c.Handle(one).Utilization(); ok != tc.ok || math.Abs(u-tc.want) > 1e-6 {
			t.Errorf("%+v of %d: %v, %v; want %v, %v", tc.load, tc.capacity, u, ok, tc.want, tc.ok)
		}
	}
	if _, ok := newClock().Handle(one).Utilization(); ok {
		t.Error("a utilisation that nobody reported")
	}
}

// A handle of what was dropped stays usable, and says that it is no use.
func TestHandles(t *testing.T) {
	c := newClock()
	i := c.Handle(one)
	if c.Handle(one) != i || i.Key() != one || i.Gone() {
		t.Errorf("%v is another one", i.Key())
	}
	c.Drop(one)
	if !i.Gone() {
		t.Error("it is not gone")
	}
	i.Picked(c.now)
	wantInFlight(t, i, c.now, 1, false)
	again := c.Handle(one)
	if again == i || again.Gone() {
		t.Error("it is the same one")
	}
	wantInFlight(t, again, c.now, 0, false)
}

func TestPickerAllocatesNothing(t *testing.T) {
	c := newClock()
	c.Report(one, rollcall.Load{InFlight: 3, LatencyP50: 20})
	i := c.Handle(one)
	if n := testing.AllocsPerRun(100, func() {
		i.Picked(c.now)
		i.InFlight(c.now)
		i.Latency()
		i.Utilization()
		c.Generation(one.ServiceKey)
		c.Weights(one.ServiceKey).Factor("1")
		c.Report(one, rollcall.Load{InFlight: 3, LatencyP50: 20})
		c.Move(one, berlin)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFade(t *testing.T) {
	for x := float32(0); x < 45; x += .001 {
		if got, want := float64(fade(x)), math.Exp(-float64(x)); math.Abs(got-want) > 1e-4*want && want > 1e-17 {
			t.Fatalf("e^-%v is %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{math.Inf(1), math.NaN(), 1e30} {
		if got := fade(float32(x)); got != 0 {
			t.Errorf("e^-%v is %v", x, got)
		}
	}
}
