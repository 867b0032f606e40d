package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func testIdentity(t *testing.T, h *harness) {
	if id := h.Log.Status().ID; !id.Valid() {
		t.Errorf("ID %q is not valid", id)
	}
	if h.Log.Status().Created.IsZero() {
		t.Error("Created is zero")
	}
}

func testRevisions(t *testing.T, h *harness) {
	last := rollcall.Revision(0)
	for i := range 10 {
		r := h.append(batch(put(strconv.Itoa(i), "r")))
		if r <= last {
			t.Fatalf("revision %d follows %d", r, last)
		}
		if st := h.Log.Status(); st.Revision != r || st.Err != nil {
			t.Fatalf("status %+v after revision %d", st, r)
		}
		last = r
	}
}

func testAtomic(t *testing.T, h *harness) {
	h.append(batch(put("a", "1")))
	b := batch(put("b", "1"), put("c", "1"), remove("a"))
	b.If = []rollcall.Precondition{{Key: key("a")}}
	h.refuse(b, rollcall.ErrPrecondition)
	b.If = nil
	last := h.append(b)

	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	f.ReadTo(last)
	if len(f.Model) != 2 {
		t.Errorf("state %v, want b and c only", f.Model)
	}
	f = NewFollower(t.Context(), t, h.Log, 1, nil)
	if e := f.Next(); e.Revision != last || len(e.Changes) != 3 {
		t.Errorf("entry %+v, want 3 changes at revision %d", e, last)
	}
}

func testEmptyBatch(t *testing.T, h *harness) {
	h.refuse(rollcall.Batch{}, rollcall.ErrInvalid)
	h.refuse(rollcall.Batch{If: []rollcall.Precondition{{Key: key("a")}}}, rollcall.ErrInvalid)
}

func testIncarnation(t *testing.T, h *harness) {
	first := h.append(batch(put("a", "1")))
	b := batch(update("a", "2", first))
	b.If = []rollcall.Precondition{{Key: key("a"), Incarnation: first, Revision: first}}
	second := h.append(b)
	b.If = []rollcall.Precondition{{Key: key("a"), Incarnation: first, Revision: second}}
	third := h.append(b)
	again := h.append(batch(put("a", "3")))

	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	for _, want := range []struct{ at, incarnation rollcall.Revision }{
		{first, first}, {second, first}, {third, first}, {again, again},
	} {
		f.ReadTo(want.at)
		p := f.Model["instance "+key("a").String()].Body.(rollcall.InstancePut)
		if p.Incarnation != want.incarnation {
			t.Errorf("at revision %d: incarnation %d, want %d", want.at, p.Incarnation, want.incarnation)
		}
	}
}

func testPreconditions(t *testing.T, h *harness) {
	a := h.append(batch(put("a", "1")))
	up := h.append(batch(update("a", "2", a)))
	other := h.append(batch(put("b", "1"), rollcall.Change{At: at, Body: rollcall.HealthPut{
		Service: key("a").ServiceKey, Slot: rollcall.SlotLease, Status: rollcall.Suspect, IDs: []string{"a", "b"}}}))
	gone := h.append(batch(put("gone", "1")))
	h.append(batch(remove("gone")))

	type conditions = []rollcall.Precondition
	for _, test := range []struct {
		name string
		when conditions
		fail []int
	}{
		{"absent", conditions{{Key: key("x")}}, nil},
		{"not absent", conditions{{Key: key("a")}}, []int{0}},
		{"incarnation", conditions{{Key: key("a"), Incarnation: a}}, nil},
		{"other incarnation", conditions{{Key: key("a"), Incarnation: up}}, []int{0}},
		{"revision", conditions{{Key: key("a"), Revision: up}}, nil},
		{"older revision", conditions{{Key: key("a"), Revision: a}}, []int{0}},
		{"both", conditions{{Key: key("a"), Incarnation: a, Revision: up}}, nil},
		{"health does not count", conditions{{Key: key("b"), Revision: other}}, nil},
		{"removed", conditions{{Key: key("gone"), Incarnation: gone}}, []int{0}},
		{"removed is absent", conditions{{Key: key("gone")}}, nil},
		{"key parts", conditions{{Key: rollcall.NewKey("", "we", "ba")}}, nil},
		{"several", conditions{{Key: key("a")}, {Key: key("x")}, {Key: key("b"), Incarnation: 1 << 40}}, []int{0, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := batch(rollcall.Change{At: at, Body: rollcall.OverridePut{Key: key("z")}})
			b.If = test.when
			if test.fail == nil {
				h.append(b)
				return
			}
			err := h.refuse(b, rollcall.ErrPrecondition)
			if got := failed(err); !slices.Equal(got, test.fail) {
				t.Errorf("failed preconditions %v, want %v (%v)", got, test.fail, err)
			}
		})
	}
}

