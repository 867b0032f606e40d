package answer

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
)

// critical is a χ² that one in some 10,000 fair draws exceeds, by Wilson and Hilferty.
func critical(df int) float64 {
	f := 2 / (9 * float64(df))
	return float64(df) * math.Pow(1-f+3.72*math.Sqrt(f), 3)
}

func chiSquare(t *testing.T, what string, got []int, want []float64) {
	t.Helper()
	sum := 0.0
	df := -1
	for i := range got {
		if want[i] > 0 {
			sum += (float64(got[i]) - want[i]) * (float64(got[i]) - want[i]) / want[i]
			df++
		} else if got[i] > 0 {
			t.Errorf("%s: %d is drawn, and cannot be", what, i)
		}
	}
	if df > 0 && sum > critical(df) {
		t.Errorf("%s: χ² = %.1f of %d degrees of freedom; %.1f is rare\ngot  %d\nwant %.0f", what, sum, df, critical(df), got, want)
	}
}

// lotsOf returns lots as a set has them.
func lotsOf(weights []uint32) *lots {
	l := &lots{n: len(weights), even: isEven(weights)}
	for _, w := range weights {
		l.weights = binary.LittleEndian.AppendUint32(l.weights, w)
	}
	if hasOdds(l.n, l.even) {
		l.odds = appendOdds(nil, weights)
	}
	return l
}

// law returns, for places drawn from weights without putting back, the probability of
// each pair of first and second, and of being among the first k, by following all ways
// there are.
func law(weights []uint32, k int) (pairs [][]float64, among []float64) {
	n := len(weights)
	pairs, among = make([][]float64, n), make([]float64, n)
	for i := range pairs {
		pairs[i] = make([]float64, n)
	}
	var follow func(taken []int, p float64)
	follow = func(taken []int, p float64) {
		if len(taken) == 2 {
			pairs[taken[0]][taken[1]] += p
		}
		if len(taken) == max(k, 2) {
			for _, i := range taken[:k] {
				among[i] += p
			}
			return
		}
		left, is := 0.0, map[int]bool{}
		for _, i := range taken {
			is[i] = true
		}
		for i, w := range weights {
			if !is[i] {
				left += float64(w)
			}
		}
		for i, w := range weights {
			if !is[i] {
				follow(append(taken[:len(taken):len(taken)], i), p*float64(w)/left)
			}
		}
	}
	follow(nil, 1)
	return pairs, among
}

// TestLaw compares each way of drawing with the law, whichever one would be taken.
func TestLaw(t *testing.T) {
	weights := []uint32{100, 1, 50, 200, 100, 7}
	even := []uint32{9, 9, 9, 9, 9, 9}
	withOdds := func(l *lots, ws []uint32) *lots { l.odds = appendOdds(nil, ws); l.even = false; return l }
	for _, k := range []int{1, 2, 3, 5, 6} {
		room := new(room)
		r := seeded()
		for name, draw := range map[string]struct {
			weights []uint32
			draw    func() []uint32
		}{
			"few":        {weights, func() []uint32 { return lotsOf(weights).few(k, r, room) }},
			"again":      {weights, func() []uint32 { return withOdds(lotsOf(weights), weights).again(k, true, r, room) }},
			"run":        {weights, func() []uint32 { return lotsOf(weights).run(room.order[:0], k, true, r, room) }},
			"shuffle":    {even, func() []uint32 { return lotsOf(even).shuffle(k, r, room) }},
			"again/even": {even, func() []uint32 { return lotsOf(even).again(k, true, r, room) }},
			"draw":       {weights, func() []uint32 { return lotsOf(weights).draw(k, false, r, room) }},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, k), func(t *testing.T) {
				n := len(draw.weights)
				pairs, among := law(draw.weights, k)
				gotFirst, gotPairs, gotAmong := make([]int, n), make([]int, n*n), make([]int, n)
				for range rounds {
					order := draw.draw()
					if len(order) != k {
						t.Fatalf("%d places", len(order))
					}
					seen := 0
					for _, i := range order {
						if seen>>i&1 == 1 {
							t.Fatalf("drawn twice: %v", order)
						}
						seen |= 1 << i
						gotAmong[i]++
					}
					gotFirst[order[0]]++
					if k > 1 {
						gotPairs[int(order[0])*n+int(order[1])]++
					}
				}
				var wantFirst, wantPairs, wantAmong []float64
				for i := range n {
					first := 0.0
					for _, p := range pairs[i] {
						first += p * rounds
						wantPairs = append(wantPairs, p*rounds)
					}
					wantFirst, wantAmong = append(wantFirst, first), append(wantAmong, among[i]*rounds)
				}
				chiSquare(t, "first place", gotFirst, wantFirst)
				if k > 1 {
					chiSquare(t, "first and second", gotPairs, wantPairs)
				}
				if k < n { // the counts are not independent: their χ² is the smaller for it
					chiSquare(t, "among the first", gotAmong, wantAmong)
				}
			})
		}
	}
}

