package resolve

import (
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// Answer is what a query is answered with, and how current it is. That of a plan
// that is [Plan.Steady] is a view and how to read it, from which doors derive their
// encoding once; all others are a result of their own.
type Answer struct {
	Key  rollcall.ServiceKey // what was asked for: a service or a named query
	Name string              // as first written
	Plan *Plan
	Log  rollcall.LogID
	// View is what the plan is to be applied to; nil if there is a Result.
	View   *catalog.View
	Result *Result
	// World is what the view is read with.
	World *World
	// Generation counts the soft state of the service that answers show; 0 if
	// it has none. A result has its own.
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
	switch {
	case a.Past:
		return rollcall.Token{}
	case !a.Same.IsZero():
		return a.Same
	case a.Result != nil:
		return rollcall.Token{Log: a.Log, Revision: a.Result.Revision, Generation: a.Result.Generation}
	}
	return rollcall.Token{Log: a.Log, Revision: a.View.Revision(), Generation: a.Generation}
}

// Content returns the revision of what the answer shows, and whether it is of a
// service in panic.
func (a *Answer) Content() (rev rollcall.Revision, panic bool) {
	if a.Result != nil {
		return a.Result.Revision, a.Result.Panic
	}
	return a.View.Revision(), a.View.Panic()
}

// Endpoints returns the instances of the answer and how many match in all, -1 if
// they were not counted.
func (a *Answer) Endpoints() ([]Endpoint, int) {
	if a.Result != nil {
		return a.Result.Endpoints, a.Result.Total
	}
	items, total := a.Plan.Select(a.View, a.World)
	catalog.Fetch(items)
	ws := a.World.weights(a.Key)
	es := make([]Endpoint, len(items))
	for n, i := range items {
		es[n] = Endpoint{Item: i, Weight: Weigh(i, ws, a.View.Panic()), Kilometres: math.Inf(1)}
	}
	return es, total
}
