package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// What the heap of a registry may grow by before it is collected: Go's own rule,
// as much as is alive, collects a small registry many times a second and lets
// one of a million instances take twice the memory that it needs.
const (
	garbageLeast = 16 << 20
	garbageMuch  = 192 << 20 // from here on a share of what is alive
	garbageShare = 0.25
)

// garbagePercent returns by how much the heap may grow when so many bytes of it
// are alive. Of a heap below 4 MiB, Go takes the percentage of that.
func garbagePercent(live float64) int {
	live = max(live, 4<<20)
	return int(100 * max(garbageLeast, min(live, max(garbageMuch, garbageShare*live))) / live)
}

// paceCollector sets GOGC anew after each collection, unless the user has set
// it.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := 0
	var collected func(struct{})
	next := func() { runtime.AddCleanup(new([64]byte), collected, struct{}{}) }
	collected = func(struct{}) {
		metrics.Read(sample)
		want := garbagePercent(float64(sample[0].Value.Uint64()))
		if change := want - set; max(change, -change) > set/20 { // stops the world
			set = want
			debug.SetGCPercent(want)
		}
		next()
	}
	collected(struct{}{})
}
