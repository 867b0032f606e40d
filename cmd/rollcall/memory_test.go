package main

import "testing"

// TestGarbagePercent: a small heap may double several times, a large one not
// once.
func TestGarbagePercent(t *testing.T) {
	for _, tt := range []struct{ liveMiB, want int }{
		{0, 400}, {4, 400}, {8, 200}, {16, 100}, {192, 100}, {384, 50}, {1024, 25}, {4096, 25},
	} {
		if got := garbagePercent(float64(tt.liveMiB << 20)); got != tt.want {
			t.Errorf("%d MiB alive: %d %%, want %d %%", tt.liveMiB, got, tt.want)
		}
	}
}
