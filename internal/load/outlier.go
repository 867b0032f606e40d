package load

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	// window is the span of time that a verdict looks back on, and how often
	// Sweep is to be called.
	window = 10 * time.Second
	// forgetAfter is for how long a caller that reports nothing more counts as
	// one of the service's callers.
	forgetAfter = 2 * time.Minute
	// listenFirst is how long a service is listened to before fewer than
	// quorum callers are believed to be all that there are.
	listenFirst = 30 * time.Second
	// askEvery is the least time between two reports of one service that ask
	// for a sweep.
	askEvery = time.Second

	mostCallers = 1000    // of one service
	mostNames   = 100     // of them from one address
	mostTallies = 1 << 20 // of all services, some 100 bytes each
)

// OutlierOptions configure [NewOutliers]. The zero value is the real world.
type OutlierOptions struct {
	Now  func() time.Time // nil is time.Now
	Rand func() float64   // from [0, 1), for jitter; nil is rand.Float64
}

// Outliers gathers what callers report of a service's instances and finds those
// that fail for everybody. All methods may be called by any goroutine. After
// Envoy's outlier detection; that a quorum of callers must agree, each judged
// by its own measure, is ours.
//
// Evidence is counted by caller and instance. Time is cut into windows of 10 s;
// a report belongs to the window in which it arrives, and one that covers more
// than 10 s counts for 10 s of it. What is known at some moment is all of the
// current window, and of the one before as much as lies less than 10 s back, as
// though it were spread evenly. Older evidence is gone.
//
// An instance's success rate is that of its callers' evidence, of which none
// makes up more than a third: what one caller has above that is scaled down.
// Where an instance has two callers they have half each.
//
// An instance is an outlier if a quorum of its callers agrees and if, by that
// evidence, at least 85 % of at least 50 requests failed, or its success rate is
// more than 1.9 standard deviations below the mean of the service's instances;
// those with 100 requests or more are compared, if they are at least five.
// A quorum is three callers. If fewer than three report on the service, and
// after it was listened to for 30 s, it is all that report on the instance.
//
// A caller is a name at an address. For a quorum all names at one address count
// once, since whoever is there may give itself any; an address is an IPv6 network of
// 64 bits, or what IPv4 has. On this machine's own loopback, and where there is no
// address, names are taken at their word.
//
// A caller agrees if the instance fails for it beyond what it sees of the
// service's other instances: by at least 5 percentage points, and so that chance
// would do it less often than once in e²⁰. That is bounded after Chernoff: n
// requests of which a share q failed, where p was to be expected, happen with a
// probability of at most exp(−n·D(q‖p)), D the relative entropy. So neither a
// caller whose own network is broken agrees, nor one that sees the whole
// service fail, nor one that calls nothing else of the service.
type Outliers struct {
	o     OutlierOptions
	start time.Time

	mu       sync.Mutex // guards what follows, and all that is reached from it
	services map[rollcall.ServiceKey]*reported
	tallies  int
}

// reported is what callers say of one service.
type reported struct {
	since     time.Time // of the first report
	asked     time.Time // when a report last asked for a sweep
	fresh     bool      // something was reported since the last sweep
	callers   map[spoke]*caller
	names     map[netip.Addr]int // of callers, by address
	instances map[string]*observed
}

// spoke tells who reports: a name at an address.
type spoke struct {
	name string
	from netip.Addr // zero: none, or this machine
}

// place returns where a report from an address comes from, as callers are counted.
func place(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if !from.IsValid() || from.IsLoopback() {
		return netip.Addr{}
	}
	if from.Is6() {
		network, _ := from.Prefix(64) // never fails
		return network.Addr()
	}
	return from
}

// caller is one who reports on a service.
type caller struct {
	from  netip.Addr // as in spoke
	heard time.Time
	total evidence // on all instances, at the last sweep
}

// observed is one instance of a service.
type observed struct {
	id   string
	by   map[*caller]*tally
	hard int // how many of them are hard

	verdict  Verdict       // the last one; Eject is true while it is ejected
	times    int           // ejections in a row
	lasted   time.Duration // the last one
	ended    time.Time     // when that was over
	standing Standing
}

