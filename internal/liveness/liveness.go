// Package liveness gathers what is heard of instances beyond the log: leases that
// are kept or lapse, checks that the registry makes, what callers report. It
// follows the log instance by instance, and asks for a verdict whenever what is
// heard says something else than the log does; it writes nothing itself.
package liveness

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/judge"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// ConfigDoor is the origin of instances that stand in the server's own
// configuration, whose author may have commands run.
const ConfigDoor = "config"

// Options configure [New].
type Options struct {
	Judge judge.Options // its Leases and Probe are set here
	Check check.Options // its Report too
	// Probe looks whether somebody is at an instance's address, see
	// [judge.Options]; nil is a TCP connection to it.
	Probe func(context.Context, *catalog.Item) (refused bool, cause string)
	// Ejected is called for each instance that its callers have taken out.
	Ejected func()
}

// Liveness is what is heard. Begin and Track belong to the goroutine that applies
// the log; everything else may be called by any.
type Liveness struct {
	Leases   *lease.Table
	Judge    *judge.Judge
	Checks   *check.Runner
	Outliers *load.Outliers

	o        Options
	sweepNow chan struct{} // holds one token when callers' reports are to be looked at
}

// New returns what has heard of nobody.
func New(o Options) *Liveness {
	start := time.Now()
	l := &Liveness{
		o:        o,
		Leases:   lease.New(func() time.Duration { return time.Since(start) }),
		Outliers: load.NewOutliers(load.OutlierOptions{}),
		sweepNow: make(chan struct{}, 1),
	}
	o.Judge.Leases, o.Judge.Probe = l.Leases, l.probe
	l.Judge = judge.New(o.Judge)
	o.Check.Report = l.checked
	l.Checks = check.New(o.Check)
	return l
}

// Run judges and checks until ctx ends. Checks begin once the log was read, when
// synced returns: till then it is not known which there are.
func (l *Liveness) Run(ctx context.Context, synced func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Judge.Run(ctx) })
	g.Go(func() error { return l.sweep(ctx) })
	g.Go(func() error {
		if err := synced(ctx); err != nil {
			return err
		}
		return l.Checks.Run(ctx)
	})
	return g.Wait()
}

// Renew keeps an instance's lease, which may not be known.
func (l *Liveness) Renew(key rollcall.Key) (ttl time.Duration, known bool) {
	ttl, known, changed := l.Leases.Renew(key)
	if changed {
		l.Judge.Anew(key)
	}
	return ttl, known
}

// Say takes in what sources say of an instance.
func (l *Liveness) Say(key rollcall.Key, fs ...rollcall.Finding) {
	anew := false
	for _, f := range fs {
		_, changed := l.Leases.Report(key, f)
		anew = anew || changed
	}
	if anew {
		l.Judge.Anew(key)
	}
}

// Begin takes over what the log says once it was read: what it said in between is
// not asked of anybody any more. each is called for every instance, by several
// goroutines.
func (l *Liveness) Begin(s *catalog.Snapshot, each func(*catalog.Item)) {
	views := make(chan *catalog.View, 64)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for v := range views {
				for i := range v.All() {
					l.begin(i)
					each(i)
				}
			}
		})
	}
	for v := range s.Views(rollcall.ServiceKey{}) {
		views <- v
	}
	close(views)
	working.Wait()
	l.Judge.Begin()
}

func (l *Liveness) begin(i *catalog.Item) {
	key := i.Key()
	g := grant(i)
	_, flapped := i.Finding(rollcall.SlotFlap) // which nobody remembers any more
	if agrees := l.Leases.Set(key, g); !agrees || flapped {
		l.Judge.Anew(key)
	}
	if probed(g.Checks) {
		l.Checks.Set(key, target(i))
	}
	if f, ejected := i.Finding(rollcall.SlotCallers); ejected {
		l.Outliers.Restore(key, f.Since, 1, f.Reason)
	}
}

// Track follows one event of an instance.
func (l *Liveness) Track(e *catalog.Event) {
	key := rollcall.Key{ServiceKey: e.Service, ID: e.ID}
	switch {
	case e.After == nil:
		l.Leases.Drop(key)
		l.Outliers.Drop(key)
		l.Checks.Drop(key)
	case !e.HealthOnly():
		l.put(key, e)
	default:
		if is := found(e.After); is != found(e.Before) && !l.Leases.Follow(key, is) {
			l.Judge.Anew(key)
		}
	}
}

