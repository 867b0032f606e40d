package catalog

import (
	"fmt"

	"github.com/rollcall-registry/rollcall"
)

// DefaultPanic is the share of routable instances below which a service is in
// panic.
const DefaultPanic = 0.5

// PanicBelow replaces [DefaultPanic], before anything is applied; 0 is never.
func (c *Catalog) PanicBelow(share float64) { c.panic = share }

// A service is in panic when fewer than a share of those instances are routable
// that nobody has seen fail: it is then likelier that the evidence misleads than
// that most of them are down, and to serve them all beats to send everything to
// the few that are left (after Envoy's panic threshold). Instances that are known
// to be dead are neither counted nor served, nor are those that drain or have
// yet to start. Of one instance alone no share can be told.
//
// It follows from the log alone, and is decided at the end of each entry, so
// that all members and all revisions agree on it.
func (v *View) panics(below float64) bool {
	if v.settings != nil && v.settings.Panic != nil {
		below = *v.settings.Panic
	}
	counted := v.Routable() + v.counts[rollcall.Suspect] + v.counts[rollcall.Unhealthy] - v.dead
	return counted > 1 && float64(v.Routable()) < below*float64(counted)
}

// settle decides on the panic of the services that an entry touched. Where it
// begins or ends, the instances that this concerns change in the same revision.
func (c *Catalog) settle(e *rollcall.Entry) {
	for _, v := range c.touched {
		if v.panics(c.panic) == v.panic {
			continue
		}
		v.panic = !v.panic
		c.next.panics++
		if !v.panic {
			c.next.panics -= 2
		}
		why := "the panic is over"
		if v.panic {
			why = fmt.Sprintf("panic: %d of %d instances are routable", v.Routable(), v.Len())
		}
		if !c.reset {
			c.events = append(c.events, Event{
				Revision: e.Revision, Committed: c.committed, Service: *v.key, Was: v.Image(), Panic: &Panic{v.panic, e.Changes[len(e.Changes)-1].At}, Why: why,
			})
		}
		var concerned []*Item
		for i := range v.All() {
			if i.forced != (v.panic && i.status == rollcall.Unhealthy && !i.Dead()) {
				concerned = append(concerned, i)
			}
		}
		for _, old := range concerned {
			n := *old
			n.forced = v.panic
			v.items.Set(&n)
			if !c.reset {
				c.events = append(c.events, Event{
					Revision: e.Revision, Committed: c.committed, Service: *v.key, ID: n.ID(), Before: old, After: &n, Why: why,
				})
			}
		}
	}
	clear(c.touched)
	c.touched = c.touched[:0]
}