// evidence counts requests by their outcome; decayed, they are no whole numbers.
type evidence struct{ ok, errors float64 }

func (e evidence) total() float64 { return e.ok + e.errors }

// share returns the failed share of what may not be nothing.
func (e evidence) share() float64 { return e.errors / e.total() }

func (e *evidence) add(o evidence, weight float64) {
	e.ok += o.ok * weight
	e.errors += o.errors * weight
}

// tally is the evidence that one caller has on one instance.
type tally struct {
	window            int64 // the number of that which is the current one
	current, previous evidence
	now               evidence // what it came to at the last sweep
	hard              bool     // it speaks of hard failures
}

// roll makes window w the current one.
func (t *tally) roll(w int64) {
	switch w - t.window {
	case 0:
		return
	case 1:
		t.previous, t.current = t.current, evidence{}
	default:
		t.previous, t.current = evidence{}, evidence{}
	}
	t.window = w
}

// NewOutliers returns an Outliers that has heard nothing.
func NewOutliers(o OutlierOptions) *Outliers {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return &Outliers{o: o, start: o.Now(), services: map[rollcall.ServiceKey]*reported{}}
}

// at returns the number of the window that a moment is in, and the share of the
// one before that still counts then.
func (o *Outliers) at(now time.Time) (w int64, left float64) {
	since := max(0, now.Sub(o.start))
	return int64(since / window), 1 - float64(since%window)/float64(window)
}

// Report takes in what a caller at an address reports of a service. The report is
// valid, and holds only instances that the service has now: what becomes of memory
// depends on it. The report is not kept. Of a service's callers the first 1,000 are
// heard, at most 100 of one address, this machine's included.
//
// hard says that a quorum now reports hard failures of one instance, and that
// [Outliers.Sweep] is to be called at once; at most once a second for a service.
func (o *Outliers) Report(service rollcall.ServiceKey, from netip.Addr, r *rollcall.CallerReport) (hard bool) {
	now := o.o.Now()
	w, _ := o.at(now)
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.services[service]
	if s == nil {
		s = newReported(now)
		o.services[cloneService(service)] = s
	}
	who := spoke{r.Caller, place(from)}
	c := s.callers[who]
	switch {
	case c != nil:
	case len(s.callers) == mostCallers || s.names[who.from] == mostNames:
		return false
	default:
		c = &caller{from: who.from}
		who.name = strings.Clone(who.name)
		s.callers[who] = c
		s.names[who.from]++
	}
	c.heard, s.fresh = now, true
	weight := 1.0
	if whole := time.Duration(r.Window); whole > window {
		weight = float64(window) / float64(whole)
	}
	need := quorum
	if s.few(now) {
		need = min(need, len(s.callers))
	}
	for n := range r.Instances {
		if i := o.count(s, c, &r.Instances[n], w, weight); i != nil && i.hard >= need {
			hard = true
		}
	}
	if !hard || now.Sub(s.asked) < askEvery {
		return false
	}
	s.asked = now
	return true
}

// count adds an outcome to its tally. It returns nil if it does not count.
func (o *Outliers) count(s *reported, c *caller, out *rollcall.Outcome, w int64, weight float64) *observed {
	if out.OK == 0 && out.Errors == 0 {
		return nil
	}
	i := s.instances[out.ID]
	if i == nil {
		if o.tallies == mostTallies {
			return nil
		}
		i = s.observe(out.ID)
	}
	if i.verdict.Eject {
		return nil // time alone ends that
	}
	t := i.by[c]
	if t == nil {
		if o.tallies == mostTallies {
			return nil
		}
		o.tallies++
		t = new(tally)
		i.by[c] = t
	}
	t.roll(w)
	t.current.add(evidence{float64(out.OK), float64(out.Errors)}, weight)
	all := t.current
	all.add(t.previous, 1)
	i.setHard(t, all.share() >= failing)
	return i
}

func newReported(now time.Time) *reported {
	return &reported{since: now, callers: map[spoke]*caller{}, names: map[netip.Addr]int{}, instances: map[string]*observed{}}
}

