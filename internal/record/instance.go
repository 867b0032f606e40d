// Package record reads and writes the packed form of instances and changes: a
// protobuf wire format (record.proto is its schema) that the log stores, the
// catalog keeps in memory, and checkpoints and backups consist of.
//
// Packing is canonical: equal registrations have equal records. Text that is
// unpacked shares the record's memory, so that reading allocates little more
// than the maps. Unknown fields are passed over; an unknown kind of change
// survives a round trip as it is.
package record

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/nest"
)

// Pack returns the packed form of a normalized instance, without its id and
// what the registry adds other than the origin.
func Pack(i *rollcall.Instance) rollcall.Record {
	var buf [512]byte // kept off the heap
	return rollcall.Record(AppendInstance(buf[:0], i))
}

// AppendInstance appends the packed form of i to b.
func AppendInstance(b []byte, i *rollcall.Instance) []byte { return appendInstance(b, i, "") }

func appendInstance(b []byte, i *rollcall.Instance, lists string) []byte {
	var at, inner int
	key := i.Key()
	if i.Service != key.Service {
		b = appendText(b, 1, i.Service)
	}
	if i.Namespace != key.Namespace {
		b = appendText(b, 2, i.Namespace)
	}
	b = appendText(b, 3, i.Address)
	var ports [fewEntries]named[uint16] // kept off the heap, as the others are
	for _, p := range sorted(ports[:], i.Ports) {
		b, at = nest.Open(b, 4)
		b = appendText(b, 1, p.name)
		b = appendInt(b, 2, uint64(p.value))
		b = nest.Shut(b, at)
	}
	others := from(lists, 11)
	b = append(b, lists[:len(lists)-len(others)]...)
	b = appendText(b, 5, i.Version)
	b = appendText(b, 6, i.Node)
	b = appendText(b, 7, i.Locality.Region)
	b = appendText(b, 8, i.Locality.Zone)
	b = appendText(b, 9, i.Locality.SubZone)
	if p := i.Position; p != nil {
		b, at = nest.Open(b, 10)
		b = appendDouble(b, 1, p.Lat)
		b = appendDouble(b, 2, p.Lon)
		b = nest.Shut(b, at)
	}
	var capabilities [fewEntries]named[rollcall.Value]
	for _, c := range sorted(capabilities[:], i.Capabilities) {
		b, at = nest.Open(b, 11)
		b = appendText(b, 1, c.name)
		b, inner = nest.Open(b, 2)
		b = appendValue(b, c.value)
		b = nest.Shut(nest.Shut(b, inner), at)
	}
	var metadata [fewEntries]named[string]
	for _, m := range sorted(metadata[:], i.Metadata) {
		b, at = nest.Open(b, 12)
		b = appendText(b, 1, m.name)
		b = appendText(b, 2, m.value)
		b = nest.Shut(b, at)
	}
	b = append(b, others...)
	if w := i.WeightOrDefault(); w != rollcall.DefaultWeight {
		b = appendIntAlways(b, 13, uint64(w))
	}
	b = appendInt(b, 14, uint64(i.Capacity))
	b = appendInt(b, 15, uint64(i.Warmup))
	b, at = nest.Open(b, 16)
	b = appendText(b, 1, string(i.Lease.Mode))
	b = appendInt(b, 2, uint64(i.Lease.TTL))
	b = appendInt(b, 3, uint64(i.Lease.RemoveAfter))
	b = nest.Shut(b, at)
	for n := range i.Checks {
		b, at = nest.Open(b, 17)
		b = nest.Shut(appendCheck(b, &i.Checks[n]), at)
	}
	b = appendText(b, 18, i.Origin)
	if i.Vouched {
		b = appendInt(b, 19, 1)
	}
	return b
}

// named is one entry of a map.
type named[V any] struct {
	name  string
	value V
}

// sorted returns the entries of m by name, in buf if they fit.
func sorted[V any](buf []named[V], m map[string]V) []named[V] {
	if len(m) == 0 {
		return nil
	}
	buf = buf[:0]
	for name, value := range m {
		buf = append(buf, named[V]{name, value})
	}
	byName(buf)
	return buf
}

func byName[V any](all []named[V]) {
	if len(all) > fewEntries {
		slices.SortFunc(all, func(a, b named[V]) int { return strings.Compare(a.name, b.name) })
		return
	}
	for i := range all {
		for at := i; at > 0 && all[at].name < all[at-1].name; at-- {
			all[at], all[at-1] = all[at-1], all[at]
		}
	}
}

// fewEntries are so few that they are sorted in place, on the stack.
const fewEntries = 8

