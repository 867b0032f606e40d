package load

import (
	"math"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	blackout = 10_000  // ms: what an instance that begins to report says first is no measure
	expiry   = 180_000 // ms: what it said before counts no more
	// slowerFor is after how many reports in a row that say an instance can do less
	// than half of what it could the earlier ones count no more.
	slowerFor = 3
	// penalty is what a share of failed requests counts as, in utilisation.
	penalty = 1.0
	// meansOver is the τ, in ms, over which what an instance says is smoothed.
	meansOver = 20_000
	// A factor is bounded by what reports can be trusted with. With less than an
	// eighth of its share an instance serves too few requests for its report to
	// measure it, and would never come back. One that says it has next to nothing
	// to do, because it fails at once or counts wrongly, gets no more than four
	// shares.
	leastFactor, mostFactor = 1.0 / 8, 4
	// The trim moves the logarithm of a factor by the error times the time that
	// passed in trimOver. With a response of 1 at once an integrator with such a time
	// does not swing as long as reports and callers take less than trimOver/e = 11 s
	// together; a derivative would only amplify noise.
	trimOver = 30_000 // ms
	trimGap  = 10_000 // ms: a longer gap between reports counts as this
	// A quicker one takes back what chance has given one instance too much: both
	// together have a time of quickOver, but move by quickMost of the error with one
	// report, unless trimOver has it more. It goes so far and no further. Where callers
	// are slow to follow it would swing from one bound to the other: so these are
	// halved each time it does, and become wider again in quickWiden.
	quickOver              = 7_000 // ms
	quickMost              = 0.2
	quickLeast, quickRange = 0.02, 0.25 // of the logarithm, up and down
	quickWiden             = 600_000    // ms, by e
	// trimFade is the time, in ms, in which the trims of a zone go that works beyond
	// its capacity.
	trimFade = 10_000
	// trimHeld is how many times as long as with most of its zone requests must stay
	// with an instance for its factor not to be raised.
	trimHeld            = 1.5
	leastTrim, mostTrim = 0.5, 2
	// leastWarm is the share that an instance which has just come up gets.
	leastWarm = 0.1
	// tell is by how much a factor must move to be published.
	tell = 0.03
)

// balance is what the sweeps of a service work on.
type balance struct {
	all   []*weighed
	last  int64 // ms: of the last sweep; 0: there was none
	due   int64 // ms: when there is something to do without news
	zones map[zone]*crowd
}

// weighed is an instance as the sweeps see it.
type weighed struct {
	*Instance
	told float64 // the factor that is published

	means means
	trim  float64
	quick float64 // the logarithm of the quicker trim
	reach float64 // how far that may go
	side  float64 // where it last was at its bound; 0: it was not yet
	taken int64   // ms: when the report was made that was taken in last; 0: none
	cold  bool    // it was warming up at the last sweep

	// Of this sweep.
	said   rollcall.Load // as far as one can count with it
	serves bool          // it says that it serves requests, and how busy that makes it
	used   float64       // utilisation, if counts
	counts bool          // there is one that is not old and not the first
	heard  int64         // ms: when that was
	warm   float64       // the share that warming up leaves, 1 if it does not
	hot    bool          // it was warming up, and is not any more
	aside  bool          // what it says is no measure of the others
	crowd  *crowd        // of its zone, if counts
}

// means are what an instance says while it serves requests, smoothed; at first,
// averaged.
type means struct {
	rps, errors, used, inFlight float64
	over                        int64 // ms that it is known for
	slower                      int   // reports in a row that say it can do less than half of that
}

// add takes in what was said a time after what was said before.
func (m *means) add(l *rollcall.Load, used float64, gap int64) {
	m.over += gap
	now := means{rps: l.RPS, errors: l.Errors, used: used, over: blackout}
	if m.slower++; now.can() == 0 || now.can() >= m.can()/2 {
		m.slower = 0
	}
	if m.slower == slowerFor { // that is no noise, and not to be smoothed away
		m.rps, m.errors, m.used, m.inFlight, m.slower = l.RPS, l.Errors, used, float64(l.InFlight), 0
		return
	}
	share := max(float64(gap)/float64(max(1, m.over)), fading(gap, meansOver))
	m.rps += share * (l.RPS - m.rps)
	m.errors += share * (l.Errors - m.errors)
	m.used += share * (used - m.used)
	m.inFlight += share * (float64(l.InFlight) - m.inFlight)
}