func (s *reported) observe(id string) *observed {
	i := &observed{id: strings.Clone(id), by: map[*caller]*tally{}}
	s.instances[i.id] = i
	return i
}

// few reports whether the service has fewer callers than a quorum, as far as
// that can be known.
func (s *reported) few(now time.Time) bool {
	if now.Sub(s.since) < listenFirst {
		return false
	}
	voices := s.names[netip.Addr{}]
	for from := range s.names {
		if voices >= quorum {
			break
		}
		if from.IsValid() {
			voices++
		}
	}
	return voices < quorum
}

func (i *observed) setHard(t *tally, hard bool) {
	switch {
	case hard && !t.hard:
		i.hard++
	case t.hard && !hard:
		i.hard--
	}
	t.hard = hard
}

// dismiss forgets one tally of an instance, and with nil all of them.
func (o *Outliers) dismiss(i *observed, c *caller) {
	if c != nil {
		if t := i.by[c]; t != nil {
			i.setHard(t, false)
			delete(i.by, c)
			o.tallies--
		}
		return
	}
	o.tallies -= len(i.by)
	clear(i.by)
	i.hard = 0
}

// Drop forgets an instance that is gone or was registered anew: what was
// reported of it, its ejection and how often it was ejected.
func (o *Outliers) Drop(key rollcall.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.services[key.ServiceKey]; s != nil {
		if i := s.instances[key.ID]; i != nil {
			o.dismiss(i, nil)
			delete(s.instances, key.ID)
		}
	}
}

// Restore takes up an ejection that the log has, after a restart: that it began
// at since, and was the times-th in a row (at least 1). It ends by itself, as any
// other.
func (o *Outliers) Restore(key rollcall.Key, since time.Time, times int, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.o.Now()
	s := o.services[key.ServiceKey]
	if s == nil {
		s = newReported(now)
		o.services[cloneService(key.ServiceKey)] = s
	}
	i := s.instances[key.ID]
	if i == nil {
		i = s.observe(key.ID)
	}
	o.dismiss(i, nil)
	i.times = max(1, times)
	i.lasted = ejectFor(i.times, 0.5)
	// By the wall clock it may have begun at any time, but it lasts no longer
	// than one that begins now.
	left := min(max(0, since.Add(i.lasted).Sub(now)), i.lasted)
	i.verdict = Verdict{Key: clone(key), Eject: true, Reason: reason, Until: now.Add(left)}
}

// Ejected returns the verdict on an instance that is ejected.
func (o *Outliers) Ejected(key rollcall.Key) (Verdict, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.find(key)
	if i == nil || !i.verdict.Eject {
		return Verdict{}, false
	}
	return i.verdict, true
}

// Explain returns what the last sweep found of an instance, of an ejected one
// that which ejected it; false if nobody reported on it.
func (o *Outliers) Explain(key rollcall.Key) (Standing, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.find(key)
	if i == nil || i.standing.Callers == 0 {
		return Standing{}, false
	}
	return i.standing, true
}

func (o *Outliers) find(key rollcall.Key) *observed {
	if s := o.services[key.ServiceKey]; s != nil {
		return s.instances[key.ID]
	}
	return nil
}

func cloneService(k rollcall.ServiceKey) rollcall.ServiceKey {
	return rollcall.ServiceKey{Namespace: strings.Clone(k.Namespace), Service: strings.Clone(k.Service)}
}

// beyond reports whether e fails beyond what others do; see [Outliers].
func beyond(e, others evidence) bool {
	if e.errors == 0 || others.total() < 1 {
		return false
	}
	q := e.share()
	if q-others.share() < leastGap {
		return false
	}
	// The expected share is taken a little higher than it was seen (Laplace's
	// rule), the more so the less was seen.
	p := (others.errors + 1) / (others.total() + 2)
	return q > p && e.total()*divergence(q, p) >= surprise
}

// divergence is the relative entropy of two Bernoulli distributions, in nats;
// 0 < p < 1.
func divergence(q, p float64) (d float64) {
	if q > 0 {
		d += q * math.Log(q/p)
	}
	if q < 1 {
		d += (1 - q) * math.Log((1-q)/(1-p))
	}
	return d
}
