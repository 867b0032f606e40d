package load

import "slices"

const (
	// A zone is crowded from crowdedFrom on, until it is below crowdedTo.
	crowdedFrom, crowdedTo = 0.70, 0.55
	// spillTo is the utilisation that a zone which spills is brought to.
	spillTo = (crowdedFrom + crowdedTo) / 2
	// spillRate is by how much a spill moves in a second, for each unit of
	// utilisation that the zone is away from where it should be: no swinging as
	// long as callers and reports take less than 1/(e·spillRate) = 7 s together.
	spillRate = 0.05
	mostSpill = 0.9
	// spillMargin is by how much a zone must be fuller than the others for its
	// spill to rise: two that are equally full do not spill into each other.
	spillMargin = 0.05
	// spillStep is by how much a spill must move to be published.
	spillStep = 0.03
	// longestStep is the time, in ms, that a sweep makes up for at most.
	longestStep = 5_000
)

// zone names a zone within a region.
type zone struct{ region, name string }

// crowd is how full a zone is, by the reports of its instances.
type crowd struct {
	sum, n  float64 // of utilisations, at this sweep
	crowded bool
	spill   float64

	// Of those at this sweep whose utilisations can be compared.
	even, peers float64   // the sum of what they are busy, and how many they are
	stays       []float64 // how long requests are with them, sorted; without those that do not say
	stay        float64   // the median
}

// beyond reports whether a zone works beyond its capacity.
func (c *crowd) beyond() bool { return c.even > c.peers }

// gather finds how full the zones are.
func (b *balance) gather() {
	for _, c := range b.zones {
		*c = crowd{crowded: c.crowded, spill: c.spill, stays: c.stays[:0]}
	}
	for _, w := range b.all {
		if !w.counts {
			continue
		}
		c := b.crowd(w)
		w.crowd = c
		c.sum, c.n = c.sum+w.used, c.n+1
		if !w.compares() {
			continue
		}
		c.even, c.peers = c.even+w.busy(), c.peers+1
		if w.means.inFlight > 0 {
			c.stays = append(c.stays, w.means.stay())
		}
	}
	for _, c := range b.zones {
		if slices.Sort(c.stays); len(c.stays) > 0 {
			c.stay = c.stays[len(c.stays)/2]
		}
	}
}

// crowd returns that of an instance's zone.
func (b *balance) crowd(w *weighed) *crowd {
	var z zone
	if f := w.facts.Load(); f != nil {
		z = zone{f.Locality.Region, f.Locality.Zone}
	}
	c := b.zones[z]
	if c == nil {
		if b.zones == nil {
			b.zones = map[zone]*crowd{}
		}
		c = &crowd{}
		b.zones[z] = c
	}
	return c
}

// crowds works out what the zones spill.
func (b *balance) crowds(ms int64) {
	var sum, n float64
	for _, c := range b.zones {
		sum, n = sum+c.sum, n+c.n
	}
	seconds := float64(min(ms-b.last, longestStep)) / 1000
	for z, c := range b.zones {
		if c.n == 0 {
			delete(b.zones, z)
			continue
		}
		if c.step(c.sum/c.n, sum-c.sum, n-c.n, seconds) {
			b.due = ms
		}
	}
}

// step moves the spill of a zone with a utilisation, beside others whose
// utilisations have a sum, and reports whether there is more to come. It rises
// while the zone is crowded and fuller than the others are on average, falls where
// it is emptier than it should be or than they are, and else stays; what nobody
// else says it has room for is not spilt.
func (c *crowd) step(used, others, n, seconds float64) (more bool) {
	switch {
	case used >= crowdedFrom:
		c.crowded = true
	case used < crowdedTo:
		c.crowded = false
	}
	beyond := used - spillTo
	switch over := used - others/n; {
	case n == 0:
		beyond = min(beyond, -spillTo)
	case over < 0:
		beyond = min(beyond, over)
	default:
		beyond = min(beyond, max(0, over-spillMargin))
	}
	if beyond > 0 && !c.crowded {
		beyond = 0
	}
	c.spill = min(max(c.spill+beyond*spillRate*seconds, 0), mostSpill)
	return c.crowded || c.spill > 0
}
