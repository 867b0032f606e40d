package geo

import "math"

// uv is a place on a cube around the earth, as S2 counts its faces and the
// coordinates on them, which are -1 to 1.
type uv struct {
	face int
	u, v float64
}

// project returns where the ray through a point leaves the cube.
func project(p Point) uv {
	x, y, z := math.Abs(p.X), math.Abs(p.Y), math.Abs(p.Z)
	switch {
	case x > y && x > z:
		if p.X > 0 {
			return uv{0, p.Y / p.X, p.Z / p.X}
		}
		return uv{3, p.Z / p.X, p.Y / p.X}
	case y > z:
		if p.Y > 0 {
			return uv{1, -p.X / p.Y, p.Z / p.Y}
		}
		return uv{4, p.Z / p.Y, -p.X / p.Y}
	case p.Z > 0:
		return uv{2, -p.X / p.Z, -p.Y / p.Z}
	}
	return uv{5, -p.Y / p.Z, -p.X / p.Z}
}

// square is a part of a face: from one corner to before another.
type square struct{ from, to uv }

// face returns all of a face.
func face(n int) square {
	return square{uv{n, math.Inf(-1), math.Inf(-1)}, uv{n, math.Inf(1), math.Inf(1)}}
}

func (s *square) has(at uv) bool {
	return at.face == s.from.face && at.u >= s.from.u && at.u < s.to.u && at.v >= s.from.v && at.v < s.to.v
}
