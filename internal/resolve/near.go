package resolve

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/geo"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// near is where nearness is measured from.
type near struct {
	kind     nearness
	at       rollcall.Position // a point
	locality rollcall.Locality // a zone
	either   string            // a region or a zone of this name
	instance rollcall.Key
}

type nearness uint8

const (
	nowhere nearness = iota
	toPoint
	toZone
	toInstance
)

// parseNear reads "52.52,13.40", "zone:eu-west/eu-west-1a" or
// "instance:payments/p-1", whose namespace is the query's.
func parseNear(namespace, s string) (n near, err error) {
	if s == "" {
		return n, nil
	}
	if zone, ok := strings.CutPrefix(s, "zone:"); ok {
		n.kind = toZone
		switch parts := strings.Split(zone, "/"); {
		case zone == "" || len(parts) > 3:
			return n, rollcall.Invalid("near", fmt.Sprintf("%.80q is not a zone: write it like zone:REGION/ZONE, or zone:REGION/ZONE/SUB_ZONE", s))
		case len(parts) == 1:
			n.either = zone
		default:
			parts = append(parts, "")
			n.locality = rollcall.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
		}
		return n, nil
	}
	if instance, ok := strings.CutPrefix(s, "instance:"); ok {
		service, id, found := strings.Cut(instance, "/")
		if !found || id == "" || rollcall.CheckName("service", service) != nil {
			return n, rollcall.Invalid("near", fmt.Sprintf("%.80q is not an instance: write it like instance:SERVICE/ID", s))
		}
		return near{kind: toInstance, instance: rollcall.NewKey(namespace, service, id)}, nil
	}
	lat, lon, _ := strings.Cut(s, ",")
	n.kind = toPoint
	var errs [2]error
	n.at.Lat, errs[0] = strconv.ParseFloat(strings.TrimSpace(lat), 64)
	n.at.Lon, errs[1] = strconv.ParseFloat(strings.TrimSpace(lon), 64)
	if errs[0] != nil || errs[1] != nil || !geo.Valid(n.at) {
		return n, rollcall.Invalid("near", fmt.Sprintf("%.80q is not a place: write LATITUDE,LONGITUDE in degrees (52.52,13.40), zone:REGION/ZONE, or instance:SERVICE/ID", s))
	}
	return n, nil
}

// Place is where a caller is, as far as that is known.
type Place struct {
	point    *geo.Point
	locality rollcall.Locality
	either   string
	node     string
	rings    bool // localities count
}

// locate finds the place that a plan measures from.
func (w *World) locate(n near) (p Place, err error) {
	switch n.kind {
	case toPoint:
		at := geo.At(n.at)
		p.point = &at
	case toZone:
		p.locality, p.either, p.rings = n.locality, n.either, true
	case toInstance:
		i := w.item(n.instance)
		if last, known := w.Places[n.instance]; i == nil && known {
			return last, nil
		}
		if i == nil {
			return p, &rollcall.Error{
				Kind: rollcall.ErrNotFound, Field: "near",
				Detail: fmt.Sprintf("instance %s of service %s is not registered, so nothing is near it", n.instance.ID, n.instance.ServiceKey),
			}
		}
		p.locality = record.Locality(i.Record())
		p.node, _ = record.Place(i.Record())
		if at := w.position(i); at != nil {
			point := geo.At(*at)
			p.point = &point
		}
		p.rings = p.node != "" || p.locality != (rollcall.Locality{})
		if w.Places != nil {
			w.Places[n.instance] = p
		}
	}
	return p, nil
}

// ring says how close a locality is: each contains the ones before.
type ring uint8

const (
	sameNode ring = iota
	sameSubZone
	sameZone
	sameRegion
	elsewhere
	rings
)

var ringNames = [rings]string{"the same node", "the same sub-zone", "the same zone", "the same region", "elsewhere"}

// ring returns that of an instance. A part that is not known is not the same.
func (p *Place) ring(i *catalog.Item) ring {
	if p.node != "" {
		if node, _ := record.Place(i.Record()); node == p.node {
			return sameNode
		}
	}
	l := record.Locality(i.Record())
	switch {
	case p.either != "" && l.Zone == p.either:
		return sameZone
	case p.either != "" && l.Region == p.either:
		return sameRegion
	case p.locality.Region == "" && p.locality.Zone == "" || l.Region != p.locality.Region:
		return elsewhere
	case p.locality.Zone == "" || l.Zone != p.locality.Zone:
		return sameRegion
	case p.locality.SubZone == "" || l.SubZone != p.locality.SubZone:
		return sameZone
	}
	return sameSubZone
}

// unknown is the distance of what has no position: behind all that have one.
var unknown = math.Inf(1)

// kilometres returns the distance of an instance.
func (p *Place) kilometres(i *catalog.Item, w *World) float64 {
	if p.point == nil {
		return unknown
	}
	at := w.position(i)
	if at == nil {
		return unknown
	}
	return geo.Kilometres(geo.Square(*p.point, geo.At(*at)))
}

// overprovision is by how much healthy capacity counts for more than it is
// registered with: a ring gives traffic away once less than 1/1.4 of it is
// healthy (Envoy's factor).
const overprovision = 1.4

// shares returns which share of a caller's traffic each ring gets: the nearest
// what its healthy capacity bears, less what a crowded zone has to send beyond it;
// the next one of what is left, and so on. registered and healthy are capacities
// by ring.
func shares(registered, healthy *[rings]float64, spill float64) (s [rings]float64) {
	left, within := 1.0, 1.0
	if beyond(healthy, sameZone) {
		within -= spill
	}
	for r := range s {
		if registered[r] == 0 || healthy[r] == 0 {
			continue
		}
		s[r] = min(left, overprovision*healthy[r]/registered[r])
		if ring(r) <= sameZone {
			s[r] = min(s[r], within)
			within -= s[r]
		}
		left -= s[r]
	}
	if left == 1 {
		return s
	}
	for r := range s { // nobody bears the rest: all bear more
		s[r] /= 1 - left
	}
	return s
}

// beyond reports whether there is healthy capacity outside of a ring.
func beyond(healthy *[rings]float64, r ring) bool {
	for _, h := range healthy[r+1:] {
		if h > 0 {
			return true
		}
	}
	return false
}
