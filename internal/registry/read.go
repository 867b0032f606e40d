package registry

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/heap"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// show returns an instance whole, as a reader sees it who asks for it alone.
func (r *Registry) show(item *catalog.Item) rollcall.Instance {
	i := item.Instance()
	if p, moved := r.Position(item.Key()); moved {
		i.Position = &p
	}
	i.EffectiveWeight = new(r.Weight(item))
	if l, ok := r.soft.Load(item.Key()); ok {
		i.Load = &l
	}
	return i
}

// Position returns where an instance has moved since it was registered: soft
// state, which has a generation.
func (r *Registry) Position(key rollcall.Key) (p rollcall.Position, moved bool) {
	return r.soft.Position(key)
}

// Instance returns one instance, whole.
func (r *Registry) Instance(ctx context.Context, key rollcall.Key) (rollcall.Instance, error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: key.ServiceKey}); err != nil {
		return rollcall.Instance{}, err
	}
	s := r.catalog.Snapshot()
	if item := s.Item(key); item != nil {
		return r.show(item), nil
	}
	if s.View(key.ServiceKey) == nil {
		if _, settling := r.settling(); settling {
			return rollcall.Instance{}, r.unknown(key.ServiceKey)
		}
	}
	return rollcall.Instance{}, r.noInstance(key)
}

// Instances returns up to limit instances across services that match f, in
// order of their keys, and a cursor for those that follow.
func (r *Registry) Instances(ctx context.Context, f rollcall.InstanceFilter, after string, limit int) (is []rollcall.Instance, next string, err error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: f.Namespace}}); err != nil {
		return nil, "", err
	}
	namespace := strings.ToLower(f.Namespace)
	// A cursor is the key of the last instance, "namespace/service/id".
	parts := strings.SplitN(after+"//", "/", 3)
	from := rollcall.ServiceKey{Namespace: parts[0], Service: parts[1]}
	id := strings.TrimSuffix(parts[2], "//")
	if after == "" {
		from, id = rollcall.ServiceKey{Namespace: namespace}, ""
	}
	s := r.catalog.Snapshot()
	one := func(v *catalog.View, behind string) bool {
		for item := range v.From(behind) {
			if f.Origin != "" && f.Origin != record.Origin(item.Terms()) {
				continue
			}
			node, address := record.Place(item.Record())
			if f.Node != "" && f.Node != node || f.Address != "" && f.Address != address {
				continue
			}
			if len(is) == limit {
				next = is[limit-1].Key().String()
				return false
			}
			is = append(is, r.show(item))
		}
		return true
	}
	if v := s.View(from); v != nil && (namespace == "" || from.Namespace == namespace) && !one(v, id) {
		return is, next, nil
	}
	for v := range s.Views(from) {
		if namespace != "" && v.Key().Namespace != namespace {
			continue // a cursor may point anywhere
		}
		if !one(v, "") {
			break
		}
	}
	return is, next, nil
}

// Services returns up to limit services, in order, and a cursor for those that
// follow. An empty namespace is all of them. A time that is not zero asks for the
// past.
func (r *Registry) Services(ctx context.Context, namespace string, at time.Time, after string, limit int) (ss []rollcall.ServiceSummary, next string, err error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: namespace}}); err != nil {
		return nil, "", err
	}
	namespace = strings.ToLower(namespace)
	from := rollcall.ServiceKey{Namespace: namespace}
	if after != "" {
		ns, service, ok := strings.Cut(after, "/")
		if !ok {
			return nil, "", rollcall.Invalid("after", fmt.Sprintf("%.200q is not a cursor: pass back what next said", after))
		}
		from = rollcall.NewServiceKey(ns, service)
	}
	s := r.catalog.Snapshot()
	if !at.IsZero() {
		if s, err = r.past(ctx, at, rollcall.ServiceKey{}); err != nil {
			return nil, "", err
		}
	}
	for v := range s.Views(from) {
		if namespace != "" && v.Key().Namespace != namespace {
			if v.Key().Namespace > namespace {
				break
			}
			continue // a cursor may point anywhere
		}
		if len(ss) == limit {
			return ss, rollcall.NewServiceKey(ss[limit-1].Namespace, ss[limit-1].Service).String(), nil
		}
		ss = append(ss, v.Summary())
	}
	return ss, "", nil
}

// Settings returns a service's settings; nil fields are defaults.
func (r *Registry) Settings(ctx context.Context, key rollcall.ServiceKey) (rollcall.Settings, error) {
	if err := r.may(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return rollcall.Settings{}, err
	}
	v := r.catalog.View(key)
	if v == nil {
		return rollcall.Settings{}, r.unknown(key)
	}
	return v.Settings(), nil
}

// Events returns what happened, newest first, and a cursor for what was before.
func (r *Registry) Events(ctx context.Context, f rollcall.EventFilter, after string, limit int) (es []rollcall.Event, next string, err error) {
	if err := authorize(ctx, auth.Inspect, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: f.Namespace, Service: f.Service}, ID: f.ID}); err != nil {
		return nil, "", err
	}
	return r.history.Events(f, after, limit)
}

// Status returns how the server is.
func (r *Registry) Status(ctx context.Context) (rollcall.ServerStatus, error) {
	if err := authorize(ctx, auth.Inspect, rollcall.Key{}); err != nil {
		return rollcall.ServerStatus{}, err
	}
	s := r.catalog.Snapshot()
	_, settling := r.settling()
	lg := r.log.Status()
	st := rollcall.ServerStatus{
		Version: r.o.Version, Store: r.o.Store, LogID: lg.ID, Revision: s.Revision(),
		Synced: r.read.Load(), Settling: settling, Writable: true,
		Started: r.started.UTC(), LogCreated: lg.Created, AgeMS: r.age().Milliseconds(),
		Services: s.Services(), Instances: s.Instances(), Health: s.Health(),
		Watchers: r.hub.Subscribers(), Sessions: r.session.Len(), MemoryBytes: heap.Held(),
		Guards: len(r.live.Judge.Guards()), Panics: s.Panics(), PausedMS: r.live.Leases.Paused().Milliseconds(),
	}
	if lg.Err != nil {
		st.Writable, st.Reason = false, lg.Err.Error()
	}
	return st, nil
}

// Backup writes the state of the log, as of now, as one file.
func (r *Registry) Backup(ctx context.Context, w io.Writer) error {
	if err := r.may(ctx, auth.Export, rollcall.Key{}); err != nil {
		return err
	}
	s := r.catalog.Snapshot()
	h := record.Header{Log: s.Log(), Created: r.log.Status().Created, Revision: s.Revision(), At: r.now()}
	return record.WriteState(w, h, s.State())
}