// TestOdds adds up what the table of odds gives each lot.
func TestOdds(t *testing.T) {
	r := seeded()
	for _, n := range []int{1, 2, 25, 1000} {
		weights, total := make([]uint32, n), 0.0
		for i := range weights {
			weights[i] = 1 + r.Uint32N(1<<r.IntN(17))
			total += float64(weights[i])
		}
		odds, share := appendOdds(nil, weights), make([]float64, n)
		for i := range n {
			own := float64(binary.LittleEndian.Uint32(odds[8*i:])) / (1 << 32)
			share[i] += own
			share[binary.LittleEndian.Uint32(odds[8*i+4:])] += 1 - own
		}
		for i, w := range weights {
			if got, want := share[i]/float64(n), float64(w)/total; math.Abs(got-want) > 1e-9 {
				t.Errorf("%d of %d: share %v, want %v", i, n, got, want)
			}
		}
	}
}

func TestFirst(t *testing.T) {
	r := seeded()
	for range 2000 {
		a := make([]uint64, 1+r.IntN(60))
		for i := range a {
			a[i] = uint64(r.IntN(40))<<32 | uint64(i)
		}
		k := r.IntN(len(a) + 1)
		first(a, k)
		for _, x := range a[:k] {
			for _, y := range a[k:] {
				if x > y {
					t.Fatalf("the first %d of %d are not the smallest", k, len(a))
				}
			}
		}
	}
}

// TestFairAnswers reads first places and who is in from messages: of sets that are drawn
// from in each of the ways, with and without all in the answer.
func TestFairAnswers(t *testing.T) {
	for _, tt := range []struct{ n, limit int }{{3, 1232}, {10, 1232}, {10, 100}, {40, 4096}, {40, 512}, {60, 150}} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV} {
			t.Run(fmt.Sprintf("%d in %d, type %d", tt.n, tt.limit, qtype), func(t *testing.T) {
				is := make([]rollcall.Instance, tt.n)
				total := 0.0
				for i := range is {
					is[i] = rollcall.Instance{ID: fmt.Sprintf("i%02d", i), Address: fmt.Sprintf("10.0.0.%d", i), Ports: map[string]uint16{"p": uint16(i + 1)}, Weight: weight(uint16(1 + i*i%97))}
					total += float64(*is[i].Weight)
				}
				s := Pack(nil, endpoints(t, is...), Terms{Zone: "r."})
				q, r := request(t, "w.service.r.", qtype), seeded()
				q.Limit = tt.limit
				first, want := make([]int, tt.n), make([]float64, tt.n)
				buf := make([]byte, 0, 4096)
				for range rounds {
					b := s.Write(buf, q, r)
					rr := b[q.Question:]
					if qtype == dns.TypeA {
						first[rr[rrHead+3]]++ // of the address
					} else {
						first[rr[rrHead+5]-1]++ // of the port
					}
				}
				for i := range want {
					want[i] = rounds * float64(*is[i].Weight) / total
				}
				chiSquare(t, "first place", first, want)
			})
		}
	}
}

// TestIncluded compares who is in a truncated answer of many with a draw that is as
// simple as can be.
func TestIncluded(t *testing.T) {
	for _, n := range []int{80, 600} { // by a race, and by odds
		weights := make([]uint32, n)
		is := make([]rollcall.Instance, n)
		for i := range is {
			weights[i] = uint32(1 + i*i%50)
			is[i] = rollcall.Instance{
				ID: fmt.Sprintf("i%03d", i), Address: fmt.Sprintf("10.0.%d.%d", i/256, i%256), Ports: map[string]uint16{"p": uint16(i + 1)},
				Weight: weight(uint16(weights[i])),
			}
		}
		s := Pack(nil, endpoints(t, is...), Terms{Zone: "r."})
		binary.LittleEndian.PutUint16(s[leastAt:], 20) // more seem to fit than do
		for _, tt := range []struct {
			qtype        uint16
			size, number int // of a record, and where in it, from its end, it says whose it is
			from         int
		}{{dns.TypeA, rrHead + 4, 2, 0}, {dns.TypeSRV, rrHead + srvFixed + len("\x04i000\x03web\x08instance\x01r\x00"), 2 + len("\x04i000\x03web\x08instance\x01r\x00"), 1}} {
			q, r := request(t, "w.service.r.", tt.qtype), seeded()
			const k, rounds = 40, rounds / 5
			q.Limit = q.Question + k*tt.size
			got, simple := make([]int, n), make([]int, n)
			buf := make([]byte, 0, 4096)
			for range rounds {
				b := s.Write(buf, q, r)
				if answers := int(b[7]); answers != k || len(b) != q.Limit {
					t.Fatalf("%d answers", answers)
				}
				for rr := b[q.Question:]; len(rr) > 0; rr = rr[tt.size:] {
					got[int(binary.BigEndian.Uint16(rr[tt.size-tt.number:]))-tt.from]++
				}
				draw(weights, k, r, simple)
			}
			sum := 0.0
			for i := range got {
				if d := float64(got[i] - simple[i]); got[i]+simple[i] > 0 {
					sum += d * d / float64(got[i]+simple[i])
				}
			}
			if sum > critical(n-1) {
				t.Errorf("%d of %d, type %d: χ² = %.1f between two draws; %.1f is rare", k, n, tt.qtype, sum, critical(n-1))
			}
		}
	}
}

// draw counts who is among the first k.
func draw(weights []uint32, k int, r *rand.Rand, counts []int) {
	left, total := slices.Clone(weights), uint64(0)
	for _, w := range left {
		total += uint64(w)
	}
	for range k {
		at := r.Uint64N(total)
		i := 0
		for ; at >= uint64(left[i]); i++ {
			at -= uint64(left[i])
		}
		total -= uint64(left[i])
		left[i] = 0
		counts[i]++
	}
}
