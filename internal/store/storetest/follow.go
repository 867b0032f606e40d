package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// testFollowEmpty: who follows a log without changes learns that there are none.
func testFollowEmpty(t *testing.T, h *harness) {
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	want := rollcall.Entry{Log: h.Log.Status().ID, Reset: true}
	got := f.Next()
	got.Changes = slices.Clip(append([]rollcall.Change(nil), got.Changes...))
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("first entry (-want +got):\n%s", d)
	}
	r := h.append(batch(put("a", "1")))
	if e := f.Next(); e.Reset || e.More || e.Revision != r {
		t.Errorf("live entry %+v, want revision %d and nothing behind it", e, r)
	}
}

func testFollowMiddle(t *testing.T, h *harness) {
	states := h.fill(20)
	last := slices.Max(slices.Collect(maps.Keys(states)))
	for from, state := range states {
		f := NewFollower(t.Context(), t, h.Log, from, state)
		if from < last {
			f.ReadTo(last)
			f.Want(states[last])
			if from > 0 && f.Resets > 0 {
				t.Errorf("a reset although the log holds revision %d", from)
			}
		}
	}
	// From the very end there is nothing but what comes live.
	f := NewFollower(t.Context(), t, h.Log, last, states[last])
	r := h.append(batch(put("new", "1")))
	if e := f.Next(); e.Revision != r || e.Reset {
		t.Errorf("entry %+v, want revision %d", e, r)
	}
}

// testFollowForeign: a revision that the log has not reached is another log's.
func testFollowForeign(t *testing.T, h *harness) {
	states := h.fill(5)
	last := slices.Max(slices.Collect(maps.Keys(states)))
	f := NewFollower(t.Context(), t, h.Log, last+100, Model{"foreign": put("foreign", "1")})
	if e := f.Next(); !e.Reset {
		t.Fatalf("entry %+v, want a reset", e)
	}
	f.ReadTo(last)
	f.Want(states[last])
}

func testFollowSeveral(t *testing.T, h *harness) {
	const followers, writers, each = 4, 4, 25
	var all sync.WaitGroup
	seen := make([][]rollcall.Revision, followers)
	for i := range followers {
		all.Go(func() {
			for e, err := range h.Log.Follow(t.Context(), 0) {
				if err != nil {
					t.Errorf("Follow: %v", err)
					return
				}
				if e.Reset {
					continue
				}
				if seen[i] = append(seen[i], e.Revision); len(seen[i]) == writers*each {
					return
				}
			}
		})
	}
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if _, err := h.Log.Append(t.Context(), batch(put(fmt.Sprint(w, i), "1"))); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	all.Wait()
	for i, s := range seen {
		if !slices.IsSorted(s) || !slices.Equal(s, seen[0]) {
			t.Errorf("follower %d saw %v, the first saw %v", i, s, seen[0])
		}
	}
}

// testFollowAbandoned: a follower that stops reading, or leaves, stops nobody.
func testFollowAbandoned(t *testing.T, h *harness) {
	h.append(batch(put("a", "1")))
	for range h.Log.Follow(t.Context(), 0) {
		break
	}
	idle := NewFollower(t.Context(), t, h.Log, 0, nil)
	idle.Next()
	for i := range 100 {
		h.append(batch(put(strconv.Itoa(i), "1")))
	}
	last := h.append(batch(put("z", "1")))
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	f.ReadTo(last)
	idle.ReadTo(last)
	idle.Want(f.Model)
}

func testFollowCancelled(t *testing.T, h *harness) {
	h.append(batch(put("a", "1")))
	ctx, cancel := context.WithCancel(t.Context())
	live := NewFollower(ctx, t, h.Log, 0, nil)
	live.Next()
	cancel()
	if err := live.End(); !errors.Is(err, context.Canceled) {
		t.Errorf("the log ends with %v", err)
	}
	if err := NewFollower(ctx, t, h.Log, 0, nil).End(); !errors.Is(err, context.Canceled) {
		t.Errorf("followed with a cancelled context, the log ends with %v", err)
	}
	h.append(batch(put("b", "1")))
}

// testFollowBusy: followers that come in while the log is being written miss
// nothing and see nothing twice.
func testFollowBusy(t *testing.T, h *harness) {
	const entries = 300
	var all sync.WaitGroup
	all.Go(func() {
		for i := range entries {
			if _, err := h.Log.Append(t.Context(), batch(put(strconv.Itoa(i), "1"))); err != nil {
				t.Errorf("Append: %v", err)
			}
		}
	})
	for range 20 {
		f := NewFollower(t.Context(), t, h.Log, 0, nil)
		for len(f.Model) < entries {
			f.Next()
		}
	}
	all.Wait()
}

func testFollowClosed(t *testing.T, h *harness) {
	last := h.append(batch(put("a", "1")))
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	f.ReadTo(last)
	ended := make(chan error)
	go func() {
		for _, err := range h.Log.Follow(t.Context(), last) {
			ended <- err
		}
		close(ended)
	}()
	h.Close()
	for _, err := range []error{f.End(), <-ended} {
		if !errors.Is(err, store.ErrClosed) || !errors.Is(err, rollcall.ErrUnavailable) {
			t.Errorf("the log ends with %v", err)
		}
	}
	if err, more := <-ended; more {
		t.Errorf("the log goes on with %v", err)
	}
}

func testClosed(t *testing.T, h *harness) {
	h.append(batch(put("a", "1")))
	h.Close()
	h.Close()
	h.refuse(batch(put("b", "1")), rollcall.ErrUnavailable)
	if err := h.Log.Checkpoint(t.Context(), 1, Model{}.Changes()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Checkpoint of a closed log: %v", err)
	}
}
