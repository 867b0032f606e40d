package form

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// FuzzInstances: what protobuf refuses is refused, and what it takes is counted and
// read alike.
func FuzzInstances(f *testing.F) {
	b, err := proto.Marshal(&pb.RegisterRequest{IfMatch: 3, Instances: []*pb.Instance{
		{Service: "a", Id: "b", Ports: []*pb.Port{{Name: "http", Port: 80}}, Metadata: []*pb.Pair{{Name: "team", Value: "x"}}, Weight: new(uint32(5)), Lease: &pb.Lease{Ttl: 1}},
		{Checks: []*pb.Check{{Name: "c"}}, Position: &pb.Position{Lat: 1}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("\x0a\x02\x22\x00"))
	for _, b := range odd {
		f.Add(append([]byte{0x0a, byte(len(b))}, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Count(b, 1)
		seen := 0
		r := Reader{Limits: rollcall.DefaultLimits()}
		got := r.Instances(b, len(b), func(i *rollcall.Instance, _ string, _ error) { seen++; i.Normalize() })
		if err == nil && got == nil && seen != n {
			t.Errorf("%d were read of %d", seen, n)
		}
		var m pb.RegisterRequest
		refused := proto.Unmarshal(b, &m)
		if refused == nil && err == nil && n != len(m.Instances) {
			t.Errorf("%d were counted of %d", n, len(m.Instances))
		}
		if (got == nil) != (refused == nil) {
			t.Errorf("%v, and protobuf: %v", got, refused)
		}
		Each(b, 1, func(b []byte) error { checkInstance(t, b); return nil })
	})
}
