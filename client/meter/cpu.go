package meter

import (
	"runtime"
	"time"
)

// cpuLeast is over what time the use of processors is measured at least.
const cpuLeast = time.Second

// cpuShare is the process's share of the processors between the last two readings.
type cpuShare struct {
	at, used time.Duration
	last     float64
}

func (c *cpuShare) share(now, used time.Duration) float64 {
	if used == 0 {
		return 0
	}
	if passed := now - c.at; passed >= cpuLeast {
		if c.used != 0 {
			c.last = float64(used-c.used) / float64(passed) / float64(runtime.GOMAXPROCS(0))
		}
		c.at, c.used = now, used
	}
	return max(c.last, 0)
}
