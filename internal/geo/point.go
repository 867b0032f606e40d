// Package geo finds what is nearest on the earth. Positions are unit vectors, so
// that neither the poles nor the antimeridian are special, and distances compare
// by the square of the chord between two of them, which loses nothing for points
// that are close; their cosine would. An [Index] keeps points in buckets, which
// are the leaves of a tree over the cells of S2 (https://s2geometry.io): it
// divides where points crowd and joins where they leave, whatever moves.
package geo

import (
	"math"

	"github.com/golang/geo/s2"

	"github.com/rollcall-registry/rollcall"
)

// earth is the mean radius of the earth in kilometres (IUGG).
const earth = 6371.0088

// Point is a position as a unit vector from the centre of the earth.
type Point = s2.Point

// Valid reports whether p is a place on the earth: latitude -90 to 90, longitude
// -180 to 180. NaN and infinities are not.
func Valid(p rollcall.Position) bool {
	return p.Lat >= -90 && p.Lat <= 90 && p.Lon >= -180 && p.Lon <= 180
}

// At returns the point of a position that is [Valid].
func At(p rollcall.Position) Point {
	return s2.PointFromLatLng(s2.LatLngFromDegrees(p.Lat, p.Lon))
}

// Square returns the square of the chord between two points, 0 to 4. It rises
// with their distance.
func Square(p, q Point) float64 { return chord(p, q.X, q.Y, q.Z) }

// chord returns the square of one.
func chord(p Point, x, y, z float64) float64 {
	x, y, z = p.X-x, p.Y-y, p.Z-z
	return x*x + y*y + z*z
}

// Kilometres returns the great-circle distance of two points that are so far
// apart, given the square of their chord.
func Kilometres(square float64) float64 {
	return 2 * earth * math.Asin(min(1, math.Sqrt(square)/2))
}
