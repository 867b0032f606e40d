package simulation

import (
	"slices"
	"time"
)

// standing is how an instance stands in a registry's answers.
type standing uint8

const (
	unknown standing = iota // never registered
	out
	last // suspect: behind the others
	in
)

// side is what is found of one registry.
type side struct {
	*sim
	name      string
	beats     int
	heard     []time.Duration // when each instance was heard from last
	standings []standing
	since     []time.Duration // from when on the time in a standing is yet to be counted
	crashes   []crash
	found     Side
}

// crash is one that the registry has not noticed yet.
type crash struct {
	cause  Cause
	at     time.Duration
	behind bool // the instance is behind the others
	open   bool
}

// Result is what a run found.
type Result struct {
	World     World
	Seed      uint64
	Accidents [causes]int
	Sides     []Side // plain TTL, heartbeats, sessions
}

// Side is what was found of one registry.
type Side struct {
	Name string
	// Beats is how many heartbeats, or answers to pings, were sent.
	Beats int
	// False is how often an instance that was well left answers.
	False [causes]int
	// Behind and Out are for how long instances that were well were behind the
	// others, or out of answers, all added up.
	Behind, Out time.Duration
	// Crashed and Died are how long processes and hosts that are gone stayed in
	// answers, CrashedFirst and DiedFirst before the others, in order.
	Crashed, CrashedFirst, Died, DiedFirst []time.Duration
	// Missed is how many were started again before they were found to be gone.
	Missed int
}

// Removed returns how often instances that were well left answers.
func (s *Side) Removed() (n int) {
	for _, of := range s.False {
		n += of
	}
	return n
}

// PerMillion returns false removals per million heartbeats.
func (s *Side) PerMillion() float64 { return float64(s.Removed()) / float64(s.Beats) * 1e6 }

// Quantile returns the q-quantile of sorted durations, 0 if there are none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func newSide(s *sim, name string) *side {
	n := s.Instances
	return &side{
		sim: s, name: name, heard: make([]time.Duration, n),
		standings: make([]standing, n), since: make([]time.Duration, n), crashes: make([]crash, n),
	}
}

// set notes how an instance stands from now on.
func (d *side) set(i int32, to standing) {
	if d.standings[i] == to {
		return
	}
	d.account(i)
	d.standings[i] = to
	c := &d.crashes[i]
	switch {
	case to == out && d.well(i):
		d.found.False[d.cause(i, d.heard[i])]++
	case to == out && c.open:
		d.notice(c)
	case to == last && c.open && !c.behind:
		c.behind = true
		d.add(&d.found.CrashedFirst, &d.found.DiedFirst, c)
	}
}

// account counts the time since an instance stands as it does, or since whatever
// was true of it was so.
func (d *side) account(i int32) {
	if d.well(i) {
		switch lasted := d.now - d.since[i]; d.standings[i] {
		case last:
			d.found.Behind += lasted
		case out:
			d.found.Out += lasted
		}
	}
	d.since[i] = d.now
}

// crashed begins to count how long it takes until an instance that is gone is out
// of answers.
func (d *side) crashed(i int32, of Cause) {
	c := &d.crashes[i]
	if d.standings[i] <= out {
		return
	}
	*c = crash{cause: of, at: d.now, open: true, behind: d.standings[i] == last}
	if c.behind {
		d.add(&d.found.CrashedFirst, &d.found.DiedFirst, c)
	}
}

// restarted ends that.
func (d *side) restarted(i int32) {
	if c := &d.crashes[i]; c.open {
		d.found.Missed++
		d.notice(c)
	}
}

func (d *side) notice(c *crash) {
	if c.open = false; !c.behind {
		d.add(&d.found.CrashedFirst, &d.found.DiedFirst, c)
	}
	d.add(&d.found.Crashed, &d.found.Died, c)
}

func (d *side) add(process, host *[]time.Duration, c *crash) {
	to := process
	if c.cause == Death {
		to = host
	}
	*to = append(*to, d.now-c.at)
}

// finish returns what was found up to now.
func (d *side) finish() Side {
	for i := range d.instances {
		d.account(int32(i))
	}
	f := &d.found
	f.Name, f.Beats = d.name, d.beats
	for _, lasted := range [][]time.Duration{f.Crashed, f.CrashedFirst, f.Died, f.DiedFirst} {
		slices.Sort(lasted)
	}
	return *f
}
