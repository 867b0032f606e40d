package local

import (
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/view"
)

// View is the result of a query as it is known here. It is immutable, but for how
// current it is.
type View struct {
	key rollcall.ServiceKey // what was asked for: a service or a named query
	of  *view.View          // nil: nothing is known

	seen atomic.Pointer[confirmation]
	next chan struct{} // closed once there is a newer one
}

// confirmation is what the registry said last of a view.
type confirmation struct {
	at    time.Time
	token rollcall.Token
}

func newView(key rollcall.ServiceKey, of *view.View, at time.Time, token rollcall.Token) *View {
	v := &View{key: key, of: of, next: make(chan struct{})}
	v.confirm(at, token)
	return v
}

// confirm notes that the view is current. The wall clock counts: the other one stands
// still while a machine is suspended, and ends with the process.
func (v *View) confirm(at time.Time, token rollcall.Token) {
	v.seen.Store(&confirmation{at.Round(0), token})
}

// Known reports whether anything is known.
func (v *View) Known() bool { return v.of != nil }

// Instances returns the result by service and id.
func (v *View) Instances() []rollcall.Instance {
	if v.of == nil {
		return nil
	}
	return v.of.Instances()
}

// Len returns how many instances are in the result.
func (v *View) Len() int {
	if v.of == nil {
		return 0
	}
	return v.of.Len()
}

// Instance returns the instance of the result called id, nil if there is none.
func (v *View) Instance(id string) *rollcall.Instance {
	if v.of == nil {
		return nil
	}
	return v.of.Instance(v.key, id)
}

// Key returns the key of what was asked for.
func (v *View) Key() rollcall.ServiceKey { return v.key }

// Token names the newest state as of which the registry said that this is the result.
func (v *View) Token() rollcall.Token { return v.seen.Load().token }

// Age returns how long ago the registry confirmed the view; 0 if nothing is known.
func (v *View) Age() time.Duration {
	if v.of == nil {
		return 0
	}
	return max(0, time.Now().Round(0).Sub(v.seen.Load().at))
}

// Next returns a channel that is closed once there is a newer one.
func (v *View) Next() <-chan struct{} { return v.next }
