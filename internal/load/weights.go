package load

import (
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

const (
	// whole is a factor of 1.
	whole = 256
	// perPart is how many factors share a part, on average at most.
	perPart = 64
)

// Weights are what a service's registered weights are multiplied by, as they were
// published at a generation: a factor for each instance, and for each zone how
// much of its demand should go elsewhere. They are immutable.
//
// Only instances that something was said of are in it. They are spread over
// parts, of which a new publication copies those that differ, so that what it
// costs follows the change.
type Weights struct {
	Generation uint64

	seed   maphash.Seed
	parts  []part // a power of two of them, or none
	n      int    // factors in all of them
	spills map[zone]float64
}

type part struct {
	newest uint64 // generation of a change in it
	by     map[string]factor
}

type factor struct {
	value   uint16
	changed uint64 // at which generation
}

// Factor returns by how much the weight of an instance is multiplied, in steps of
// 1/256; 256 where nothing is known of it.
func (w *Weights) Factor(id string) uint16 {
	if f, ok := w.factor(id); ok {
		return f.value
	}
	return whole
}

func (w *Weights) factor(id string) (f factor, ok bool) {
	if w.n == 0 {
		return f, false
	}
	f, ok = w.parts[w.part(id)].by[id]
	return f, ok
}

func (w *Weights) part(id string) int {
	return int(maphash.String(w.seed, id) & uint64(len(w.parts)-1))
}

// Since yields the instances whose factors were published anew after a
// generation, with these. From 0 it yields all that are not, or were not always,
// 256. Instances that are gone are not told of.
func (w *Weights) Since(g uint64) iter.Seq2[string, uint16] {
	return func(yield func(string, uint16) bool) {
		for _, p := range w.parts {
			if p.newest <= g {
				continue
			}
			for id, f := range p.by {
				if f.changed > g && !yield(id, f.value) {
					return
				}
			}
		}
	}
}

// Spill returns the share of a zone's demand, 0 to 0.9, that should go beyond it.
func (w *Weights) Spill(region, name string) float64 { return w.spills[zone{region, name}] }

// draft is the next publication on its way. The one before is not touched.
type draft struct {
	Weights
	own    []bool // parts that were copied
	apart  bool   // spills were
	differ bool   // something that readers see was changed
	tidied bool   // something was that they do not
}

func (w *Weights) draft(seed maphash.Seed) *draft {
	d := &draft{Weights: *w}
	d.seed = seed
	return d
}

// touch returns a part that may be written.
func (d *draft) touch(id string) *part {
	if d.own == nil {
		d.parts = slices.Clone(d.parts)
		d.own = make([]bool, len(d.parts))
	}
	if d.n >= perPart*len(d.parts) {
		d.grow()
	}
	n := d.part(id)
	if !d.own[n] {
		d.parts[n].by, d.own[n] = maps.Clone(d.parts[n].by), true
	}
	return &d.parts[n]
}

// grow spreads all over twice as many parts.
func (d *draft) grow() {
	old := d.parts
	d.parts = make([]part, max(1, 2*len(old)))
	d.own = slices.Repeat([]bool{true}, len(d.parts))
	for n := range d.parts {
		d.parts[n].by = make(map[string]factor, perPart)
	}
	for _, p := range old {
		for id, f := range p.by {
			to := &d.parts[d.part(id)]
			to.by[id] = f
			to.newest = max(to.newest, f.changed)
		}
	}
}

// set sets a factor, which is published at a generation.
func (d *draft) set(id string, value uint16, at uint64) {
	if d.Factor(id) == value {
		return
	}
	p := d.touch(id)
	if _, known := p.by[id]; !known {
		d.n++
	}
	p.by[id], p.newest = factor{value, at}, at
	d.differ = true
}

// remove forgets an instance that is gone.
func (d *draft) remove(id string) {
	if _, known := d.factor(id); known {
		delete(d.touch(id).by, id)
		d.n--
		d.tidied = true
	}
}

// spill sets what a zone spills; what is next to nothing less is not worth
// telling.
func (d *draft) spill(z zone, to float64) {
	was := d.spills[z]
	if to == was || to > 0 && max(to-was, was-to) <= spillStep {
		return
	}
	if !d.apart {
		d.spills = maps.Clone(d.spills)
		d.apart = true
	}
	if d.spills == nil {
		d.spills = map[zone]float64{}
	}
	if d.spills[z] = to; to == 0 {
		delete(d.spills, z)
	}
	d.differ = true
}
