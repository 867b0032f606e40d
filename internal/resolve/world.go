package resolve

import (
	"iter"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/filter"
	"github.com/rollcall-registry/rollcall/internal/index"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// World is what an answer is worked out from: views, and soft state as of now. It
// is shared by all queries and safe for concurrent use.
type World struct {
	View    func(rollcall.ServiceKey) *catalog.View // nil if the service is not known
	Soft    *load.Table                             // nil: none is known, as of the past
	Index   *index.Table                            // of big services; nil: all are scanned
	Subsets *Subsets
	Ready   *Ready // nil: nothing is kept
	// Newest returns the newest state of an instance, nil if it is gone; unlike View
	// it need not be of one snapshot. Nil is View's.
	Newest func(rollcall.Key) *catalog.Item
	// Places, if set, remembers where instances were that nearness is measured from, for
	// one who goes on asking when they are gone.
	Places map[rollcall.Key]Place

	explain bool // results keep what they were made of
	Now     func() time.Time
	Rand    func() float64 // from [0, 1)
}

// position returns where an instance is now, nil if that is not known.
func (w *World) position(i *catalog.Item) *rollcall.Position {
	if w != nil && w.Soft != nil {
		if p, moved := w.Soft.Position(i.Key()); moved {
			return &p
		}
	}
	return record.Position(i.Record())
}

// gone reports whether an instance is not registered any more.
func (w *World) gone(key rollcall.Key) bool {
	if w.Newest != nil {
		return w.Newest(key) == nil
	}
	return w.item(key) == nil
}

func (w *World) item(key rollcall.Key) *catalog.Item {
	if v := w.View(key.ServiceKey); v != nil {
		return v.Get(key.ID)
	}
	return nil
}

// index returns the index of a view, nil if it has none or there is nothing to
// look up.
func (w *World) index(v *catalog.View, terms []index.Term) *index.Service {
	if w == nil || w.Index == nil || len(terms) == 0 {
		return nil
	}
	return w.Index.Of(v)
}

func (w *World) weights(service rollcall.ServiceKey) *load.Weights {
	if w == nil || w.Soft == nil {
		return nil
	}
	return w.Soft.Weights(service)
}

// Weight returns an instance's effective weight among all of its service.
func (w *World) Weight(i *catalog.Item) uint16 {
	service := i.Key().ServiceKey
	v := w.View(service)
	return Weigh(i, w.weights(service), v != nil && v.Panic())
}

// Weights yields the instances of a service whose weight was published anew behind a
// generation of its soft state, from 0 all that do not have what they registered,
// with their effective weights; and returns the newest generation.
func (w *World) Weights(service rollcall.ServiceKey, since uint64) (iter.Seq2[*catalog.Item, uint16], uint64) {
	ws, v := w.weights(service), w.View(service)
	return func(yield func(*catalog.Item, uint16) bool) {
		if v == nil {
			return
		}
		for id := range ws.Since(since) {
			if i := v.Get(id); i != nil && !yield(i, Weigh(i, ws, v.Panic())) {
				return
			}
		}
	}, ws.Generation
}

// subject is an instance as an expression reads it, with its soft state if that is
// read.
func (w *World) subject(i *catalog.Item, soft bool) *filter.Subject {
	s := &filter.Subject{Key: i.Key(), Record: i.Record(), Status: i.Status()}
	if soft && w != nil && w.Soft != nil {
		s.Position = w.position(i)
		if l, ok := w.Soft.Load(s.Key); ok {
			s.Load = &l
		}
	}
	return s
}

// full is the factor of an instance of which nothing speaks for less.
const full = 256

// Shares of their weight that instances have which are not at their best, in
// 1/256.
const (
	degradedFactor = full / 2
	floorFactor    = 26 // the suspect and the flapping: a tenth
)

// Weigh returns an instance's effective weight: that which it was registered with,
// times its warm-up and load factor, which ws has, times what its health leaves.
// One that takes no traffic, because it is not usable or has weight 0, has 0; all
// others have at least 1.
func Weigh(i *catalog.Item, ws *load.Weights, panic bool) uint16 {
	w := record.Weight(i.Terms())
	if w == 0 || !i.Usable() {
		return 0
	}
	f := uint64(full)
	if ws != nil {
		f = uint64(ws.Factor(i.ID()))
	}
	if !panic { // in which the evidence is thought to mislead
		f = f * health(i) / full
	}
	return uint16(min(max(1, (uint64(w)*f+full/2)/full), 1<<16-1))
}

// Aside reports whether an instance is no measure of the others of its service: it
// does not get its share of the traffic, for its health or because it asks for none.
func Aside(i *catalog.Item) bool {
	return !i.Status().Routable() || i.Idle() || health(i) != full
}

// health returns what an instance's health leaves of its weight.
func health(i *catalog.Item) uint64 {
	if f, ok := i.Finding(rollcall.SlotFlap); ok && f.Status == rollcall.Degraded || i.Status() == rollcall.Suspect {
		return floorFactor
	}
	if i.Status() == rollcall.Degraded {
		return degradedFactor
	}
	return full
}
