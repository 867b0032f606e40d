package watch

import "github.com/rollcall-registry/rollcall"

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
