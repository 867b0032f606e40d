package check

import (
	"cmp"
	"container/heap"
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/egress"
)

// DefaultWorkers is how many probes are under way at once, at most.
const DefaultWorkers = 256

// perHost is how many probes of one host are under way at once, at most: whoever
// registers many instances there gets no more probes out of the registry.
const perHost = 8

const (
	jitter = 0.1                    // of an interval, either way
	spread = time.Second            // over which first probes are spread
	late   = 100 * time.Millisecond // what is later than due by more is counted
	// Probes that are due within gather begin together: to wake up for each costs
	// as much as the probe.
	gather = 10 * time.Millisecond
	// A time-out that is noticed later by more than paused was this process's own.
	paused = 250 * time.Millisecond
)

// Options are what a runner is made of.
type Options struct {
	// Policy says who may be probed; nil is one without exceptions.
	Policy *egress.Policy
	// Exec lets checks of type exec run, those of configured targets.
	Exec bool
	// Workers is how many probes may be under way at once; 0 is DefaultWorkers.
	Workers int
	// Report is told the first result of a check and each that differs from the
	// one before in status, or in being hard; Set tells it again how the checks
	// stand that it keeps. It is called by many goroutines, of one check the last
	// call says how it stands, keeps a worker or Set meanwhile, and must not call
	// the runner.
	Report func(Result)
}

// Result is how a check has come to stand.
type Result struct {
	Key         rollcall.Key
	Incarnation rollcall.Revision // of the target
	Check       string
	Status      rollcall.Status
	Reason      string
	Hard        bool // see [rollcall.Finding]
	At          time.Time
}

// Stats are a runner's counters.
type Stats struct {
	Checks int // that are scheduled
	Busy   int // workers that are probing
	// Late counts probes that began more than 100 ms after they were due.
	Late uint64
	// Probes counts those that ended, by type and outcome: healthy, degraded,
	// unhealthy, refused, timeout, or none if there was no verdict.
	Probes map[Label]uint64
}

// Label is what probes are counted by.
type Label struct {
	Type    rollcall.CheckType
	Outcome string
}

// Runner makes the probes of instances' checks, as often as they say. All
// methods may be called by any goroutine, Run once.
type Runner struct {
	options Options
	prober  prober
	probe   func(context.Context, rollcall.Key, *Target, *rollcall.Check) Outcome // a seam
	start   time.Time
	work    chan *entry
	wake    chan struct{} // tells Run that the next probe is another one than it waits for

	mu        sync.Mutex // guards what follows, and the entries
	instances map[rollcall.Key][]*entry
	due       schedule
	hosts     map[string]*host // those with probes under way
	slow      []*entry         // due, but those that time out have all the workers that they may
	slowBusy  int
	stats     Stats
}

// New returns a runner without checks.
func New(o Options) *Runner {
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Policy == nil {
		o.Policy = egress.New(egress.Options{})
	}
	if o.Report == nil {
		o.Report = func(Result) {}
	}
	r := &Runner{
		options: o, prober: prober{policy: o.Policy, exec: o.Exec}, start: time.Now(),
		work: make(chan *entry), wake: make(chan struct{}, 1),
		instances: map[rollcall.Key][]*entry{}, hosts: map[string]*host{}, stats: Stats{Probes: map[Label]uint64{}},
	}
	r.probe = r.prober.probe
	return r
}

// host is where probes go.
type host struct {
	busy    int      // probes under way
	waiting []*entry // due, while there are as many as there may be
}

