package client

import (
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/local"
)

// View is the result of a query as this process knows it. It is immutable, but for how
// current it is, and may be read by any number of goroutines.
type View local.View

func (v *View) local() *local.View { return (*local.View)(v) }

// Known reports whether anything is known at all: false before the registry, or the
// disk, has said the first.
func (v *View) Known() bool { return v.local().Known() }

// Instances returns the result by service and id, as [Client.Resolve] would answer the
// query. The slice is shared: it must not be changed.
func (v *View) Instances() []rollcall.Instance { return v.local().Instances() }

// Len returns how many instances are in the result.
func (v *View) Len() int { return v.local().Len() }

// Instance returns the instance of the result called id, nil if there is none. It is
// shared: it must not be changed.
func (v *View) Instance(id string) *rollcall.Instance { return v.local().Instance(id) }

// Key returns the key of the service, or named query, that was asked for.
func (v *View) Key() rollcall.ServiceKey { return v.local().Key() }

// Token names the newest state as of which the registry said that this is the result;
// it is zero before the first.
func (v *View) Token() rollcall.Token { return v.local().Token() }

// Age returns how long ago the registry last confirmed the view, which while it is in
// reach it does every 5 s even if nothing changes; 0 for one that is not Known.
func (v *View) Age() time.Duration { return v.local().Age() }
