package resolve

import (
	"fmt"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Placed is an instance and why it is in an answer, or is not.
type Placed struct {
	Item *catalog.Item
	In   bool
	Why  string
}

// Explain returns all instances of a view: first those of the answer, in its
// order, then those that match and find no room in it, then the others by id; and
// how many match.
func (p *Plan) Explain(v *catalog.View) (all []Placed, total int) {
	unlimited := *p
	unlimited.limit = 0
	items, total := unlimited.Select(v)
	for n, i := range items {
		placed := Placed{i, true, p.because(v, i)}
		if p.limit > 0 && n >= p.limit {
			placed.In, placed.Why = false, fmt.Sprintf("it matches, but %d come before it and limit is %d", n, p.limit)
		}
		all = append(all, placed)
	}
	for i := range v.All() {
		if !p.Match(i) {
			all = append(all, Placed{i, false, p.not(i)})
		}
	}
	return all, total
}

// because says why an instance is in the answer.
func (p *Plan) because(v *catalog.View, i *catalog.Item) string {
	switch {
	case p.health == rollcall.HealthAny:
		return verdict(i) + "; health=any asks for all"
	case p.health != "":
		return verdict(i) + ", as was asked for"
	case i.Forced():
		return fmt.Sprintf("%s; served all the same, last: the service is in panic, with %d of %d instances routable", verdict(i), v.Routable(), v.Len())
	case i.Status() == rollcall.Suspect:
		return verdict(i) + "; served last"
	}
	return verdict(i)
}

// not says which condition an instance does not meet: the first of them.
func (p *Plan) not(i *catalog.Item) string {
	for _, f := range p.filters {
		if !f.match(i) {
			return f.why(i)
		}
	}
	return ""
}

// verdict tells the verdict on an instance with its reason.
func verdict(i *catalog.Item) string {
	if i.Reason() == "" {
		return i.Status().String()
	}
	return i.Status().String() + ": " + i.Reason()
}
