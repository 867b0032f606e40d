package record

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/rollcall-registry/rollcall"
)

// schema is record.proto, compiled.
type schema struct {
	t     *testing.T
	types protoreflect.MessageDescriptors
	seen  map[protoreflect.FullName]bool // fields that a message had
}

func newSchema(t *testing.T) *schema {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(t.Context(), "record.proto")
	if err != nil {
		t.Fatal(err)
	}
	return &schema{t, files[0].Messages(), map[protoreflect.FullName]bool{}}
}

// message builds a message of the schema; zero values stay out unless they are
// pointers.
type message map[string]any

func (s *schema) build(name string, m message) *dynamicpb.Message {
	s.t.Helper()
	d := s.types.ByName(protoreflect.Name(name))
	msg := dynamicpb.NewMessage(d)
	for field, x := range m {
		f := d.Fields().ByName(protoreflect.Name(field))
		if f == nil {
			s.t.Fatalf("%s has no field %s", name, field)
		}
		if list, ok := x.([]message); ok {
			l := msg.Mutable(f).List()
			for _, e := range list {
				l.Append(protoreflect.ValueOfMessage(s.build(string(f.Message().Name()), e)))
			}
			continue
		}
		if list, ok := x.([]string); ok {
			l := msg.Mutable(f).List()
			for _, e := range list {
				l.Append(protoreflect.ValueOfString(e))
			}
			continue
		}
		if sub, ok := x.(message); ok {
			if sub != nil {
				msg.Set(f, protoreflect.ValueOfMessage(s.build(string(f.Message().Name()), sub)))
			}
			continue
		}
		if v := protoreflect.ValueOf(x); f.HasPresence() || !v.Equal(f.Default()) {
			msg.Set(f, v)
		}
	}
	return msg
}

// decode decodes b as the schema says and refuses what it does not mention.
func (s *schema) decode(name string, b []byte) *dynamicpb.Message {
	s.t.Helper()
	msg := dynamicpb.NewMessage(s.types.ByName(protoreflect.Name(name)))
	if err := proto.Unmarshal(b, msg); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.look(msg)
	return msg
}

func (s *schema) look(m protoreflect.Message) {
	s.t.Helper()
	if u := m.GetUnknown(); len(u) > 0 {
		s.t.Fatalf("%s has fields that are not in the schema: %x", m.Descriptor().FullName(), u)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		s.seen[f.FullName()] = true
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				s.look(v.List().Get(i).Message())
			}
		default:
			s.look(v.Message())
		}
		return true
	})
}

// rounds counts to 40, and on for as long as a field of the messages was not
// written; one that never is fails the test.
func (s *schema) rounds(names ...protoreflect.Name) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := 0; n < 40 || len(s.missing(names)) > 0 && n < 4000; n++ {
			if !yield(n) {
				return
			}
		}
		for _, name := range s.missing(names) {
			s.t.Errorf("%s is in the schema and was never written", name)
		}
	}
}

func (s *schema) missing(names []protoreflect.Name) (missing []protoreflect.FullName) {
	for _, name := range names {
		fields := s.types.ByName(name).Fields()
		for i := range fields.Len() {
			if f := fields.Get(i); !s.seen[f.FullName()] {
				missing = append(missing, f.FullName())
			}
		}
	}
	return missing
}

// sameWire reports whether a message of the schema is what b is, and that what
// a writer of the schema makes of it is read as b is.
func (s *schema) same(want *dynamicpb.Message, b []byte, read func(string)) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.decode(string(want.Descriptor().Name()), b), protocmp.Transform()); diff != "" {
		s.t.Fatalf("not what the schema says:\n%s", diff)
	}
	written, err := proto.Marshal(want)
	if err != nil {
		s.t.Fatal(err)
	}
	read(string(written))
}

func (s *schema) value(v rollcall.Value) message {
	switch v.Kind() {
	case rollcall.KindBool:
		return message{"bool": v.Bool()}
	case rollcall.KindNumber:
		return message{"number": v.Number()}
	case rollcall.KindString:
		return message{"string": v.Text()}
	}
	m := message{"list": true, "elements": []message{}}
	for _, e := range v.List() {
		m["elements"] = append(m["elements"].([]message), s.value(e))
	}
	return m
}

