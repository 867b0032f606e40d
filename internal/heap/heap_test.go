package heap

import "testing"

// TestGarbagePercent: a small heap may double several times; a large one may
// grow by what is allocated in two seconds, and double at most.
func TestGarbagePercent(t *testing.T) {
	for _, tt := range []struct{ liveMiB, rateMiB, want int }{
		{0, 0, 400}, {4, 500, 1600}, {16, 0, 100}, {16, 500, 400},
		{100, 0, 20}, {100, 25, 50}, {100, 500, 100},
		{256, 0, 20}, {256, 64, 50}, {1024, 0, 20}, {1024, 256, 50}, {1024, 1000, 100},
	} {
		if got := garbagePercent(float64(tt.liveMiB<<20), float64(tt.rateMiB<<20)); got != tt.want {
			t.Errorf("%d MiB alive, %d MiB/s: %d %%, want %d %%", tt.liveMiB, tt.rateMiB, got, tt.want)
		}
	}
}