// hostOf names the host that a check's probes go to; it is "" for a command, which
// goes nowhere.
func hostOf(t *Target, c *rollcall.Check) string {
	aim, err := c.ParseTarget()
	if err != nil || aim.Command != nil {
		return ""
	}
	name := cmp.Or(aim.Host, t.Address)
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// entry is one check. It stands in the heap, or among the slow ones that wait, or
// among those that wait for their host, or it is with a worker.
type entry struct {
	key      rollcall.Key
	target   *Target
	check    rollcall.Check // with defaults
	host     string         // see hostOf
	standing standing
	since    time.Time
	due      time.Duration // since Runner.start
	index    int           // in the heap, -1 elsewhere
	probes   int           // that have ended
	slow     bool          // the last one timed out
	gone     bool
	cancel   context.CancelFunc // of the probe under way, or nil
}

// Set says what is to be checked of an instance. A check that is the same as
// before, see [rollcall.Check.Same], of an instance with the same address and
// ports, keeps its standing and its schedule; its standing is reported again, for
// whoever did not keep it. Any other starts over, with its first probe within a
// second.
func (r *Runner) Set(key rollcall.Key, t Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.instances[key]
	var now []*entry
	for n := range t.Checks {
		c := &t.Checks[n]
		if !c.Probed() {
			continue
		}
		e := &entry{key: key, target: &t, check: c.WithDefaults(), host: hostOf(&t, c), index: -1}
		if old := take(was, e); old != nil {
			old.target = e.target
			e = old
			if e.standing.status != 0 {
				r.options.Report(e.result()) // under r.mu, so that no newer one overtakes it
			}
		} else {
			e.due = r.now() + time.Duration(rand.Float64()*float64(min(spread, time.Duration(e.check.Interval))))
			r.schedule(e)
		}
		now = append(now, e)
	}
	r.forget(was)
	if len(now) > 0 {
		r.instances[key] = now
		r.stats.Checks += len(now)
	} else {
		delete(r.instances, key)
	}
}

// take returns the entry of all that checks the same as e, and takes it out.
func take(all []*entry, e *entry) *entry {
	for n, old := range all {
		if old != nil && old.check.Same(e.check) && old.target.Address == e.target.Address && maps.Equal(old.target.Ports, e.target.Ports) {
			all[n] = nil
			return old
		}
	}
	return nil
}

// Drop ends the checks of an instance. A result that was on its way may still be
// reported.
func (r *Runner) Drop(key rollcall.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(r.instances[key])
	delete(r.instances, key)
}

// forget ends the checks of an instance, but those that were taken out, which
// it only stops counting. The caller holds r.mu.
func (r *Runner) forget(all []*entry) {
	r.stats.Checks -= len(all)
	for _, e := range all {
		if e == nil {
			continue
		}
		e.gone = true
		if e.index >= 0 {
			heap.Remove(&r.due, e.index)
		}
		if e.cancel != nil {
			e.cancel()
		}
	}
}

// Len returns the number of checks.
func (r *Runner) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats.Checks
}

// Stats returns the counters.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Probes = maps.Clone(s.Probes)
	return s
}

// Standing returns how the checks of an instance stand; those that were not
// probed yet are left out.
func (r *Runner) Standing(key rollcall.Key) (findings []rollcall.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.instances[key] {
		if s := &e.standing; s.status != 0 {
			findings = append(findings, rollcall.Finding{
				Slot: rollcall.CheckSlot(e.check.Name), Status: s.status, Reason: s.reason, Hard: s.hard, Since: e.since,
			})
		}
	}
	return findings
}

// ProbeOnce connects to the first port of an instance's own address, the one
// called default or else the first by name, within a second. It is for those who
// suspect the instance: healthy is that it took the connection, hard that it
// refused. Anything else is no evidence and has no status.
func (r *Runner) ProbeOnce(ctx context.Context, t Target) Outcome {
	ctx, cancel := context.WithTimeout(ctx, rollcall.DefaultCheckTimeout)
	defer cancel()
	return r.prober.once(ctx, &t)
}

