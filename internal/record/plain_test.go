package record

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// plainly makes of i a registration that is plain if it is within the limits.
func plainly(i *rollcall.Instance) {
	i.Position, i.Checks, i.Origin, i.Vouched = nil, nil, "", false
}

func marshal(t testing.TB, m *pb.Instance) string {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkPlain fails if a message that is taken for plain has not the record that it has
// when it is decoded, or is refused then for anything but what i shows. It reports whether
// it is plain.
func checkPlain(t testing.TB, b string, limits rollcall.Limits) bool {
	t.Helper()
	var got rollcall.Instance
	lists, ok := ReadPlain(b, &got, nil, limits)
	if !ok {
		return false
	}
	var m pb.Instance
	if err := proto.Unmarshal([]byte(b), &m); err != nil {
		t.Fatalf("%q is plain, and no message: %v", b, err)
	}
	want, err := m.Domain()
	if err != nil {
		t.Fatalf("%q is plain, but %v", b, err)
	}
	want.Normalize()
	got.Normalize()
	if right, wrong := got.Validate(limits), want.Validate(limits); fmt.Sprint(right) != fmt.Sprint(wrong) {
		t.Fatalf("%q: %v, want %v", b, right, wrong)
	}
	if text := PackText(&got, string(lists)); text != want.ID+string(Pack(&want)) || got.Key() != want.Key() {
		t.Fatalf("%v %q, want %v %q", got.Key(), text, want.Key(), Pack(&want))
	}
	return true
}

// TestPlainIsDecoded: what is not unpacked has the record that it would have.
func TestPlainIsDecoded(t *testing.T) {
	g := newGenerator(t)
	limits := rollcall.DefaultLimits()
	plain := 0
	for range 2000 {
		i := g.instance()
		if g.IntN(10) > 0 {
			plainly(&i)
		}
		i.Ports = map[string]uint16{}
		for n := range g.IntN(12) {
			i.Ports[fmt.Sprint("p", n)] = uint16(g.IntN(3000))
		}
		// In an order of chance: that of maps.
		if checkPlain(t, marshal(t, pb.FromInstance(&i)), limits) {
			plain++
		}
	}
	if plain < 400 {
		t.Errorf("%d were plain", plain)
	}
}

// TestWhatIsNotPlain: what may be wrong, or is written in another way, is left to
// whoever says so.
func TestWhatIsNotPlain(t *testing.T) {
	some := func() *pb.Instance {
		return &pb.Instance{
			Service: "payments", Id: "p-1", Address: "10.0.0.1", Weight: new(uint32(7)), Capacity: 300, Warmup: 5e9, Lease: &pb.Lease{Mode: "ttl", Ttl: 15e9},
			Ports:        []*pb.Port{{Name: "http", Port: 80}, {Name: "grpc", Port: 81}},
			Capabilities: []*pb.Capability{{Name: "gpu", Value: &pb.Value{Number: new(2.5)}}, {Name: "c", Value: &pb.Value{List: true, Elements: []*pb.Value{{String_: new("a")}}}}},
			Metadata:     []*pb.Pair{{Name: "team", Value: "x"}, {Name: "none"}},
		}
	}
	limits := rollcall.DefaultLimits()
	limits.Ports, limits.Capabilities, limits.Metadata, limits.ValueBytes = 2, 2, 2, 10
	if !checkPlain(t, marshal(t, some()), limits) {
		t.Fatal("what is usual is not plain")
	}
	value := func(m *pb.Instance, v *pb.Value) { m.Capabilities[0].Value = v }
	text := func(s string) *pb.Value { return &pb.Value{String_: &s} }
	for name, edit := range map[string]func(*pb.Instance){
		"position":         func(m *pb.Instance) { m.Position = &pb.Position{Lat: 1} },
		"checks":           func(m *pb.Instance) { m.Checks = []*pb.Check{{Name: "c"}} },
		"origin":           func(m *pb.Instance) { m.Origin = "config" },
		"revision":         func(m *pb.Instance) { m.Revision = 3 },
		"weight":           func(m *pb.Instance) { *m.Weight = 1 << 16 },
		"negative warm-up": func(m *pb.Instance) { m.Warmup = -1 },
		"negative TTL":     func(m *pb.Instance) { m.Lease.Ttl = -1 },
		"too many ports":   func(m *pb.Instance) { m.Ports = append(m.Ports, &pb.Port{Name: "a", Port: 1}) },
		"too many pairs":   func(m *pb.Instance) { m.Metadata = append(m.Metadata, &pb.Pair{Name: "a"}) },
		"too many values": func(m *pb.Instance) {
			m.Capabilities = append(m.Capabilities, &pb.Capability{Name: "a", Value: text("")})
		},
		"port 0":           func(m *pb.Instance) { m.Ports[0].Port = 0 },
		"port 65536":       func(m *pb.Instance) { m.Ports[0].Port = 1 << 16 },
		"port's name":      func(m *pb.Instance) { m.Ports[0].Name = "a b" },
		"port twice":       func(m *pb.Instance) { m.Ports[0].Name = "grpc" },
		"no name":          func(m *pb.Instance) { m.Metadata[0].Name = "" },
		"long name":        func(m *pb.Instance) { m.Metadata[0].Name = strings.Repeat("n", 129) },
		"long pair":        func(m *pb.Instance) { m.Metadata[0].Value = strings.Repeat("n", 11) },
		"pair twice":       func(m *pb.Instance) { m.Metadata[1].Name = "team" },
		"capability twice": func(m *pb.Instance) { m.Capabilities[1].Name = "gpu" },
		"no capability":    func(m *pb.Instance) { m.Capabilities[0].Name = "" },
		"no value":         func(m *pb.Instance) { value(m, nil) },
		"empty value":      func(m *pb.Instance) { value(m, &pb.Value{}) },
		"value of two":     func(m *pb.Instance) { value(m, &pb.Value{Bool: new(true), Number: new(1.0)}) },
		"long value":       func(m *pb.Instance) { value(m, text("01234567890")) },
		"long list": func(m *pb.Instance) {
			value(m, &pb.Value{List: true, Elements: []*pb.Value{text("01234"), text("0123")}})
		},
		"list of lists":     func(m *pb.Instance) { value(m, &pb.Value{List: true, Elements: []*pb.Value{{List: true}}}) },
		"list of nothing":   func(m *pb.Instance) { value(m, &pb.Value{List: true, Elements: []*pb.Value{{}}}) },
		"list that is none": func(m *pb.Instance) { value(m, &pb.Value{Elements: []*pb.Value{text("")}}) },
		"infinite":          func(m *pb.Instance) { value(m, &pb.Value{Number: new(math.Inf(1))}) },
		"-0":                func(m *pb.Instance) { value(m, &pb.Value{Number: new(math.Copysign(0, -1))}) },
	} {
		m := some()
		edit(m)
		if checkPlain(t, marshal(t, m), limits) {
			t.Errorf("%s is plain", name)
		}
	}

	field := func(num protowire.Number, s string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s))
	}
	head := field(1, "s")
	for name, b := range map[string]string{
		"out of order":      field(3, "a") + head,
		"twice":             head + head,
		"unknown":           head + field(99, "x"),
		"other type":        head + "\x18\x01",
		"port of a number":  head + "\x20\x01",
		"pair of a number":  head + "\x60\x01",
		"weight of text":    head + "\x6a\x01a",
		"capacity and text": head + "\x70\x07\x72\x01a",
		"TTL of text":       head + "\x82\x01\x03\x12\x01a",
		"port and text":     head + "\x22\x08\x0a\x01a\x10\x07\x12\x01b",
		"health":            head + "\xaa\x01\x01\x08",
		"cut off":           head + "\x1a\x05ab",
		"long length":       head + "\x1a\x81\x00a",
		"long number":       head + "\x70\x81\x00",
		"capacity":          head + "\x70\x80\x80\x80\x80\x10",
		"UTF-8":             head + field(5, "\xff"),
		"UTF-8, of a name":  head + field(12, field(1, "\xff")),
		"UTF-8, of a pair":  head + field(12, field(1, "a")+field(2, "\xff")),
		"UTF-8, of a value": head + field(11, field(1, "a")+field(2, field(3, "\xff"))),
		"empty pair":        head + field(12, field(1, "a")+field(2, "")),
		"pair with more":    head + field(12, field(1, "a")+field(2, "b")+field(3, "c")),
		"bool of 2":         head + field(11, field(1, "a")+field(2, "\x08\x02")),
		"list of 0":         head + field(11, field(1, "a")+field(2, "\x20\x00")),
		"element and more":  head + field(11, field(1, "a")+field(2, "\x20\x01"+field(5, "\x08\x01\x08\x01"))),
		"no number":         head + field(11, field(1, "a")+field(2, "\x11")),
		"half a number":     head + field(11, field(1, "a")+field(2, "\x11\x00")),
		"lease with more":   head + field(16, field(4, "x")),
	} {
		if checkPlain(t, b, rollcall.DefaultLimits()) {
			t.Errorf("%s: %q is plain", name, b)
		}
	}
	if !checkPlain(t, head+field(20, "i"), rollcall.DefaultLimits()) {
		t.Error("the least is not plain")
	}
}

