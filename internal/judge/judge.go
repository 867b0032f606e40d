// Package judge brings the log in line with what is known of instances. It is
// told which ones to look at, compares what leases, checks and callers say of them
// with what the log says, and writes the difference: the only one that does.
//
// So it does not matter in which order, how often or how late it is told; a
// renewal that comes between a lapse and its verdict prevents it; and after an
// outage of the log nothing has to be remembered. That a verdict is written
// against the revision that was judged keeps a late one from a newer registration
// or update.
//
// It is slow to believe the worst of many at once (guard.go) and of one again
// and again (flap.go).
package judge

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// atOnce is how many instances one batch of verdicts may name: so few that
// whoever asks meanwhile does not wait for long while it is applied.
const atOnce = 500

// Options configure a [Judge].
type Options struct {
	Snapshot func() *catalog.Snapshot
	Leases   *lease.Table
	// Append writes a batch and returns once it is published.
	Append func(context.Context, rollcall.Batch) (rollcall.Revision, error)
	// Probe looks whether somebody is at an instance's address, for at most a
	// second: refused means that nobody is, cause how that showed. Nil is nobody
	// to look.
	Probe func(context.Context, *catalog.Item) (refused bool, cause string)
	// Defaults are the settings of services that have none of their own.
	Defaults rollcall.Settings
	// Wall is the clock of what is written.
	Wall func() time.Time
	// Paused is told when this process was stopped for a while, by which all
	// deadlines were moved; nil is nobody.
	Paused func(time.Duration)
	// Undamped has every verdict written, however often an instance's changes.
	Undamped bool
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Judge is the judge. Its methods may be called by any goroutine.
type Judge struct {
	o       Options
	metrics *metrics
	probes  chan rollcall.Key

	mu    sync.Mutex                       // guards dirty
	dirty map[rollcall.ServiceKey][]string // ids of instances to be judged, some perhaps twice
	token chan struct{}                    // holds one while dirty is not empty

	guarding sync.Mutex // guards what follows
	guard    *lease.Guard
	guards   []rollcall.Change // to be written

	flaps flaps // of the judging goroutine
}

// New returns a judge. It judges nobody before [Judge.Run].
func New(o Options) *Judge {
	j := &Judge{
		o: o, probes: make(chan rollcall.Key, probesWaiting),
		dirty: map[rollcall.ServiceKey][]string{}, token: make(chan struct{}, 1),
	}
	if !o.Undamped {
		j.flaps = flaps{}
	}
	j.guard = lease.NewGuard(census{j})
	j.metrics = newMetrics(j, o.Metrics)
	return j
}

// Anew asks for a verdict on instances.
func (j *Judge) Anew(keys ...rollcall.Key) {
	if len(keys) == 0 {
		return
	}
	j.mu.Lock()
	for _, k := range keys {
		j.dirty[k.ServiceKey] = append(j.dirty[k.ServiceKey], k.ID)
	}
	j.mu.Unlock()
	select {
	case j.token <- struct{}{}:
	default:
	}
}

// Run moves the leases' time on and judges until ctx ends.
func (j *Judge) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.tick(ctx) })
	g.Go(func() error { return j.loop(ctx) })
	if j.o.Probe != nil {
		for range probers {
			g.Go(func() error { return j.probe(ctx) })
		}
	}
	return g.Wait()
}

