package demo

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/tidwall/cities"

	"github.com/rollcall-registry/rollcall"
)

// zone is a place where instances run and callers are.
type zone struct {
	region, name string
	city         string // as package cities spells it
	at           rollcall.Position
	rate         float64 // requests a second of one of its callers
}

func (z *zone) locality() rollcall.Locality {
	return rollcall.Locality{Region: z.region, Zone: z.name}
}

// near is the place as a query names it.
func (z *zone) near() string { return "zone:" + z.region + "/" + z.name }

// point is where its city lies, as a query names it.
func (z *zone) point() string { return spot(z.at) }

// spot is a position as a query names it.
func spot(p rollcall.Position) string { return fmt.Sprintf("%.4f,%.4f", p.Lat, p.Lon) }

// allZones returns the zones of a demo, the busiest first. Where their cities lie is
// in the table of package cities.
func allZones() []*zone {
	return []*zone{
		located("eu", "eu-1", "Germany", "Berlin", 30),
		located("eu", "eu-2", "France", "Paris", 20),
		located("us", "us-1", "United States", "New York City", 15),
	}
}

func located(region, name, country, city string, rate float64) *zone {
	z := &zone{region: region, name: name, city: city, rate: rate}
	for n := range cities.Cities {
		if c := &cities.Cities[n]; c.Country == country && c.City == city {
			z.at = rollcall.Position{Lat: math.Round(c.Latitude*1e4) / 1e4, Lon: math.Round(c.Longitude*1e4) / 1e4}
		}
	}
	return z
}

// around returns the n cities that are nearest to a zone's.
func (z *zone) around(n int) []cities.City {
	all := slices.Clone(cities.Cities)
	far := func(c cities.City) float64 {
		return kilometres(z.at, rollcall.Position{Lat: c.Latitude, Lon: c.Longitude})
	}
	slices.SortFunc(all, func(a, b cities.City) int { return cmp.Compare(far(a), far(b)) })
	return all[:n]
}

// earth is its mean radius in kilometres.
const earth = 6371.0088

// kilometres returns the great-circle distance by the haversine formula.
func kilometres(a, b rollcall.Position) float64 {
	rad := math.Pi / 180
	dLat, dLon := (b.Lat-a.Lat)*rad, (b.Lon-a.Lon)*rad
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earth * math.Asin(math.Min(1, math.Sqrt(h)))
}

// nearestOf returns the ids of the n positions that are nearest to a place, by
// looking at all of them.
func nearestOf(at rollcall.Position, positions map[string]rollcall.Position, n int) []string {
	ids := make([]string, 0, len(positions))
	for id := range positions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(kilometres(at, positions[a]), kilometres(at, positions[b])), cmp.Compare(a, b))
	})
	return ids[:min(n, len(ids))]
}

// stroll returns a place some hundred metres from another.
func stroll(p rollcall.Position) rollcall.Position {
	const degrees = 0.004 // of latitude, some 450 m
	p.Lat += degrees * (rand.Float64() - 0.5)
	p.Lon += degrees * (rand.Float64() - 0.5) / math.Cos(p.Lat*math.Pi/180)
	return p
}