func appendValue(b []byte, v rollcall.Value) []byte {
	switch v.Kind() {
	case rollcall.KindBool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		return appendIntAlways(b, 1, n)
	case rollcall.KindNumber:
		return appendDouble(b, 2, v.Number())
	case rollcall.KindString:
		return appendTextAlways(b, 3, v.Text())
	case rollcall.KindList:
		b = appendIntAlways(b, 4, 1)
		for _, e := range v.List() {
			var at int
			b, at = nest.Open(b, 5)
			b = nest.Shut(appendValue(b, e), at)
		}
	}
	return b
}

func appendCheck(b []byte, c *rollcall.Check) []byte {
	b = appendText(b, 1, c.Name)
	b = appendText(b, 2, string(c.Type))
	b = appendInt(b, 3, uint64(c.TTL))
	b = appendText(b, 4, c.Target)
	b = appendInt(b, 5, uint64(c.Interval))
	b = appendInt(b, 6, uint64(c.Timeout))
	b = appendInt(b, 7, uint64(c.Rise))
	b = appendInt(b, 8, uint64(c.Fall))
	return appendInt(b, 9, uint64(c.DeregisterAfter))
}

// presize bounds the room that is made for the entries of a map before they are
// read.
const presize = 64

// Unpack returns the instance under key that r is the packed form of.
func Unpack(key rollcall.Key, r rollcall.Record) (rollcall.Instance, error) {
	s := string(r)
	i := rollcall.Instance{Namespace: key.Namespace, Service: key.Service, ID: key.ID}
	weight := uint16(rollcall.DefaultWeight)
	err := each(s, func(f field) error {
		switch f.num {
		case 1:
			i.Service = f.s
		case 2:
			i.Namespace = f.s
		case 3:
			i.Address = f.s
		case 4:
			if i.Ports == nil {
				i.Ports = make(map[string]uint16, min(count(s, 4), presize))
			}
			name, port := "", uint64(0)
			err := each(f.s, func(f field) error {
				switch f.num {
				case 1:
					name = f.s
				case 2:
					port = f.n
				}
				return nil
			})
			i.Ports[name] = uint16(port)
			return err
		case 5:
			i.Version = f.s
		case 6:
			i.Node = f.s
		case 7:
			i.Locality.Region = f.s
		case 8:
			i.Locality.Zone = f.s
		case 9:
			i.Locality.SubZone = f.s
		case 10:
			i.Position = new(rollcall.Position)
			return parsePosition(f.s, i.Position)
		case 11:
			if i.Capabilities == nil {
				i.Capabilities = make(map[string]rollcall.Value, min(count(s, 11), presize))
			}
			var name string
			var value rollcall.Value
			err := each(f.s, func(f field) (err error) {
				switch f.num {
				case 1:
					name = f.s
				case 2:
					value, err = parseValue(f.s, true)
				}
				return err
			})
			i.Capabilities[name] = value
			return err
		case 12:
			if i.Metadata == nil {
				i.Metadata = make(map[string]string, min(count(s, 12), presize))
			}
			name, value := "", ""
			err := each(f.s, func(f field) error {
				switch f.num {
				case 1:
					name = f.s
				case 2:
					value = f.s
				}
				return nil
			})
			i.Metadata[name] = value
			return err
		case 13:
			weight = uint16(f.n)
		case 14:
			i.Capacity = uint32(f.n)
		case 15:
			i.Warmup = rollcall.Duration(f.n)
		case 16:
			return parseLease(f.s, &i.Lease)
		case 17:
			if i.Checks == nil {
				i.Checks = make([]rollcall.Check, 0, count(s, 17))
			}
			c, err := parseCheck(f.s)
			i.Checks = append(i.Checks, c)
			return err
		case 18:
			i.Origin = f.s
		case 19:
			i.Vouched = f.n != 0
		}
		return nil
	})
	i.Weight = &weight
	if err != nil {
		return rollcall.Instance{}, fmt.Errorf("instance %v: %w", key, err)
	}
	return i, nil
}

func parsePosition(s string, p *rollcall.Position) error {
	return each(s, func(f field) error {
		switch f.num {
		case 1:
			p.Lat = f.float()
		case 2:
			p.Lon = f.float()
		}
		return nil
	})
}

func parseValue(s string, lists bool) (v rollcall.Value, err error) {
	var list []rollcall.Value
	isList := false
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			v = rollcall.Bool(f.n != 0)
		case 2:
			if math.IsNaN(f.float()) || math.IsInf(f.float(), 0) {
				return errMalformed
			}
			v = rollcall.Number(f.float())
		case 3:
			v = rollcall.String(f.s)
		case 4:
			isList = true
		case 5:
			if !lists {
				return errMalformed
			}
			e, err := parseValue(f.s, false)
			list = append(list, e)
			return err
		}
		return nil
	})
	if isList {
		v = rollcall.List(list...)
	}
	return v, err
}

