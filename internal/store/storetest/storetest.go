// Package storetest is the one conformance suite that every log passes: what
// Append, Follow and Checkpoint promise, tried out through the interface alone.
// It speaks of no engine, so a log that holds its own in here may stand behind a
// registry.
package storetest

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// Log is what a registry asks of its log. Append is atomic and durable when it
// returns; a batch whose context ends after the log has taken it may be written
// or not. Follow yields every change in order, once, without gaps: from 0, or
// from a point that the log does not hold, it begins with a reset. It ends with
// an error: the context's, the log's, or [store.ErrClosed]. Checkpoint gives the
// log the state that its changes up to a revision led to, in place of them.
type Log interface {
	Status() rollcall.LogStatus
	Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error)
	Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error]
	Checkpoint(ctx context.Context, at rollcall.Revision, state iter.Seq[rollcall.Change]) error
}

// Fixture is a new, empty log and what can be done to it from outside. Whoever
// makes it closes it when the test ends.
type Fixture struct {
	Log Log
	// Close closes the log. A second call does nothing.
	Close func()
	// Reopen closes the log and opens what is durable of it; nil if nothing is.
	Reopen func() Log
}

// Run tries out the logs that create makes.
func Run(t *testing.T, create func(t *testing.T) Fixture) {
	tests := []struct {
		name string
		run  func(*testing.T, *harness)
	}{
		{"Identity", testIdentity},
		{"Revisions", testRevisions},
		{"Atomic", testAtomic},
		{"EmptyBatch", testEmptyBatch},
		{"Incarnation", testIncarnation},
		{"Preconditions", testPreconditions},
		{"RaceForAbsent", testRaceForAbsent},
		{"CompareAndSet", testCompareAndSet},
		{"Fence", testFence},
		{"AppendCancelled", testAppendCancelled},
		{"AllKinds", testAllKinds},
		{"FollowEmpty", testFollowEmpty},
		{"FollowMiddle", testFollowMiddle},
		{"FollowForeign", testFollowForeign},
		{"FollowSeveral", testFollowSeveral},
		{"FollowAbandoned", testFollowAbandoned},
		{"FollowCancelled", testFollowCancelled},
		{"FollowBusy", testFollowBusy},
		{"FollowClosed", testFollowClosed},
		{"Closed", testClosed},
		{"CheckpointInvalid", testCheckpointInvalid},
		{"CheckpointPages", testCheckpointPages},
		{"CheckpointEmptyState", testCheckpointEmptyState},
		{"CheckpointTrims", testCheckpointTrims},
		{"CheckpointBusy", testCheckpointBusy},
		{"Reopen", testReopen},
		{"ReopenCheckpoint", testReopenCheckpoint},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := &harness{T: t, Fixture: create(t)}
			test.run(t, h)
		})
	}
}

// harness adds to a fixture what most tests do with it.
type harness struct {
	*testing.T
	Fixture
}

// at is the time of all changes here: one that survives any encoding.
var at = time.Unix(1_700_000_000, 123_456_789).UTC()

func key(id string) rollcall.Key { return rollcall.NewKey("", "web", id) }

func put(id, record string) rollcall.Change {
	return rollcall.Change{At: at, By: "test", Via: "http", Why: "because",
		Body: rollcall.InstancePut{Key: key(id), Record: rollcall.Record(record)}}
}

func update(id, record string, incarnation rollcall.Revision) rollcall.Change {
	c := put(id, record)
	c.Body = rollcall.InstancePut{Key: key(id), Record: rollcall.Record(record), Incarnation: incarnation}
	return c
}

func remove(id string) rollcall.Change {
	return rollcall.Change{At: at, Body: rollcall.InstanceRemove{Key: key(id)}}
}

func batch(changes ...rollcall.Change) rollcall.Batch { return rollcall.Batch{Changes: changes} }

func (h *harness) append(batch rollcall.Batch) rollcall.Revision {
	h.Helper()
	r, err := h.Log.Append(h.Context(), batch)
	if err != nil {
		h.Fatalf("Append(%+v): %v", batch, err)
	}
	return r
}

// refuse appends a batch that must fail with an error of the given kind.
func (h *harness) refuse(batch rollcall.Batch, kind error) error {
	h.Helper()
	r, err := h.Log.Append(h.Context(), batch)
	var e *rollcall.Error
	if r != 0 || !errors.Is(err, kind) || !errors.As(err, &e) {
		h.Fatalf("Append(%+v) = %d, %v; want 0 and an error that is a %q", batch, r, err, kind)
	}
	return err
}

func (h *harness) checkpoint(at rollcall.Revision, state iter.Seq[rollcall.Change]) {
	h.Helper()
	if err := h.Log.Checkpoint(h.Context(), at, state); err != nil {
		h.Fatalf("Checkpoint(%d): %v", at, err)
	}
}

// reopen skips the test if nothing is durable.
func (h *harness) reopen() {
	h.Helper()
	if h.Reopen == nil {
		h.Skip("this log keeps nothing")
	}
	h.Log = h.Reopen()
}

// failed returns which preconditions an error says did not hold.
func failed(err error) []int {
	var e *store.PreconditionError
	if errors.As(err, &e) {
		return e.Failed
	}
	return nil
}
