//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

var (
	crashes = flag.Int("crashes", 200, "how often TestCrashes kills the server")
	seed    = flag.Uint64("seed", 0, "seed of TestCrashes; 0 draws one")
)

// absent is what a writer knows of an instance that is not registered.
const absent = 0

// writer is the only one to write to some instances, one call at a time, and
// knows what the server must have of each.
type writer struct {
	name  string
	rng   *rand.Rand
	n     int
	acked map[string]int // number of the newest acknowledged registration, or absent
	// The call that was under way when the server died: its outcome is open.
	openID string
	open   int
}

func (w *writer) instance(id string, n int) rollcall.Instance {
	return rollcall.Instance{
		Service: "crash-" + w.name, ID: id, Address: "10.0.0.1", Ports: map[string]uint16{"http": 8080},
		Metadata: map[string]string{"n": strconv.Itoa(n)},
		Lease:    rollcall.Lease{TTL: rollcall.Duration(time.Hour)},
	}
}

// run writes until ctx ends, which it does when the server is killed.
func (w *writer) run(ctx context.Context, p *process.Process, acks *atomic.Int64) error {
	for {
		id := fmt.Sprintf("%s-%d", w.name, w.rng.IntN(50))
		w.n++
		w.openID, w.open = id, w.n
		var err error
		if w.acked[id] != absent && w.rng.IntN(5) == 0 {
			w.open = absent
			err = p.Client.Deregister(ctx, rollcall.NewKey("", "crash-"+w.name, id))
		} else {
			_, err = p.Client.Put(ctx, w.instance(id, w.n))
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		w.acked[id] = w.open
		w.openID = ""
		acks.Add(1)
	}
}

// check compares what the server has with what it must have, and takes over
// what it made of the open call.
func (w *writer) check(t *testing.T, p *process.Process) {
	t.Helper()
	has := map[string]int{}
	ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: "crash-" + w.name, Health: rollcall.HealthAny})
	if err != nil && !errors.Is(err, rollcall.ErrNotFound) {
		t.Fatalf("%s: %v", w.name, err)
	}
	for _, i := range ans.Instances {
		if has[i.ID], err = strconv.Atoi(i.Metadata["n"]); err != nil {
			t.Fatalf("%s: %v", i.ID, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.acked)) {
		want, got := w.acked[id], has[id]
		if got != want && !(id == w.openID && got == w.open) {
			t.Errorf("%s: the server has registration %d, and acknowledged %d (0 is none)", id, got, want)
		}
	}
	for id, n := range has {
		if _, known := w.acked[id]; !known && !(id == w.openID && n == w.open) {
			t.Errorf("%s: the server has registration %d, which it never acknowledged", id, n)
		}
		w.acked[id] = n
	}
	if w.openID != "" && has[w.openID] == 0 {
		w.acked[w.openID] = absent
	}
	w.openID = ""
}

// TestCrashes kills a server at random moments under load and looks at what the
// next one on the same directory has: every acknowledged write, and nothing that
// was not asked for.
func TestCrashes(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("%d crashes with -seed %d", *crashes, *seed)
	rng := rand.New(rand.NewPCG(*seed, 0))
	writers := make([]*writer, 8)
	for i := range writers {
		writers[i] = &writer{
			name: strconv.Itoa(i), acked: map[string]int{},
			rng: rand.New(rand.NewPCG(*seed, uint64(i)+1)),
		}
	}
	dir := t.TempDir()
	var acks atomic.Int64
	var slowest time.Duration
	for n := range *crashes {
		begin := time.Now()
		p, err := process.Start(dir)
		if err != nil {
			t.Fatalf("start %d: %v", n, err)
		}
		slowest = max(slowest, time.Since(begin))
		for _, w := range writers {
			w.check(t, p)
		}
		if t.Failed() {
			p.Kill()
			t.Fatalf("after %d crashes", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() {
				if err := w.run(ctx, p, &acks); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			})
		}
		select {
		case <-time.After(time.Duration(20+rng.IntN(280)) * time.Millisecond):
		case <-p.Exited:
			t.Errorf("the server ended by itself: %v\n%s", p.Err, p.Output())
		}
		// The context ends first, so that a writer does not take the refused
		// connection for an answer; what it waits for then is open.
		cancel()
		p.Signal(syscall.SIGKILL)
		wg.Wait()
		p.Kill()
	}
	t.Logf("%d acknowledged writes, slowest start %v", acks.Load(), slowest)
}
