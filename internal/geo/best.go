package geo

import (
	"cmp"
	"slices"
)

// Near is a point that was found: its number, and the square of the chord to it.
type Near struct {
	Number uint32
	Square float64
}

// Kilometres returns the great-circle distance to the point.
func (n Near) Kilometres() float64 { return Kilometres(n.Square) }

func (n Near) compare(o Near) int {
	return cmp.Or(cmp.Compare(n.Square, o.Square), cmp.Compare(n.Number, o.Number))
}

// Best collects the nearest of the points that it is told of; of those that are
// equally near, the lower numbers.
type Best struct {
	k    int
	near []Near // once there are k: a heap, the farthest first
}

// NewBest returns an empty collection of up to k points, which it keeps in the
// memory of into.
func NewBest(into []Near, k int) Best { return Best{k, into[:0]} }

// Wants reports whether a point would be among the nearest.
func (b *Best) Wants(n Near) bool {
	return len(b.near) < b.k || b.k > 0 && n.compare(b.near[0]) < 0
}

// worst returns the square beyond which nothing is wanted.
func (b *Best) worst() float64 {
	switch {
	case len(b.near) < b.k:
		return 5 // no chord is as long
	case b.k == 0:
		return -1
	}
	return b.near[0].Square
}

// Add adds a point that is wanted.
func (b *Best) Add(n Near) {
	if len(b.near) < b.k {
		if b.near = append(b.near, n); len(b.near) == b.k {
			for i := b.k/2 - 1; i >= 0; i-- {
				b.sink(i)
			}
		}
		return
	}
	b.near[0] = n
	b.sink(0)
}

func (b *Best) sink(i int) {
	for {
		far := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(b.near) && b.near[child].compare(b.near[far]) > 0 {
				far = child
			}
		}
		if far == i {
			return
		}
		b.near[i], b.near[far] = b.near[far], b.near[i]
		i = far
	}
}

// Sorted returns what was collected, nearest first.
func (b *Best) Sorted() []Near {
	slices.SortFunc(b.near, Near.compare)
	return b.near
}
