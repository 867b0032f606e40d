package store

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// TestHead holds the head against a map of whole keys, through batches that are
// admitted, refused and taken back.
func TestHead(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		h := NewHead()
		type state struct {
			revision  rollcall.Revision
			fence     rollcall.Fence
			instances map[rollcall.Key]held
		}
		now := state{instances: map[rollcall.Key]held{}}
		var undo Undo
		before := state{instances: map[rollcall.Key]held{}}
		key := func() rollcall.Key { return rollcall.NewKey("", "web", strconv.Itoa(random.IntN(6))) }
		for range 200 {
			if random.IntN(10) == 0 {
				h.Revert(&undo)
				now = state{before.revision, before.fence, maps.Clone(before.instances)}
			}
			if random.IntN(10) == 0 {
				undo.Reset()
				before = state{now.revision, now.fence, maps.Clone(now.instances)}
			}
			b := rollcall.Batch{Fence: rollcall.Fence(random.IntN(3))}
			if random.IntN(4) == 0 {
				b.Fence += now.fence
			}
			var fail []int
			for i := range random.IntN(3) {
				p := rollcall.Precondition{Key: key()}
				have, known := now.instances[p.Key]
				holds := !known
				switch random.IntN(4) {
				case 0:
					p.Incarnation = rollcall.Revision(1 + random.IntN(int(now.revision)+1))
					holds = known && p.Incarnation == have.incarnation
				case 1:
					p.Incarnation, p.Revision = have.incarnation, have.revision
					holds = true // absent, if it is absent
				}
				b.If = append(b.If, p)
				if !holds {
					fail = append(fail, i)
				}
			}
			next := maps.Clone(now.instances)
			for range 1 + random.IntN(3) {
				k := key()
				if random.IntN(4) == 0 {
					b.Changes = append(b.Changes, rollcall.Change{Body: rollcall.InstanceRemove{Key: k}})
					delete(next, k)
					continue
				}
				p := rollcall.InstancePut{Key: k}
				put := held{now.revision + 1, now.revision + 1}
				if random.IntN(2) == 0 {
					p.Incarnation = 1
					put.incarnation = 1
				}
				b.Changes = append(b.Changes, rollcall.Change{Body: p})
				next[k] = put
			}

			e, err := h.Admit(b, &undo)
			var failed *PreconditionError
			switch {
			case b.Fence != 0 && b.Fence < now.fence:
				if !errors.Is(err, rollcall.ErrConflict) {
					t.Fatalf("seed %d: fence %d after %d: %v", seed, b.Fence, now.fence, err)
				}
			case fail != nil:
				if !errors.Is(err, rollcall.ErrPrecondition) || !errors.As(err, &failed) || !slices.Equal(failed.Failed, fail) {
					t.Fatalf("seed %d: preconditions %v should fail: %v", seed, fail, err)
				}
			case err != nil || e.Revision != now.revision+1 || len(e.Changes) != len(b.Changes):
				t.Fatalf("seed %d: after revision %d: %+v, %v", seed, now.revision, e, err)
			default:
				now = state{e.Revision, max(now.fence, b.Fence), next}
			}
			if h.Revision != now.revision || h.Fence != now.fence || len(h.instances) != len(now.instances) {
				t.Fatalf("seed %d: head at %d, fence %d, %d instances; want %+v", seed, h.Revision, h.Fence, len(h.instances), now)
			}
			for k, want := range now.instances {
				if got := h.instances[h.sum(k)]; got != want {
					t.Fatalf("seed %d: %s is %+v, want %+v", seed, k, got, want)
				}
			}
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	h := NewHead()
	const instances = 1 << 20
	keys := make([]rollcall.Key, instances)
	for i := range keys {
		keys[i] = rollcall.NewKey("", "web", strconv.Itoa(i))
		h.Admit(rollcall.Batch{Changes: []rollcall.Change{{Body: rollcall.InstancePut{Key: keys[i]}}}}, nil)
	}
	b.ReportAllocs()
	changes := make([]rollcall.Change, 1)
	i := 0
	for b.Loop() {
		k := keys[i*7919%instances]
		changes[0].Body = rollcall.InstancePut{Key: k}
		h.Admit(rollcall.Batch{Changes: changes, If: []rollcall.Precondition{{Key: k, Incarnation: 1}}}, nil)
		i++
	}
}
