package filter

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// subject returns i as it would be asked about: healthy, and with a load.
func subject(i rollcall.Instance) *Subject {
	i.Normalize()
	return &Subject{
		Key: i.Key(), Record: record.Pack(&i), Status: rollcall.Healthy,
		Load: &rollcall.Load{Utilization: 0.5, InFlight: 3, RPS: 100, LatencyP50: 4, LatencyP99: 12.5},
	}
}

// typical returns an instance as services register them.
func typical() *Subject {
	return subject(rollcall.Instance{
		Namespace: "Prod", Service: "Payments", ID: "payments-7f9c", Address: "10.0.3.17",
		Ports: map[string]uint16{"http": 8080, "grpc": 9090}, Version: "2.4.1", Node: "host-17",
		Locality: rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a"},
		Position: &rollcall.Position{Lat: 52.52, Lon: 13.4}, Capacity: 10,
		Capabilities: map[string]rollcall.Value{
			"gpu": rollcall.Number(2), "codecs": rollcall.Strings("h264", "av1"), "canary": rollcall.Bool(true),
			"sizes": rollcall.List(rollcall.Number(1), rollcall.Number(2.5)), "tier": rollcall.String("gold"), "odd-name": rollcall.Number(1),
			"api": rollcall.String("v3"), "none": rollcall.List(), "mixed": rollcall.List(rollcall.Bool(true), rollcall.String("x")),
		},
		Metadata: map[string]string{"team": "checkout", "cost": "2.5"},
	})
}