func parseLease(s string, l *rollcall.Lease) error {
	return each(s, func(f field) error {
		switch f.num {
		case 1:
			l.Mode = leaseMode(f.s)
		case 2:
			l.TTL = rollcall.Duration(f.n)
		case 3:
			l.RemoveAfter = rollcall.Duration(f.n)
		}
		return nil
	})
}

// leaseMode returns the constant for s, so that a lease read on its own does
// not keep its record in memory.
func leaseMode(s string) rollcall.LeaseMode {
	for _, m := range [...]rollcall.LeaseMode{rollcall.LeaseTTL, rollcall.LeaseSession, rollcall.LeaseNone} {
		if string(m) == s {
			return m
		}
	}
	return rollcall.LeaseMode(s)
}

func parseCheck(s string) (c rollcall.Check, err error) {
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			c.Name = f.s
		case 2:
			c.Type = rollcall.CheckType(f.s)
		case 3:
			c.TTL = rollcall.Duration(f.n)
		case 4:
			c.Target = f.s
		case 5:
			c.Interval = rollcall.Duration(f.n)
		case 6:
			c.Timeout = rollcall.Duration(f.n)
		case 7:
			c.Rise = int(f.n)
		case 8:
			c.Fall = int(f.n)
		case 9:
			c.DeregisterAfter = rollcall.Duration(f.n)
		}
		return nil
	})
	return c, err
}

// Lease returns the lease of a packed instance without unpacking the rest.
func Lease(r rollcall.Record) (l rollcall.Lease) {
	_ = parseLease(single(string(r), 16).s, &l) // a malformed record was refused when it was read
	return l
}

// Checks returns the checks of a packed instance without unpacking the rest.
func Checks(r rollcall.Record) (cs []rollcall.Check) {
	for f := range fields(string(r), 17) {
		c, _ := parseCheck(f)
		cs = append(cs, c)
	}
	return cs
}

// ServiceName returns the service's name as the packed instance wrote it, "" if
// that is the key.
func ServiceName(r rollcall.Record) string {
	if f, _, ok := next(string(r)); ok && f.num == 1 {
		return f.s
	}
	return ""
}

// Capability returns one capability of a packed instance, the zero Value if it
// does not have it.
func Capability(r rollcall.Record, name string) rollcall.Value {
	v, ok := pair(string(r), 11, name)
	if !ok {
		return rollcall.Value{}
	}
	value, _ := parseValue(v, true)
	return value
}

// Metadata returns one metadata value of a packed instance.
func Metadata(r rollcall.Record, name string) (string, bool) {
	return pair(string(r), 12, name)
}

// pair returns the second field of the entry of repeated message num whose
// first field is name.
func pair(s string, num protowire.Number, name string) (value string, ok bool) {
	for s = from(s, num); ; {
		f, rest, more := next(s)
		if !more || f.num > num {
			return "", false
		}
		s = rest
		if f.num != num {
			continue
		}
		key, rest, _ := next(f.s)
		if key.num != 1 || key.s != name {
			continue
		}
		v, _, _ := next(rest)
		return v.s, true
	}
}

// Position returns the position of a packed instance, nil if it has none.
func Position(r rollcall.Record) *rollcall.Position {
	f := single(string(r), 10)
	if f.num == 0 {
		return nil
	}
	p := new(rollcall.Position)
	_ = parsePosition(f.s, p) // a malformed record was refused when it was read
	return p
}

// Origin returns the door that a packed instance came through.
func Origin(r rollcall.Record) string { return single(string(r), 18).s }

// Endpoint returns an image of where a packed instance is reached, its address and
// ports: two instances have the same if those are equal.
func Endpoint(r rollcall.Record) string {
	s := string(r)
	begin := 0
	for rest := s; ; {
		f, next, ok := next(rest)
		switch {
		case !ok || f.num > 4:
			return s[begin : len(s)-len(rest)]
		case f.num < 3:
			begin = len(s) - len(next)
		}
		rest = next
	}
}

// Place returns the node and address of a packed instance.
func Place(r rollcall.Record) (node, address string) {
	for s := string(r); ; {
		f, rest, ok := next(s)
		if !ok || f.num > 6 {
			return node, address
		}
		switch f.num {
		case 3:
			address = f.s
		case 6:
			node = f.s
		}
		s = rest
	}
}
