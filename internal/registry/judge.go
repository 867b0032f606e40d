package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// Verdicts reach the log through one goroutine, and what it is told is only
// which instances to look at. It compares what is known of them now with what
// the log says and writes the difference. So it does not matter in which order,
// how often or how late it is told; a renewal that comes between a lapse and its
// verdict prevents it; and after an outage of the log nothing has to be
// remembered. That it is written against the incarnation that was judged keeps a
// late verdict from a newer registration.

// judgeAtOnce is how many instances one batch of verdicts may name: so few that
// whoever asks meanwhile does not wait for long while it is applied.
const judgeAtOnce = 500

// judgeAnew asks for a verdict on instances.
func (r *Registry) judgeAnew(keys ...rollcall.Key) {
	if len(keys) == 0 {
		return
	}
	r.mu.Lock()
	for _, k := range keys {
		r.dirty[k.ServiceKey] = append(r.dirty[k.ServiceKey], k.ID)
	}
	r.mu.Unlock()
	select {
	case r.judge <- struct{}{}:
	default:
	}
}

// watchLeases moves the leases' time on.
func (r *Registry) watchLeases(ctx context.Context) error {
	tick := time.NewTicker(lease.Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.judgeAnew(r.leases.Tick()...)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judgeLoop brings the log in line with what is known.
func (r *Registry) judgeLoop(ctx context.Context) error {
	// Before that, the leases are not complete.
	if err := r.WaitSynced(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-r.judge:
		case <-ctx.Done():
			return ctx.Err()
		}
		var failed error
		for part := range r.toJudge() {
			if errors.Is(failed, rollcall.ErrUnavailable) {
				r.judgeAnew(part...) // it would fail too
				continue
			}
			err := r.judgeBatch(ctx, part)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				r.judgeAnew(part...)
				failed = err
			}
		}
		if failed == nil {
			continue
		}
		r.logger.Debug("verdicts have to wait", "err", failed)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// toJudge takes what is to be judged, in parts that share a batch, and in order
// of services, so that verdicts on one service share changes.
func (r *Registry) toJudge() iter.Seq[[]rollcall.Key] {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = map[rollcall.ServiceKey][]string{}
	r.mu.Unlock()
	return func(yield func([]rollcall.Key) bool) {
		part := make([]rollcall.Key, 0, judgeAtOnce)
		for _, service := range slices.SortedFunc(maps.Keys(dirty), rollcall.ServiceKey.Compare) {
			ids := dirty[service]
			slices.Sort(ids)
			for _, id := range slices.Compact(ids) {
				if part = append(part, rollcall.Key{ServiceKey: service, ID: id}); len(part) == judgeAtOnce {
					if !yield(part) {
						return
					}
					part = part[:0]
				}
			}
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

// judgeBatch writes what there is to be said of some instances.
func (r *Registry) judgeBatch(ctx context.Context, keys []rollcall.Key) error {
	skip := map[rollcall.Key]bool{}
	for {
		b, removing := r.verdicts(keys, skip)
		if len(b.Changes) == 0 {
			return nil
		}
		_, err := r.append(ctx, b)
		if err == nil {
			r.metrics.verdicts.Add(float64(len(b.If)))
			return nil
		}
		for _, key := range removing {
			r.leases.Removing(key, false)
		}
		// An instance that was registered anew meanwhile is not concerned any
		// more; the others are.
		var failed interface{ FailedPreconditions() []int }
		if !errors.As(err, &failed) {
			return err
		}
		for _, n := range failed.FailedPreconditions() {
			skip[b.If[n].Key] = true
		}
	}
}

// verdicts returns the changes that bring the log in line with what is known of
// some instances, in order of their services, and those that it removes.
func (r *Registry) verdicts(keys []rollcall.Key, skip map[rollcall.Key]bool) (b rollcall.Batch, removing []rollcall.Key) {
	s := r.catalog.Snapshot()
	at := now()
	var puts []rollcall.HealthPut // of one service, each with another finding
	said := func() {
		for _, put := range puts {
			b.Changes = append(b.Changes, rollcall.Change{At: at, By: "rollcall", Via: source(put.Slot), Body: put})
		}
		puts = puts[:0]
	}
	b.If = make([]rollcall.Precondition, 0, len(keys))
	for n, key := range keys {
		if n > 0 && key.ServiceKey != keys[n-1].ServiceKey {
			said()
		}
		item := s.Item(key)
		ev, ok := r.leases.Evidence(key)
		if skip[key] || item == nil || !ok || ev.Incarnation != item.Incarnation() {
			continue
		}
		if ev.State == lease.Expired {
			if !r.leases.Removing(key, true) {
				continue // renewed just now, which asks for a verdict of its own
			}
			removing = append(removing, key)
			b.Changes = append(b.Changes, rollcall.Change{
				At: at, By: "rollcall", Via: "lease", Why: ev.Why, Body: rollcall.InstanceRemove{Key: key},
			})
			b.If = append(b.If, rollcall.Precondition{Key: key, Incarnation: ev.Incarnation})
			continue
		}
		found := differing(item, ev)
		for _, f := range found {
			n := slices.IndexFunc(puts, func(p rollcall.HealthPut) bool {
				return p.Slot == f.Slot && p.Status == f.Status && p.Reason == f.Reason
			})
			if n < 0 {
				n = len(puts)
				puts = append(puts, rollcall.HealthPut{Service: key.ServiceKey, Slot: f.Slot, Status: f.Status, Reason: f.Reason})
			}
			puts[n].IDs = append(puts[n].IDs, key.ID)
		}
		if len(found) > 0 {
			b.If = append(b.If, rollcall.Precondition{Key: key, Incarnation: ev.Incarnation})
		}
	}
	said()
	return b, removing
}

// differing returns the findings that the log does not have yet.
func differing(item *catalog.Item, ev lease.Evidence) (fs []rollcall.Finding) {
	kept := rollcall.Finding{Slot: rollcall.SlotLease, Status: rollcall.Healthy}
	if ev.State != lease.Alive {
		kept.Status = rollcall.Unhealthy
		kept.Reason = fmt.Sprintf("no renewal for %v", rollcall.Duration(ev.TTL))
	}
	for _, f := range append(ev.Reports, kept) {
		logged := rollcall.Healthy
		if old, found := item.Finding(f.Slot); found {
			logged = old.Status
		} else if _, isCheck := f.Slot.Check(); isCheck {
			continue // the instance does not have this check (any more)
		}
		if logged != f.Status {
			fs = append(fs, f)
		}
	}
	return fs
}

// source names, for the history, where a finding comes from.
func source(s rollcall.Slot) string {
	if _, isCheck := s.Check(); isCheck {
		return "check"
	}
	return string(s)
}
