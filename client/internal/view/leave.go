package view

import "github.com/rollcall-registry/rollcall"

// Leaves reports whether an instance that is picked no more is so because it wants to:
// it drains, or was taken out while nothing was wrong with it.
func (e *Entry) Leaves() bool { return e.status != rollcall.Unhealthy }
