package balance

import "time"

// struck is when something happens in the worlds that are not the [Testbed].
const struck = 30 * time.Second

// Slow returns a world of ten servers of which the first becomes five times
// slower. The window begins five seconds later.
func Slow() World {
	return World{
		Servers: 10, Callers: 4, Load: 0.7, Settle: struck + 5*time.Second, Window: 20 * time.Second, Calm: true,
		Happenings: []Happening{{struck, 0, func(s *server) { s.slow = 5 }}},
	}
}

// Failing returns the testbed with so many servers of which the first answers
// everything with an error at once. The window is the half minute from then on.
func Failing(n int) World {
	w := Testbed(0.8)
	w.Servers, w.Callers = n, n
	w.Settle, w.Window = struck, 30*time.Second
	w.Happenings = []Happening{{struck, 0, func(s *server) { s.failing = true }}}
	return w
}

// Joining returns the testbed with so many servers, of which four fifths are at 0.9
// of their allocation when the first fifth, which is cold, joins them. The window
// is the 20 s from then on.
func Joining(n int) World {
	w := Testbed(0.9)
	w.Servers, w.Callers = n, n
	w.Settle, w.Window = struck, 20*time.Second
	for i := range n / 5 {
		w.Happenings = append(w.Happenings,
			Happening{0, i, func(s *server) { s.listed = false }},
			Happening{struck, i, func(s *server) { s.listed, s.cold = true, true }})
	}
	return w
}

// Uneven returns zones of 0.5, 0.3 and 0.2 of so many servers, with callers in
// proportion. Of the second's servers, lost die. The window begins two seconds
// later.
func Uneven(n, lost int) World {
	w := World{
		Servers: n, Callers: n, Load: 0.6, Settle: struck + 2*time.Second, Window: window, Calm: true,
		Zones: []Zone{{"a", 0.5}, {"b", 0.3}, {"c", 0.2}},
	}
	for i := range lost {
		w.Happenings = append(w.Happenings, Happening{struck, n/2 + i, func(s *server) { s.dead = true }})
	}
	return w
}

// Spill returns the share of requests of that zone's callers that must leave it
// then.
func Spill(n, lost int) float64 { return max(0, 1-1.4*(1-float64(lost)/(0.3*float64(n)))) }

// Silent returns a policy whose registry publishes no weights: what callers find
// out alone.
func Silent(p Policy) Policy {
	p.Name += ", weights silent"
	p.weigher = equal
	return p
}
