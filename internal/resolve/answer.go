package resolve

import (
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Answer is what a query is answered from: a view, how to read it, and how
// current it is. Doors derive their encoding from it, once per view.
type Answer struct {
	View *catalog.View
	Plan *Plan
	Log  rollcall.LogID
	// Generation counts the soft state of the service that answers show; 0 if
	// it has none.
	Generation uint64
	// Revision is the snapshot's, at least the view's.
	Revision rollcall.Revision
	// Age is how long ago the view was known to be current.
	Age time.Duration
	// Same, if set, is the token that the caller has already, because nothing
	// that it selects has changed since.
	Same rollcall.Token
	// Past says that the view is of a time that was asked for. No token names it:
	// there is nothing to go on from, and its revision may be that of another.
	Past bool
}

// Token names the state that the answer shows; zero for the past.
func (a *Answer) Token() rollcall.Token {
	if a.Past {
		return rollcall.Token{}
	}
	if !a.Same.IsZero() {
		return a.Same
	}
	return rollcall.Token{Log: a.Log, Revision: a.View.Revision(), Generation: a.Generation}
}

// Select returns the instances of the answer and how many match in all.
func (a *Answer) Select() ([]*catalog.Item, int) { return a.Plan.Select(a.View) }
