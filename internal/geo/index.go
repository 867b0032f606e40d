package geo

import (
	"math"

	"github.com/golang/geo/s2"
)

const (
	// most is how many points a bucket holds before it is divided. Fewer make a
	// deeper tree, more are looked at in vain.
	most = 128
	// few is how many points a node has left when its buckets become one: well
	// below most, so that points that come and go do not divide and join it over
	// and over.
	few = 48
	// step is by how many points a bucket grows.
	step = 32
	// deepest is the level whose cells, of about half a metre, are not divided:
	// what is closer than that is at one place, however many it is.
	deepest = 24
)

// Index is a set of numbered points. Numbers should be dense: it keeps a table
// of them. The zero Index is empty. Methods that change it exclude all others;
// the others may run at once.
type Index struct {
	faces  [6]*node
	places []place // by number
	size   int
}

// place is where a point is; its node is nil if it is nowhere.
type place struct {
	leaf *node
	at   uint32
}

type point struct {
	x, y, z float64
	number  uint32
}

// node is a cell with what is in it: points, or up to four smaller cells. All of
// the cell is within a cap around a centre.
type node struct {
	x, y, z  float64 // the centre
	sin, cos float64 // of half the angle that the cap spans from its centre
	points   []point
	parts    *[4]*node // by whether u and v are on the upper side of the middle; nil: a leaf
	parent   *node
	cell     s2.CellID
	level    int
	size     int
	in       square
	middle   uv // of an inner node
}

// newNode returns the node of a cell that is cut off by a square. Both say the same
// but for rounding, and that the squares of a face go on beyond its edge.
func newNode(parent *node, id s2.CellID, in square) *node {
	cell := s2.CellFromCellID(id)
	centre := cell.Center()
	var radius float64 // a chord, squared
	for i := range 4 { // the edges are great circles: nothing is farther than a corner
		radius = max(radius, Square(centre, cell.Vertex(i)))
	}
	return &node{
		x: centre.X, y: centre.Y, z: centre.Z, sin: math.Sqrt(radius) / 2, cos: math.Sqrt(1 - radius/4),
		parent: parent, cell: id, level: id.Level(), in: in,
	}
}

// middle returns where a cell is divided.
func middle(id s2.CellID) uv {
	whole := s2.CellFromCellID(id).BoundUV()
	part := s2.CellFromCellID(id.Children()[0]).BoundUV()
	m := uv{id.Face(), part.X.Lo, part.Y.Lo}
	if m.u == whole.X.Lo {
		m.u = part.X.Hi
	}
	if m.v == whole.Y.Lo {
		m.v = part.Y.Hi
	}
	return m
}

// part returns the part of an inner node that a place is in, made if it is not
// there yet.
func (n *node) part(at uv) *node {
	i, in := 0, n.in
	if at.u < n.middle.u {
		in.to.u = n.middle.u
	} else {
		in.from.u, i = n.middle.u, 1
	}
	if at.v < n.middle.v {
		in.to.v = n.middle.v
	} else {
		in.from.v, i = n.middle.v, i+2
	}
	if n.parts[i] == nil {
		for _, id := range n.cell.Children() {
			c := s2.CellFromCellID(id).BoundUV().Center()
			if (c.X >= n.middle.u) == (i&1 != 0) && (c.Y >= n.middle.v) == (i&2 != 0) {
				n.parts[i] = newNode(n, id, in)
			}
		}
	}
	return n.parts[i]
}

// Len returns the number of points.
func (x *Index) Len() int { return x.size }

// Point returns where a point is.
func (x *Index) Point(number uint32) (p Point, ok bool) {
	if int(number) >= len(x.places) || x.places[number].leaf == nil {
		return p, false
	}
	at := &x.places[number]
	e := &at.leaf.points[at.at]
	p.X, p.Y, p.Z = e.x, e.y, e.z
	return p, true
}

// Set puts a point at p, wherever it was. A move within a bucket costs no more
// than writing it down.
func (x *Index) Set(number uint32, p Point) {
	if n := int(number) + 1 - len(x.places); n > 0 {
		x.places = append(x.places, make([]place, n)...)
	}
	to := project(p)
	e := point{p.X, p.Y, p.Z, number}
	if at := &x.places[number]; at.leaf != nil {
		if at.leaf.in.has(to) {
			at.leaf.points[at.at] = e
			return
		}
		x.Remove(number)
	}
	if x.faces[to.face] == nil {
		x.faces[to.face] = newNode(nil, s2.CellIDFromFace(to.face), face(to.face))
	}
	n := x.faces[to.face]
	n.size++
	for n.parts != nil {
		n = n.part(to)
		n.size++
	}
	x.size++
	x.put(n, e)
	if len(n.points) > most && n.level < deepest {
		x.divide(n)
	}
}

// put puts a point into a leaf.
func (x *Index) put(leaf *node, e point) {
	if n := len(leaf.points); n == cap(leaf.points) {
		grown := make([]point, n, n+max(step, n/4))
		copy(grown, leaf.points)
		leaf.points = grown
	}
	x.places[e.number] = place{leaf, uint32(len(leaf.points))}
	leaf.points = append(leaf.points, e)
}

