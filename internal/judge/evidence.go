package judge

import (
	"fmt"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// differing returns the findings that the log does not have yet.
func differing(item *catalog.Item, ev *lease.Evidence) (fs []rollcall.Finding) {
	consider := func(f rollcall.Finding) {
		logged, found := item.Finding(f.Slot)
		if _, isCheck := f.Slot.Check(); isCheck && !found {
			return // the instance does not have this check (any more)
		}
		if !found {
			logged.Status = rollcall.Healthy
		}
		if logged.Status != f.Status || f.Hard && !logged.Hard {
			fs = append(fs, f)
		}
	}
	for _, f := range ev.Reports {
		consider(f)
	}
	if f, ok := leaseFinding(ev); ok {
		consider(f)
	}
	return fs
}

// leaseFinding returns what an instance's lease says of it; ok is false while that
// is not decided.
func leaseFinding(ev *lease.Evidence) (f rollcall.Finding, ok bool) {
	f = rollcall.Finding{Slot: rollcall.SlotLease, Status: rollcall.Healthy}
	silence := fmt.Sprintf("no renewal for %v", rollcall.Duration(ev.TTL))
	if ev.Broken {
		silence = "the session broke"
	}
	switch ev.State {
	case lease.Alive:
	case lease.Missing:
		f.Status, f.Reason = rollcall.Suspect, "pings are not answered"
	case lease.Silent:
		f.Status, f.Reason = rollcall.Suspect, silence+", as for too many at once"
		return f, ev.Held
	default:
		f.Status, f.Reason, f.Hard = rollcall.Unhealthy, silence, ev.Broken || ev.Refused
		if ev.Refused {
			f.Reason += "; " + ev.Cause
		}
	}
	return f, true
}

// source names, for the history, where a finding comes from.
func source(s rollcall.Slot) string {
	if _, isCheck := s.Check(); isCheck {
		return "check"
	}
	return string(s)
}
