package record

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// TestMessageIsTheUnpackedInstance: what is copied from a record is what would be
// written of the instance.
func TestMessageIsTheUnpackedInstance(t *testing.T) {
	g := newGenerator(t)
	byName := func(a, b interface{ GetName() string }) bool { return a.GetName() < b.GetName() }
	for range 200 {
		i := g.instance()
		key := i.Key()
		r := Pack(&i)
		a := Added{
			Health:   rollcall.Health{Status: rollcall.Statuses()[g.IntN(6)], Reason: g.text(), Since: g.time()},
			Revision: rollcall.Revision(g.IntN(1000)), Incarnation: rollcall.Revision(g.IntN(1000)), RegisteredAt: g.time(),
		}
		for range g.IntN(3) {
			a.Health.Checks = append(a.Health.Checks, rollcall.CheckResult{Name: g.name(), Status: rollcall.Degraded, Output: g.text(), Since: time.Unix(0, 5)})
		}
		if g.some() {
			a.Position = &rollcall.Position{Lat: g.float(), Lon: 0}
		}
		if g.some() {
			a.EffectiveWeight = new(uint16(g.IntN(1000)))
		}
		if g.some() {
			a.Kilometres = new(float64(g.IntN(10_000)) / 1000)
		}
		var got pb.Instance
		if err := proto.Unmarshal(AppendMessage(nil, key, r, &a), &got); err != nil {
			t.Fatal(err)
		}
		want, err := Unpack(key, r)
		if err != nil {
			t.Fatal(err)
		}
		want.Health, want.Revision, want.Incarnation, want.RegisteredAt, want.Distance = &a.Health, a.Revision, a.Incarnation, a.RegisteredAt, a.Kilometres
		if want.EffectiveWeight = want.Weight; a.EffectiveWeight != nil {
			want.EffectiveWeight = a.EffectiveWeight
		}
		if a.Position != nil {
			want.Position = a.Position
		}
		if got.Weight == nil { // as records leave it out
			got.Weight = new(uint32(rollcall.DefaultWeight))
		}
		sorted := []cmp.Option{
			protocmp.Transform(),
			protocmp.SortRepeated(func(a, b *pb.Port) bool { return byName(a, b) }),
			protocmp.SortRepeated(func(a, b *pb.Capability) bool { return byName(a, b) }),
			protocmp.SortRepeated(func(a, b *pb.Pair) bool { return byName(a, b) }),
		}
		if diff := cmp.Diff(pb.FromInstance(&want), &got, sorted...); diff != "" {
			t.Fatalf("(-as unpacked +as copied)\n%s", diff)
		}
		var registered pb.Instance
		if err := proto.Unmarshal(AppendRegistered(nil, &want), &registered); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&got, &registered, sorted...); diff != "" {
			t.Fatalf("(-as copied +to who has registered it)\n%s", diff)
		}
	}
}

// TestMessageHasTheRecordsFields: the API's message can be a record because its
// fields have the same numbers and types.
func TestMessageHasTheRecordsFields(t *testing.T) {
	s := newSchema(t)
	var same func(ours, theirs protoreflect.MessageDescriptor)
	seen := map[protoreflect.FullName]bool{}
	same = func(ours, theirs protoreflect.MessageDescriptor) {
		if seen[ours.FullName()] {
			return
		}
		seen[ours.FullName()] = true
		for n := range ours.Fields().Len() {
			f := ours.Fields().Get(n)
			if f.FullName() == "rollcall.record.Instance.vouched" {
				if !theirs.ReservedRanges().Has(f.Number()) {
					t.Errorf("%s has a number that the API does not keep free", f.FullName())
				}
				continue
			}
			o := theirs.Fields().ByNumber(f.Number())
			if o == nil || o.Name() != f.Name() || o.Kind() != f.Kind() || o.Cardinality() != f.Cardinality() || o.HasPresence() != f.HasPresence() {
				t.Errorf("%s is %v in the API", f.FullName(), o)
				continue
			}
			if f.Message() != nil {
				same(f.Message(), o.Message())
			}
		}
	}
	same(s.types.ByName("Instance"), (&pb.Instance{}).ProtoReflect().Descriptor())
}