// divide makes a leaf an inner node, and so on below it while all of its points
// are in one part.
func (x *Index) divide(n *node) {
	points := n.points
	n.points, n.parts, n.middle = nil, new([4]*node), middle(n.cell)
	for _, e := range points {
		var p Point
		p.X, p.Y, p.Z = e.x, e.y, e.z
		part := n.part(project(p))
		part.size++
		x.put(part, e)
	}
	for _, part := range n.parts {
		if part != nil && part.size > most && part.level < deepest {
			x.divide(part)
		}
	}
}

// Remove takes a point out; one that is not there already is.
func (x *Index) Remove(number uint32) {
	if int(number) >= len(x.places) || x.places[number].leaf == nil {
		return
	}
	at := x.places[number]
	x.places[number] = place{}
	points := at.leaf.points
	last := len(points) - 1
	if points[at.at] = points[last]; int(at.at) != last {
		x.places[points[at.at].number].at = at.at
	}
	at.leaf.points = points[:last]
	if cap(points)-last > 2*max(step, last) { // of a place that many have left
		at.leaf.points = append(make([]point, 0, last+step), points[:last]...)
	}
	x.size--
	var join *node
	for n := at.leaf; n != nil; n = n.parent {
		if n.size--; n.parts != nil && n.size <= few {
			join = n
		}
	}
	if join != nil {
		parts := join.parts
		join.parts = nil
		x.join(join, parts)
	}
}

// join moves all that is in parts into a leaf.
func (x *Index) join(leaf *node, parts *[4]*node) {
	for _, part := range parts {
		switch {
		case part == nil:
		case part.parts != nil:
			x.join(leaf, part.parts)
		default:
			for _, e := range part.points {
				x.put(leaf, e)
			}
		}
	}
}

// margin is more than rounding can make of a chord on the unit sphere; on the
// earth it is 64 nanometres.
const margin = 1e-14

// bound returns a square that no chord from p to a point of the cell falls below.
//
// With a the angle to the centre and r the one that the cap spans, the chord is at
// least 2 sin((a-r)/2), or 0 within the cap. Chords take the place of the angles:
// that to the centre is 2 sin(a/2), that to its antipode 2 cos(a/2).
func (n *node) bound(p Point) float64 {
	centre := math.Sqrt(chord(p, n.x, n.y, n.z))
	antipode := math.Sqrt(chord(p, -n.x, -n.y, -n.z))
	if least := centre*n.cos - antipode*n.sin - margin; least > 0 {
		return least * least
	}
	return 0
}

// waiting is a node that is still to be looked at.
type waiting struct {
	bound float64
	node  *node
}

// Nearest returns the k points nearest to p that keep (nil: all) says are to be
// kept, nearest first, by number where they are equally near. The result is in the
// memory of into if that is large enough. Keep is asked only of points that would
// be among the nearest of those seen so far, each once at most.
//
// Nodes are looked at in order of what lies nearest in them at best (Hjaltason and
// Samet, "Distance Browsing in Spatial Databases", 1999), until that is farther
// than the k-th of the points that were found.
func (x *Index) Nearest(into []Near, p Point, k int, keep func(number uint32) bool) []Near {
	best := NewBest(into, k)
	var buf [64]waiting
	queue := buf[:0]
	for _, n := range x.faces {
		if n != nil {
			queue = push(queue, waiting{n.bound(p), n})
		}
	}
	for len(queue) > 0 && queue[0].bound <= best.worst() {
		n := queue[0].node
		queue = pop(queue)
		if n.parts == nil {
			scan(n.points, p, &best, keep)
			continue
		}
		for _, part := range n.parts {
			if part == nil || part.size == 0 {
				continue
			}
			if bound := part.bound(p); bound <= best.worst() {
				queue = push(queue, waiting{bound, part})
			}
		}
	}
	return best.Sorted()
}

func scan(points []point, p Point, best *Best, keep func(uint32) bool) {
	worst := best.worst()
	for i := range points {
		e := &points[i]
		d := chord(p, e.x, e.y, e.z)
		if d > worst {
			continue
		}
		if n := (Near{e.number, d}); best.Wants(n) && (keep == nil || keep(e.number)) {
			best.Add(n)
			worst = best.worst()
		}
	}
}

// push adds to a heap, the least bound first.
func push(s []waiting, w waiting) []waiting {
	s = append(s, w)
	i := len(s) - 1
	for i > 0 && s[(i-1)/2].bound > w.bound {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = w
	return s
}

// pop takes the first off a heap.
func pop(s []waiting) []waiting {
	last := s[len(s)-1]
	s = s[:len(s)-1]
	for i := 0; len(s) > 0; {
		child := 2*i + 1
		if child+1 < len(s) && s[child+1].bound < s[child].bound {
			child++
		}
		if child >= len(s) || s[child].bound >= last.bound {
			s[i] = last
			break
		}
		s[i] = s[child]
		i = child
	}
	return s
}
