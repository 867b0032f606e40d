// Package load keeps soft state: positions that move, what instances report of
// their work ([Table]), and what callers report of instances ([Outliers]). It is
// never logged here; it has no revision, but a generation for each service whose
// answers it changes.
package load

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Table keeps soft state by instance. All methods may be called by any
// goroutine.
type Table struct {
	// any says that some instance has moved, ever: as long as none has, nobody
	// needs to look.
	any atomic.Bool

	mu          sync.RWMutex // guards what follows
	generation  uint64       // the newest
	generations map[rollcall.ServiceKey]uint64
	positions   map[rollcall.Key]rollcall.Position
	loads       map[rollcall.Key]rollcall.Load
	moved       map[rollcall.Key]struct{} // positions that are not in the log
}

// New returns an empty table. Its generations begin at the time of start, so
// that they differ from those of an earlier run of the same member.
func New(start time.Time) *Table {
	return &Table{
		generation:  uint64(start.UnixMilli()),
		generations: map[rollcall.ServiceKey]uint64{},
		positions:   map[rollcall.Key]rollcall.Position{},
		loads:       map[rollcall.Key]rollcall.Load{},
		moved:       map[rollcall.Key]struct{}{},
	}
}

// Generation returns the generation of a service's soft state, 0 if it has
// none.
func (t *Table) Generation(service rollcall.ServiceKey) uint64 {
	if !t.any.Load() {
		return 0
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.generations[service]
}

// Move notes where an instance is.
func (t *Table) Move(key rollcall.Key, p rollcall.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.any.Store(true)
	key = clone(key)
	t.positions[key] = p
	t.moved[key] = struct{}{}
	t.generation++
	t.generations[key.ServiceKey] = t.generation
}

// Report notes an instance's load. It is shown with the instance alone and so
// has no generation.
func (t *Table) Report(key rollcall.Key, l rollcall.Load) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.loads[key]; !known {
		key = clone(key)
	}
	t.loads[key] = l
}

// clone returns a key with memory of its own: that of one that was read from a
// request is the request's.
func clone(k rollcall.Key) rollcall.Key {
	return rollcall.Key{ServiceKey: rollcall.ServiceKey{
		Namespace: strings.Clone(k.Namespace), Service: strings.Clone(k.Service),
	}, ID: strings.Clone(k.ID)}
}

// Position returns where an instance said it is since it was registered.
func (t *Table) Position(key rollcall.Key) (p rollcall.Position, ok bool) {
	if !t.any.Load() {
		return p, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok = t.positions[key]
	return p, ok
}

// Load returns what an instance last said of its work.
func (t *Table) Load(key rollcall.Key) (rollcall.Load, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, ok := t.loads[key]
	return l, ok
}

// Moved takes up to n positions that are not in the log yet.
func (t *Table) Moved(n int) map[rollcall.Key]rollcall.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := make(map[rollcall.Key]rollcall.Position, min(n, len(t.moved)))
	for key := range t.moved {
		if len(taken) == n {
			break
		}
		taken[key] = t.positions[key]
		delete(t.moved, key)
	}
	return taken
}

// Logged says that p has reached the log as key's position, so that it need not
// be laid over the log's any more.
func (t *Table) Logged(key rollcall.Key, p rollcall.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.positions[key] == p {
		delete(t.positions, key)
		delete(t.moved, key)
	}
}

// Forget forgets where an instance has moved: its registration says where it is.
func (t *Table) Forget(key rollcall.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.positions[key]; !ok {
		return
	}
	delete(t.positions, key)
	delete(t.moved, key)
	t.generation++
	t.generations[key.ServiceKey] = t.generation
}

// Drop forgets an instance's position and load.
func (t *Table) Drop(key rollcall.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.positions, key)
	delete(t.loads, key)
	delete(t.moved, key)
}