// put takes in a registration or update.
func (l *Liveness) put(key rollcall.Key, e *catalog.Event) {
	if e.Anew() {
		l.Outliers.Drop(key) // before it has a lease: see follows
	}
	g := grant(e.After)
	if agrees := l.Leases.Set(key, g); !agrees || len(g.Checks) > 0 {
		// What was reported meanwhile may not have found its instance.
		l.Judge.Anew(key)
	}
	if probed(g.Checks) {
		l.Checks.Set(key, target(e.After))
	} else {
		l.Checks.Drop(key)
	}
}

// grant returns the lease that an instance asks for.
func grant(i *catalog.Item) lease.Grant {
	terms := i.Terms()
	g := lease.Grant{Incarnation: i.Incarnation(), Revision: i.Revision(), Lease: record.Lease(terms), Found: found(i)}
	for _, c := range record.Checks(terms) {
		check := lease.Check{Check: c}
		if c.Probed() {
			check.Endpoint = record.Endpoint(i.Record())
		}
		g.Checks = append(g.Checks, check)
	}
	return g
}

// found returns what the log says of an instance's lease.
func found(i *catalog.Item) rollcall.Status {
	if f, ok := i.Finding(rollcall.SlotLease); ok {
		return f.Status
	}
	return rollcall.Healthy
}

// probed reports whether there are checks among cs that the registry makes.
func probed(cs []lease.Check) bool {
	return slices.ContainsFunc(cs, func(c lease.Check) bool { return c.Probed() })
}

// target is an instance as those who probe it need to know it.
func target(i *catalog.Item) check.Target {
	inst := i.Instance()
	return check.Target{
		Incarnation: inst.Incarnation, Address: inst.Address, Ports: inst.Ports, Checks: inst.Checks, Vouched: inst.Vouched, Configured: inst.Origin == ConfigDoor,
	}
}

// checked takes in what a check that the registry makes has found. What comes late,
// of a registration that was replaced meanwhile, does not count.
func (l *Liveness) checked(c check.Result) {
	f := rollcall.Finding{Slot: rollcall.CheckSlot(c.Check), Status: c.Status, Reason: c.Reason, Hard: c.Hard, Since: c.At}
	if _, changed := l.Leases.ReportOf(c.Key, c.Incarnation, f); changed {
		l.Judge.Anew(c.Key)
	}
}

// probe looks whether somebody is at the address of an instance that fell silent.
func (l *Liveness) probe(ctx context.Context, i *catalog.Item) (refused bool, cause string) {
	if l.o.Probe != nil {
		return l.o.Probe(ctx, i)
	}
	out := l.Checks.ProbeOnce(ctx, target(i))
	return out.Hard, out.Output
}

// Heard returns what speaks for an instance, or is no finding (yet).
func (l *Liveness) Heard(i *catalog.Item, now time.Time) (es []rollcall.Evidence) {
	ev, ok := l.Leases.Evidence(i.Key())
	if !ok || ev.Incarnation != i.Incarnation() {
		return nil
	}
	if _, found := i.Finding(rollcall.SlotLease); !found && ev.TTL > 0 && ev.State == lease.Alive && !ev.Broken {
		es = append(es, rollcall.Evidence{
			Source: rollcall.SlotLease, Status: rollcall.Healthy, Since: now.Add(-ev.Silence),
			Reason: fmt.Sprintf("heard from %v ago, within its TTL of %v", ev.Silence.Round(100*time.Millisecond), rollcall.Duration(ev.TTL)),
		})
	}
	if s, ok := l.Outliers.Explain(i.Key()); ok {
		status := rollcall.Healthy
		if _, ejected := l.Outliers.Ejected(i.Key()); ejected {
			status = rollcall.Unhealthy
		}
		text := fmt.Sprintf("%.1f %% of %.0f requests of %d callers succeeded", 100*s.SuccessRate, s.Requests, s.Callers)
		if s.Mean > 0 {
			text += fmt.Sprintf("; the service's mean is %.1f %%, σ %.1f", 100*s.Mean, 100*s.Sigma)
		}
		if s.Agreeing > 0 {
			text += fmt.Sprintf("; it fails beyond the others for %d", s.Agreeing)
		}
		es = append(es, rollcall.Evidence{Source: rollcall.SlotCallers, Status: status, Reason: text})
	}
	return es
}
