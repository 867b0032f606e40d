package form

import (
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
	} {
		want, wrong := m.Domain()
		err := Instance(marshal(t, m), func(got *rollcall.Instance, err error) {
			if (err == nil) != (wrong == nil) || err != nil && err.Error() != wrong.Error() {
				t.Errorf("%v, want %v", err, wrong)
			}
			if diff := cmp.Diff(want, *got, cmpopts.EquateEmpty()); err == nil && diff != "" {
				t.Errorf("(-protobuf +by hand)\n%s", diff)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := Instance([]byte{0x0a, 9}, func(*rollcall.Instance, error) { t.Error("what is cut off is decoded") }); err == nil {
		t.Error("what is cut off is taken")
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte("\x08\x01\x1a\x03\x0a\x01a"))
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
