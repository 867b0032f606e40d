package record

import (
	"iter"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// Version returns the version of a packed instance.
func Version(r rollcall.Record) string { return single(string(r), 5).s }

// Terms returns the end of a packed instance, on which it is served: its weight and what
// stands behind that. What is read of it alone can be read there.
func Terms(r rollcall.Record) rollcall.Record { return rollcall.Record(from(string(r), 13)) }

// Weight returns the weight of a packed instance.
func Weight(r rollcall.Record) uint16 {
	if f := single(string(r), 13); f.num != 0 {
		return uint16(f.n)
	}
	return rollcall.DefaultWeight
}

// Unplaced returns a packed instance without its position, in two parts: moving
// changes neither.
func Unplaced(r rollcall.Record) (before, after string) {
	all := string(r)
	for s := all; ; {
		f, rest, ok := next(s)
		if !ok || f.num > 10 {
			return all, ""
		}
		if f.num == 10 {
			return all[:len(all)-len(s)], rest
		}
		s = rest
	}
}

// Warmup returns how long the instance takes to reach its full weight; 0 is no time.
func Warmup(r rollcall.Record) time.Duration { return time.Duration(single(string(r), 15).n) }

// Capacity returns the capacity of a packed instance, 0 if it gave none.
func Capacity(r rollcall.Record) uint32 { return uint32(single(string(r), 14).n) }

// single returns the field of message s with number num, the zero field if there
// is none. Fields are in the order of their numbers.
func single(s string, num protowire.Number) field {
	if f, _, ok := next(from(s, num)); ok && f.num == num {
		return f
	}
	return field{}
}

// from returns message s from its first field on whose number is num or more. Fields
// are in the order of their numbers.
func from(s string, num protowire.Number) string {
	for len(s) > 1 {
		if tag, n := s[0], s[1]; tag|n < 0x80 && int(n)+2 <= len(s) && tag&7 == byte(protowire.BytesType) { // as most are
			if protowire.Number(tag>>3) >= num {
				break
			}
			s = s[2+int(n):]
			continue
		}
		f, rest, ok := next(s)
		if !ok || f.num >= num {
			break
		}
		s = rest
	}
	return s
}

// Locality returns the locality of a packed instance.
func Locality(r rollcall.Record) (l rollcall.Locality) {
	for s := string(r); ; {
		f, rest, ok := next(s)
		if !ok || f.num > 9 {
			return l
		}
		switch f.num {
		case 7:
			l.Region = f.s
		case 8:
			l.Zone = f.s
		case 9:
			l.SubZone = f.s
		}
		s = rest
	}
}

// Port returns one port of a packed instance, 0 if it does not have it.
func Port(r rollcall.Record, name string) uint16 {
	for n, port := range Ports(r) {
		if n == name {
			return port
		}
	}
	return 0
}

// Ports returns the names and numbers of a packed instance's ports, by name.
func Ports(r rollcall.Record) iter.Seq2[string, uint16] {
	return func(yield func(string, uint16) bool) {
		for f := range fields(string(r), 4) {
			name, rest, _ := next(f)
			port, _, _ := next(rest)
			if !yield(name.s, uint16(port.n)) {
				return
			}
		}
	}
}

// Capabilities returns the names and values of a packed instance's capabilities,
// by name.
func Capabilities(r rollcall.Record) iter.Seq2[string, Packed] {
	return func(yield func(string, Packed) bool) {
		for f := range fields(string(r), 11) {
			name, rest, _ := next(f)
			value, _, _ := next(rest)
			if !yield(name.s, Packed(value.s)) {
				return
			}
		}
	}
}

// Pairs returns the names and values of a packed instance's metadata, by name.
func Pairs(r rollcall.Record) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for f := range fields(string(r), 12) {
			name, rest, _ := next(f)
			value, _, _ := next(rest)
			if !yield(name.s, value.s) {
				return
			}
		}
	}
}

// fields returns the entries of repeated message num.
func fields(s string, num protowire.Number) iter.Seq[string] {
	return func(yield func(string) bool) {
		for s := from(s, num); ; {
			f, rest, ok := next(s)
			if !ok || f.num > num || f.num == num && !yield(f.s) {
				return
			}
			s = rest
		}
	}
}

// Packed is the value of a capability as it is packed: a list can be searched
// without unpacking it.
type Packed string

// PackedCapability returns one capability of a packed instance, and whether it
// has it.
func PackedCapability(r rollcall.Record, name string) (Packed, bool) {
	v, ok := pair(string(r), 11, name)
	return Packed(v), ok
}

// Value unpacks the value.
func (p Packed) Value() rollcall.Value {
	v, _ := parseValue(string(p), true) // a malformed record was refused when it was read
	return v
}

// IsList reports whether the value is a list.
func (p Packed) IsList() bool {
	f, _, ok := next(string(p))
	return ok && f.num == 4
}

// Len returns the length of a list.
func (p Packed) Len() int { return count(string(p), 5) }

// Elements returns the elements of a list, in order.
func (p Packed) Elements() iter.Seq[Packed] {
	return func(yield func(Packed) bool) {
		for f := range fields(string(p), 5) {
			if !yield(Packed(f)) {
				return
			}
		}
	}
}
