package geo

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/golang/geo/s2"
	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0 is a new one")

func random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// anywhere returns a position, each part of the earth being as likely as any.
func anywhere(r *rand.Rand) rollcall.Position {
	return rollcall.Position{Lat: math.Asin(2*r.Float64()-1) * 180 / math.Pi, Lon: 360*r.Float64() - 180}
}

// around returns a position within some degrees of another.
func around(r *rand.Rand, p rollcall.Position, degrees float64) rollcall.Position {
	p.Lat = max(-90, min(90, p.Lat+degrees*(2*r.Float64()-1)))
	p.Lon += degrees * (2*r.Float64() - 1)
	switch {
	case p.Lon > 180:
		p.Lon -= 360
	case p.Lon < -180:
		p.Lon += 360
	}
	return p
}

// worlds are where points may be.
var worlds = map[string]func(*rand.Rand) rollcall.Position{
	"anywhere": anywhere,
	"clusters": func(r *rand.Rand) rollcall.Position {
		centre := rand.New(rand.NewPCG(uint64(r.IntN(7)), 1))
		return around(r, anywhere(centre), math.Pow(10, -float64(r.IntN(6))))
	},
	"poles": func(r *rand.Rand) rollcall.Position {
		lat := 90 - math.Pow(10, -float64(r.IntN(12)))*float64(r.IntN(2))
		return rollcall.Position{Lat: math.Copysign(lat, r.Float64()-0.5), Lon: 360*r.Float64() - 180}
	},
	"antimeridian": func(r *rand.Rand) rollcall.Position {
		return around(r, rollcall.Position{Lat: float64(r.IntN(3)), Lon: 180}, math.Pow(10, -float64(r.IntN(12))))
	},
	"one place": func(*rand.Rand) rollcall.Position { return rollcall.Position{Lat: 52.52, Lon: 13.4} },
	"few places": func(r *rand.Rand) rollcall.Position {
		return rollcall.Position{Lat: float64(r.IntN(3)), Lon: float64(r.IntN(3))}
	},
	// Where cells of S2 have their corners and edges, up to the last bit.
	"corners": func(r *rand.Rand) rollcall.Position {
		p := rollcall.Position{Lat: 45 * float64(r.IntN(5)-2), Lon: 45 * float64(r.IntN(9)-4)}
		for range r.IntN(4) {
			p.Lat, p.Lon = math.Nextafter(p.Lat, 0), math.Nextafter(p.Lon, 0)
		}
		return p
	},
}

// naive is the truth: points in no order.
type naive map[uint32]Point

func (m naive) nearest(p Point, k int, keep func(uint32) bool) []Near {
	best := []Near{}
	for number, q := range m {
		if keep == nil || keep(number) {
			best = append(best, Near{number, Square(p, q)})
		}
	}
	b := Best{near: best}
	return b.Sorted()[:min(k, len(best))]
}

// TestNearest compares the index with all distances, while points come, move and
// go.
func TestNearest(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			r := random(t)
			for _, numbers := range []int{1, 200, 3000} {
				x, truth := new(Index), naive{}
				for range 5 {
					for range numbers {
						number := uint32(r.IntN(numbers))
						if r.IntN(4) == 0 {
							x.Remove(number)
							delete(truth, number)
							continue
						}
						p := At(world(r))
						x.Set(number, p)
						truth[number] = p
					}
					check(t, x, truth)
					for range 20 {
						p := At(world(r))
						if r.IntN(3) == 0 {
							p = At(anywhere(r))
						}
						if r.IntN(3) == 0 { // the far side of the earth
							p.X, p.Y, p.Z = -p.X, -p.Y, -p.Z
						}
						k, part := r.IntN(30), uint32(1+r.IntN(10))
						keep := func(n uint32) bool { return n%part == 0 }
						if diff := cmp.Diff(truth.nearest(p, k, keep), x.Nearest([]Near{}, p, k, keep)); diff != "" {
							t.Fatalf("%d nearest to %v of %d, each %d (-want +got)\n%s", k, p, len(truth), part, diff)
						}
					}
				}
				for number := range truth {
					x.Remove(number)
				}
				check(t, x, naive{})
				for _, n := range x.faces {
					if n != nil && (n.parts != nil || cap(n.points) > 2*most) {
						t.Errorf("an empty index keeps a tree or room for %d points", cap(n.points))
					}
				}
			}
		})
	}
}

