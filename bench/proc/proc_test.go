package proc

import (
	"os"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	for start := Self(); Self() < start+50*time.Millisecond; {
	}
	u, err := Read(os.Getpid())
	if err != nil || u.CPU < 30*time.Millisecond || u.RSS < 1<<20 || u.Peak < u.RSS {
		t.Errorf("%+v, %v", u, err)
	}
	if d := u.CPU - Self(); d > 50*time.Millisecond || d < -50*time.Millisecond {
		t.Errorf("/proc says %v, getrusage %v", u.CPU, Self())
	}
	if _, err := Read(1 << 30); err == nil {
		t.Error("no error for a process that is not there")
	}
}

// TestClock: two processes that read the clock would agree.
func TestClock(t *testing.T) {
	before := monotonic()
	got := Clock(time.Now())
	if after := monotonic(); got < before-int64(time.Millisecond) || got > after+int64(time.Millisecond) {
		t.Errorf("%d, not between %d and %d", got, before, after)
	}
}

func TestHere(t *testing.T) {
	if m := Here("."); m.Cores == 0 || m.Kernel == "" || m.Filesystem == "" || m.MemoryGiB == 0 {
		t.Errorf("%+v", m)
	}
}
