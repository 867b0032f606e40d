package watch

import (
	"cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Verdict is what instances that got the same one have in common.
type Verdict struct {
	Service rollcall.ServiceKey
	Status  rollcall.Status
	Reason  string
}

// Verdict returns that of a change of kind [Health].
func (c *Change) Verdict() Verdict { return Verdict{c.Service, c.Item.Status(), c.Item.Reason()} }

// Alike is which of a batch's changes are about one verdict, and the last of them.
type Alike struct {
	Members []int
	Last    int
}

// Verdicts returns where in the batch the changes of health are, by verdict, so that
// those of one can be told of together.
func (b *Batch) Verdicts() map[Verdict]Alike {
	var groups map[Verdict]Alike
	for n := range b.Changes {
		if c := &b.Changes[n]; c.Kind == Health {
			if groups == nil {
				groups = map[Verdict]Alike{}
			}
			v := c.Verdict()
			groups[v] = Alike{append(groups[v].Members, n), n}
		}
	}
	return groups
}

// As returns what an instance is shown with that is not its own; nil is nothing.
func (s *Shown) As() *catalog.Shown {
	if s == nil {
		return nil
	}
	return &s.Shown
}

// Departure says why an instance is no longer told of, with reasons as short makes them.
func (c *Change) Departure(short func(reason string) string) string {
	i := c.Item
	if i == nil {
		return cmp.Or(short(c.Why), "deregistered")
	}
	if i.Usable() && c.Why != "" {
		return c.Why
	}
	why := "not selected: " + i.Status().String()
	if i.Reason() != "" {
		why += ": " + short(i.Reason())
	}
	return why
}
