package wire

import "github.com/rollcall-registry/rollcall"

// Empty reports whether a report says nothing.
func Empty(r *rollcall.Report) bool {
	return r.Status == 0 && r.Note == "" && len(r.Checks) == 0 && r.Load == nil && r.Position == nil
}
