package resolve

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestParseNear(t *testing.T) {
	for text, want := range map[string]near{
		"":                       {},
		"52.52,13.40":            {kind: toPoint, at: rollcall.Position{Lat: 52.52, Lon: 13.40}},
		" -90 , 180 ":            {kind: toPoint, at: rollcall.Position{Lat: -90, Lon: 180}},
		"zone:eu":                {kind: toZone, either: "eu"},
		"zone:eu/a":              {kind: toZone, locality: rollcall.Locality{Region: "eu", Zone: "a"}},
		"zone:eu/a/r1":           {kind: toZone, locality: rollcall.Locality{Region: "eu", Zone: "a", SubZone: "r1"}},
		"instance:Payments/p/1":  {kind: toInstance, instance: rollcall.NewKey("n", "payments", "p/1")},
		"instance:payments/p-1 ": {kind: toInstance, instance: rollcall.NewKey("n", "payments", "p-1 ")},
	} {
		if got, err := parseNear("n", text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func FuzzParseNear(f *testing.F) {
	for _, s := range []string{"52.52,13.40", "zone:eu/a/r1", "zone:", "instance:payments/p-1", "NaN,Inf", "1e400,0", "-0,-0", ",", "instance:/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseNear("", s)
		if err == nil && n.kind == toPoint && !(math.Abs(n.at.Lat) <= 90 && math.Abs(n.at.Lon) <= 180) {
			t.Errorf("%q is taken for %+v", s, n.at)
		}
		if err == nil && (n.kind == nowhere) != (s == "") {
			t.Errorf("%q is nowhere", s)
		}
	})
}

// TestShares: what a nearer ring bears, and where the rest goes.
func TestShares(t *testing.T) {
	for _, tt := range []struct {
		name                string
		registered, healthy [rings]float64
		spill               float64
		want                [rings]float64
	}{
		{"all is well", [rings]float64{sameZone: 10, elsewhere: 20}, [rings]float64{sameZone: 10, elsewhere: 20}, 0, [rings]float64{sameZone: 1}},
		{"72 % are enough", [rings]float64{sameZone: 100, elsewhere: 20}, [rings]float64{sameZone: 72, elsewhere: 20}, 0, [rings]float64{sameZone: 1}},
		{"half are not", [rings]float64{sameZone: 10, elsewhere: 20}, [rings]float64{sameZone: 5, elsewhere: 20}, 0, [rings]float64{sameZone: 0.7, elsewhere: 0.3}},
		{"none", [rings]float64{sameZone: 10, elsewhere: 20}, [rings]float64{elsewhere: 20}, 0, [rings]float64{elsewhere: 1}},
		{"nobody registered near", [rings]float64{elsewhere: 20}, [rings]float64{elsewhere: 20}, 0, [rings]float64{elsewhere: 1}},
		{"the region takes what it bears", [rings]float64{sameZone: 10, sameRegion: 10, elsewhere: 10}, [rings]float64{sameZone: 5, sameRegion: 1, elsewhere: 10}, 0, [rings]float64{sameZone: 0.7, sameRegion: 0.14, elsewhere: 0.16}},
		{"nobody bears the rest", [rings]float64{sameZone: 10, elsewhere: 10}, [rings]float64{sameZone: 2, elsewhere: 2}, 0, [rings]float64{sameZone: 0.5, elsewhere: 0.5}},
		{"a crowded zone", [rings]float64{sameZone: 10, elsewhere: 10}, [rings]float64{sameZone: 10, elsewhere: 10}, 0.25, [rings]float64{sameZone: 0.75, elsewhere: 0.25}},
		{"a crowded zone with a node", [rings]float64{sameNode: 1, sameZone: 10, elsewhere: 10}, [rings]float64{sameNode: 1, sameZone: 10, elsewhere: 10}, 0.25, [rings]float64{sameNode: 0.75, elsewhere: 0.25}},
		{"crowded, and nowhere to go", [rings]float64{sameZone: 10}, [rings]float64{sameZone: 10}, 0.25, [rings]float64{sameZone: 1}},
		{"nobody is healthy", [rings]float64{sameZone: 10}, [rings]float64{}, 0, [rings]float64{}},
	} {
		got := shares(&tt.registered, &tt.healthy, tt.spill)
		for r := range got {
			if math.Abs(got[r]-tt.want[r]) > 1e-9 {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
				break
			}
		}
	}
}

// share returns which part of all weight the endpoints with a prefix have.
func share(r *Result, prefix string) float64 {
	var of, all float64
	for _, e := range r.Endpoints {
		all += float64(e.Weight)
		if strings.HasPrefix(e.Item.ID(), prefix) {
			of += float64(e.Weight)
		}
	}
	return of / all
}

// TestSpillOver: with zones of uneven size, of which one dies bit by bit, the share
// that leaves it is max(0, 1 - healthy share × 1.4), and nobody is sent much more
// than the others.
func TestSpillOver(t *testing.T) {
	u := newUniverse(t)
	sizes := map[string]int{"a": 20, "b": 25, "c": 30}
	for zone, n := range sizes {
		u.put(many(zone, n, inZone("eu", zone))...)
	}
	for dead := range 21 {
		healthy := float64(20-dead) / 20
		got := map[string]float64{} // what each instance is sent by callers in all zones, which ask in proportion to its size
		for zone, n := range sizes {
			r := u.ask(rollcall.Query{Near: "zone:eu/" + zone})
			var sum float64
			for _, e := range r.Endpoints {
				sum += float64(e.Weight)
			}
			for _, e := range r.Endpoints {
				got[e.Item.ID()] += float64(n) * float64(e.Weight) / sum
			}
			if zone == "a" {
				if leaves, want := 1-share(r, "a-"), max(0, 1-1.4*healthy); math.Abs(leaves-want) > 0.01 {
					t.Errorf("with %d of 20 dead %.3f leave the zone, want %.3f", dead, leaves, want)
				}
			} else if len(r.Endpoints) != n {
				t.Errorf("with %d of 20 dead zone %s is given %d instances, want its own %d", dead, zone, len(r.Endpoints), n)
			}
		}
		mean := 75 / float64(75-dead)
		for id, sent := range got {
			if sent > 1.3*mean {
				t.Errorf("with %d of 20 dead %s is sent %.2f, the mean is %.2f", dead, id, sent, mean)
			}
		}
		if dead < 20 {
			u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, fmt.Sprintf("a-%d", dead))
		}
	}
}

// TestRings: who belongs to which.
func TestRings(t *testing.T) {
	u := newUniverse(t)
	place := func(id, node, region, zone, sub string) rollcall.Instance {
		return rollcall.Instance{ID: id, Node: node, Locality: rollcall.Locality{Region: region, Zone: zone, SubZone: sub}}
	}
	u.put(place("me", "n1", "eu", "a", "r1"), place("node", "n1", "eu", "a", "r1"), place("rack", "n2", "eu", "a", "r1"),
		place("zone", "n3", "eu", "a", "r2"), place("region", "n4", "eu", "b", "r1"), place("far", "n5", "us", "a", "r1"), place("lost", "", "", "", ""))
	for near, want := range map[string]string{
		"instance:s/me":  "me=0 node=0 rack=1 zone=2 region=3 far=4 lost=4",
		"zone:eu/a/r1":   "me=1 node=1 rack=1 zone=2 region=3 far=4 lost=4",
		"zone:eu/a":      "me=2 node=2 rack=2 zone=2 region=3 far=4 lost=4",
		"zone:eu":        "me=3 node=3 rack=3 zone=3 region=3 far=4 lost=4",
		"zone:a":         "me=2 node=2 rack=2 zone=2 region=4 far=2 lost=4",
		"zone:nowhere/a": "me=4 node=4 rack=4 zone=4 region=4 far=4 lost=4",
	} {
		n, err := parseNear("", near)
		if err != nil {
			t.Fatal(err)
		}
		at, err := u.world.locate(n)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, id := range []string{"me", "node", "rack", "zone", "region", "far", "lost"} {
			got = append(got, fmt.Sprintf("%s=%d", id, at.ring(u.c.Item(rollcall.NewKey("", "s", id)))))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %v", near, got, want)
		}
	}
	if _, err := u.compile(rollcall.Query{Near: "instance:s/none"}).Evaluate(service, &u.world); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("near to nobody: %v", err)
	}
}

