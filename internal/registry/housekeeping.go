package registry

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// How long, and how many, services without instances stay known.
const (
	knownFor  = catalog.KnownFor
	knownMost = 100_000
)

const (
	// checkpointAfter is how many changes, and at least as many as there are
	// instances, the log collects between two checkpoints.
	checkpointAfter = 200_000
	// positionsASecond is how many positions reach the log.
	positionsASecond = 500
	forgetEvery      = 10 * time.Minute
	healEvery        = 5 * time.Second

	// positionDoor marks the changes that bring moved positions to the log.
	positionDoor = "position"
)

// housekeeping does, once a second, what nobody waits for.
func (r *Registry) housekeeping(ctx context.Context) error {
	if err := r.WaitSynced(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lastForget, lastHeal := time.Now(), time.Now()
	broken := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.writePositions(context.WithoutCancel(ctx), 1<<30)
			return ctx.Err()
		}
		r.session.Sweep()
		r.pasts.Sweep()
		r.reweigh()
		r.index.Sweep(time.Now())
		r.hub.Sweep()
		r.world.Subsets.Sweep()
		r.world.Ready.Sweep(&r.world)
		r.endOverrides(ctx)
		r.writePositions(ctx, positionsASecond)
		if time.Since(lastForget) > forgetEvery {
			lastForget = time.Now()
			r.forget.Store(true) // with the next entry: until then nobody minds
		}
		err := r.log.Status().Err
		if err != nil && !broken {
			r.logger.Error("the log takes no writes; reads go on", "err", err)
		} else if err == nil && broken {
			r.logger.Info("the log takes writes again")
		}
		broken = err != nil
		due := r.sinceMark.Load() > max(checkpointAfter, int64(r.catalog.Snapshot().Instances()))
		if due && !broken || broken && time.Since(lastHeal) > healEvery {
			lastHeal = time.Now()
			r.checkpoint(ctx)
		}
	}
}

// checkpoint gives the log an image of the state. A log that refuses writes
// after an error takes them again if that succeeds: the image contains all that
// was acknowledged, whatever became of the files behind it.
func (r *Registry) checkpoint(ctx context.Context) {
	s := r.catalog.Snapshot()
	start := time.Now()
	if err := r.log.Checkpoint(ctx, s.Revision(), s.State()); err != nil {
		r.logger.Warn("checkpoint failed; will try again", "err", err)
		return
	}
	r.sinceMark.Store(0)
	r.logger.Debug("checkpoint written", "revision", s.Revision(), "took", time.Since(start))
}

// endOverrides ends the overrides whose time is up.
func (r *Registry) endOverrides(ctx context.Context) {
	var over []rollcall.Key
	r.mu.Lock()
	for key, at := range r.expiring {
		if !at.After(r.o.Wall()) {
			over = append(over, key)
		}
	}
	r.mu.Unlock()
	ctx = auth.With(ctx, auth.Principal{Name: "rollcall", Door: "override"})
	for _, key := range over {
		clear := rollcall.OverridePut{Key: key}
		_, err := r.append(ctx, rollcall.Batch{Changes: []rollcall.Change{r.change(ctx, clear, "its time is up")}})
		if err != nil {
			return // it is tried again in a second
		}
		r.expireAt(key, nil)
	}
}

// writePositions brings up to n moved positions to the log, so that they outlive
// this process. One that cannot be written now is taken up again when the
// instance moves next. It does not wait for the apply loop, which may have ended.
func (r *Registry) writePositions(ctx context.Context, n int) {
	ctx = auth.With(ctx, auth.Principal{Name: "rollcall", Door: positionDoor})
	var b rollcall.Batch
	for key, p := range r.soft.Moved(n) {
		item := r.catalog.Item(key)
		if item == nil {
			continue
		}
		i := registration(item)
		i.Position = &p
		put := replacement(item, &i)
		if put.Record == item.Record() {
			r.soft.Logged(key, p) // it is back where it was registered
			continue
		}
		b.Changes = append(b.Changes, r.change(ctx, put, "moved"))
		b.If = append(b.If, unchanged(item))
	}
	for len(b.Changes) > 0 {
		part := min(manyAtOnce, len(b.Changes))
		r.writeEach(ctx, rollcall.Batch{Changes: b.Changes[:part], If: b.If[:part]})
		b.Changes, b.If = b.Changes[part:], b.If[part:]
	}
}

// writeEach writes the changes of a batch together, or, if one of its
// preconditions fails, those whose own one holds.
func (r *Registry) writeEach(ctx context.Context, b rollcall.Batch) {
	_, err := r.log.Append(ctx, b)
	if errors.Is(err, rollcall.ErrPrecondition) && len(b.Changes) > 1 {
		for n := range b.Changes {
			r.writeEach(ctx, rollcall.Batch{Changes: b.Changes[n : n+1], If: b.If[n : n+1]})
		}
		return
	}
	if err != nil {
		r.logger.Debug("positions not written", "instances", len(b.Changes), "err", err)
	}
}
