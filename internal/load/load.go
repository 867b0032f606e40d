// Package load keeps soft state: positions that move, what instances report of
// their work and the weights that follow from it ([Table]), and what callers
// report of instances ([Outliers]). It is never logged here; it has no revision,
// but a generation for each service whose answers it changes.
package load

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Options configure [New]. The zero value is the real world, in which nothing is
// known of instances but what they report.
type Options struct {
	Now func() time.Time // nil is time.Now
	// Facts tells what an instance was registered with; false if it is not
	// registered. It is asked once at an instance's first report, and again after
	// [Table.Changed], at a report or a sweep, with a lock held: it may not call the
	// table. The texts of its answer are kept.
	Facts func(rollcall.Key) (Facts, bool)
	// Moved is told of each move, and Forgot that where an instance has moved does
	// not count any more. What is told of one instance is told in order, under a
	// lock of that instance alone: neither may call the table.
	Moved  func(rollcall.Key, rollcall.Position)
	Forgot func(rollcall.Key)
	// Raised is told of each service whose generation is another than it was, once
	// that can be seen, with locks held: it may not call the table.
	Raised func(service rollcall.ServiceKey)
}

// Facts are what weights take from a registration, and from what became of it.
type Facts struct {
	Capacity uint32 // requests at once; 0 is unknown
	Locality rollcall.Locality
	// Aside is set for an instance that gets less than its weight says, or nothing,
	// because it drains, is ejected, or is not well. What it reports says nothing of
	// the others, nor how well its weight fits.
	Aside bool
}

// Table keeps soft state by service and instance. All methods may be called by
// any goroutine. Generations and published weights are read without a lock.
//
// Services are in a concurrent map, and each has locks of its own, so that
// nothing but the queue of moved positions is shared by all. An instance that
// was heard of is kept until [Table.Drop], a service as long as it has any.
//
// Lock order: soft.sweep, soft.mu, Instance.mu, queue.mu; Table.mu alone.
type Table struct {
	o     Options
	start time.Time
	seed  maphash.Seed // of the ids in published weights
	// any says that something is known of some instance, or once was: as long as
	// nothing is, nobody needs to look.
	any        atomic.Bool
	generation atomic.Uint64 // the newest
	services   sync.Map      // of *soft by rollcall.ServiceKey
	queue      queue         // of positions that are not in the log
	none       Weights       // of services that have none

	mu      sync.Mutex // guards what follows
	weighed []*soft    // services for Tick to look at
}

// soft is the soft state of one service.
type soft struct {
	t          *Table
	key        rollcall.ServiceKey
	generation atomic.Uint64 // of what last changed answers; 0: nothing did
	weights    atomic.Pointer[Weights]
	news       atomic.Bool // for Tick

	mu        sync.RWMutex // guards what follows
	dead      bool         // it had its last instance, and is in the table no more
	instances map[string]*Instance
	joined    []*Instance // since the last sweep
	parted    []string    // ids that have a factor and were dropped since then
	counted   bool        // it is in Table.weighed

	sweep sync.Mutex // guards what follows
	state balance
}

// New returns an empty table. Its generations begin at the time of start, so
// that they differ from those of an earlier run of the same member.
func New(start time.Time, o Options) *Table {
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Table{o: o, start: start, seed: maphash.MakeSeed()}
	t.generation.Store(uint64(start.UnixMilli()))
	return t
}

// millis returns a moment in milliseconds since the table began, at least 1.
func (t *Table) millis(at time.Time) int64 { return max(1, at.Sub(t.start).Milliseconds()) }

// Generation returns the generation of a service's soft state, 0 if it has
// none.
func (t *Table) Generation(service rollcall.ServiceKey) uint64 {
	if s := t.find(service); s != nil {
		return s.generation.Load()
	}
	return 0
}

// Weights returns the weights of a service that were published last.
func (t *Table) Weights(service rollcall.ServiceKey) *Weights {
	if s := t.find(service); s != nil {
		if w := s.weights.Load(); w != nil {
			return w
		}
	}
	return &t.none
}

// changed gives the soft state of a service a new generation, once what it
// stands for can be seen.
func (s *soft) changed() uint64 {
	g := s.t.generation.Add(1)
	s.raise(g)
	return g
}

func (s *soft) raised() {
	if s.t.o.Raised != nil {
		s.t.o.Raised(s.key)
	}
}

func (s *soft) raise(g uint64) {
	for {
		was := s.generation.Load()
		if was >= g {
			return
		}
		if s.generation.CompareAndSwap(was, g) {
			s.raised()
			return
		}
	}
}

