package lease

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func benchTable(n int) (*clock, []rollcall.Key) {
	c := newClock(time.Hour)
	keys := make([]rollcall.Key, n)
	for i := range keys {
		keys[i] = rollcall.NewKey("", fmt.Sprintf("service-%d", i%1000), fmt.Sprintf("instance-%d", i))
		c.Set(keys[i], grant(1, seconds(15), seconds(60)))
	}
	return c, keys
}

func BenchmarkRenew(b *testing.B) {
	c, keys := benchTable(100_000)
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			c.Renew(keys[i*7919%len(keys)])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				c.Renew(keys[i*7919%len(keys)])
			}
		})
	})
}

func BenchmarkTick(b *testing.B) {
	b.Run("idle/leases=100000", func(b *testing.B) {
		c, _ := benchTable(100_000)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			c.at.Add(int64(Tick))
			c.Tick()
		}
	})
	b.Run("lapses=100000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			c, keys := benchTable(100_000)
			for range 15*int(time.Second/Tick) - 1 {
				c.at.Add(int64(Tick))
				c.Tick()
			}
			c.at.Add(int64(Tick))
			b.StartTimer()
			if n := len(c.Tick()); n != len(keys) {
				b.Fatalf("%d lapsed", n)
			}
		}
	})
}
