package storetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

// Model is the state that a log's entries lead to, kept in the simplest way:
// the newest change under each key.
type Model map[string]rollcall.Change

// Apply takes in one change.
func (m Model) Apply(c rollcall.Change) {
	k, clears := "", false
	switch v := c.Body.(type) {
	case rollcall.InstancePut:
		k = "instance " + v.Key.String()
		if v.Incarnation == 0 {
			v.Incarnation = c.Revision
			c.Body = v
		}
	case rollcall.InstanceRemove:
		k, clears = "instance "+v.Key.String(), true
	case rollcall.HealthPut:
		k = fmt.Sprintf("health %s %s %q", v.Service, v.Slot, v.IDs)
	case rollcall.OverridePut:
		k, clears = "override "+v.Key.String(), v.Override == nil
	case rollcall.SettingsPut:
		k, clears = "settings "+v.Service.String(), v.Settings == nil
	case rollcall.QueryPut:
		k, clears = "query "+v.Name.String(), v.Query == nil
	case rollcall.Unknown:
		k, clears = fmt.Sprintf("%d %q", v.Kind, v.Key), v.Data == ""
	}
	if clears {
		delete(m, k)
	} else {
		m[k] = c
	}
}

// Changes returns the state as changes, in the order of their keys.
func (m Model) Changes() iter.Seq[rollcall.Change] {
	return func(yield func(rollcall.Change) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(m[k]) {
				return
			}
		}
	}
}

// Follower reads a log step by step into a model, and holds every entry against
// the rules on the way.
type Follower struct {
	Model    Model
	Revision rollcall.Revision
	Resets   int // how many resets it has seen

	t     testing.TB
	log   Log
	next  func() (rollcall.Entry, error, bool)
	inner bool // within a reset
	first bool
	from  rollcall.Revision
}

// NewFollower follows log from a revision on, at which its state was m.
func NewFollower(ctx context.Context, t testing.TB, log Log, from rollcall.Revision, m Model) *Follower {
	next, stop := iter.Pull2(log.Follow(ctx, from))
	t.Cleanup(stop)
	f := &Follower{Model: maps.Clone(m), Revision: from, t: t, log: log, next: next, first: true, from: from}
	if f.Model == nil {
		f.Model = Model{}
	}
	return f
}

// Next reads one entry, for which it waits.
func (f *Follower) Next() rollcall.Entry {
	f.t.Helper()
	e, err, ok := f.next()
	if err != nil || !ok {
		f.t.Fatalf("after revision %d: the log ends with %v", f.Revision, err)
	}
	if e.Log != f.log.Status().ID {
		f.t.Fatalf("entry of log %q in log %q", e.Log, f.log.Status().ID)
	}
	switch {
	case e.Reset:
		if !f.inner {
			clear(f.Model)
			f.Resets++
		} else if e.Revision != f.Revision {
			f.t.Fatalf("a page at revision %d follows one at %d", e.Revision, f.Revision)
		}
		f.inner = e.More
		for _, c := range e.Changes {
			if c.Revision == 0 || c.Revision > e.Revision {
				f.t.Fatalf("a reset at revision %d has a change of revision %d", e.Revision, c.Revision)
			}
		}
	case f.inner:
		f.t.Fatalf("entry %d within a reset", e.Revision)
	case f.first && f.from == 0:
		f.t.Fatalf("followed from 0, the log begins with entry %d and not with a reset", e.Revision)
	case e.Revision <= f.Revision:
		f.t.Fatalf("entry %d follows %d", e.Revision, f.Revision)
	case len(e.Changes) == 0:
		f.t.Fatalf("entry %d is empty", e.Revision)
	default:
		for _, c := range e.Changes {
			if c.Revision != e.Revision {
				f.t.Fatalf("entry %d has a change of revision %d", e.Revision, c.Revision)
			}
		}
	}
	f.first, f.Revision = false, e.Revision
	for _, c := range e.Changes {
		f.Model.Apply(c)
	}
	return e
}

// ReadTo reads up to a revision, and to the end of a reset.
func (f *Follower) ReadTo(r rollcall.Revision) {
	f.t.Helper()
	for f.first || f.inner || f.Revision < r {
		f.Next()
	}
	if f.Revision != r {
		f.t.Fatalf("read up to revision %d, want %d", f.Revision, r)
	}
}

// End expects the log to end, and returns with which error.
func (f *Follower) End() error {
	f.t.Helper()
	for {
		e, err, ok := f.next()
		if !ok {
			f.t.Fatal("the log ends without an error")
		}
		if err != nil {
			if _, _, more := f.next(); more {
				f.t.Fatalf("the log goes on after %v", err)
			}
			return err
		}
		f.Revision = e.Revision
	}
}

// Want compares the state read with the one wanted.
func (f *Follower) Want(want Model) {
	f.t.Helper()
	if d := cmp.Diff(want, f.Model); d != "" {
		f.t.Fatalf("at revision %d (-want +got):\n%s", f.Revision, d)
	}
}
