// Package heap paces the garbage collector, and tells what memory it holds.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go's own rule, that the heap may double, lets a registry of a million
// instances take twice the memory that it needs, and collects a small one many
// times a second. Here the garbage that may pile up follows what is made of it:
// two seconds' worth and, so that the collector does not take ever more of the
// processor, two more for each 25 MiB of stacks that it has to look at, of which
// open streams have more than of anything else; within bounds.
const (
	garbageSeconds    = 2
	garbageFor        = 25 << 20 // of stacks
	garbageLeast      = 16 << 20
	garbageLeastShare = 0.2      // of what is alive
	garbageMost       = 64 << 20 // or as much as is alive, heap and stacks together
	// Below this Go takes the percentage of this much.
	smallestHeap = 4 << 20
)

// garbagePercent returns by how much of them the heap may grow when so many bytes of
// it and of stacks are alive and so many are allocated a second.
func garbagePercent(live, stacks, rate float64) int {
	live = max(live, smallestHeap)
	seconds := garbageSeconds * (1 + stacks/garbageFor)
	least := max(garbageLeast, garbageLeastShare*live)
	most := max(garbageMost, live+stacks)
	return int(100 * min(max(seconds*rate, least), most) / (live + stacks))
}

// paceEvery is how often GOGC is looked at: before a storm that has just begun
// has filled what a quiet registry may fill.
const paceEvery = 100 * time.Millisecond

// calms is what is left of the rate after paceEvery when nothing is allocated:
// half of it after two thirds of a second.
const calms = 0.9

// Pace keeps GOGC in line with the heap until ctx ends, unless the user has set
// it.
func Pace(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(s)
	at, allocated := time.Now(), s[1].Value.Uint64()
	set, rate := 100, 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(s)
		now, total := time.Now(), s[1].Value.Uint64()
		rate = max(float64(total-allocated)/now.Sub(at).Seconds(), calms*rate)
		at, allocated = now, total
		want := garbagePercent(float64(s[0].Value.Uint64()), float64(s[2].Value.Uint64()), rate)
		if change := want - set; max(change, -change) > set/10 { // stops the world for a moment
			set = want
			debug.SetGCPercent(want)
		}
	}
}

// Held returns how much memory the Go runtime holds from the system.
func Held() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
