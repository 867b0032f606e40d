package catalog

import (
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/rollcall-registry/rollcall"
)

// trie is a persistent hash trie from service keys to views: a snapshot keeps
// its root, and a change copies the path to one leaf, O(log32 n), so that
// snapshots share all that did not change. Looking up allocates nothing.
//
// The layout follows Steindorfer and Vinju, "Optimizing Hash-Array Mapped Tries
// for Fast and Lean Immutable JVM Collections" (2015): a node keeps leaves and
// children apart, each behind a bitmap of the 32 slots.
//
// Nodes made since the last freeze belong to the writer and are changed in
// place: they carry its edit number. A trie that has been published is never
// written again.
type trie struct {
	root *node
	size int
}

type node struct {
	edit     uint64
	leafMask uint32
	nodeMask uint32
	leaves   []leaf
	nodes    []*node
}

type leaf struct {
	hash uint64
	view *View
}

const (
	trieBits  = 5
	trieDepth = 60 // shift at which the hash is used up: leaves there are a plain list
)

// hasher hashes service keys. Most of them are in one namespace.
type hasher struct {
	seed   maphash.Seed
	common uint64 // hash of the default namespace
}

func newHasher() hasher {
	seed := maphash.MakeSeed()
	return hasher{seed, maphash.String(seed, rollcall.DefaultNamespace)}
}

func (h hasher) of(k rollcall.ServiceKey) uint64 {
	namespace := h.common
	if k.Namespace != rollcall.DefaultNamespace {
		namespace = maphash.String(h.seed, k.Namespace)
	}
	return bits.RotateLeft64(namespace, 29) ^ maphash.String(h.seed, k.Service)
}

func (t trie) get(hash uint64, key rollcall.ServiceKey) *View {
	n := t.root
	for shift := 0; n != nil; shift += trieBits {
		if shift >= trieDepth {
			for _, l := range n.leaves {
				if *l.view.key == key {
					return l.view
				}
			}
			return nil
		}
		bit := uint32(1) << (hash >> shift & 31)
		if n.leafMask&bit != 0 {
			l := n.leaves[bits.OnesCount32(n.leafMask&(bit-1))]
			if l.hash == hash && *l.view.key == key {
				return l.view
			}
			return nil
		}
		if n.nodeMask&bit == 0 {
			return nil
		}
		n = n.nodes[bits.OnesCount32(n.nodeMask&(bit-1))]
	}
	return nil
}

// set puts v in place of the view with its key.
func (t *trie) set(edit, hash uint64, v *View) {
	var added bool
	t.root, added = t.root.set(edit, 0, leaf{hash, v})
	if added {
		t.size++
	}
}

func (n *node) set(edit uint64, shift int, l leaf) (*node, bool) {
	n = n.editable(edit)
	if shift >= trieDepth {
		for i := range n.leaves {
			if *n.leaves[i].view.key == *l.view.key {
				n.leaves[i] = l
				return n, false
			}
		}
		n.leaves = append(n.leaves, l)
		return n, true
	}
	bit := uint32(1) << (l.hash >> shift & 31)
	li := bits.OnesCount32(n.leafMask & (bit - 1))
	ni := bits.OnesCount32(n.nodeMask & (bit - 1))
	switch {
	case n.nodeMask&bit != 0:
		var added bool
		n.nodes[ni], added = n.nodes[ni].set(edit, shift+trieBits, l)
		return n, added
	case n.leafMask&bit == 0:
		n.leafMask |= bit
		n.leaves = slices.Insert(n.leaves, li, l)
		return n, true
	case n.leaves[li].hash == l.hash && *n.leaves[li].view.key == *l.view.key:
		n.leaves[li] = l
		return n, false
	}
	// Two keys want the slot: both move one level down.
	child, _ := (*node)(nil).set(edit, shift+trieBits, n.leaves[li])
	child, _ = child.set(edit, shift+trieBits, l)
	n.leafMask &^= bit
	n.leaves = slices.Delete(n.leaves, li, li+1)
	n.nodeMask |= bit
	n.nodes = slices.Insert(n.nodes, ni, child)
	return n, true
}

// delete removes the view with key. Nodes left empty stay: services come back.
func (t *trie) delete(edit, hash uint64, key rollcall.ServiceKey) {
	if t.get(hash, key) == nil {
		return
	}
	t.root = t.root.delete(edit, 0, hash, key)
	t.size--
}

func (n *node) delete(edit uint64, shift int, hash uint64, key rollcall.ServiceKey) *node {
	n = n.editable(edit)
	if shift >= trieDepth {
		n.leaves = slices.DeleteFunc(n.leaves, func(l leaf) bool { return *l.view.key == key })
		return n
	}
	bit := uint32(1) << (hash >> shift & 31)
	if n.leafMask&bit != 0 {
		li := bits.OnesCount32(n.leafMask & (bit - 1))
		n.leafMask &^= bit
		n.leaves = slices.Delete(n.leaves, li, li+1)
		return n
	}
	ni := bits.OnesCount32(n.nodeMask & (bit - 1))
	n.nodes[ni] = n.nodes[ni].delete(edit, shift+trieBits, hash, key)
	return n
}

// editable returns n if the writer of edit made it, else a copy that it owns.
func (n *node) editable(edit uint64) *node {
	if n == nil {
		return &node{edit: edit}
	}
	if n.edit == edit {
		return n
	}
	return &node{edit, n.leafMask, n.nodeMask, slices.Clone(n.leaves), slices.Clone(n.nodes)}
}