// find returns the soft state of a service, nil if it has none.
func (t *Table) find(service rollcall.ServiceKey) *soft {
	if !t.any.Load() {
		return nil
	}
	if s, ok := t.services.Load(service); ok {
		return s.(*soft)
	}
	return nil
}

// lookup returns what is known of an instance, nil if nothing is.
func (t *Table) lookup(key rollcall.Key) *Instance {
	s := t.find(key.ServiceKey)
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.instances[key.ID]
}

// Handle returns what is known of an instance that is registered, for somebody
// who looks at it again and again. It stays usable for good, but once
// [Instance.Gone] says so nothing new comes to it.
func (t *Table) Handle(key rollcall.Key) *Instance {
	for {
		s := t.find(key.ServiceKey)
		if s == nil {
			s = t.begin(key.ServiceKey)
		}
		s.mu.RLock()
		i := s.instances[key.ID]
		s.mu.RUnlock()
		if i == nil {
			i = s.add(key.ID)
		}
		if i != nil {
			return i
		}
	}
}

// begin makes the soft state of a service, unless there is one by now. The key's
// text may be that of a request, whose memory it shares: this one is kept.
func (t *Table) begin(service rollcall.ServiceKey) *soft {
	s := &soft{t: t, key: cloneService(service), instances: map[string]*Instance{}}
	got, _ := t.services.LoadOrStore(s.key, s)
	t.any.Store(true)
	return got.(*soft)
}

// add adds an instance, unless there is one by now. nil: the service is dead.
func (s *soft) add(id string) *Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil
	}
	i := s.instances[id]
	if i == nil {
		i = &Instance{of: s, id: strings.Clone(id)}
		s.instances[i.id] = i
	}
	return i
}

// clone returns a key with memory of its own: that of one that was read from a
// request is the request's.
func clone(k rollcall.Key) rollcall.Key {
	return rollcall.Key{ServiceKey: cloneService(k.ServiceKey), ID: strings.Clone(k.ID)}
}

// Report takes in an instance's load. It is shown with the instance alone and so
// has no generation; its weight may get one with the next [Table.Tick].
func (t *Table) Report(key rollcall.Key, l rollcall.Load) {
	now := t.millis(t.o.Now())
	for {
		i := t.Handle(key)
		i.know()
		if i.report(l, now) {
			i.join()
			return
		}
	}
}

// Load returns what an instance last said of its work.
func (t *Table) Load(key rollcall.Key) (rollcall.Load, bool) {
	i := t.lookup(key)
	if i == nil {
		return rollcall.Load{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.load, i.heard.Load() != 0
}

// Warm says since when an instance is healthy, and how long it takes from then
// to its full weight. A window of 0 ends that.
func (t *Table) Warm(key rollcall.Key, from time.Time, window time.Duration) {
	now := t.o.Now()
	if window <= 0 || now.Sub(from) >= window {
		i := t.lookup(key)
		if i == nil {
			return
		}
		i.mu.Lock()
		i.window = 0
		i.mu.Unlock()
		i.of.news.Store(true)
		return
	}
	for {
		i := t.Handle(key)
		i.mu.Lock()
		gone := i.gone.Load()
		i.from, i.window = from.Sub(t.start).Milliseconds(), max(1, window.Milliseconds())
		i.mu.Unlock()
		if !gone {
			i.join()
			return
		}
	}
}

// Changed says that an instance has other facts than before.
func (t *Table) Changed(key rollcall.Key) {
	if i := t.lookup(key); i != nil {
		i.asked.Store(false)
		i.of.news.Store(true)
	}
}

// Drop forgets an instance: its position, load, weight, and what was picked.
func (t *Table) Drop(key rollcall.Key) {
	s := t.find(key.ServiceKey)
	if s == nil {
		return
	}
	s.mu.Lock()
	i := s.instances[key.ID]
	delete(s.instances, key.ID)
	if w := s.weights.Load(); i != nil && w != nil {
		if _, has := w.factor(i.id); has {
			s.parted = append(s.parted, i.id)
		}
	}
	if len(s.instances) == 0 && !s.dead {
		s.dead = true
		t.services.CompareAndDelete(s.key, s)
		s.raised()
	}
	s.mu.Unlock()
	if i == nil {
		return
	}
	i.mu.Lock()
	i.gone.Store(true)
	i.unplace()
	i.mu.Unlock()
	s.news.Store(true)
}
