package form

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// TestRegistration: a message that registers and does nothing else is taken apart; all
// others are left to protobuf.
func TestRegistration(t *testing.T) {
	register := &pb.SessionRequest_Register{Register: &pb.Instance{Service: "a", Id: "1"}}
	instance := marshal(t, register.Register)
	both := append(marshal(t, &pb.SessionRequest{Say: register}), marshal(t, &pb.SessionRequest{Say: register})...)
	for _, tt := range []struct {
		name string
		b    []byte
		ref  uint64
		ok   bool
	}{
		{"a registration", marshal(t, &pb.SessionRequest{Ref: 300, Say: register}), 300, true},
		{"without a ref", marshal(t, &pb.SessionRequest{Say: register}), 0, true},
		{"nothing", nil, 0, false},
		{"a ref alone", marshal(t, &pb.SessionRequest{Ref: 1}), 0, false},
		{"two, which are one to protobuf", both, 0, false},
		{"another message", marshal(t, &pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Pong{}}), 0, false},
		{"cut off", marshal(t, &pb.SessionRequest{Say: register})[:4], 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref, got, ok := Registration(tt.b)
			if ok != tt.ok || ok && (ref != tt.ref || string(got) != string(instance)) {
				t.Errorf("%d, %q, %v", ref, got, ok)
			}
		})
	}
}

// TestInstance: one is decoded as protobuf does, whether it is usual or not, and what is
// wrong with it is said.
func TestInstance(t *testing.T) {
	for _, m := range []*pb.Instance{
		{Service: "a", Id: "1", Metadata: []*pb.Pair{{Name: "m", Value: "v"}}},
		{Service: "a", Id: "1", Position: &pb.Position{Lat: 1, Lon: 2}},
		{Service: "a", Id: "1", Weight: new(uint32(70_000))},
		{Service: "a", Id: "1", Revision: 3, Incarnation: 2, RegisteredAt: 1, Health: &pb.Health{Status: 1}},
	} {
		checkInstance(t, marshal(t, m))
	}
	for name, b := range odd {
		t.Run(name, func(t *testing.T) { checkInstance(t, []byte(b)) })
	}
	if err := Instance([]byte{0x0a, 9}, func(*rollcall.Instance, error) { t.Error("what is cut off is decoded") }); err == nil {
		t.Error("what is cut off is taken")
	}
}

// TestReadersForget: one that waits for its next message has nothing of the last.
func TestReadersForget(t *testing.T) {
	list := &pb.Value{List: true, Elements: []*pb.Value{{String_: new("x")}, {String_: new("y")}}}
	b := marshal(t, &pb.Instance{
		Service: "a", Id: "1", Ports: []*pb.Port{{Name: "p", Port: 1}}, Metadata: []*pb.Pair{{Name: "m", Value: "v"}},
		Capabilities: []*pb.Capability{{Name: "c", Value: list}, {Name: "d", Value: &pb.Value{List: true}}},
	})
	for range 10 { // the pool may drop some
		if err := Instance(b, func(*rollcall.Instance, error) {}); err != nil {
			t.Fatal(err)
		}
		r := readers.Get().(*Reader)
		for _, e := range r.elements[:cap(r.elements)] {
			if e.Kind() != rollcall.KindNone {
				t.Errorf("an element %v is kept", e)
			}
		}
		if len(r.ports)+len(r.metadata)+len(r.capabilities) > 0 || r.i.Service != "" || r.i.Ports != nil {
			t.Errorf("%+v is kept", r.i)
		}
	}
}

// odd are instances that nobody writes and that protobuf has an opinion of.
var odd = map[string]string{
	"a port that is a number":                  "\x20\x01",
	"a pair that is a number":                  "\x60\x01",
	"a capability that is a number":            "\x58\x01",
	"a weight that is text":                    "\x6a\x01a",
	"a capacity, and one that is text":         "\x70\x07\x72\x01a",
	"a warm-up, and one that is text":          "\x78\x07\x7a\x01a",
	"a lease that is a number":                 "\x80\x01\x01",
	"a TTL, and one that is text":              "\x82\x01\x05\x10\x07\x12\x01a",
	"a time, and one that is text":             "\x82\x01\x05\x18\x07\x1a\x01a",
	"two leases":                               "\x82\x01\x02\x10\x07\x82\x01\x02\x18\x08",
	"a port's number, and one that is text":    "\x22\x05\x10\x07\x12\x01a",
	"health that is cut off":                   "\xaa\x01\x01\x08",
	"a revision":                               "\xb0\x01\x07",
	"a reserved field":                         "\x98\x01\x07",
	"an unknown field":                         "\xea\x01\x01a",
	"a field with too great a number":          "\x80\x80\x80\x80\x10\x01",
	"a pair twice, and before it a great port": "\x62\x00\x62\x00\x22\x04\x10\xff\xff\x7f",
	"a great capacity":                         "\x70\x81\x80\x80\x80\x10",
	"a great port that is not, in 32 bits":     "\x22\x06\x10\x81\x80\x80\x80\x10",
}

// checkInstance fails if an instance is not decoded as protobuf does, or not refused as
// that does.
func checkInstance(t *testing.T, b []byte) {
	t.Helper()
	var m pb.Instance
	refused := proto.Unmarshal(b, &m)
	want, wrong := m.Domain()
	err := Instance(b, func(got *rollcall.Instance, err error) {
		if fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Fatalf("%q: %v, want %v", b, err, wrong)
		}
		if diff := cmp.Diff(want, *got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); err == nil && diff != "" {
			t.Fatalf("%q: (-protobuf +by hand)\n%s", b, diff)
		}
	})
	if (err == nil) != (refused == nil) {
		t.Fatalf("%q: %v, and protobuf: %v", b, err, refused)
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte("\x08\x01\x1a\x03\x0a\x01a"))
	for _, b := range odd {
		f.Add(append([]byte{0x1a, byte(len(b))}, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ref, instance, ok := Registration(b)
		if !ok {
			return
		}
		var m pb.SessionRequest
		err := Instance(instance, func(*rollcall.Instance, error) {})
		if wrong := proto.Unmarshal(b, &m); (err == nil) != (wrong == nil) {
			t.Fatalf("%v, and protobuf: %v", err, wrong)
		}
		if err == nil && (m.Ref != ref || m.GetRegister() == nil) {
			t.Errorf("%v is read as a registration with ref %d", &m, ref)
		}
		checkInstance(t, instance)
	})
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