// TestPlainNames: the names of entries that are plain are as long as those that are
// valid, no less and no more.
func TestPlainNames(t *testing.T) {
	limits := rollcall.DefaultLimits()
	for _, length := range []int{rollcall.MaxName, rollcall.MaxName + 1} {
		name := strings.Repeat("n", length)
		for field, i := range map[string]rollcall.Instance{
			"port":       {Ports: map[string]uint16{name: 1}},
			"capability": {Capabilities: map[string]rollcall.Value{name: rollcall.Bool(true)}},
			"pair":       {Metadata: map[string]string{name: "v"}},
		} {
			i.Service, i.ID, i.Address = "s", "i", "10.0.0.1"
			m := marshal(t, pb.FromInstance(&i))
			i.Normalize()
			if valid, plain := i.Validate(limits) == nil, checkPlain(t, m, limits); plain != valid || valid != (length == 128) {
				t.Errorf("a %s's name of %d bytes is plain: %v, and valid: %v", field, length, plain, valid)
			}
		}
	}
}

func TestReadPlainAllocates(t *testing.T) {
	i := typical()
	plainly(&i)
	i.Weight = nil
	m := marshal(t, pb.FromInstance(&i))
	lists := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		var ok bool
		if lists, ok = ReadPlain(m, &i, lists[:0], rollcall.DefaultLimits()); !ok {
			t.Fatal("not plain")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzReadPlain(f *testing.F) {
	i := typical()
	f.Add([]byte(marshal(f, pb.FromInstance(&i))))
	plainly(&i)
	f.Add([]byte(marshal(f, pb.FromInstance(&i))))
	f.Fuzz(func(t *testing.T, b []byte) {
		inProportion(t, len(b), func() { checkPlain(t, string(b), rollcall.DefaultLimits()) })
	})
}

// BenchmarkReadPlain reads and packs what is plain.
func BenchmarkReadPlain(b *testing.B) {
	i := typical()
	plainly(&i)
	m, lists := marshal(b, pb.FromInstance(&i)), make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		var ok bool
		if lists, ok = ReadPlain(m, &i, lists[:0], rollcall.DefaultLimits()); !ok {
			b.Fatal("not plain")
		}
		PackText(&i, unsafe.String(&lists[0], len(lists)))
	}
}
