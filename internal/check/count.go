package check

import "github.com/rollcall-registry/rollcall"

// standing is how a check stands, and what speaks against that.
type standing struct {
	status rollcall.Status // 0 until the first verdict
	reason string
	hard   bool
	// against counts the latest outcomes in a row that were better, if positive,
	// or worse, if negative, than status.
	against int
}

// step returns the standing after one more outcome. The first one counts at once;
// after that rise in a row must be better, or fall in a row worse, and the last of
// them is the new status. An outcome without a verdict changes nothing.
//
// Hard evidence against a check that stands as unhealthy without any is taken
// into its standing, whatever the counts.
func step(s standing, o Outcome, rise, fall int) standing {
	switch {
	case o.Status == 0:
		return s
	case s.status == 0:
	case o.Status == s.status:
		s.against = 0
		if o.Hard && !s.hard {
			s.reason, s.hard = o.Output, true
		}
		return s
	case o.Status < s.status:
		if s.against = max(s.against, 0) + 1; s.against < rise {
			return s
		}
	default:
		if s.against = min(s.against, 0) - 1; -s.against < fall {
			return s
		}
	}
	return standing{status: o.Status, reason: o.Output, hard: o.Hard}
}

// differs reports whether s says something else than t.
func (s *standing) differs(t *standing) bool { return s.status != t.status || s.hard != t.hard }
