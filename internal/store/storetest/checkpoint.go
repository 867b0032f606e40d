package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func testCheckpointInvalid(t *testing.T, h *harness) {
	states := h.fill(3)
	last := slices.Max(slices.Collect(maps.Keys(states)))
	for _, at := range []rollcall.Revision{0, last + 1} {
		if err := h.Log.Checkpoint(t.Context(), at, states[last].Changes()); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("Checkpoint(%d) at revision %d: %v", at, last, err)
		}
	}
}

// testCheckpointPages: a large state comes in pages, and the entries behind it
// follow.
func testCheckpointPages(t *testing.T, h *harness) {
	const instances = 5000
	b := rollcall.Batch{}
	for i := range instances {
		b.Changes = append(b.Changes, put(strconv.Itoa(i), fmt.Sprintf("record %d of some length", i)))
	}
	at := h.append(b)
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	f.ReadTo(at)
	want := maps.Clone(f.Model)
	last := h.append(batch(put("later", "1")))
	h.checkpoint(at, want.Changes())

	f = NewFollower(t.Context(), t, h.Log, 0, nil)
	pages := 0
	for e := f.Next(); ; e = f.Next() {
		if !e.Reset || e.Revision != at {
			t.Fatalf("page %d: Reset %v, Revision %d; want a page of a reset at %d", pages, e.Reset, e.Revision, at)
		}
		pages++
		if !e.More {
			break
		}
	}
	if pages < 2 {
		t.Errorf("%d changes came in one page", instances)
	}
	f.Want(want)
	if e := f.Next(); e.Revision != last || e.Reset {
		t.Errorf("entry %d after the reset, want %d", e.Revision, last)
	}
}

func testCheckpointEmptyState(t *testing.T, h *harness) {
	h.append(batch(put("a", "1")))
	last := h.append(batch(remove("a")))
	h.checkpoint(last, Model{}.Changes())
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	if e := f.Next(); !e.Reset || e.More || e.Revision != last || len(e.Changes) != 0 {
		t.Errorf("entry %+v, want one empty page at revision %d", e, last)
	}
}

// testCheckpointTrims: from wherever one follows a log that has been trimmed,
// one comes to the same state.
func testCheckpointTrims(t *testing.T, h *harness) {
	states := h.fill(20)
	revisions := slices.Sorted(maps.Keys(states))
	for _, i := range []int{7, 7, 3, 15, 20} { // again and backwards, too
		h.checkpoint(revisions[i], states[revisions[i]].Changes())
		for _, from := range revisions {
			f := NewFollower(t.Context(), t, h.Log, from, states[from])
			if last := revisions[len(revisions)-1]; from < last {
				f.ReadTo(last)
				f.Want(states[last])
			}
			if f.Resets > 0 && from > revisions[i] && i != 3 {
				t.Errorf("from %d: a reset although the log was trimmed only up to %d", from, revisions[i])
			}
		}
	}
}

// testCheckpointBusy: appends and followers go on during checkpoints.
func testCheckpointBusy(t *testing.T, h *harness) {
	const entries, every = 300, 20
	var all sync.WaitGroup
	all.Go(func() {
		for i := range entries {
			if _, err := h.Log.Append(t.Context(), batch(put(strconv.Itoa(i), "1"))); err != nil {
				t.Errorf("Append: %v", err)
			}
		}
	})
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	for read := 0; len(f.Model) < entries; read++ {
		f.Next()
		if !f.inner && read%every == every-1 {
			h.checkpoint(f.Revision, f.Model.Changes())
			late := NewFollower(t.Context(), t, h.Log, 0, nil)
			for late.Revision < f.Revision || late.inner {
				late.Next()
			}
		}
	}
	all.Wait()
	late := NewFollower(t.Context(), t, h.Log, 0, nil)
	late.ReadTo(f.Revision)
	late.Want(f.Model)
}

func testReopen(t *testing.T, h *harness) {
	id, created := h.Log.Status().ID, h.Log.Status().Created
	states := h.fill(20)
	last := slices.Max(slices.Collect(maps.Keys(states)))
	for range 3 {
		h.reopen()
		if h.Log.Status().ID != id || !h.Log.Status().Created.Equal(created) {
			t.Errorf("reopened as %s of %v, was %s of %v", h.Log.Status().ID, h.Log.Status().Created, id, created)
		}
		for from, state := range states {
			if from == last {
				continue
			}
			f := NewFollower(t.Context(), t, h.Log, from, state)
			f.ReadTo(last)
			f.Want(states[last])
		}
		now := states[last]
		p := now["instance "+key("1").String()].Body.(rollcall.InstancePut)
		b := batch(update("1", fmt.Sprint("after ", last), p.Incarnation))
		b.If = []rollcall.Precondition{{Key: key("1")}}
		h.refuse(b, rollcall.ErrPrecondition)
		b.If = []rollcall.Precondition{{Key: key("1"), Incarnation: p.Incarnation, Revision: last + 1}}
		h.refuse(b, rollcall.ErrPrecondition)
		b.If[0].Revision = now["instance "+key("1").String()].Revision
		r := h.append(b)
		if r <= last {
			t.Fatalf("revision %d after reopening at %d", r, last)
		}
		last = r
		next := maps.Clone(now)
		c := b.Changes[0]
		c.Revision = r
		next.Apply(c)
		states[r] = next
	}
}

func testReopenCheckpoint(t *testing.T, h *harness) {
	states := h.fill(20)
	revisions := slices.Sorted(maps.Keys(states))
	last := revisions[len(revisions)-1]
	for _, at := range []rollcall.Revision{revisions[10], last} {
		h.checkpoint(at, states[at].Changes())
		for range 2 {
			h.reopen()
			f := NewFollower(t.Context(), t, h.Log, 0, nil)
			f.ReadTo(last)
			f.Want(states[last])
		}
	}
	for id := range 7 {
		c, there := states[last]["instance "+key(strconv.Itoa(id)).String()]
		b := batch(put(strconv.Itoa(id), "again"))
		if there {
			b.If = []rollcall.Precondition{{Key: key(strconv.Itoa(id)), Incarnation: 1 << 40}}
			h.refuse(b, rollcall.ErrPrecondition)
			b.If[0] = rollcall.Precondition{Key: key(strconv.Itoa(id)), Incarnation: c.Body.(rollcall.InstancePut).Incarnation, Revision: c.Revision}
		} else {
			b.If = []rollcall.Precondition{{Key: key(strconv.Itoa(id))}}
		}
		if r := h.append(b); r <= last {
			t.Fatalf("revision %d after %d", r, last)
		}
	}
}
