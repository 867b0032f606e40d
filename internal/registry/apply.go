package registry

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// publishAtMost bounds how many entries one publication may hold back, once the
// log has been read.
const publishAtMost = 1024

// follow is the apply loop: the only writer of the catalog.
func (r *Registry) follow(ctx context.Context) error {
	for {
		err := r.followOnce(ctx)
		r.lastStep.Store(int64(time.Since(r.started)))
		r.inStep.Store(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.logger.Error("lost the log; answers go on from what is known", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Registry) followOnce(ctx context.Context) error {
	r.catalog.Abandon() // what an earlier attempt left half done
	// Until what the log has now was applied, "not there" would mean nothing.
	known := r.log.Status().Revision
	since := rollcall.Revision(0) // events are complete behind it, if not for longer
	pending := 0                  // entries that are not published
	var newest time.Time          // of the changes of a reset
	for e, err := range r.log.Follow(ctx, r.catalog.Snapshot().Revision()) {
		if err != nil {
			return err
		}
		if err := r.catalog.Apply(e); err != nil {
			return err
		}
		if e.Reset {
			newest = e.Latest(newest)
		}
		switch {
		case e.Reset && e.More:
			continue // nothing of it shows before its end
		case e.Reset:
			since = e.Revision
			r.history.From(e.Log, e.Revision, newest, r.log.Status().Created)
		default:
			r.sinceMark.Add(int64(len(e.Changes)))
		}
		caughtUp := e.Revision >= known
		read := r.read.Load()
		switch {
		case !read && !caughtUp:
			// Nobody waits for what is being read, and the history has room for
			// its end alone.
			if dropped := r.catalog.DropEvents(watch.HistoryEvents); dropped > since {
				since = dropped
				r.history.From(e.Log, dropped, e.Latest(newest), r.log.Status().Created)
			}
			continue
		case read && e.More && pending < publishAtMost:
			pending++
			continue
		}
		pending = 0
		// What was forgotten before a restart is still in the log.
		if r.forget.Swap(false) || !read {
			r.catalog.Forget(r.o.Wall().Add(-knownFor), knownMost)
		}
		r.publish(since)
		if caughtUp {
			if !read {
				r.begin()
			}
			r.inStep.Store(true)
			r.read.Store(true)
			r.applied.Advance(e.Revision)
		}
	}
	return ctx.Err()
}

// publish makes what was applied visible, in this order: first the snapshot,
// then what follows from it in soft state, then the watchers. The writers who
// wait for it come last.
func (r *Registry) publish(since rollcall.Revision) {
	old := r.catalog.Snapshot()
	s, events := r.catalog.Publish()
	if !r.catalog.Synced() {
		return
	}
	read := r.read.Load()
	var moved []rollcall.ServiceKey // names that mean a query now, or no more
	r.index.Apply(s, events)
	for i := range events {
		e := &events[i]
		if e.Change != nil || e.Panic != nil {
			if ev, ok := e.Story(s); ok {
				h := history.Entry{Event: ev, Log: s.Log(), Image: e.Was}
				if e.ID != "" {
					h.Stood = e.Before
				}
				r.history.Add(h)
				if read && r.o.Events != nil {
					r.o.Events(ev)
				}
			}
		}
		if read && e.ID != "" {
			r.track(e)
		}
		if read && e.ID == "" && (s.Query(e.Service) != nil) != (old.Query(e.Service) != nil) {
			moved = append(moved, e.Service)
		}
		e.Change = nil // the watch history keeps events for minutes
	}
	for service := range r.warmed {
		r.soft.Refresh(service, time.Now())
	}
	r.hub.Publish(s, events, since)
	r.hub.Reweighed(slices.Collect(maps.Keys(r.warmed))...)
	clear(r.warmed)
	for _, name := range moved {
		r.hub.Moved(name)
	}
}

// begin makes the soft state of what the log says in the end.
func (r *Registry) begin() {
	r.live.Begin(r.catalog.Snapshot(), func(i *catalog.Item) {
		if o := i.Override(); o != nil {
			r.expireAt(i.Key(), o)
		}
		r.warm(nil, i)
	})
	r.soft.Tick(time.Now())
}

// track brings the soft state in line with one event of an instance.
func (r *Registry) track(e *catalog.Event) {
	key := rollcall.Key{ServiceKey: e.Service, ID: e.ID}
	r.live.Track(e)
	switch {
	case e.After == nil:
		r.session.Removed(key)
		r.soft.Drop(key)
		r.expireAt(key, nil) // one that is registered again with it is told again
		return
	case e.HealthOnly():
		r.soft.Changed(key)
	case e.Anew():
		r.soft.Drop(key)
	case e.Change == nil || e.Change.Via != positionDoor:
		r.soft.Forget(key) // the update was made of where it had moved, or says where it is
		r.soft.Changed(key)
	default:
		if p := record.Position(e.After.Record()); p != nil {
			r.soft.Logged(key, *p)
		}
	}
	if r.warm(e.Before, e.After) { // it has all of its weight till the next turn, unless it is weighed now
		r.warmed[key.ServiceKey] = struct{}{}
	}
	if o := e.After.Override(); e.Before == nil || o != e.Before.Override() {
		r.expireAt(key, o)
	}
}

func (r *Registry) expireAt(key rollcall.Key, o *rollcall.Override) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o == nil || o.Expires == nil {
		delete(r.expiring, key)
		return
	}
	r.expiring[key] = *o.Expires
}
