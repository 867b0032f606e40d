package form

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestReaderIsProtobuf: what is decoded by hand is what protobuf makes of it.
func TestReaderIsProtobuf(t *testing.T) {
	some := func() bool { return rand.IntN(2) == 0 }
	text := func() string { return []string{"", "a", "é", "payments", "checkout"}[rand.IntN(5)] }
	var value func(lists bool) *pb.Value // most of which are right
	value = func(lists bool) *pb.Value {
		v := new(pb.Value)
		for n := rand.IntN(20); n >= 0; n -= 18 {
			switch rand.IntN(5) {
			case 0:
				v.Bool = new(some())
			case 1:
				v.Number = new(rand.Float64())
			case 2:
				v.String_ = new(text())
			case 3:
				v.List = some()
			default:
				for v.List = lists; lists && some(); {
					v.Elements = append(v.Elements, value(false))
				}
			}
		}
		return v
	}
	var m pb.RegisterRequest
	for range 2000 {
		i := &pb.Instance{
			Service: text(), Namespace: text(), Id: text(), Address: text(), Version: text(), Node: text(), Region: text(), Zone: text(), SubZone: text(),
			Capacity: uint32(rand.IntN(3)), Warmup: int64(rand.IntN(3) - 1), Origin: text(),
		}
		for range rand.IntN(3) {
			i.Ports = append(i.Ports, &pb.Port{Name: text(), Port: uint32(rand.IntN(70_000))})
			i.Metadata = append(i.Metadata, &pb.Pair{Name: text(), Value: text()})
		}
		if some() {
			i.Lease = &pb.Lease{Mode: text(), Ttl: int64(rand.IntN(3)), RemoveAfter: int64(rand.IntN(3))}
		}
		if some() {
			i.Weight = new(uint32(rand.IntN(70_000)))
		}
		if rand.IntN(4) == 0 {
			i.Position = &pb.Position{Lat: 1}
			i.Checks = []*pb.Check{{Name: text()}}
		}
		for range rand.IntN(4) {
			i.Capabilities = append(i.Capabilities, &pb.Capability{Name: text(), Value: value(true)})
		}
		m.Instances = append(m.Instances, i)
	}
	b, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	r := Reader{Limits: rollcall.DefaultLimits()}
	n, plain := 0, 0
	err = r.Instances(b, 64<<10, func(got *rollcall.Instance, lists string, wrong error) {
		want, err := m.Instances[n].Domain()
		n++
		if (wrong == nil) != (err == nil) || err != nil && wrong.Error() != err.Error() {
			t.Fatalf("%v: %v, want %v", m.Instances[n-1], wrong, err)
		}
		if lists != "" {
			packed, err := record.Unpack(got.Key(), rollcall.Record(record.PackText(got, lists)[len(got.ID):]))
			if err != nil {
				t.Fatal(err)
			}
			got.Ports, got.Capabilities, got.Metadata = packed.Ports, packed.Capabilities, packed.Metadata
			plain++
		}
		if diff := cmp.Diff(want, *got, cmpopts.EquateEmpty()); wrong == nil && diff != "" {
			t.Fatalf("(-protobuf +by hand)\n%s", diff)
		}
	})
	if err != nil || n != len(m.Instances) || plain == 0 {
		t.Errorf("%d instances, %d plain ones with lists, %v", n, plain, err)
	}
	m = pb.RegisterRequest{Instances: []*pb.Instance{{Service: "a"}, {Service: "b"}}}
	if b, err = proto.Marshal(&m); err != nil {
		t.Fatal(err)
	}
	for cut := range len(b) {
		err := r.Instances(b[:cut], 64<<10, func(*rollcall.Instance, string, error) {})
		if whole := cut == 0 || cut == len(b)/2; (err == nil) != whole {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if err := r.Instances([]byte("\x0a\x03\x0a\x01\xff"), 64<<10, func(*rollcall.Instance, string, error) {}); err == nil {
		t.Error("text that is not UTF-8 is taken")
	}
}
