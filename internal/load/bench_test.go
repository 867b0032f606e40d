package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// crowdOf returns a table with so many instances in one service, all of which
// have moved and reported.
func crowdOf(n int) (*clock, []rollcall.Key) {
	c := newClock()
	c.o.Facts = func(rollcall.Key) (Facts, bool) { return Facts{Capacity: 100}, true }
	keys := make([]rollcall.Key, n)
	for i := range keys {
		keys[i] = rollcall.NewKey("", "drivers", fmt.Sprint("driver-", i))
		c.Move(keys[i], berlin)
		says(c, keys[i], 100, .5, 0)
	}
	return c, keys
}

// far spreads accesses over all keys, so that no cache of the processor has them.
func far(i, n int) int { return i * 7919 % n }

func BenchmarkMove(b *testing.B) {
	c, keys := crowdOf(1_000_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Move(keys[far(i, len(keys))], rollcall.Position{Lat: float64(i % 90), Lon: 1})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "moves/s")
}

func BenchmarkReport(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint("instances=", n), func(b *testing.B) {
			c, keys := crowdOf(n)
			c.o.Now = time.Now
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Report(keys[far(i, len(keys))], rollcall.Load{Utilization: .5, InFlight: i % 10, RPS: 10, LatencyP50: 20})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
		})
	}
}

// BenchmarkMoved takes 500 of a million each time, as the log does once a second,
// while others move on.
func BenchmarkMoved(b *testing.B) {
	c, _ := crowdOf(1_000_000)
	for b.Loop() {
		for key := range c.Moved(500) {
			c.queue.push(c.lookup(key))
		}
	}
}

func BenchmarkGeneration(b *testing.B) {
	for _, state := range []string{"none at all", "none", "some"} {
		b.Run(state, func(b *testing.B) {
			c := newClock()
			if state != "none at all" {
				for n := range 1000 {
					c.Move(rollcall.NewKey("", fmt.Sprint("service-", n), "1"), berlin)
				}
			}
			key := rollcall.NewServiceKey("", "service-500")
			if state == "none" {
				key.Service = "another"
			}
			b.ReportAllocs()
			for b.Loop() {
				c.Generation(key)
			}
		})
	}
}

func BenchmarkFactor(b *testing.B) {
	c := newClock()
	ids := make([]string, 10_000)
	for n := range ids {
		ids[n] = fmt.Sprint("instance-", n)
		c.Warm(rollcall.NewKey("", "a", ids[n]), c.now, time.Hour)
	}
	c.Tick(c.now)
	w := c.Weights(one.ServiceKey)
	for i := 0; b.Loop(); i++ {
		w.Factor(ids[i%len(ids)])
	}
}

func BenchmarkPicker(b *testing.B) {
	c := newClock()
	c.Report(one, rollcall.Load{InFlight: 3, LatencyP50: 200})
	i := c.Handle(one)
	b.Run("Picked", func(b *testing.B) {
		b.ReportAllocs()
		now := c.now
		for b.Loop() {
			now = now.Add(time.Millisecond)
			i.Picked(now)
		}
	})
	b.Run("InFlight", func(b *testing.B) {
		b.ReportAllocs()
		i.Picked(c.now)
		now := c.now.Add(time.Second)
		for b.Loop() {
			i.InFlight(now)
		}
	})
	b.Run("Latency", func(b *testing.B) {
		for b.Loop() {
			i.Latency()
		}
	})
	b.Run("Utilization", func(b *testing.B) {
		for b.Loop() {
			i.Utilization()
		}
	})
}

// BenchmarkTick sweeps a service all of whose instances have reported anew; in
// the second case the weights of a tenth of them move.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, moving := range []bool{false, true} {
			b.Run(fmt.Sprintf("instances=%d/moving=%v", n, moving), func(b *testing.B) {
				c, keys := crowdOf(n)
				c.now = c.now.Add(11 * time.Second)
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					c.now = c.now.Add(time.Second)
					for k, key := range keys {
						used := .5
						if moving && k%10 == i%10 {
							used = .5 + .1*float64(i%5)
						}
						says(c, key, 100, used, 0)
					}
					b.StartTimer()
					c.Tick(c.now)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/instance")
			})
		}
	}
}