// check checks what holds of an index between calls.
func check(t *testing.T, x *Index, truth naive) {
	t.Helper()
	var count func(n *node) int
	count = func(n *node) (size int) {
		if n.parts == nil {
			size = len(n.points)
			for at, e := range n.points {
				if want := (place{n, uint32(at)}); x.places[e.number] != want {
					t.Fatalf("point %d is not where the table says", e.number)
				}
			}
			if size > most && n.level < deepest {
				t.Fatalf("a bucket of level %d holds %d points", n.level, size)
			}
		} else {
			for _, part := range n.parts {
				if part != nil {
					size += count(part)
				}
			}
			if size <= few {
				t.Fatalf("%d points are divided", size)
			}
		}
		if size != n.size {
			t.Fatalf("a node has %d points and says %d", size, n.size)
		}
		return size
	}
	total := 0
	for _, n := range x.faces {
		if n != nil {
			total += count(n)
		}
	}
	if total != len(truth) || x.Len() != len(truth) {
		t.Fatalf("%d points, Len %d; want %d", total, x.Len(), len(truth))
	}
	for number, want := range truth {
		if p, ok := x.Point(number); !ok || p != want {
			t.Fatalf("point %d is at %v, %v; want %v", number, p, ok, want)
		}
	}
}

func FuzzNearest(f *testing.F) {
	f.Add(uint64(1), 52.5, 13.4, uint8(3))
	f.Add(uint64(2), 90.0, 0.0, uint8(10))
	f.Add(uint64(3), 0.0, 180.0, uint8(0))
	f.Add(uint64(4), -90.0, -180.0, uint8(255))
	f.Add(uint64(5), math.NaN(), math.Inf(1), uint8(1))
	f.Fuzz(func(t *testing.T, seed uint64, lat, lon float64, k uint8) {
		p := rollcall.Position{Lat: lat, Lon: lon}
		if !Valid(p) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		x, truth := new(Index), naive{}
		for number := range uint32(400) {
			q := At(around(r, p, math.Pow(10, 2-float64(r.IntN(16)))))
			if r.IntN(8) == 0 {
				q.X, q.Y, q.Z = -q.X, -q.Y, -q.Z
			}
			x.Set(number, q)
			truth[number] = q
		}
		if diff := cmp.Diff(truth.nearest(At(p), int(k), nil), x.Nearest([]Near{}, At(p), int(k), nil)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// TestCells is that the squares that points are told apart by are the cells of S2.
func TestCells(t *testing.T) {
	r := random(t)
	x := new(Index)
	for number := range uint32(20_000) {
		x.Set(number, At(anywhere(r)))
	}
	for number, at := range x.places {
		p, _ := x.Point(uint32(number))
		if id := s2.CellFromPoint(p).ID(); !at.leaf.cell.Contains(id) {
			t.Fatalf("%v is in cell %v, and put into %v", p, id, at.leaf.cell)
		}
	}
}

func TestManyAtOnePlace(t *testing.T) {
	x := new(Index)
	p := At(rollcall.Position{Lat: 48.85, Lon: 2.35})
	const many = 10_000
	for number := range uint32(many) {
		x.Set(many-1-number, p)
	}
	asked := 0
	near := x.Nearest(nil, p, 3, func(uint32) bool { asked++; return true })
	if want := []Near{{0, 0}, {1, 0}, {2, 0}}; !cmp.Equal(near, want) {
		t.Errorf("the nearest of many at one place are %v, want %v", near, want)
	}
	away := At(rollcall.Position{Lat: -33, Lon: 151})
	for number := range uint32(many) {
		x.Set(number, away)
	}
	if leaf := x.places[0].leaf; len(leaf.points) != many {
		t.Errorf("%d of %d at one place are in one bucket", len(leaf.points), many)
	}
}

// TestKeep is that only points that would be in the result are asked about.
func TestKeep(t *testing.T) {
	r := random(t)
	x := new(Index)
	for number := range uint32(100_000) {
		x.Set(number, At(anywhere(r)))
	}
	asked := map[uint32]bool{}
	x.Nearest(nil, At(anywhere(r)), 10, func(n uint32) bool {
		if asked[n] {
			t.Errorf("%d is asked about twice", n)
		}
		asked[n] = true
		return true
	})
	if len(asked) > 10*most {
		t.Errorf("%d points are asked about for ten", len(asked))
	}
}

func TestNearestReusesMemory(t *testing.T) {
	r := random(t)
	x := new(Index)
	for number := range uint32(10_000) {
		x.Set(number, At(anywhere(r)))
	}
	into, p := make([]Near, 0, 10), At(anywhere(r))
	if n := testing.AllocsPerRun(100, func() { into = x.Nearest(into, p, 10, nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKilometres(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b rollcall.Position
		want float64
	}{
		{"one place", rollcall.Position{Lat: 12, Lon: 34}, rollcall.Position{Lat: 12, Lon: 34}, 0},
		{"a degree of a meridian", rollcall.Position{}, rollcall.Position{Lat: 1}, math.Pi / 180 * earth},
		{"a millimetre", rollcall.Position{}, rollcall.Position{Lat: 180 / math.Pi / earth * 1e-6}, 1e-6},
		{"over the antimeridian", rollcall.Position{Lon: 179.5}, rollcall.Position{Lon: -179.5}, math.Pi / 180 * earth},
		{"the antimeridian is one", rollcall.Position{Lat: 5, Lon: 180}, rollcall.Position{Lat: 5, Lon: -180}, 0},
		{"over the pole", rollcall.Position{Lat: 89.5}, rollcall.Position{Lat: 89.5, Lon: 180}, math.Pi / 180 * earth},
		{"the pole is one", rollcall.Position{Lat: 90, Lon: 20}, rollcall.Position{Lat: 90, Lon: -70}, 0},
		{"antipodes", rollcall.Position{Lat: 90}, rollcall.Position{Lat: -90}, math.Pi * earth},
		{"a quarter of the equator", rollcall.Position{Lon: -45}, rollcall.Position{Lon: 45}, math.Pi / 2 * earth},
	} {
		got := Kilometres(Square(At(tt.a), At(tt.b)))
		if off := math.Abs(got - tt.want); off > 1e-9+1e-12*tt.want {
			t.Errorf("%s: %v km, want %v", tt.name, got, tt.want)
		}
	}
}

func TestValid(t *testing.T) {
	for _, p := range []rollcall.Position{{}, {Lat: 90, Lon: 180}, {Lat: -90, Lon: -180}} {
		if !Valid(p) {
			t.Errorf("%v is refused", p)
		}
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, p := range []rollcall.Position{
		{Lat: nan}, {Lon: nan}, {Lat: inf}, {Lon: inf}, {Lat: -inf}, {Lon: -inf}, {Lat: 90.001}, {Lat: -90.001}, {Lon: 180.001}, {Lon: -180.001},
	} {
		if Valid(p) {
			t.Errorf("%v is taken", p)
		}
	}
}

func BenchmarkSet(b *testing.B) {
	const million = 1_000_000
	r := random(b)
	at := make([]Point, million)
	for i := range at {
		at[i] = At(anywhere(r))
	}
	b.Run("build of 1 M", func(b *testing.B) {
		for b.Loop() {
			x := new(Index)
			for number, p := range at {
				x.Set(uint32(number), p)
			}
		}
	})
	x := new(Index)
	for number, p := range at {
		x.Set(uint32(number), p)
	}
	for _, metres := range []float64{10, 10_000} {
		b.Run(fmt.Sprintf("move by %v m", metres), func(b *testing.B) {
			step := metres / 1000 / earth
			for b.Loop() {
				number := r.Uint32N(million)
				p := at[number]
				p.X += step * (r.Float64() - 0.5)
				p.Y += step * (r.Float64() - 0.5)
				p.Vector = p.Normalize()
				at[number] = p
				x.Set(number, p)
			}
		})
	}
}

func BenchmarkNearest(b *testing.B) {
	r := random(b)
	x := new(Index)
	for number := range uint32(1_000_000) {
		x.Set(number, At(anywhere(r)))
	}
	into := make([]Near, 0, 10)
	for _, each := range []uint32{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("10 of 1 M, each %d", each), func(b *testing.B) {
			for b.Loop() {
				into = x.Nearest(into, At(anywhere(r)), 10, func(n uint32) bool { return n%each == 0 })
			}
		})
	}
}