// testRaceForAbsent: of many who register one instance "if absent", at once and
// so in one group, one wins.
func testRaceForAbsent(t *testing.T, h *harness) {
	const racers, rounds = 32, 8
	var winners [rounds]atomic.Int32
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			for round := range rounds {
				id := strconv.Itoa(round)
				b := batch(put(id, strconv.Itoa(i)))
				b.If = []rollcall.Precondition{{Key: key(id)}}
				_, err := h.Log.Append(t.Context(), b)
				switch {
				case err == nil:
					winners[round].Add(1)
				case !errors.Is(err, rollcall.ErrPrecondition):
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	all.Wait()
	for round := range rounds {
		if n := winners[round].Load(); n != 1 {
			t.Errorf("round %d has %d winners", round, n)
		}
	}
}

// testCompareAndSet counts up one instance's record from many goroutines; each
// may only build on the revision that it knows, and who is refused asks again.
func testCompareAndSet(t *testing.T, h *harness) {
	const writers, each = 8, 10
	type state struct {
		revision rollcall.Revision
		count    int
	}
	var mu sync.Mutex
	now := state{revision: h.append(batch(put("n", "0")))}
	first := now.revision
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				mu.Lock()
				old := now
				mu.Unlock()
				b := batch(update("n", strconv.Itoa(old.count+1), first))
				b.If = []rollcall.Precondition{{Key: key("n"), Incarnation: first, Revision: old.revision}}
				r, err := h.Log.Append(t.Context(), b)
				if errors.Is(err, rollcall.ErrPrecondition) {
					continue
				}
				if err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				now = state{r, old.count + 1}
				mu.Unlock()
				done++
			}
		})
	}
	all.Wait()
	if now.count != writers*each {
		t.Errorf("counted to %d, want %d", now.count, writers*each)
	}
}

func testFence(t *testing.T, h *harness) {
	fenced := func(id string, f rollcall.Fence) rollcall.Batch {
		b := batch(put(id, "1"))
		b.Fence = f
		return b
	}
	h.append(fenced("a", 5))
	h.append(fenced("b", 5))
	h.append(fenced("c", 0))
	h.refuse(fenced("d", 4), rollcall.ErrConflict)
	h.append(fenced("e", 7))
	h.refuse(fenced("f", 5), rollcall.ErrConflict)
	if h.Reopen == nil {
		return
	}
	h.reopen()
	h.refuse(fenced("g", 6), rollcall.ErrConflict)
	h.append(fenced("h", 7))
}

func testAppendCancelled(t *testing.T, h *harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Log.Append(ctx, batch(put("a", "1"))); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with a cancelled context: %v", err)
	}
	last := h.append(batch(put("b", "1")))
	f := NewFollower(t.Context(), t, h.Log, 0, nil)
	f.ReadTo(last)
	if len(f.Model) != 1 {
		t.Errorf("state %v, want b only", f.Model)
	}
}

// allKinds has one change of every kind, and one of a kind that is not known.
func allKinds() []rollcall.Change {
	service := key("a").ServiceKey
	expires := at.Add(1e9)
	return []rollcall.Change{
		put("a", "record\x00\xff"),
		{At: at, Body: rollcall.HealthPut{Service: service, Slot: rollcall.CheckSlot("disk"),
			Status: rollcall.Degraded, Reason: "full", IDs: []string{"a"}}},
		{At: at, By: "op", Body: rollcall.OverridePut{Key: key("a"), Override: &rollcall.Override{
			Status: rollcall.Draining, Reason: "repair", Expires: &expires, By: "op", Since: at}}},
		{At: at, Body: rollcall.SettingsPut{Service: service, Settings: &rollcall.Settings{
			GuardShare: new(0.0), DNSTTL: new(rollcall.Duration(5e9))}}},
		{At: at, By: "op", Body: rollcall.QueryPut{Name: service, Query: &rollcall.NamedQuery{
			Namespace: "default", Name: "A", Service: "a", Split: []rollcall.Split{{Percent: 100}}}}},
		{At: at, Body: rollcall.Unknown{Kind: 77, Key: "one\x00two", Data: "\x01\x02future"}},
	}
}

func testAllKinds(t *testing.T, h *harness) {
	last := h.append(batch(allKinds()...))
	want := Model{}
	for _, c := range allKinds() {
		c.Revision = last
		want.Apply(c)
	}
	check := func() {
		t.Helper()
		f := NewFollower(t.Context(), t, h.Log, 0, nil)
		f.ReadTo(last)
		f.Want(want)
	}
	check()
	if h.Reopen != nil {
		h.reopen()
		check()
	}
	h.checkpoint(last, want.Changes())
	check()
	if h.Reopen != nil {
		h.reopen()
		check()
	}
}

// fill writes n batches and returns the state after each revision.
func (h *harness) fill(n int) map[rollcall.Revision]Model {
	h.Helper()
	states := map[rollcall.Revision]Model{0: {}}
	now := Model{}
	for i := range n {
		c := put(fmt.Sprint(i%7), fmt.Sprint(i))
		if i%5 == 4 {
			c = remove(fmt.Sprint(i % 7))
		}
		r := h.append(batch(c))
		c.Revision = r
		next := Model{}
		for k, v := range now {
			next[k] = v
		}
		next.Apply(c)
		now = next
		states[r] = now
	}
	return states
}