// Run makes the probes until ctx ends, and returns when none is under way.
func (r *Runner) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for running := 0; ctx.Err() == nil; {
		e, wait := r.next()
		if e == nil {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-r.wake:
			case <-ctx.Done():
			}
			continue
		}
		select {
		case r.work <- e:
			continue
		default:
		}
		if running < r.options.Workers {
			running++
			workers.Go(func() { r.worker(ctx, e) })
			continue
		}
		select {
		case r.work <- e:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// next takes the next check that is due out of the schedule, or says how long
// there is none.
func (r *Runner) next() (*entry, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := max(r.options.Workers/2, 1)
	for len(r.slow) > 0 && r.slowBusy < most {
		e := r.slow[0]
		if r.slow = r.slow[1:]; !e.gone && r.enter(e) {
			r.slowBusy++
			return e, 0
		}
	}
	for len(r.due) > 0 {
		if wait := r.due[0].due - r.now(); wait > 0 {
			return nil, max(wait, gather)
		}
		e := heap.Pop(&r.due).(*entry)
		switch {
		case e.slow && r.slowBusy >= most:
			r.slow = append(r.slow, e)
		case r.enter(e):
			if e.slow {
				r.slowBusy++
			}
			return e, 0
		}
	}
	return nil, time.Hour
}

// enter reports whether e may be probed now as far as its host goes; if not, e
// waits for one that leaves. The caller holds r.mu.
func (r *Runner) enter(e *entry) bool {
	h := r.hosts[e.host]
	if h == nil {
		h = new(host)
		r.hosts[e.host] = h
	}
	if e.host != "" && h.busy >= perHost {
		h.waiting = append(h.waiting, e)
		return false
	}
	h.busy++
	return true
}

// leave lets the next in that waits for e's host. The caller holds r.mu.
func (r *Runner) leave(e *entry) {
	h := r.hosts[e.host]
	h.busy--
	for len(h.waiting) > 0 {
		next := h.waiting[0]
		if h.waiting = h.waiting[1:]; !next.gone {
			r.schedule(next)
			return
		}
	}
	if h.busy == 0 {
		delete(r.hosts, e.host)
	}
}

func (r *Runner) worker(ctx context.Context, e *entry) {
	for {
		r.run(ctx, e)
		select {
		case e = <-r.work:
		case <-ctx.Done():
			return
		}
	}
}

// run makes one probe of e, takes its outcome in and schedules the next.
func (r *Runner) run(ctx context.Context, e *entry) {
	r.mu.Lock()
	begun, slow := r.now(), e.slow
	if !e.gone {
		timeout := time.Duration(e.check.Timeout)
		probing, cancel := context.WithTimeout(ctx, timeout)
		e.cancel = cancel
		if begun-e.due > late {
			r.stats.Late++
		}
		r.stats.Busy++
		target, check := e.target, e.check
		r.mu.Unlock()
		o := r.probe(probing, e.key, target, &check)
		cancel()
		if o.Timeout && r.now()-begun > timeout+paused {
			o = Outcome{Output: "the registry itself was paused"}
		}
		r.mu.Lock()
		e.cancel = nil
		r.stats.Busy--
		if ctx.Err() == nil && !e.gone {
			r.settle(e, o)
		}
	}
	defer r.mu.Unlock()
	r.leave(e)
	if slow {
		r.slowBusy--
		if len(r.slow) > 0 {
			r.signal()
		}
	}
	if !e.gone {
		e.due = begun + r.interval(e)
		r.schedule(e)
	}
}

// settle takes in an outcome of e. The caller holds r.mu, which is given away
// while the result is reported.
func (r *Runner) settle(e *entry, o Outcome) {
	r.stats.Probes[Label{e.check.Type, o.kind()}]++
	e.probes++
	e.slow = o.Timeout
	s := step(e.standing, o, e.check.Rise, e.check.Fall)
	changed := s.differs(&e.standing)
	if s.status != e.standing.status {
		e.since = time.Now()
	}
	if e.standing = s; !changed {
		return
	}
	result := e.result()
	r.mu.Unlock()
	r.options.Report(result)
	r.mu.Lock()
}

// result returns how e stands now. The caller holds r.mu.
func (e *entry) result() Result {
	s := &e.standing
	return Result{
		Key: e.key, Incarnation: e.target.Incarnation, Check: e.check.Name,
		Status: s.status, Reason: s.reason, Hard: s.hard, At: time.Now(),
	}
}

// interval returns the time from e's last probe to its next. The one after the
// first is any part of an interval, so that checks that were set together are
// not probed together for ever.
func (r *Runner) interval(e *entry) time.Duration {
	factor := 1 - jitter + 2*jitter*rand.Float64()
	if e.probes == 1 {
		factor = jitter + (1-jitter)*rand.Float64()
	}
	return time.Duration(factor * float64(e.check.Interval))
}

func (r *Runner) now() time.Duration { return time.Since(r.start) }

// schedule puts e into the heap. The caller holds r.mu.
func (r *Runner) schedule(e *entry) {
	heap.Push(&r.due, e)
	if e.index == 0 {
		r.signal()
	}
}

func (r *Runner) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// schedule is a heap of checks by when they are due.
type schedule []*entry

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due < s[j].due }

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	e := x.(*entry)
	e.index = len(*s)
	*s = append(*s, e)
}

func (s *schedule) Pop() any {
	old := *s
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	e.index = -1
	return e
}