// bareSubject returns an instance that says nothing of itself, and of which no load is
// known.
func bareSubject() *Subject {
	s := subject(rollcall.Instance{Service: "s", ID: "i"})
	s.Load, s.Status = nil, rollcall.Unhealthy
	return s
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		text          string
		typical, bare bool
	}{
		{example, true, false},
		{`true`, true, true},
		{`service == "payments"`, true, false},
		{`ns == "prod"`, true, false},
		{`id == "payments-7f9c"`, true, false},
		{`address == "10.0.3.17"`, true, false},
		{`node == ""`, false, true},
		{`node != "host-17"`, false, true},
		{`version == ""`, false, true},
		{`health == "healthy"`, true, false},
		{`health in ["unhealthy", "draining"]`, false, true},
		{`weight == 100`, true, true},
		{`capacity == 0`, false, true},

		{`ports.http == 8080`, true, false},
		{`ports.http != 8080`, false, false},
		{`"grpc" in ports`, true, false},
		{`!has(ports.grpc)`, false, true},
		{`ports.exists(name, ports[name] > 9000)`, true, false},

		{`locality.zone == "eu-west-1a"`, true, false},
		{`locality.zone != "eu-west-1a"`, false, false}, // a zone that is not known is not another one
		{`has(locality.sub_zone)`, false, false},
		{`!has(locality.zone)`, false, true},
		{`locality.region.startsWith("eu-")`, true, false},
		{`position.lat > 52.5 && position.lon < 14`, true, false},
		{`has(position.lat)`, true, false},
		{`!has(position.lat)`, false, true},
		{`load.utilization < 0.7`, true, false},
		{`load.utilization >= 0`, true, false},
		{`load.errors == 0`, true, false},
		{`load.errors != 1 && 0 == load.errors && load.errors in [0, 1] && !(load.errors in [1])`, true, false},
		{`weight == 100.0 && weight == 100u && weight in [1.5, 100.0] && weight != 1.5`, true, true},
		{`has(load.errors)`, true, false},
		{`load.in_flight < capacity`, true, false},
		{`load.rps == 100 && load.latency_p50_ms == 4 && load.latency_p99_ms <= 12.5`, true, false},
		{`load.in_flight < capacity * 0.7`, true, false},

		{`cap.gpu >= 2`, true, false},
		{`cap.gpu > 2`, false, false},
		{`cap.gpu == 2`, true, false},
		{`cap.gpu == 2.0`, true, false},
		{`cap.gpu == 2u`, true, false},
		{`2 == cap.gpu`, true, false},
		{`cap.gpu != 3`, true, false},
		{`cap.gpu < 2.5`, true, false},
		{`cap.gpu in [1, 2]`, true, false},
		{`cap.gpu in [1.5, 2.0]`, true, false},
		{`cap.gpu in [1.5, "2"]`, false, false},
		{`cap.gpu == "2"`, false, false},
		{`cap.gpu < "3"`, false, false},
		{`!(cap.gpu < "3")`, false, false}, // no order is not the other order
		{`cap["odd-name"] == 1`, true, false},
		{`has(cap.gpu)`, true, false},
		{`!(has(cap.gpu))`, false, true},
		{`!has(cap.gpu) || cap.gpu < 3`, true, true},
		{`"gpu" in cap`, true, false},
		{`size(cap) == 0`, false, true},
		{`cap.canary`, true, false},
		{`!cap.canary`, false, false},
		{`cap.canary == true`, true, false},
		{`cap.gpu`, false, false},
		{`cap.tier == "gold"`, true, false},
		{`cap.tier in ["gold", "silver"]`, true, false},
		{`cap.tier < "h"`, true, false},
		{`cap.tier.contains("ol")`, true, false},
		{`cap.tier.endsWith("d") && cap.tier.size() == 4`, true, false},

		{`"av1" in cap.codecs`, true, false},
		{`"vp9" in cap.codecs`, false, false},
		{`!("vp9" in cap.codecs)`, true, false},
		{`1 in cap.sizes && 2.5 in cap.sizes && !(2 in cap.sizes) && 1u in cap.sizes`, true, false},
		{`true in cap.mixed && "x" in cap.mixed && !(1 in cap.mixed)`, true, false},
		{`"av1" in cap.tier`, false, false},
		{`cap.codecs == ["h264", "av1"]`, true, false},
		{`cap.codecs == ["av1", "h264"]`, false, false},
		{`["h264", "av1"] == cap.codecs`, true, false},
		{`cap.codecs == cap.codecs && cap.codecs != cap.sizes`, true, false},
		{`["h264", "vp9"] == cap.codecs || cap.codecs == ["h264"] || cap.codecs == "h264" || cap.codecs == 1`, false, false},
		{`cap.codecs in [["h264", "av1"], []]`, true, false},
		{`cap.sizes == [1, 2.5]`, true, false},
		{`cap.none == [] && cap.none.size() == 0 && cap.none.all(x, false)`, true, false},
		{`cap.codecs[1] == "av1"`, true, false},
		{`cap.codecs[2] == "av1"`, false, false},
		{`cap.codecs[-1] == "av1"`, false, false},
		{`cap.codecs.exists(c, c.startsWith("av"))`, true, false},
		{`cap.codecs.all(c, c in ["av1", "vp9"])`, false, false},
		{`cap.codecs.exists_one(c, c == "av1")`, true, false},
		{`["av1", "vp9"].exists(c, c in cap.codecs)`, true, false},
		{`cap.exists(name, name.startsWith("odd") && cap[name] == 1)`, true, false},

		{`meta.team == "checkout"`, true, false},
		{`meta.team == "checkout" || cap.gpu == 1`, true, false},
		{`"team" in meta && size(meta) == 2`, true, false},
		{`double(meta.cost) < 3`, true, false},
		{`double(meta.team) < 3`, false, false},
		{`double("3") == 3 && double(true ? 3 : 2) == 3`, true, true},
		{`double(cap.codecs) == 3`, false, false},
		{`double(version == "") == 3`, false, false},

		{`cap.tpu == 1 || id != ""`, true, true}, // an error and a truth
		{`cap.tpu == 1 || cap.gpu == 2`, true, false},
		{`cap.tpu == 1 && id == ""`, false, false},
		{`!(cap.tpu == 1)`, false, false},
		{`has(cap.tpu) ? cap.tpu > 3 : health == "healthy"`, true, false},

		{`cap.gpu * 2 == 4`, true, false},
		{`2 * cap.gpu + 1 - 0.5 == 4.5`, true, false},
		{`weight / 3 * 3 == 100 && weight / 8.0 == 12.5 && int(weight) % 7 == 2`, true, true},
		{`7 / 2 == 3 && 7 - 2 == 5 && 7 * 2 == 14 && 7 + 2 == 9 && 7.5 - 2.5 == 5`, true, true},
		{`load.in_flight / capacity == 0.3`, true, false},
		{`weight + 1 - 2 == 99 && 2 * weight == 200 && -weight < 0`, true, true},
		{`1 / 0 == 1`, false, false},
		{`cap.tier + "!" == "gold!"`, true, false},
		{`cap.tier - cap.tier == ""`, false, false},
		{`cap.tier + cap.gpu == "gold2"`, false, false},
		{`cap.codecs + cap.codecs == []`, false, false},
		{`cap.canary + cap.canary == 2`, false, false},
		{`node + "/" + id == "host-17/payments-7f9c"`, true, false},

		{`semver(version) >= semver("2.3.0")`, true, false},
		{`semver(version) > semver("2.4")`, true, false},
		{`semver(version) < semver("v2.10")`, true, false},
		{`semver(version) == semver("2.4.1+build.7")`, true, false},
		{`semver(version) > semver("2.4.1-rc.1")`, true, false},
		{`semver("1.0.0-alpha.9") < semver("1.0.0-alpha.10")`, true, true},
		{`semver("1.0.0-1") < semver("1.0.0-a")`, true, true},
		{`semver(version) != semver("2.4.1")`, false, false},
		{`semver(node) > semver("1")`, false, false},
		{`semver(node) > semver("1") || true`, true, true},
		{`semver(cap.api) == semver("3.0.0")`, true, false},
		{`semver(cap.gpu) == semver("3.0.0")`, false, false},

		{`lower("ÄbC-1") == "äbc-1"`, true, true},
		{`lower(cap.tier) == "gold" && lower(version) == "2.4.1"`, true, false},
		{`lower(node + "X") == "host-17x" && !(lower("A") == "A")`, true, false},
		{`lower(cap.gpu) == "2"`, false, false},
		{`lower(cap.codecs) == "av1"`, false, false},
		{`cap.lower == 1 || lower(id) == "i"`, false, true},

		{`id.matches("^pay[a-z]+-[0-9a-f]{4}$")`, true, false},
		{`matches(id, "x")`, false, false},
		{`cap.tier.matches("^g")`, true, false},
	} {
		f, err := Compile(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if f.Text() != tt.text {
			t.Errorf("%s is remembered as %s", tt.text, f.Text())
		}
		for _, s := range []struct {
			name string
			s    *Subject
			want bool
		}{{"typical", typical(), tt.typical}, {"bare", bareSubject(), tt.bare}} {
			if got := f.Match(s.s); got != s.want {
				t.Errorf("%s matches the %s instance: %v; %s", tt.text, s.name, got, f.Why(s.s))
			}
			if why := f.Why(s.s); (why == "") != s.want {
				t.Errorf("%s, %s instance: why is %q", tt.text, s.name, why)
			}
		}
	}
}