// TestNearest: by distance, those without a position last, those that are served
// last behind all others.
func TestNearest(t *testing.T) {
	at := func(id string, lat, lon float64) rollcall.Instance {
		return rollcall.Instance{ID: id, Position: &rollcall.Position{Lat: lat, Lon: lon}}
	}
	u := newUniverse(t)
	u.put(at("berlin", 52.52, 13.40), at("paris", 48.86, 2.35), at("tokyo", 35.68, 139.69), at("fiji-east", -17, -179.9), at("fiji-west", -17, 179.9),
		at("pole", 90, 0), rollcall.Instance{ID: "nowhere"}, at("suspect", 52.52, 13.40), at("dead", 52.52, 13.40))
	u.say(rollcall.SlotStatus, rollcall.Suspect, false, "suspect")
	u.say(rollcall.SlotStatus, rollcall.Unhealthy, true, "dead")
	for _, tt := range []struct {
		near  string
		limit int
		want  string
	}{
		{"52.5,13.4", 0, "berlin paris pole tokyo fiji-west fiji-east nowhere suspect"},
		{"52.5,13.4", 2, "berlin paris"},
		{"-17,-179.95", 2, "fiji-east fiji-west"},
		{"-17,179.95", 2, "fiji-west fiji-east"},
		{"90,123", 1, "pole"},
		{"52.5,13.4", 8, "berlin paris pole tokyo fiji-west fiji-east nowhere suspect"},
		{"52.5,13.4", 100, "berlin paris pole tokyo fiji-west fiji-east nowhere suspect"},
	} {
		r := u.ask(rollcall.Query{Near: tt.near, Limit: tt.limit})
		if got := strings.Join(idsOf(r), " "); got != tt.want || r.Total != 8 {
			t.Errorf("near=%s limit=%d: %s of %d, want %s", tt.near, tt.limit, got, r.Total, tt.want)
		}
	}
	r := u.ask(rollcall.Query{Near: "52.52,13.40", Limit: 2})
	if km := r.Endpoints[1].Kilometres; math.Abs(km-877.7) > 1 {
		t.Errorf("Paris is %v km from Berlin", km)
	}

	// Where an instance has moved counts.
	u.world.Soft.Move(rollcall.NewKey("", "s", "tokyo"), rollcall.Position{Lat: 52.5, Lon: 13.4})
	if got := idsOf(u.ask(rollcall.Query{Near: "52.5,13.4", Limit: 1})); !slices.Equal(got, []string{"tokyo"}) {
		t.Errorf("the nearest is %v", got)
	}
}