// can returns how many requests a second an instance can serve, after gRPC's A58;
// 0 if that is not known.
func (m *means) can() float64 {
	if m.over < blackout || m.rps == 0 {
		return 0
	}
	if load := m.used + m.errors/m.rps*penalty; load > 0 {
		return m.rps / load
	}
	return 0
}

// Tick works out the weights of services that have news: reports, instances that
// warm up, what was not heard of for too long. It is to be called once a second.
// It returns the services whose weights it published anew, in order: those where
// some factor moved by more than 3 % since it was published, an instance is warm,
// or what a zone spills moved by more than 0.03.
func (t *Table) Tick(now time.Time) (published []rollcall.ServiceKey) {
	t.mu.Lock()
	services := slices.Clone(t.weighed)
	t.mu.Unlock()
	ended := false
	for _, s := range services {
		if s.ended() {
			ended = true
		} else if t.refresh(s, now) {
			published = append(published, s.key)
		}
	}
	if ended {
		t.mu.Lock()
		t.weighed = slices.DeleteFunc(t.weighed, (*soft).ended)
		t.mu.Unlock()
	}
	slices.SortFunc(published, rollcall.ServiceKey.Compare)
	return published
}

// ended reports whether a service is in the table no more.
func (s *soft) ended() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dead
}

// Refresh is [Table.Tick] for one service: for one that has instances which begin
// to warm up and should not wait for that.
func (t *Table) Refresh(service rollcall.ServiceKey, now time.Time) (published bool) {
	s := t.find(service)
	return s != nil && t.refresh(s, now)
}

// refresh works out a service's weights, if it has news or something is due.
func (t *Table) refresh(s *soft, now time.Time) bool {
	s.sweep.Lock()
	defer s.sweep.Unlock()
	ms, b := t.millis(now), &s.state
	if !s.news.Swap(false) && ms < b.due {
		return false
	}
	last := s.weights.Load()
	if last == nil {
		last = &t.none
	}
	d := last.draft(t.seed)
	g := t.generation.Add(1) // of what differs, if anything does
	s.admit(d, g)
	b.look(ms)
	b.gather()
	b.measure()
	b.crowds(ms)
	b.publish(d, g)
	b.last = ms
	if !d.differ {
		if d.tidied {
			s.weights.Store(&d.Weights)
		}
		return false
	}
	d.Generation = g
	s.weights.Store(&d.Weights)
	s.raise(g)
	return true
}

// admit takes in the instances that joined since the last sweep, and lets go of
// those that are gone.
func (s *soft) admit(d *draft, g uint64) {
	s.mu.Lock()
	joined, parted := s.joined, s.parted
	s.joined, s.parted = nil, nil
	s.mu.Unlock()
	b := &s.state
	b.all = slices.DeleteFunc(b.all, func(w *weighed) bool {
		gone := w.gone.Load()
		if gone {
			parted = append(parted, w.id)
		}
		return gone
	})
	for _, id := range parted {
		s.mu.RLock()
		again := s.instances[id] != nil
		s.mu.RUnlock()
		if again {
			d.set(id, whole, g) // it is another one, of which nothing is known
		} else {
			d.remove(id)
		}
	}
	for _, i := range joined {
		b.all = append(b.all, &weighed{Instance: i, told: float64(d.Factor(i.id)) / whole, trim: 1, reach: quickRange})
	}
}

// stay returns how many seconds a request is with the instance, after Little.
func (m *means) stay() float64 { return m.inFlight / m.rps }

// look takes down what there is to know of the instances now.
func (b *balance) look(ms int64) {
	b.due = math.MaxInt64
	for _, w := range b.all {
		w.look(ms)
		if w.warm < 1 {
			b.due = ms
		}
		if w.heard != 0 {
			b.due = min(b.due, w.heard+expiry+1)
		}
	}
}

