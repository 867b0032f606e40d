package meter

import (
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

// clock is one that is set by hand.
type clock struct {
	mu       sync.Mutex
	now, cpu time.Duration
}

func (c *clock) time() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) used() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); return c.cpu }
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
}

func at(o Options) (*Meter, *clock) {
	c := &clock{}
	return newMeter(o, c.time, c.used), c
}

func about(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.07*max(want, 0.01) {
		t.Errorf("%s: %g, want about %g", what, got, want)
	}
}

func TestLoadOfAWindow(t *testing.T) {
	m, c := at(Options{Capacity: 10})
	for range 1000 { // 10 s of 100 requests a second that take 10 ms, one in ten fails
		began := m.begin()
		c.pass(10 * time.Millisecond)
		m.end(began, began/(10*time.Millisecond)%10 == 0)
	}
	l := m.Load()
	about(t, "requests a second", l.RPS, 100)
	about(t, "failures a second", l.Errors, 10)
	about(t, "p50", l.LatencyP50, 10)
	about(t, "p99", l.LatencyP99, 10)
	about(t, "utilisation", l.Utilization, 0.1)
	if l.InFlight != 0 {
		t.Errorf("%d in flight", l.InFlight)
	}
	c.pass(slots * slotLength)
	if l := m.Load(); l.RPS != 0 || l.Errors != 0 || l.LatencyP99 != 0 || l.Utilization != 0 {
		t.Errorf("what is over counts on: %+v", l)
	}
}

// TestUtilisationIsTheMeanInFlight: whenever requests begin and end, and also while
// they last.
func TestUtilisationIsTheMeanInFlight(t *testing.T) {
	m, c := at(Options{Capacity: 4})
	c.pass(time.Second + 200*time.Millisecond)
	long := m.begin()
	c.pass(2 * time.Second)
	about(t, "one of four for 2 s of 3.2", m.Load().Utilization, 2/3.2/4)
	c.pass(10 * time.Second)
	about(t, "one of four all the time", m.Load().Utilization, 0.25)
	other := m.begin()
	c.pass(10 * time.Second)
	about(t, "two of four", m.Load().Utilization, 0.5)
	m.end(long, false)
	m.end(other, false)
	c.pass(2500 * time.Millisecond)
	about(t, "none for half of the window", m.Load().Utilization, 0.25)
}

func TestLoadIsMadeOncePerTenthOfASecond(t *testing.T) {
	m, c := at(Options{Capacity: 1})
	m.Load()
	began := m.begin()
	c.pass(fresh / 2)
	m.end(began, false)
	if l := m.Load(); l.RPS != 0 {
		t.Errorf("made again: %+v", l)
	}
	c.pass(fresh / 2)
	if l := m.Load(); l.RPS == 0 {
		t.Error("not made again")
	}
}

func TestUtilisationOfProcessors(t *testing.T) {
	m, c := at(Options{})
	if u := m.Load().Utilization; u != 0 {
		t.Errorf("%g where the system does not tell", u)
	}
	c.cpu = time.Second
	c.pass(time.Second)
	m.Load()
	c.cpu += time.Duration(runtime.GOMAXPROCS(0)) * time.Second / 2
	c.pass(time.Second)
	about(t, "half of the processors", m.Load().Utilization, 0.5)
	if cpuTime() == 0 && runtime.GOOS == "linux" {
		t.Error("the process has used no processor")
	}
}

func TestQuantiles(t *testing.T) {
	for d := time.Microsecond; d < time.Hour; d = d*9/8 + time.Microsecond {
		var took [buckets]uint64
		took[bucket(d)] = 1
		want := min(float64(d)/1e6, middle(buckets-1))
		if got := quantile(&took, 0.5); math.Abs(got-want) > want/8+0.001 {
			t.Fatalf("%v is counted as %g ms", d, got)
		}
	}
	for b := 1; b < buckets; b++ {
		if middle(b) <= middle(b-1) {
			t.Fatalf("bucket %d at %g ms comes after %g ms", b, middle(b), middle(b-1))
		}
	}
	var took [buckets]uint64
	for n := range 100 {
		took[bucket(time.Duration(n+1)*time.Millisecond)]++
	}
	about(t, "p50", quantile(&took, 0.5), 50)
	about(t, "p99", quantile(&took, 0.99), 99)
}

// TestReportIsMadeOnce: it is the same until something moved.
func TestReportIsMadeOnce(t *testing.T) {
	m, c := at(Options{Capacity: 10})
	m.begin()
	m.begin()
	first := m.report()
	if r := m.report(); r != first {
		t.Error("made again")
	}
	r, err := orca.Parse(first.text[0])
	if err != nil || r.InFlight != 1 {
		t.Errorf("%q: %v; want the request beside the one that is answered", first.text[0], err)
	}
	m.begin()
	if r := m.report(); r == first {
		t.Error("a third request is not told")
	}
	c.pass(fresh)
	if r := m.report(); r == first {
		t.Error("what was a tenth of a second ago is told")
	}
}

// TestCountsAreExact: with many goroutines at once, over changes of slots.
func TestCountsAreExact(t *testing.T) {
	m, c := at(Options{Capacity: 1})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				began := m.begin()
				if i%100 == 0 {
					c.pass(5 * time.Millisecond)
				}
				m.end(began, false)
				m.report()
			}
		})
	}
	all.Wait()
	c.pass(fresh)
	l := m.Load()
	if got := math.Round(l.RPS * c.time().Seconds()); got != 8000 || l.InFlight != 0 {
		t.Errorf("%g requests, %d in flight", got, l.InFlight)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := New(Options{Capacity: 100})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			began := m.begin()
			m.report()
			m.end(began, false)
		}
	})
}

func TestRequestsAllocateNothing(t *testing.T) {
	m, _ := at(Options{Capacity: 100})
	m.report()
	if n := testing.AllocsPerRun(100, func() {
		began := m.begin()
		m.report()
		m.end(began, false)
	}); n > 0 {
		t.Errorf("%g allocations", n)
	}
}
