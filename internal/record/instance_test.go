package record

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/nest"
)

// TestInstanceRoundTrip packs random registrations, and reads them as a whole
// and field by field.
func TestInstanceRoundTrip(t *testing.T) {
	g := newGenerator(t)
	for range 500 {
		want := g.instance()
		r := Pack(&want)
		if again := (string)(AppendInstance([]byte("before"), &want)); again != "before"+string(r) {
			t.Fatal("AppendInstance does not append what Pack packs")
		}
		checkFields(t, &want, r)
		// What a later version adds is passed over, wherever it stands.
		if g.some() {
			r = rollcall.Record(g.extra([]byte(r)))
			checkFields(t, &want, r)
		}
	}
}

// written returns what a new Writer makes of an instance.
func written(key rollcall.Key, r rollcall.Record, a *Added) []byte {
	var w Writer
	w.Append(key, r, a)
	return w.B
}

func checkFields(t *testing.T, want *rollcall.Instance, r rollcall.Record) {
	t.Helper()
	got, err := Unpack(want.Key(), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("reads back as something else:\n%s", diff)
	}
	for _, r := range []rollcall.Record{r, Terms(r)} {
		if diff := cmp.Diff(want.Checks, Checks(r)); diff != "" {
			t.Fatalf("Checks:\n%s", diff)
		}
		if got := Lease(r); got != want.Lease {
			t.Fatalf("Lease: %+v, want %+v", got, want.Lease)
		}
		if Weight(r) != *want.Weight || Capacity(r) != want.Capacity || Warmup(r) != time.Duration(want.Warmup) || Origin(r) != want.Origin {
			t.Fatalf("%d, %d, %v, %q, want those of %+v", Weight(r), Capacity(r), Warmup(r), Origin(r), want)
		}
	}
	if node, address := Place(Terms(r)); node+address != "" {
		t.Fatalf("the terms have the place %q, %q", node, address)
	}
	if node, address := Place(r); node != want.Node || address != want.Address {
		t.Fatalf("Place: %q, %q, want %q, %q", node, address, want.Node, want.Address)
	}
	shown := *want
	shown.Health, shown.Revision, shown.Incarnation = &rollcall.Health{Status: rollcall.Degraded, Reason: "so <so>"}, 7, 3
	shown.RegisteredAt, shown.EffectiveWeight = time.Unix(1_700_000_000, 5).UTC(), shown.Weight
	added := Added{Health: *shown.Health, Revision: 7, Incarnation: 3, RegisteredAt: shown.RegisteredAt}
	if got, want := written(want.Key(), r, &added), shown.AppendJSON(nil); string(got) != string(want) {
		t.Fatalf("Writer:\n%s, want\n%s", got, want)
	}
	w := Writer{B: []byte("before")}
	w.Append(want.Key(), r, &added)
	w.Append(want.Key(), r, &added)
	if got, want := string(w.B), "before"+strings.Repeat(string(shown.AppendJSON(nil)), 2); got != want {
		t.Fatalf("Writer, twice:\n%s, want\n%s", got, want)
	}
	added.Position = &rollcall.Position{Lat: -1.5, Lon: 1e-9}
	shown.Position = added.Position
	if got, want := written(want.Key(), r, &added), shown.AppendJSON(nil); string(got) != string(want) {
		t.Fatalf("Writer, of one that has moved:\n%s, want\n%s", got, want)
	}
	if got := Origin(r); got != want.Origin {
		t.Fatalf("Origin: %q, want %q", got, want.Origin)
	}
	name := want.Service
	if name == want.Key().Service {
		name = "" // it is the key
	}
	if got := ServiceName(r); got != name {
		t.Fatalf("ServiceName: %q, want %q", got, name)
	}
	for _, name := range append(slices.Collect(maps.Keys(want.Capabilities)), "no such", "") {
		if got := Capability(r, name); !got.Equal(want.Capabilities[name]) {
			t.Fatalf("Capability %q: %v, want %v", name, got, want.Capabilities[name])
		}
	}
	for _, name := range append(slices.Collect(maps.Keys(want.Metadata)), "no such", "") {
		got, ok := Metadata(r, name)
		if value, found := want.Metadata[name]; got != value || ok != found {
			t.Fatalf("Metadata %q: %q, %v, want %q, %v", name, got, ok, value, found)
		}
	}
}

