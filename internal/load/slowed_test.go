package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// TestSlowed: one of ten that has become five times as slow has at most half of its
// weight within 8 s, whether it is full then or was next to idle, and has all of it
// back some time after it is well.
func TestSlowed(t *testing.T) {
	for _, used := range []float64{0.1, 0.5, 0.8} {
		c := newClock()
		key := func(n int) rollcall.Key { return rollcall.NewKey("", "a", fmt.Sprint(n)) }
		slow := 1.0
		report := func() {
			var all float64
			for n := range 10 {
				all += c.factor(key(n))
			}
			for n := range 10 {
				rps := 1000 * c.factor(key(n)) / all // callers follow the weights
				costs := used / 100
				if n == 3 {
					costs *= slow
				}
				c.Report(key(n), rollcall.Load{RPS: min(rps, 1/costs), Utilization: min(1, rps*costs)})
			}
		}
		c.pass(time.Minute, report)
		c.want(t, key(3), 1)
		slow = 5
		took := time.Duration(0)
		for c.factor(key(3)) > 0.5 && took < time.Minute {
			c.pass(time.Second, report)
			took += time.Second
		}
		if took > 8*time.Second {
			t.Errorf("at a utilisation of %v it has half of its weight after %v", used, took)
		}
		slow = 1
		c.pass(3*time.Minute, report)
		if f := c.factor(key(3)); f < 0.9 || f > 1.1 {
			t.Errorf("at a utilisation of %v it has %.2f of its weight when it is well again", used, f)
		}
	}
}
