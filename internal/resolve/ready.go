package resolve

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const (
	// mostReady is how many results are kept, and mostReadyEndpoints how many
	// endpoints in all of them, before all are dropped: what is asked for often is
	// worked out again at once.
	mostReady          = 4096
	mostReadyEndpoints = 1 << 20
)

// Ready keeps results that follow from views and published weights alone, for as
// long as those stay: what a pick picks from, what all callers in one zone are
// given. It may be used by any number of goroutines.
type Ready struct {
	mu        sync.RWMutex // guards what follows
	results   map[readyKey]*ready
	endpoints int
}

type readyKey struct {
	own  rollcall.ServiceKey
	text string
}

// ready is a result and what it follows from. It is immutable.
type ready struct {
	of     []origin
	result *Result
	pool   *field // nil: nobody picks from it
}

// origin is the state of one service.
type origin struct {
	key     rollcall.ServiceKey
	view    *catalog.View
	weights *load.Weights
}

// field is what one is picked from: the endpoints of the first tier.
type field struct {
	stale     atomic.Bool // a handle is of an instance that is gone
	endpoints []Endpoint
	sums      []float64 // of the weights up to each endpoint
	handles   []*load.Instance
	capacity  []uint32
	turn      atomic.Uint64 // a point on a line of 2⁶⁴ that the weights are laid out on
}

// lasting reports whether the result of a plan, before a pick, follows from views
// and published weights alone.
func (p *Plan) lasting() bool {
	for _, b := range p.all() {
		if n := b.nearest(p); b.soft || n.kind == toPoint || n.kind == toInstance {
			return false
		}
	}
	return p.subset == ""
}

// get returns what is kept, if it still holds.
func (k *Ready) get(key readyKey, w *World) *ready {
	k.mu.RLock()
	r := k.results[key]
	k.mu.RUnlock()
	if r == nil || r.pool != nil && r.pool.stale.Load() {
		return nil
	}
	for _, o := range r.of {
		if w.View(o.key) != o.view || w.weights(o.key) != o.weights {
			return nil
		}
	}
	return r
}

// Sweep lets go of what does not hold any more.
func (k *Ready) Sweep(w *World) {
	k.mu.RLock()
	all := maps.Clone(k.results)
	k.mu.RUnlock()
	for key, r := range all {
		if k.get(key, w) == nil {
			k.mu.Lock()
			if k.results[key] == r {
				delete(k.results, key)
				k.endpoints -= len(r.result.Endpoints)
			}
			k.mu.Unlock()
		}
	}
}

func (k *Ready) put(key readyKey, r *ready) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.results[key]; old != nil {
		k.endpoints -= len(old.result.Endpoints)
	}
	if k.results == nil || len(k.results) >= mostReady || k.endpoints > mostReadyEndpoints {
		k.results, k.endpoints = map[readyKey]*ready{}, 0
	}
	k.results[key] = r
	k.endpoints += len(r.result.Endpoints)
}

// ready returns the result of a plan but for its pick, kept if it lasts.
func (p *Plan) ready(own rollcall.ServiceKey, w *World) (*ready, error) {
	keep := w.Ready != nil && p.lasting()
	key := readyKey{own, p.text}
	if keep {
		if r := w.Ready.get(key, w); r != nil {
			return r, nil
		}
	}
	r := &ready{}
	if keep {
		for _, service := range p.Services(own) { // before they are looked at
			r.of = append(r.of, origin{service, w.View(service), w.weights(service)})
		}
	}
	var err error
	if r.result, err = p.work(own, w); err != nil {
		return nil, err
	}
	if p.pick > 0 && w.Soft != nil {
		r.pool = newField(r.result.Endpoints, w)
	}
	if keep {
		w.Ready.put(key, r)
	}
	return r, nil
}

func newField(es []Endpoint, w *World) *field {
	for n := range es { // of the last resort only if there is nothing else
		if es[n].tier != es[0].tier {
			es = es[:n]
			break
		}
	}
	f := &field{
		endpoints: es, sums: make([]float64, len(es)), handles: make([]*load.Instance, len(es)), capacity: make([]uint32, len(es)),
	}
	f.turn.Store(uint64(w.Rand() * (1 << 63) * 2))
	sum := 0.0
	for n := range es {
		sum += es[n].weight
		f.sums[n] = sum
		key := es[n].Item.Key()
		if f.handles[n] = w.Soft.Handle(key); w.gone(key) {
			w.Soft.Drop(key) // which nobody else would any more
			f.stale.Store(true)
		}
		f.capacity[n] = record.Capacity(es[n].Item.Terms())
	}
	return f
}