func (s *schema) instance(i *rollcall.Instance) *dynamicpb.Message {
	m := message{
		"address": i.Address, "version": i.Version, "node": i.Node, "region": i.Locality.Region, "zone": i.Locality.Zone,
		"sub_zone": i.Locality.SubZone, "capacity": i.Capacity, "warmup": int64(i.Warmup), "origin": i.Origin,
		"lease": message{"mode": string(i.Lease.Mode), "ttl": int64(i.Lease.TTL), "remove_after": int64(i.Lease.RemoveAfter)},
	}
	key := i.Key()
	if i.Service != key.Service {
		m["service"] = i.Service
	}
	if i.Namespace != key.Namespace {
		m["namespace"] = i.Namespace
	}
	if p := i.Position; p != nil {
		m["position"] = message{"lat": p.Lat, "lon": p.Lon}
	}
	if *i.Weight != 100 {
		m["weight"] = uint32(*i.Weight)
	}
	var ports, capabilities, metadata, checks []message
	for _, name := range slices.Sorted(maps.Keys(i.Ports)) {
		ports = append(ports, message{"name": name, "port": uint32(i.Ports[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Capabilities)) {
		capabilities = append(capabilities, message{"name": name, "value": s.value(i.Capabilities[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Metadata)) {
		metadata = append(metadata, message{"name": name, "value": i.Metadata[name]})
	}
	for _, c := range i.Checks {
		checks = append(checks, message{
			"name": c.Name, "type": string(c.Type), "ttl": int64(c.TTL), "target": c.Target, "interval": int64(c.Interval),
			"timeout": int64(c.Timeout), "rise": uint32(c.Rise), "fall": uint32(c.Fall), "deregister_after": int64(c.DeregisterAfter),
		})
	}
	m["ports"], m["capabilities"], m["metadata"], m["checks"] = ports, capabilities, metadata, checks
	m["vouched"] = i.Vouched
	return s.build("Instance", m)
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// change returns c as a message, and its body, if it has one, with its type.
func (s *schema) change(c *rollcall.Change) message {
	m := message{"at": unix(c.At), "by": c.By, "via": c.Via, "why": c.Why, "revision": uint64(c.Revision)}
	instance := func(kind uint32, k rollcall.Key) {
		m["kind"], m["key"] = kind, []string{k.Namespace, k.Service, k.ID}
	}
	var typ string
	var body message
	switch v := c.Body.(type) {
	case rollcall.InstancePut:
		instance(1, v.Key)
		typ, body = "InstanceBody", message{"incarnation": uint64(v.Incarnation), "registered_at": unix(v.RegisteredAt), "record": []byte(v.Record)}
	case rollcall.InstanceRemove:
		instance(1, v.Key)
	case rollcall.HealthPut:
		m["kind"], m["key"] = uint32(2), []string{v.Service.Namespace, v.Service.Service, string(v.Slot)}
		typ, body = "HealthBody", message{"status": uint32(v.Status), "reason": v.Reason, "hard": v.Hard, "ids": v.IDs}
	case rollcall.OverridePut:
		instance(3, v.Key)
		if o := v.Override; o != nil {
			typ, body = "OverrideBody", message{"status": uint32(o.Status), "reason": o.Reason, "by": o.By, "since": unix(o.Since)}
			if o.Expires != nil {
				body["expires"] = unix(*o.Expires)
			}
		}
	case rollcall.SettingsPut:
		key := []string{v.Service.Namespace, v.Service.Service}
		if v.Name != "" {
			key = append(key, v.Name)
		}
		m["kind"], m["key"] = uint32(4), key
		if o := v.Settings; o != nil {
			typ, body = "SettingsBody", message{}
			if o.DNSTTL != nil {
				body["dns_ttl"] = int64(*o.DNSTTL)
			}
			for name, f := range map[string]*float64{"guard_share": o.GuardShare, "panic": o.Panic, "position_rate": o.PositionRate} {
				if f != nil {
					body[name] = *f
				}
			}
		}
	case rollcall.GuardPut:
		m["kind"], m["key"] = uint32(10), []string{v.Service.Namespace, v.Service.Service}
		if g := v.Guard; g != nil {
			typ, body = "GuardBody", message{"since": unix(g.Since), "reason": g.Reason}
		}
	case rollcall.QueryPut:
		m["kind"], m["key"] = uint32(5), []string{v.Name.Namespace, v.Name.Service}
		if q := v.Query; q != nil {
			typ, body = "QueryBody", queryBody(v.Name, q)
		}
	}
	if typ != "" {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.build(typ, body))
		if err != nil {
			s.t.Fatal(err)
		}
		m["body"] = append([]byte{}, b...)
		s.decode(typ, b)
	}
	return m
}

func queryBody(key rollcall.ServiceKey, q *rollcall.NamedQuery) message {
	target := func(t rollcall.QueryTarget) message {
		return message{"namespace": t.Namespace, "service": t.Service, "filter": t.Filter, "near": t.Near}
	}
	body := message{
		"name": q.Name, "service": q.Service, "filter": q.Filter, "near": q.Near,
		"min_routable": int64(q.MinRoutable), "limit": int64(q.Limit), "subset_size": int64(q.SubsetSize),
	}
	if q.Namespace != key.Namespace {
		body["namespace"] = q.Namespace
	}
	var split, failover []message
	for _, s := range q.Split {
		split = append(split, message{"percent": s.Percent, "target": target(s.QueryTarget)})
	}
	for _, t := range q.Failover {
		failover = append(failover, target(t))
	}
	body["split"], body["failover"] = split, failover
	return body
}

// TestSchemaOfInstances holds what is written by hand against record.proto.
func TestSchemaOfInstances(t *testing.T) {
	g, s := newGenerator(t), newSchema(t)
	for range s.rounds("Instance", "Port", "Position", "Pair", "Capability", "Value", "Lease", "Check") {
		want := g.instance()
		s.same(s.instance(&want), []byte(Pack(&want)), func(b string) {
			got, err := Unpack(want.Key(), rollcall.Record(b))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("written by the schema it reads as something else:\n%s", diff)
			}
		})
	}
}

func TestSchemaOfEntries(t *testing.T) {
	g, s := newGenerator(t), newSchema(t)
	messages := []protoreflect.Name{
		"Entry", "Change", "InstanceBody", "HealthBody", "OverrideBody", "SettingsBody", "QueryBody", "QuerySplit", "QueryTarget",
	}
	for n := range s.rounds(messages...) {
		changes := []rollcall.Change{}
		var messages []message
		for len(changes) < 5 {
			c := g.change()
			if _, ok := c.Body.(rollcall.Unknown); ok {
				continue
			}
			changes = append(changes, c)
			messages = append(messages, s.change(&c))
		}
		want := s.build("Entry", message{"revision": uint64(n + 1), "fence": uint64(n % 2), "changes": messages})
		b := AppendEntry(nil, rollcall.Revision(n+1), rollcall.Fence(n%2), changes)
		s.same(want, b, func(b string) {
			got, _, err := ParseEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(changes, got.Changes); diff != "" {
				t.Fatalf("written by the schema it reads as something else:\n%s", diff)
			}
		})
	}
}

func TestSchemaOfStateFiles(t *testing.T) {
	g, s := newGenerator(t), newSchema(t)
	changes := []rollcall.Change{g.change(), g.change(), g.change()}
	h := Header{Log: "0123456789abcdef", Created: g.time(), Revision: 7, Fence: 3, At: g.time()}
	var b bytes.Buffer
	if err := WriteState(&b, h, slices.Values(changes)); err != nil {
		t.Fatal(err)
	}
	frames := framesOf(t, b.Bytes())
	want := s.build("Header", message{
		"log": string(h.Log), "created": h.Created.UnixNano(), "revision": uint64(7), "fence": uint64(3), "at": h.At.UnixNano(),
	})
	s.same(want, frames[0].payload, func(string) {})
	s.decode("Page", frames[1].payload)
	for _, name := range s.missing([]protoreflect.Name{"Header", "Page"}) {
		t.Errorf("%s is in the schema and was never written", name)
	}
}
