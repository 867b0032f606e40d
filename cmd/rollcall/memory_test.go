package main

import "testing"

// TestGarbagePercent: a small heap may double several times; a large one may
// grow by what is allocated in a second, but not double.
func TestGarbagePercent(t *testing.T) {
	for _, tt := range []struct{ liveMiB, rateMiB, want int }{
		{0, 0, 400}, {4, 500, 400}, {16, 0, 100}, {16, 500, 100},
		{100, 0, 20}, {100, 50, 50}, {100, 500, 100},
		{256, 0, 20}, {256, 500, 75}, {1024, 0, 20}, {1024, 1000, 50},
	} {
		if got := garbagePercent(float64(tt.liveMiB<<20), float64(tt.rateMiB<<20)); got != tt.want {
			t.Errorf("%d MiB alive, %d MiB/s: %d %%, want %d %%", tt.liveMiB, tt.rateMiB, got, tt.want)
		}
	}
}
