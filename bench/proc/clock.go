package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// The monotonic clock of the system, which Go's times carry in a form of their own.
var (
	clockThen = time.Now()
	clockWas  = monotonic()
)

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// Clock returns what the monotonic clock said at a time, in nanoseconds: it is the same in
// all processes of this machine.
func Clock(t time.Time) int64 { return clockWas + int64(t.Sub(clockThen)) }