// TestPackIsCanonical packs what is equal but was made in another way.
func TestPackIsCanonical(t *testing.T) {
	g := newGenerator(t)
	for range 300 {
		i := g.instance()
		want := Pack(&i)
		back, err := Unpack(i.Key(), want)
		if err != nil {
			t.Fatal(err)
		}
		if Pack(&back) != want {
			t.Fatal("a record that was read packs to another one")
		}
		back.Ports, back.Metadata = shuffled(g, i.Ports), shuffled(g, i.Metadata)
		back.Capabilities = shuffled(g, i.Capabilities)
		back.ID = "another" // no part of a record
		back.Revision, back.Incarnation, back.Health, back.Provisional = 7, 8, &rollcall.Health{}, true
		if Pack(&back) != want {
			t.Fatal("the record depends on the order of a map, or on what is no part of it")
		}
	}

	a := rollcall.Instance{Service: "s", ID: "i"}
	b := rollcall.Instance{
		Namespace: "default", Service: "s", ID: "i", Weight: new(uint16(100)),
		Ports: map[string]uint16{}, Metadata: map[string]string{}, Checks: []rollcall.Check{},
	}
	a.Normalize()
	if Pack(&a) != Pack(&b) {
		b.Normalize()
		if Pack(&a) != Pack(&b) {
			t.Error("what is empty or a default makes a difference")
		}
	}
	a.Position, b.Position = &rollcall.Position{}, &rollcall.Position{Lat: math.Copysign(0, -1)}
	a.Capabilities = map[string]rollcall.Value{"n": rollcall.Number(0)}
	b.Capabilities = map[string]rollcall.Value{"n": rollcall.Number(math.Copysign(0, -1))}
	if Pack(&a) != Pack(&b) {
		t.Error("-0 and 0 are equal and packed differently")
	}
	b.Capabilities = map[string]rollcall.Value{"n": rollcall.Bool(false)}
	if Pack(&a) == Pack(&b) {
		t.Error("0 and false are packed alike")
	}
}

// shuffled returns a copy of m that was filled in another order, in a map of
// another size.
func shuffled[V any](g *generator, m map[string]V) map[string]V {
	keys := slices.Collect(maps.Keys(m))
	g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	n := make(map[string]V, g.IntN(100))
	for _, k := range keys {
		n[k] = m[k]
	}
	return n
}

// TestDifferentInstancesPackDifferently changes each field of a registration.
func TestDifferentInstancesPackDifferently(t *testing.T) {
	seen := map[rollcall.Record]string{}
	for name, change := range map[string]func(*rollcall.Instance){
		"nothing":        func(i *rollcall.Instance) {},
		"service":        func(i *rollcall.Instance) { i.Service = "Payments" },
		"namespace":      func(i *rollcall.Instance) { i.Namespace = "Default" },
		"address":        func(i *rollcall.Instance) { i.Address = "x" },
		"ports":          func(i *rollcall.Instance) { i.Ports["http"]++ },
		"version":        func(i *rollcall.Instance) { i.Version = "x" },
		"node":           func(i *rollcall.Instance) { i.Node = "x" },
		"region":         func(i *rollcall.Instance) { i.Locality.Region = "x" },
		"zone":           func(i *rollcall.Instance) { i.Locality.Zone = "x" },
		"sub-zone":       func(i *rollcall.Instance) { i.Locality.SubZone = "x" },
		"no position":    func(i *rollcall.Instance) { i.Position = nil },
		"position":       func(i *rollcall.Instance) { i.Position.Lon = 0 },
		"capability":     func(i *rollcall.Instance) { i.Capabilities["gpu"] = rollcall.String("2") },
		"an empty list":  func(i *rollcall.Instance) { i.Capabilities["codecs"] = rollcall.List() },
		"not capability": func(i *rollcall.Instance) { delete(i.Capabilities, "gpu") },
		"metadata":       func(i *rollcall.Instance) { i.Metadata["team"] = "" },
		"no metadata":    func(i *rollcall.Instance) { delete(i.Metadata, "team") },
		"weight":         func(i *rollcall.Instance) { i.Weight = new(uint16(0)) },
		"capacity":       func(i *rollcall.Instance) { i.Capacity = 1 },
		"warmup":         func(i *rollcall.Instance) { i.Warmup = 1 },
		"lease mode":     func(i *rollcall.Instance) { i.Lease.Mode = rollcall.LeaseSession },
		"lease ttl":      func(i *rollcall.Instance) { i.Lease.TTL++ },
		"remove_after":   func(i *rollcall.Instance) { i.Lease.RemoveAfter++ },
		"check":          func(i *rollcall.Instance) { i.Checks[0].DeregisterAfter = 1 },
		"no check":       func(i *rollcall.Instance) { i.Checks = nil },
		"origin":         func(i *rollcall.Instance) { i.Origin = "dns" },
	} {
		i := typical()
		change(&i)
		r := Pack(&i)
		if other, found := seen[r]; found {
			t.Errorf("%s and %s pack alike", name, other)
		}
		seen[r] = name
	}
}