func (j *Judge) tick(ctx context.Context) error {
	tick := time.NewTicker(lease.Tick)
	defer tick.Stop()
	paused := j.o.Leases.Paused()
	for {
		select {
		case <-tick.C:
			j.Anew(j.o.Leases.Tick()...)
			if p := j.o.Leases.Paused(); p > paused {
				j.o.Logger.Warn("this process was stopped for a while: nobody could be heard, so all deadlines were moved", "by", p-paused)
				if j.o.Paused != nil {
					j.o.Paused(p - paused)
				}
				paused = p
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop brings the log in line with what is known.
func (j *Judge) loop(ctx context.Context) error {
	review := time.NewTicker(time.Second)
	defer review.Stop()
	for {
		select {
		case <-j.token:
		case <-review.C:
			j.review()
			j.Anew(j.flaps.review(time.Now())...)
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		err := j.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		j.o.Logger.Debug("verdicts have to wait", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round judges all there is to be judged. What cannot be written is to be judged
// again, and the last error is returned.
func (j *Judge) round(ctx context.Context) (failed error) {
	dirty := j.toJudge()
	j.decide(dirty)
	if failed = j.writeGuards(ctx); ctx.Err() != nil {
		return failed
	}
	for part := range slices.Chunk(dirty, atOnce) {
		if errors.Is(failed, rollcall.ErrUnavailable) {
			j.Anew(part...) // it would fail too
			continue
		}
		err := j.judge(ctx, part)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			j.Anew(part...)
			failed = err
		}
	}
	return failed
}

// toJudge takes what is to be judged, in order of services, so that verdicts on
// one service share changes.
func (j *Judge) toJudge() (keys []rollcall.Key) {
	j.mu.Lock()
	dirty := j.dirty
	j.dirty = map[rollcall.ServiceKey][]string{}
	j.mu.Unlock()
	for _, service := range slices.SortedFunc(maps.Keys(dirty), rollcall.ServiceKey.Compare) {
		ids := dirty[service]
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			keys = append(keys, rollcall.Key{ServiceKey: service, ID: id})
		}
	}
	return keys
}

// judge writes what there is to be said of some instances.
func (j *Judge) judge(ctx context.Context, keys []rollcall.Key) error {
	skip := map[rollcall.Key]bool{}
	for {
		b, removing := j.verdicts(keys, skip)
		if len(b.Changes) == 0 {
			return nil
		}
		_, err := j.o.Append(ctx, b)
		if err == nil {
			j.metrics.verdicts.Add(float64(len(b.If)))
			j.metrics.countFlaps(&b)
			return nil
		}
		for _, key := range removing {
			j.o.Leases.Removing(key, false)
		}
		// An instance that was registered anew or updated meanwhile is another
		// matter: what was found may have been of a check that is not the same any
		// more. The others are concerned as they were.
		var failed interface{ FailedPreconditions() []int }
		if !errors.As(err, &failed) {
			return err
		}
		for _, n := range failed.FailedPreconditions() {
			skip[b.If[n].Key] = true
			j.Anew(b.If[n].Key)
		}
	}
}

// said gathers findings of one service, so that those that are alike share a
// change.
type said struct {
	at   time.Time
	puts []rollcall.HealthPut
}

func (s *said) add(key rollcall.Key, f rollcall.Finding) {
	n := slices.IndexFunc(s.puts, func(p rollcall.HealthPut) bool {
		return p.Slot == f.Slot && p.Status == f.Status && p.Reason == f.Reason && p.Hard == f.Hard
	})
	if n < 0 {
		n = len(s.puts)
		s.puts = append(s.puts, rollcall.HealthPut{Service: key.ServiceKey, Slot: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard})
	}
	s.puts[n].IDs = append(s.puts[n].IDs, key.ID)
}

// changes yields what was gathered, and begins anew.
func (s *said) changes() iter.Seq[rollcall.Change] {
	return func(yield func(rollcall.Change) bool) {
		for _, put := range s.puts {
			if !yield(rollcall.Change{At: s.at, By: "rollcall", Via: source(put.Slot), Body: put}) {
				return
			}
		}
		s.puts = s.puts[:0]
	}
}

// verdicts returns the changes that bring the log in line with what is known of
// some instances, in order of their services, and those that it removes.
func (j *Judge) verdicts(keys []rollcall.Key, skip map[rollcall.Key]bool) (b rollcall.Batch, removing []rollcall.Key) {
	s := j.o.Snapshot()
	all := said{at: j.now()}
	b.If = make([]rollcall.Precondition, 0, len(keys))
	for n, key := range keys {
		if n > 0 && key.ServiceKey != keys[n-1].ServiceKey {
			b.Changes = slices.AppendSeq(b.Changes, all.changes())
		}
		item := s.Item(key)
		ev, ok := j.o.Leases.Evidence(key)
		if item == nil {
			delete(j.flaps, key)
		}
		if skip[key] || item == nil || !ok || ev.Incarnation != item.Incarnation() {
			continue
		}
		if ev.Revision != 0 && ev.Revision != item.Revision() {
			j.Anew(key) // an update is on its way to the leases: what was found may be of other checks
			continue
		}
		if ev.State == lease.Expired {
			if !j.o.Leases.Removing(key, true) {
				continue // renewed just now, which asks for a verdict of its own
			}
			removing = append(removing, key)
			b.Changes = append(b.Changes, rollcall.Change{
				At: all.at, By: "rollcall", Via: "lease", Why: ev.Why, Body: rollcall.InstanceRemove{Key: key},
			})
			b.If = append(b.If, rollcall.Precondition{Key: key, Incarnation: ev.Incarnation})
			continue
		}
		found := j.flaps.damp(key, item, &ev, differing(item, &ev), all.at, time.Now())
		for _, f := range found {
			all.add(key, f)
		}
		if len(found) > 0 {
			b.If = append(b.If, rollcall.Precondition{Key: key, Incarnation: ev.Incarnation, Revision: item.Revision()})
		}
	}
	b.Changes = slices.AppendSeq(b.Changes, all.changes())
	return b, removing
}

// now is the time that goes into the log: without a monotonic reading, so that
// equal times are equal.
func (j *Judge) now() time.Time { return j.o.Wall().UTC().Round(0) }
