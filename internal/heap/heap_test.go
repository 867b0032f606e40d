package heap

import "testing"

// TestGarbagePercent: a small heap may double several times; a large one may
// grow by what is allocated in two seconds, or with many stacks in more, and
// double at most.
func TestGarbagePercent(t *testing.T) {
	for _, tt := range []struct{ liveMiB, stacksMiB, rateMiB, want int }{
		{0, 0, 0, 400}, {4, 0, 500, 1600}, {16, 0, 0, 100}, {16, 0, 500, 400},
		{100, 0, 0, 20}, {100, 0, 25, 50}, {100, 0, 500, 100},
		{256, 0, 0, 20}, {256, 0, 64, 50}, {1024, 0, 0, 20}, {1024, 0, 256, 50}, {1024, 0, 1000, 100},
		{300, 200, 0, 12}, {300, 200, 20, 72}, {300, 200, 1000, 100},
	} {
		if got := garbagePercent(float64(tt.liveMiB<<20), float64(tt.stacksMiB<<20), float64(tt.rateMiB<<20)); got != tt.want {
			t.Errorf("%d MiB alive, %d MiB of stacks, %d MiB/s: %d %%, want %d %%", tt.liveMiB, tt.stacksMiB, tt.rateMiB, got, tt.want)
		}
	}
}
