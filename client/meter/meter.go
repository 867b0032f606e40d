// Package meter measures, inside a server, how busy it is: requests in flight,
// requests and failures a second, and how long requests take, over the last five
// seconds. What it finds goes two ways: to the registry, with the instance's
// renewals (client.WithLoad), which makes weights of it; and to each caller, with
// each answer, as an ORCA load report: the response header Endpoint-Load-Metrics in
// its form TEXT, or the trailer endpoint-load-metrics-bin of gRPC. Callers that read
// these, as this module's do, leave alone who is busier than others.
//
// To count a request takes a few atomic additions; no lock is held while one is served.
package meter

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

// Options say what a server can do.
type Options struct {
	// Capacity is how many requests it can serve at once, by which the utilisation
	// is measured: the mean number in flight as a share of it. If it is 0, the
	// utilisation is the process's share of the processors that Go uses; where the
	// system does not tell, it is unknown.
	Capacity int
}

// The window is slots long, the last of them not over yet.
const (
	slotLength = 500 * time.Millisecond
	slots      = 10
)

// fresh is for how long a summary of the window is told on.
const fresh = 100 * time.Millisecond

// Meter counts what a server does. Its methods may be called from any goroutine.
type Meter struct {
	capacity int
	now      func() time.Duration // since a fixed moment
	cpu      func() time.Duration // that the process has used; 0 if unknown

	inFlight atomic.Int64
	ring     [slots]atomic.Pointer[slot]
	latest   atomic.Pointer[summary]
	making   sync.Mutex // held by who makes a summary; guards work
	work     cpuShare
	reports  [reportSlots]atomic.Pointer[report]
}

// New returns a meter that has seen nothing yet.
func New(o Options) *Meter {
	start := time.Now()
	return newMeter(o, func() time.Duration { return time.Since(start) }, cpuTime)
}

func newMeter(o Options, now, cpu func() time.Duration) *Meter {
	m := &Meter{capacity: o.Capacity, now: now, cpu: cpu}
	m.latest.Store(&summary{at: -fresh})
	return m
}

// slot is what happened in half a second. It is replaced, not emptied, so that
// nobody counts into a time that is not theirs.
type slot struct {
	number  int64 // of slotLength since the beginning
	carried int64 // in flight when it began
	area    atomic.Int64
	done    atomic.Int64
	failed  atomic.Int64
	took    [buckets]atomic.Uint32
}

// at returns the slot of a moment.
func (m *Meter) at(now time.Duration) *slot {
	number := int64(now / slotLength)
	place := &m.ring[number%slots]
	for {
		s := place.Load()
		if s != nil && s.number >= number {
			return s
		}
		place.CompareAndSwap(s, &slot{number: number, carried: m.inFlight.Load()})
	}
}

// left is how much of a slot is left, in nanoseconds.
func (s *slot) left(now time.Duration) int64 {
	return max(int64(slotLength)*(s.number+1)-int64(now), 0)
}

// begin counts a request in, and end out again.
func (m *Meter) begin() (began time.Duration) {
	now := m.now()
	s := m.at(now)
	m.inFlight.Add(1)
	s.area.Add(s.left(now))
	return now
}

func (m *Meter) end(began time.Duration, failed bool) {
	now := m.now()
	s := m.at(now)
	m.inFlight.Add(-1)
	s.area.Add(-s.left(now))
	s.done.Add(1)
	if failed {
		s.failed.Add(1)
	}
	s.took[bucket(now-began)].Add(1)
}

// Load returns what the last five seconds were like. It is at most a tenth of a
// second old, apart from the requests in flight, which are those of now.
func (m *Meter) Load() rollcall.Load {
	l := m.summary(m.now()).load
	l.InFlight = int(max(m.inFlight.Load(), 0))
	return l
}

// summary is a window, summed up.
type summary struct {
	at   time.Duration
	load rollcall.Load
}

// summary returns the latest one; if that is too old and nobody else is at it, a
// new one.
func (m *Meter) summary(now time.Duration) *summary {
	was := m.latest.Load()
	if now-was.at < fresh || !m.making.TryLock() {
		return was
	}
	defer m.making.Unlock()
	s := &summary{at: now, load: m.measure(now)}
	m.latest.Store(s)
	return s
}

// measure sums up the window, from the newest slot to the oldest. In a slot that is
// not there nothing began and nothing ended. Its caller holds making.
func (m *Meter) measure(now time.Duration) (l rollcall.Load) {
	newest := int64(now / slotLength)
	oldest := max(newest-slots+1, 0)
	window := now - time.Duration(oldest)*slotLength
	if window <= 0 {
		return l
	}
	var took [buckets]uint64
	var done, failed, area int64
	level := m.inFlight.Load()
	area -= level * (int64(slotLength)*(newest+1) - int64(now)) // what is not over yet
	for n := newest; n >= oldest; n-- {
		s := m.ring[n%slots].Load()
		if s == nil || s.number != n {
			area += level * int64(slotLength)
			continue
		}
		level = s.carried
		area += level*int64(slotLength) + s.area.Load()
		done += s.done.Load()
		failed += s.failed.Load()
		for i := range took {
			took[i] += uint64(s.took[i].Load())
		}
	}
	l.RPS = float64(done) / window.Seconds()
	l.Errors = float64(failed) / window.Seconds()
	l.LatencyP50, l.LatencyP99 = quantile(&took, 0.5), quantile(&took, 0.99)
	if m.capacity > 0 {
		l.Utilization = max(float64(area), 0) / float64(window) / float64(m.capacity)
	} else {
		l.Utilization = m.work.share(now, m.cpu())
	}
	return l
}

// report is what callers are told, ready to be sent.
type report struct {
	of       *summary
	inFlight int64
	text     []string
	binary   []string
}

// reportSlots is for how many numbers of requests in flight reports are kept.
const reportSlots = 256

// report returns what callers are to be told now. As long as neither the summary
// nor the number in flight is another, it is made once.
func (m *Meter) report() *report {
	s, n := m.summary(m.now()), max(m.inFlight.Load(), 0)
	place := &m.reports[n%reportSlots]
	if r := place.Load(); r != nil && r.of == s && r.inFlight == n {
		return r
	}
	l := s.load
	l.InFlight = int(n)
	o := orca.Of(l)
	r := &report{of: s, inFlight: n, text: []string{string(o.Text(nil))}, binary: []string{string(o.Binary(nil))}}
	place.Store(r)
	return r
}