func (w *weighed) look(ms int64) {
	facts := w.facts.Load()
	if facts != nil && !w.asked.Load() {
		w.know()
		facts = w.facts.Load()
	}
	w.aside = facts != nil && facts.Aside
	w.mu.Lock()
	l, first, from, window := w.load, w.first, w.from, w.window
	w.heard = w.Instance.heard.Load()
	w.mu.Unlock()
	w.warm = warmth(ms-from, window)
	w.hot, w.cold = w.cold && w.warm == 1, w.warm < 1
	if w.heard != 0 && ms-w.heard > expiry {
		w.heard, w.taken, w.means, w.trim, w.quick, w.reach, w.side = 0, 0, means{}, 1, 0, quickRange, 0
	}
	w.used, w.counts = utilization(&l, w.capacity.Load())
	w.said = rollcall.Load{RPS: sane(l.RPS), Errors: sane(l.Errors), InFlight: max(0, l.InFlight)}
	w.serves = w.counts && w.heard != 0 && w.said.RPS > 0 && !w.aside
	w.counts = w.counts && w.heard != 0 && ms-first >= blackout && !w.aside
}

// warmth returns the share of its weight that an instance gets, some time after
// it began to warm up, after Envoy's slow start with an aggression of 1.
func warmth(passed, window int64) float64 {
	if window == 0 || passed >= window {
		return 1
	}
	return max(leastWarm, float64(passed)/float64(window))
}

// measure takes in new reports: what each instance can do, and the trim, after
// Dropbox's Robinhood.
func (b *balance) measure() {
	for _, w := range b.all {
		if w.heard == w.taken || !w.serves {
			continue
		}
		gap := w.heard - w.taken
		if w.taken == 0 {
			gap = 0
		}
		w.means.add(&w.said, w.used, gap)
		if w.taken != 0 && w.compares() {
			w.adjust(float64(min(gap, trimGap)))
		}
		w.taken = w.heard
	}
}

// adjust moves an instance's trim, a gap after its report before, toward where its
// utilisation, which errors raise, is that of its zone. What zones get is decided
// by where callers are.
//
// Beyond its capacity utilisation is no measure: each has what its machine happens
// to leave, and who is held back by it looks idle. There the trims fade, and
// callers go by what they see. Nor is one given more with which requests stay for
// longer than with others: it is not for want of them that it is idle.
func (w *weighed) adjust(gap float64) {
	c := w.crowd
	if c.beyond() {
		fade := min(1, gap/trimFade)
		w.trim *= math.Pow(w.trim, -fade)
		w.quick -= w.quick * fade
		return
	}
	err := max(-1, 1-w.busy()*c.peers/c.even)
	if err > 0 && w.means.stay() > trimHeld*c.stay {
		return
	}
	slow := gap / trimOver
	quick := max(0, min(gap/quickOver, quickMost)-slow)
	w.trim = min(max(w.trim*math.Exp(err*slow), leastTrim), mostTrim)
	w.turn(err*quick, gap)
}

// busy is an instance's utilisation, which errors raise.
func (w *weighed) busy() float64 { return w.used + min(1, w.said.Errors/w.said.RPS)*penalty }

// turn moves an instance's quicker trim by a step.
func (w *weighed) turn(step, gap float64) {
	w.quick += step
	w.reach = min(w.reach*math.Exp(gap/quickWiden), quickRange)
	if math.Abs(w.quick) < w.reach {
		return
	}
	if side := math.Copysign(1, w.quick); side != w.side {
		if w.side != 0 {
			w.reach = max(w.reach/2, quickLeast)
		}
		w.side = side
	}
	w.quick = w.reach * w.side
}

// compares reports whether an instance's utilisation can be held against that of
// others: it serves requests, and not as few as one that warms up.
func (w *weighed) compares() bool { return w.counts && w.serves && w.warm == 1 }

// publish drafts the factors that moved, and what zones spill.
func (b *balance) publish(d *draft, g uint64) {
	var sum, n float64
	for _, w := range b.all {
		if can := w.means.can(); can > 0 && !w.aside {
			sum += can
			n++
		}
	}
	for _, w := range b.all {
		f := w.warm * min(max(w.trim*math.Exp(w.quick), leastTrim), mostTrim)
		if can := w.means.can(); can > 0 && n > 0 {
			f *= min(max(can*n/sum, leastFactor), mostFactor)
		}
		if math.Abs(f-w.told) > tell*w.told || w.hot {
			value := uint16(max(1, math.Round(f*whole)))
			w.told = float64(value) / whole
			d.set(w.id, value, g)
		}
	}
	for z, c := range b.zones {
		d.spill(z, c.spill)
	}
	for z := range d.spills {
		if b.zones[z] == nil {
			d.spill(z, 0)
		}
	}
}