// TestSelection: what names in DNS select by. A name is that of a version, or of a
// capability that is not false, whatever its kind and its case.
func TestSelection(t *testing.T) {
	s := subject(rollcall.Instance{Service: "s", ID: "i", Version: "V2-Beta", Capabilities: map[string]rollcall.Value{
		"Canary": rollcall.Bool(true), "off": rollcall.Bool(false), "GPU": rollcall.Number(2), "zero": rollcall.Number(0),
		"Tier": rollcall.String("gold"), "none": rollcall.String(""), "Codecs": rollcall.Strings("av1"), "empty": rollcall.List(),
		"Not": rollcall.List(rollcall.Bool(false)), "a.B": rollcall.Bool(true), `q"\`: rollcall.Bool(true),
	}})
	for name, want := range map[string]bool{
		"v2-beta": true, "v2": false, "canary": true, "off": false, "gpu": true, "zero": true, "tier": true, "none": true, "codecs": true,
		"empty": true, "not": true, "a.b": true, `q"\`: true, "gold": false, "av1": false, "": false, "true": false,
	} {
		f, err := Compile(fmt.Sprintf(selecting, name, name))
		if err != nil {
			t.Fatal(err)
		}
		if f.Match(s) != want {
			t.Errorf("%q: %v; %s", name, !want, f.Why(s))
		}
		if f.Match(bareSubject()) != (name == "") { // which has no version
			t.Errorf("%q selects what says nothing of itself: %v", name, name != "")
		}
		if f.Soft() {
			t.Error("it depends on more than the registration")
		}
	}
}

// TestPositionNow: the position that is known by other means counts, not the
// record's.
func TestPositionNow(t *testing.T) {
	f, err := Compile(`position.lat < 0`)
	if err != nil {
		t.Fatal(err)
	}
	s := typical()
	if f.Match(s) {
		t.Error("it is in the north")
	}
	if s.Position = (&rollcall.Position{Lat: -33.9}); !f.Match(s) {
		t.Error("it has moved to the south")
	}
}

func TestSoft(t *testing.T) {
	for text, want := range map[string]bool{
		`load.rps > 1`: true, `position.lat > 1`: true, `cap.gpu == 2 || !has(load.errors)`: true,
		`cap.load == 1`: false, example: false, `health == "healthy" && weight > 1`: false,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if f.Soft() != want {
			t.Errorf("%s: %v", text, f.Soft())
		}
	}
}

// crowded returns an instance at the limits: a list of 512 numbers and as many
// capabilities and as much text as there may be.
func crowded() *Subject {
	var numbers []rollcall.Value
	for n := range 512 {
		numbers = append(numbers, rollcall.Number(float64(n)))
	}
	i := rollcall.Instance{Service: "s", ID: strings.Repeat("a", 256), Node: strings.Repeat("a", 512), Capabilities: map[string]rollcall.Value{
		"big": rollcall.List(numbers...), "list": rollcall.List(numbers[:64]...),
	}}
	for n := range 62 {
		i.Capabilities[fmt.Sprintf("text%d", n)] = rollcall.String(strings.Repeat("a", 511) + "b")
	}
	return subject(i)
}

// TestCost: what is reasonable is answered, even by the biggest instance, and
// what is not is stopped.
func TestCost(t *testing.T) {
	s := crowded()
	for text, within := range map[string]bool{
		`cap.big.all(x, x >= 0)`:                             true,
		`cap.big.exists(x, x == 511)`:                        true,
		`cap.list.all(x, x in cap.list)`:                     true,
		`cap.all(name, name != "")`:                          true,
		`["h264", "av1"].all(c, cap.list.all(x, x != c))`:    true,
		`node.matches("^a+$")`:                               true,
		`cap.all(name, lower(name) != "x")`:                  true,
		`cap.big.all(x, lower(node) != "x")`:                 false,
		`cap.list.all(x, cap.list.all(y, true))`:             false,
		`cap.list.all(x, cap.list.all(y, x == y || x != y))`: false,
		`cap.big.all(x, cap.big.all(y, true))`:               false,
		`cap.big.all(x, node.matches("a$"))`:                 false,
		`node.matches("^(a?){60}(a?){60}b")`:                 false,
		`cap.big.all(x, cap.text0 + "" == cap.text0)`:        false,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(s); got != within {
			t.Errorf("%s: %v; %s", text, got, f.Why(s))
		}
		if why := f.Why(s); strings.Contains(why, "more than 5000 steps") == within {
			t.Errorf("%s: why is %q", text, why)
		}
	}
}

// TestGrowth: no text grows beyond bounds, in no number of steps.
func TestGrowth(t *testing.T) {
	f, err := Compile(strings.Repeat("node + ", 20) + `"" != "x"`)
	if err != nil {
		t.Fatal(err)
	}
	if f.Match(crowded()) {
		t.Error("10 KB of text were built")
	}
	long := `lower("` + strings.Repeat("Ⱥ", 1900) + `") != "x"` // each takes a byte more in lower case
	if f, err = Compile(long); err != nil || f.Match(crowded()) {
		t.Errorf("6 KB of text were built: %v", err)
	}
	if f, err = Compile(`node + node + node != "x"`); err != nil || !f.Match(crowded()) {
		t.Errorf("1.5 KB of text were not: %v", err)
	}
}

func TestMatchingAtOnce(t *testing.T) {
	f, err := Compile(example + ` && cap.codecs.exists(c, c == "av1")`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			matching, other := typical(), bareSubject()
			for range 500 {
				if !f.Match(matching) || f.Match(other) || f.Why(other) == "" {
					t.Error("one instance is taken for another")
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocations: a value that is compared costs one allocation, since CEL
// carries values in interfaces.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops what is pooled")
	}
	s := typical()
	for text, most := range map[string]float64{
		`cap.gpu >= 2`: 1, `cap.gpu == 2`: 1, `"av1" in cap.codecs`: 1, `has(cap.gpu)`: 1, `meta.team == "checkout"`: 1,
		`health == "healthy"`: 1, `cap.canary`: 0, `true`: 0, example: 5,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(200, func() { f.Match(s) }); n > most {
			t.Errorf("%s: %v allocations, want %v", text, n, most)
		}
	}
}