// TestEndpoint: it tells apart what differs in address or ports, and nothing else.
func TestEndpoint(t *testing.T) {
	g := newGenerator(t)
	for range 2000 {
		a, b := g.instance(), g.instance()
		if g.some() {
			b.Address = a.Address
		}
		if g.some() {
			b.Ports = shuffled(g, a.Ports)
		}
		same := a.Address == b.Address && maps.Equal(a.Ports, b.Ports)
		if x, y := Endpoint(Pack(&a)), Endpoint(Pack(&b)); (x == y) != same {
			t.Fatalf("%q and %q of\n%+v and\n%+v", x, y, a, b)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	value := func(v []byte) []byte {
		b, at := nest.Open(nil, 11)
		b, inner := nest.Open(appendText(b, 1, "a"), 2)
		return nest.Shut(nest.Shut(append(b, v...), inner), at)
	}
	list := func(e []byte) []byte {
		b, at := nest.Open(appendIntAlways(nil, 4, 1), 5)
		return nest.Shut(append(b, e...), at)
	}
	nested := list(list(appendIntAlways(nil, 1, 1)))
	for name, b := range map[string][]byte{
		"field 0":             {0x00, 0x01},
		"a field beyond all":  {0x80, 0x80, 0x80, 0x80, 0x40, 0x01},
		"a group":             {0x0b, 0x0c},
		"wire type 7":         {0x0f},
		"no length":           {0x0a},
		"too long":            {0x0a, 0x05, 'a'},
		"a length beyond all": {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a number of 65 bits": {0x70, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"an endless number":   []byte("\x70" + strings.Repeat("\x80", 20)),
		"half a number":       {0x70, 0x80},
		"half a double":       {0x52, 0x04, 0x09, 0, 0, 0},
		"half a float":        {0x52, 0x03, 0x0d, 0, 0},
		"a list in a list":    value(nested),
		"NaN":                 value(appendDouble(nil, 2, math.NaN())),
		"an infinity":         value(appendDouble(nil, 2, math.Inf(1))),
	} {
		if i, err := Unpack(rollcall.NewKey("", "s", "i"), rollcall.Record(b)); err == nil {
			t.Errorf("%s is taken for %+v", name, i)
		} else if !cmp.Equal(i, rollcall.Instance{}) {
			t.Errorf("%s is refused and gives %+v", name, i)
		}
		// What reads single fields has to stop there.
		Lease(rollcall.Record(b))
		Checks(rollcall.Record(b))
		Place(rollcall.Record(b))
		Endpoint(rollcall.Record(b))
		ServiceName(rollcall.Record(b))
		Capability(rollcall.Record(b), "a")
		Metadata(rollcall.Record(b), "a")
		Weight(rollcall.Record(b))
		Port(rollcall.Record(b), "a")
		Locality(rollcall.Record(b))
		for _, p := range Capabilities(rollcall.Record(b)) {
			p.Value()
		}
	}
}

func TestReadingAFieldDoesNotAllocate(t *testing.T) {
	i := typical()
	r := Pack(&i)
	if n := testing.AllocsPerRun(100, func() {
		Lease(r)
		Capability(r, "gpu")
		Metadata(r, "team")
		Place(r)
		ServiceName(r)
		Version(r)
		Locality(r)
		Port(r, "http")
		Weight(r)
		codecs, _ := PackedCapability(r, "codecs")
		for e := range codecs.Elements() {
			e.Value()
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
