package record

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// TestFields: what is read on its own is what unpacking gives.
func TestFields(t *testing.T) {
	g := newGenerator(t)
	for range 2000 {
		i := g.instance()
		i.Normalize()
		r := Pack(&i)
		i, err := Unpack(i.Key(), r)
		if err != nil {
			t.Fatal(err)
		}
		if v := Version(r); v != i.Version {
			t.Fatalf("version %q of %+v", v, i)
		}
		if w := Weight(r); w != *i.Weight {
			t.Fatalf("weight %d of %+v", w, i)
		}
		if c := Capacity(r); c != i.Capacity {
			t.Fatalf("capacity %d of %+v", c, i)
		}
		if l := Locality(r); l != i.Locality {
			t.Fatalf("%+v of %+v", l, i)
		}
		if ports := maps.Collect(Ports(r)); !maps.Equal(ports, i.Ports) {
			t.Fatalf("%v of %+v", ports, i)
		}
		for name, port := range i.Ports {
			if p := Port(r, name); p != port {
				t.Fatalf("port %q is %d of %+v", name, p, i)
			}
		}
		if pairs := maps.Collect(Pairs(r)); !maps.Equal(pairs, i.Metadata) {
			t.Fatalf("%v of %+v", pairs, i)
		}
		seen := 0
		for name, p := range Capabilities(r) {
			seen++
			want := i.Capabilities[name]
			one, ok := PackedCapability(r, name)
			if !ok || one != p || !p.Value().Equal(want) || p.IsList() != (want.Kind() == rollcall.KindList) || p.Len() != len(want.List()) {
				t.Fatalf("%q is %v, list %v of %d, want %v", name, p.Value(), p.IsList(), p.Len(), want)
			}
			n := 0
			for e := range p.Elements() {
				if !e.Value().Equal(want.List()[n]) {
					t.Fatalf("element %d of %q is %v, want %v", n, name, e.Value(), want)
				}
				n++
			}
		}
		if seen != len(i.Capabilities) {
			t.Fatalf("%d capabilities of %+v", seen, i)
		}
	}
}

func TestFieldsThatAreNotThere(t *testing.T) {
	r := rollcall.Record("")
	if Version(r) != "" || Weight(r) != rollcall.DefaultWeight || Capacity(r) != 0 || Port(r, "http") != 0 {
		t.Error("an empty record has more than the defaults")
	}
	if _, ok := PackedCapability(r, "gpu"); ok {
		t.Error("an empty record has a capability")
	}
	i := typical()
	if r := Pack(&i); Port(r, "htt") != 0 || Port(r, "https") != 0 {
		t.Error("a port is found by a part of its name")
	}
}

// TestStoppingEarly leaves each sequence after the first of two.
func TestStoppingEarly(t *testing.T) {
	i := typical()
	r := Pack(&i)
	var names []string
	for name := range Ports(r) {
		names = append(names, name)
		break
	}
	for name := range Capabilities(r) {
		names = append(names, name)
		break
	}
	for name := range Pairs(r) {
		names = append(names, name)
		break
	}
	codecs, _ := PackedCapability(r, "codecs")
	for e := range codecs.Elements() {
		names = append(names, e.Value().Text())
		break
	}
	if want := []string{"grpc", "canary", "build", "h264"}; !slices.Equal(names, want) {
		t.Error(cmp.Diff(want, names))
	}
}

// TestFrom: what is passed over by its length is what would be passed over field by
// field, also of a record that ends in the middle.
func TestFrom(t *testing.T) {
	g := newGenerator(t)
	for range 500 {
		i := g.instance()
		i.Node = strings.Repeat("n", g.IntN(300))
		i.Normalize()
		r := string(Pack(&i))
		for _, s := range []string{r, r[:g.IntN(len(r))]} {
			for num := protowire.Number(1); num < 20; num++ {
				want := s
				for {
					f, rest, ok := next(want)
					if !ok || f.num >= num {
						break
					}
					want = rest
				}
				if got := from(s, num); got != want {
					t.Fatalf("from field %d of %q: %q, want %q", num, s, got, want)
				}
			}
		}
	}
}

// TestSorted: few entries and many are in the order of their names.
func TestSorted(t *testing.T) {
	g := newGenerator(t)
	for n := range 3 * fewEntries {
		m := map[string]int{}
		for k := range n {
			m[strconv.Itoa(g.IntN(1000))] = k
		}
		var names []string
		for _, e := range sorted(make([]named[int], fewEntries), m) {
			if names = append(names, e.name); m[e.name] != e.value {
				t.Errorf("%s is %d, want %d", e.name, e.value, m[e.name])
			}
		}
		if want := slices.Sorted(maps.Keys(m)); !slices.Equal(names, want) {
			t.Errorf("%v, want %v", names, want)
		}
	}
}
