package catalog

import (
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
)

// index finds the newest view of a service in the time that a Go map takes; a
// snapshot's trie takes twice that and more. It is a hash table with linear
// probing that one goroutine writes in place while any number read. A service
// keeps its slot for good: one that is forgotten has a slot without a view, which
// is left out when the table grows.
type index struct {
	table atomic.Pointer[[]atomic.Pointer[slot]] // a power of two long
	used  int
}

type slot struct {
	hash uint64
	key  rollcall.ServiceKey
	view atomic.Pointer[View]
}

// get returns the newest view of a service, nil if there is none.
func (x *index) get(hash uint64, key rollcall.ServiceKey) *View {
	if s := x.find(hash, key); s != nil {
		return s.view.Load()
	}
	return nil
}

func (x *index) find(hash uint64, key rollcall.ServiceKey) *slot {
	p := x.table.Load()
	if p == nil {
		return nil
	}
	table := *p
	for at := hash; ; at++ {
		s := table[at&uint64(len(table)-1)].Load()
		if s == nil || s.hash == hash && s.key == key {
			return s
		}
	}
}

// set makes v the newest view of a service; nil for one that is forgotten.
func (x *index) set(hash uint64, key rollcall.ServiceKey, v *View) {
	s := x.find(hash, key)
	switch {
	case s != nil:
		s.view.Store(v)
		return
	case v == nil:
		return
	}
	s = &slot{hash: hash, key: key}
	s.view.Store(v)
	if p := x.table.Load(); p == nil || x.used >= len(*p)/2 {
		x.grow(p)
	}
	place(*x.table.Load(), s)
	x.used++
}

// grow makes room for as many services again. Readers of the old table miss
// those that are added from now on, as if they had been there a moment earlier.
func (x *index) grow(old *[]atomic.Pointer[slot]) {
	var kept []*slot
	if old != nil {
		for i := range *old {
			if s := (*old)[i].Load(); s != nil && s.view.Load() != nil {
				kept = append(kept, s)
			}
		}
	}
	size := 64
	for size < 4*len(kept) {
		size *= 2
	}
	table := make([]atomic.Pointer[slot], size)
	for _, s := range kept {
		place(table, s)
	}
	x.used = len(kept)
	x.table.Store(&table)
}

func place(table []atomic.Pointer[slot], s *slot) {
	at := s.hash
	for table[at&uint64(len(table)-1)].Load() != nil {
		at++
	}
	table[at&uint64(len(table)-1)].Store(s)
}
