package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"github.com/rollcall-registry/rollcall"
)

// Head is the writing end of a log: its newest revision, its highest fence, and
// which incarnation of which instance the changes so far leave. It runs ahead of
// the followers, and of the disk too, so it can take back what did not get
// there. It is not safe for concurrent use.
type Head struct {
	Revision rollcall.Revision
	Fence    rollcall.Fence

	// Instances are known by a 128-bit hash of their key: 32 bytes in the map
	// whatever the key's length, and no second copy of the keys that the
	// catalog holds anyway. The seeds are random and in this process only, so a
	// collision can be neither prepared nor, among 2^20 keys, met (2^-89).
	instances map[sum]held
	seeds     [2]maphash.Seed
	scratch   []byte
}

type sum [2]uint64

// held is the last put of an instance.
type held struct{ incarnation, revision rollcall.Revision }

// NewHead returns the head of an empty log.
func NewHead() *Head {
	return &Head{
		instances: make(map[sum]held),
		seeds:     [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
}

// Undo remembers what a number of batches did to a head. Its zero value is
// ready for use.
type Undo struct {
	used     bool
	revision rollcall.Revision
	fence    rollcall.Fence
	index    []undone
}

type undone struct {
	key   sum
	old   held
	known bool
}

// Admit judges a batch. If it may be written, it returns the batch's entry,
// with the next revision, and the head moves on; how to go back is added to u
// unless that is nil. Otherwise nothing changes, and the error is an
// [*rollcall.Error].
func (h *Head) Admit(b rollcall.Batch, u *Undo) (rollcall.Entry, error) {
	if len(b.Changes) == 0 {
		return rollcall.Entry{}, rollcall.Invalid("", "a batch needs at least one change")
	}
	if b.Fence != 0 && b.Fence < h.Fence {
		return rollcall.Entry{}, &rollcall.Error{
			Kind: rollcall.ErrConflict,
			Detail: fmt.Sprintf("fence %d is over: the log has seen %d, so another writer has taken over since",
				b.Fence, h.Fence),
		}
	}
	if failed := h.failed(b.If); failed != nil {
		return rollcall.Entry{}, preconditionError(b.If, failed)
	}
	if u != nil && !u.used {
		u.used, u.revision, u.fence = true, h.Revision, h.Fence
	}
	h.Revision++
	h.Fence = max(h.Fence, b.Fence)
	e := rollcall.Entry{Revision: h.Revision, Changes: make([]rollcall.Change, len(b.Changes))}
	for i, c := range b.Changes {
		c.Revision = h.Revision
		e.Changes[i] = c
		h.note(&c, u)
	}
	return e, nil
}

func (h *Head) failed(conditions []rollcall.Precondition) (failed []int) {
	for i, p := range conditions {
		now, known := h.instances[h.sum(p.Key)]
		switch {
		case p.Incarnation == 0 && p.Revision == 0:
			if known {
				failed = append(failed, i)
			}
		case !known,
			p.Incarnation != 0 && p.Incarnation != now.incarnation,
			p.Revision != 0 && p.Revision != now.revision:
			failed = append(failed, i)
		}
	}
	return failed
}

// Replay moves the head past an entry that the log already holds.
func (h *Head) Replay(e rollcall.Entry, fence rollcall.Fence) {
	h.Revision = e.Revision
	h.Fence = max(h.Fence, fence)
	h.Load(e.Changes)
}

// Load takes in changes of a checkpoint, each with its own revision.
func (h *Head) Load(changes []rollcall.Change) {
	for i := range changes {
		h.note(&changes[i], nil)
	}
}

// Revert takes back what the batches admitted with u did. Later batches must
// have been taken back before.
func (h *Head) Revert(u *Undo) {
	if !u.used {
		return
	}
	for i := len(u.index) - 1; i >= 0; i-- {
		if c := u.index[i]; c.known {
			h.instances[c.key] = c.old
		} else {
			delete(h.instances, c.key)
		}
	}
	h.Revision, h.Fence = u.revision, u.fence
	u.Reset()
}

// Reset forgets what u remembers.
func (u *Undo) Reset() { *u = Undo{index: u.index[:0]} }

// note updates the index for one change.
func (h *Head) note(c *rollcall.Change, u *Undo) {
	var key sum
	var now held
	put := false
	switch v := c.Body.(type) {
	case rollcall.InstancePut:
		key, now, put = h.sum(v.Key), held{cmp.Or(v.Incarnation, c.Revision), c.Revision}, true
	case rollcall.InstanceRemove:
		key = h.sum(v.Key)
	default:
		return
	}
	if u != nil {
		old, known := h.instances[key]
		u.index = append(u.index, undone{key, old, known})
	}
	if put {
		h.instances[key] = now
	} else {
		delete(h.instances, key)
	}
}

// sum hashes a key. Each part is preceded by its length, so that no two keys
// are hashed as the same bytes.
func (h *Head) sum(k rollcall.Key) sum {
	b := h.scratch[:0]
	for _, part := range [...]string{k.Namespace, k.Service, k.ID} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	h.scratch = b
	return sum{maphash.Bytes(h.seeds[0], b), maphash.Bytes(h.seeds[1], b)}
}
