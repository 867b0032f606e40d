package limit

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// clock is a time that a test sets.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time         { return time.Unix(1e9, 0).Add(time.Duration(c.passed.Load())) }
func (c *clock) pass(d time.Duration)   { c.passed.Add(int64(d)) }
func (c *clock) limiter(n int) *Limiter { return New(Options{Rate: n, Now: c.now}) }

// allowed counts how many of n answers an address gets.
func allowed(l *Limiter, a netip.Addr, n int) (got int) {
	for range n {
		if l.Allow(a) {
			got++
		}
	}
	return got
}

// nth returns an address of the nth /24 of IPv4.
func nth(n int) netip.Addr { return netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n), 1}) }

func TestAllow(t *testing.T) {
	var c clock
	l := c.limiter(10)
	a := netip.MustParseAddr("192.0.2.1")
	if got := allowed(l, a, 100); got != 10 {
		t.Errorf("%d answers at once, want 10", got)
	}
	c.pass(99 * time.Millisecond)
	if l.Allow(a) {
		t.Error("an answer before its time")
	}
	for _, d := range []time.Duration{time.Millisecond, 100 * time.Millisecond} {
		c.pass(d)
		if got := allowed(l, a, 100); got != 1 {
			t.Errorf("%d answers after a tenth of a second, want 1", got)
		}
	}
	c.pass(time.Hour)
	if got := allowed(l, a, 100); got != 10 {
		t.Errorf("%d answers after an hour, want 10", got)
	}
}

func TestNetworks(t *testing.T) {
	tests := []struct {
		a, b   string
		shared bool
	}{
		{"192.0.2.1", "192.0.2.255", true},
		{"192.0.2.1", "::ffff:192.0.2.9", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"0.0.0.1", "::1:1", false},
		{"2001:db8:0:100::1", "2001:db8:0:1ff:ffff::", true},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"2001:db8:0:100::1", "2001:db8:0:200::1", false},
		{"0.0.4.1", "::400:0:0:0:0", false},
	}
	for _, test := range tests {
		var c clock
		l := c.limiter(5)
		allowed(l, netip.MustParseAddr(test.a), 5)
		if got := l.Allow(netip.MustParseAddr(test.b)); got == test.shared {
			t.Errorf("%s and %s share a bucket: %v, want %v", test.a, test.b, !got, test.shared)
		}
	}
	var c clock
	if got := allowed(c.limiter(5), netip.Addr{}, 10); got != 5 {
		t.Errorf("%d answers to no address, want 5", got)
	}
}

func TestNoLimit(t *testing.T) {
	for _, rate := range []int{0, -1} {
		if got := allowed(New(Options{Rate: rate}), nth(1), 1e4); got != 1e4 {
			t.Errorf("rate %d: %d answers of 10,000", rate, got)
		}
	}
	var c clock
	for _, a := range []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"} {
		if got := allowed(c.limiter(1), netip.MustParseAddr(a), 100); got != 100 {
			t.Errorf("%s: %d answers of 100", a, got)
		}
	}
	if got := allowed(c.limiter(1<<62), nth(1), 1e4); got != 1e4 {
		t.Errorf("a rate beyond measure: %d answers of 10,000", got)
	}
}

func TestAllowInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Rate: 100})
		got, end := 0, time.Now().Add(10*time.Second)
		for tick := time.NewTicker(time.Millisecond); time.Now().Before(end); <-tick.C {
			got += allowed(l, nth(7), 3)
		}
		if got < 1090 || got > 1100 {
			t.Errorf("%d answers in 10 s, want 100 and 100 a second", got)
		}
	})
}

// A flood from a million networks hurts none that is within its rate and spares none
// that is not.
func TestFlood(t *testing.T) {
	const rate = 10
	var c clock
	l := c.limiter(rate)
	good, victim := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")
	random := rand.New(rand.NewPCG(1, 2))
	refused, hit := 0, 0
	for i := range 600_000 { // 3 s; at any time 20,000 have not got back what they had
		c.pass(5 * time.Microsecond)
		l.Allow(nth(random.IntN(1 << 20)))
		if i%25_000 == 0 && !l.Allow(good) { // 8 a second
			refused++
		}
		if i%50 == 0 && l.Allow(victim) { // 4,000 a second
			hit++
		}
	}
	if refused > 0 {
		t.Errorf("%d answers to one within its rate were refused", refused)
	}
	if want := rate + 3*rate; hit > want {
		t.Errorf("%d answers to a victim, want at most %d", hit, want)
	}
}

// Of more networks than there are buckets, all at once, none gets more than its rate, and
// all together no more than the buckets hold.
func TestFloodBeyondAllBuckets(t *testing.T) {
	var c clock
	l := c.limiter(4)
	victim := netip.MustParseAddr("2001:db8::1")
	hit, all := allowed(l, victim, 100), 0
	for i := range 1 << 18 {
		all += allowed(l, nth(i), 2)
		if i%1000 == 0 {
			hit += allowed(l, victim, 10)
		}
	}
	if hit != 4 {
		t.Errorf("%d answers to a victim whose bucket the flood should wash away, want 4", hit)
	}
	if most := 4 * ways * sets; all > most {
		t.Errorf("%d answers to a flood, want at most %d", all, most)
	}
	c.pass(time.Second)
	if got := allowed(l, victim, 10) + allowed(l, netip.MustParseAddr("203.0.113.1"), 10); got != 8 {
		t.Errorf("%d answers a second later, want 4 for each of two", got)
	}
}

func TestAllowAtOnce(t *testing.T) {
	const rate = 1000
	var c clock
	l := c.limiter(rate)
	l.Allow(nth(1))
	var got atomic.Int64
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for j := range 2 * rate {
				if l.Allow(nth(1)) {
					got.Add(1)
				}
				l.Allow(nth(2 + i*2*rate + j))
			}
		})
	}
	done.Wait()
	if got := got.Load() + 1; got != rate {
		t.Errorf("%d answers to eight at once, want %d", got, rate)
	}
}

func TestAllowAllocatesNothing(t *testing.T) {
	l := New(Options{Rate: 1000})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { l.Allow(a); l.Allow(b) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAllow(b *testing.B) {
	for _, bench := range []struct {
		name     string
		networks int
	}{{"one", 1}, {"thousand", 1000}, {"million", 1 << 20}} {
		b.Run(bench.name, func(b *testing.B) {
			l := New(Options{Rate: 1e6})
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				i := rand.IntN(bench.networks)
				for p.Next() {
					if i++; i >= bench.networks {
						i = 0
					}
					l.Allow(nth(i))
				}
			})
		})
	}
}
