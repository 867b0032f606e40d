package answer

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
)

// lots are what places are drawn from. Up to fewLots, each place is drawn from the sum of
// the weights of those left; where all weigh the same it is a shuffle. Otherwise, if
// few places are wanted, lots are drawn by a table of odds (Walker's alias method), and
// one that comes again is drawn anew, which makes no difference to the law. If many are,
// or that takes too long because what is left weighs little, lots run a race: each
// arrives after a time that is exponential with its weight as rate, and the first to
// arrive have the places. Where all of them are used whatever their order is, the
// first inOrder alone are put in the order of arrival.
type lots struct {
	n       int
	even    bool
	weights []byte // of n lots, 4 bytes each
	odds    []byte // of n lots, 8 bytes each: how likely its column is its own, of 2^32, and whose it is else
}

const (
	// fewLots is up to how many places are drawn without odds.
	fewLots = 24
	// inOrder is how many of those who ran a race are put in order: a client that goes on
	// to the fifth address has not been kept from it by its weight.
	inOrder = 4
)

func hasOdds(n int, even bool) bool { return n > fewLots && !even }

func isEven(weights []uint32) bool {
	for _, w := range weights {
		if w != weights[0] {
			return false
		}
	}
	return true
}

// appendOdds appends the table of odds (Vose, "A linear algorithm for generating
// random numbers with a given distribution", 1991) in integers.
func appendOdds(b []byte, weights []uint32) []byte {
	n, total := uint64(len(weights)), uint64(0)
	for _, w := range weights {
		total += uint64(w)
	}
	left := make([]uint64, n) // what each has yet to be given, of total a column
	var small, large []uint32
	for i, w := range weights {
		if left[i] = uint64(w) * n; left[i] < total {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	odds := make([]struct{ own, other uint32 }, n)
	for i := range odds {
		odds[i].own, odds[i].other = 1<<32-1, uint32(i)
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		own, _ := bits.Div64(left[s]>>32, left[s]<<32, total)
		odds[s].own, odds[s].other = uint32(own), l
		if left[l] -= total - left[s]; left[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, o := range odds {
		b = binary.LittleEndian.AppendUint32(b, o.own)
		b = binary.LittleEndian.AppendUint32(b, o.other)
	}
	return b
}

func (l *lots) weight(i int) uint32 { return binary.LittleEndian.Uint32(l.weights[4*i:]) }

// one draws one lot; l has some.
func (l *lots) one(r *rand.Rand) int {
	switch {
	case l.even:
		return r.IntN(l.n)
	case len(l.odds) > 0:
		return l.byOdds(r)
	}
	total := uint64(0)
	for i := range l.n {
		total += uint64(l.weight(i))
	}
	if total == 0 {
		return 0
	}
	at := r.Uint64N(total)
	for i := range l.n {
		w := uint64(l.weight(i))
		if at < w {
			return i
		}
		at -= w
	}
	return 0
}

// byOdds draws a column, and then the column's own or its other.
func (l *lots) byOdds(r *rand.Rand) int {
	column, part := bits.Mul64(r.Uint64(), uint64(l.n))
	o := l.odds[8*column:]
	if uint32(part>>32) <= binary.LittleEndian.Uint32(o) {
		return int(column)
	}
	return int(min(binary.LittleEndian.Uint32(o[4:]), uint32(l.n-1)))
}

// room is what drawing needs, kept so that no answer allocates.
type room struct {
	order []uint32
	left  []uint32 // weights of those that are left
	taken []uint64 // a bit each
	race  []uint64 // arrival and, below it, who
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// draw returns the first k places, 0 < k <= l.n. They are valid until the next draw. all
// says that whoever has one of them is used.
func (l *lots) draw(k int, all bool, r *rand.Rand, room *room) []uint32 {
	switch many := k > l.n/4; {
	case l.even && many:
		return l.shuffle(k, r, room)
	case !l.even && l.n <= fewLots:
		return l.few(k, r, room)
	case many:
		return l.run(room.order[:0], k, all, r, room)
	}
	return l.again(k, all, r, room)
}

// each returns all lots in their own order.
func (l *lots) each(room *room) []uint32 {
	order := slices.Grow(room.order[:0], l.n)[:l.n]
	for i := range order {
		order[i] = uint32(i)
	}
	room.order = order
	return order
}

// shuffle draws lots that weigh the same (Fisher and Yates), two from each number.
func (l *lots) shuffle(k int, r *rand.Rand, room *room) []uint32 {
	order := l.each(room)
	var u uint64
	for i := range min(k, l.n-1) {
		if u >>= 32; i%2 == 0 {
			u = r.Uint64()
		}
		j := i + int(uint64(uint32(u))*uint64(l.n-i)>>32)
		order[i], order[j] = order[j], order[i]
	}
	return order[:k]
}

// few draws each place from the sum of the weights that are left.
func (l *lots) few(k int, r *rand.Rand, room *room) []uint32 {
	order := l.each(room)
	left := slices.Grow(room.left[:0], l.n)[:l.n]
	room.left = left
	total := uint64(0)
	for i := range left {
		left[i] = l.weight(i)
		total += uint64(left[i])
	}
	for i := 0; i < k && i < l.n-1 && total > 0; i++ {
		at := r.Uint64N(total)
		j := i
		for ; j < l.n-1 && at >= uint64(left[j]); j++ {
			at -= uint64(left[j])
		}
		total -= uint64(left[j])
		order[i], order[j] = order[j], order[i]
		left[i], left[j] = left[j], left[i]
	}
	return order[:k]
}

// again draws until it has k that differ, or has tried often enough.
func (l *lots) again(k int, all bool, r *rand.Rand, room *room) []uint32 {
	taken := room.bits(l.n)
	order := slices.Grow(room.order[:0], k)
	for tries := 2*k + l.n/4; len(order) < k && tries > 0; tries-- {
		i := l.one(r)
		if bit := uint64(1) << (i % 64); taken[i/64]&bit == 0 {
			taken[i/64] |= bit
			order = append(order, uint32(i))
		}
	}
	if len(order) < k {
		return l.run(order, k, all, r, room)
	}
	room.order = order
	return order
}

// bits returns a bit for each of n, not set.
func (room *room) bits(n int) []uint64 {
	words := (n + 63) / 64
	room.taken = slices.Grow(room.taken[:0], words)[:words]
	clear(room.taken)
	return room.taken
}

// run gives the places from len(order) up to k to those who win the race; those in order
// are taken, and do not take part.
func (l *lots) run(order []uint32, k int, all bool, r *rand.Rand, room *room) []uint32 {
	race := slices.Grow(room.race[:0], l.n)[:l.n]
	room.race = race
	n, fresh := 0, len(order) == 0
	for i := range l.n {
		if fresh || room.taken[i/64]>>(i%64)&1 == 0 {
			arrival := float32(r.ExpFloat64() / float64(max(1, l.weight(i))))
			race[n] = uint64(math.Float32bits(arrival))<<32 | uint64(i) // ordered as the arrivals are: none is negative
			n++
		}
	}
	race = race[:n]
	first(race, k-len(order))
	race = race[:k-len(order)]
	if all {
		for i := range min(inOrder, len(race)) {
			first(race[i:], 1)
		}
	} else {
		slices.Sort(race)
	}
	order = slices.Grow(order, len(race))
	for _, w := range race {
		order = append(order, uint32(w))
	}
	room.order = order
	return order
}

// first puts the k smallest of a before the others (Hoare's quickselect, without a
// branch that depends on how two compare).
func first(a []uint64, k int) {
	for k > 0 && k < len(a) {
		if k == 1 {
			m := 0
			for i, x := range a {
				if x < a[m] {
					m = i
				}
			}
			a[0], a[m] = a[m], a[0]
			return
		}
		last := len(a) - 1
		pivot := median(a[0], a[last/2], a[last])
		n := 0
		for i, x := range a {
			a[i], a[n] = a[n], x
			less := 0
			if x < pivot {
				less = 1
			}
			n += less
		}
		switch { // all before n are less than the pivot, which is one of the others
		case n >= k:
			a = a[:n]
		case n == 0: // the pivot is the smallest
			first(a, 1)
			a, k = a[1:], k-1
		default:
			a, k = a[n:], k-n
		}
	}
}

func median(a, b, c uint64) uint64 {
	return max(min(a, b), min(max(a, b), c))
}
