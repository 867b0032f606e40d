package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// judgeAtOnce is how many instances one batch of verdicts may name.
const judgeAtOnce = rollcall.MaxHealthIDs

// judgeAnew asks for a verdict on instances.
func (r *Registry) judgeAnew(keys ...rollcall.Key) {
	if len(keys) == 0 {
		return
	}
	r.mu.Lock()
	for _, k := range keys {
		r.dirty[k] = struct{}{}
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
		r.mu.Lock()
		keys := make([]rollcall.Key, 0, len(r.dirty))
		for k := range r.dirty {
			keys = append(keys, k)
		}
		clear(r.dirty)
		r.mu.Unlock()
		// In order, so that verdicts on one service share changes.
		slices.SortFunc(keys, func(a, b rollcall.Key) int {
			if c := a.ServiceKey.Compare(b.ServiceKey); c != 0 {
				return c
			}
			return cmp.Compare(a.ID, b.ID)
		})
		for part := range slices.Chunk(keys, judgeAtOnce) {
			err := r.judgeBatch(ctx, part)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				continue
			}
			r.judgeAnew(part...)
			r.logger.Debug("verdicts have to wait", "instances", len(part), "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
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
	type group struct {
		service rollcall.ServiceKey
		finding rollcall.Finding
	}
	at := now()
	groups := map[group]int{} // index into b.Changes
	for _, key := range keys {
		item := s.Item(key)
		ev, ok := r.leases.Evidence(key)
		if skip[key] || item == nil || !ok || ev.Incarnation != item.Incarnation() {
			continue
		}
		before := len(b.Changes)
		said := false
		if ev.State == lease.Expired {
			if !r.leases.Removing(key, true) {
				continue // renewed just now, which asks for a verdict of its own
			}
			removing = append(removing, key)
			b.Changes = append(b.Changes, rollcall.Change{
				At: at, By: "rollcall", Via: "lease", Why: ev.Why, Body: rollcall.InstanceRemove{Key: key},
			})
		} else {
			for _, f := range differing(item, ev) {
				f.Since = time.Time{}
				g := group{key.ServiceKey, f}
				n, found := groups[g]
				if !found {
					n = len(b.Changes)
					groups[g] = n
					b.Changes = append(b.Changes, rollcall.Change{
						At: at, By: "rollcall", Via: source(f.Slot),
						Body: rollcall.HealthPut{Service: key.ServiceKey, Slot: f.Slot, Status: f.Status, Reason: f.Reason},
					})
				}
				put := b.Changes[n].Body.(rollcall.HealthPut)
				put.IDs = append(put.IDs, key.ID)
				b.Changes[n].Body = put
				said = true
			}
		}
		if said || len(b.Changes) > before {
			b.If = append(b.If, rollcall.Precondition{Key: key, Incarnation: ev.Incarnation})
		}
	}
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
