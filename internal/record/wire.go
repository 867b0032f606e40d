package record

import (
	"errors"
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformed is what every parser here says of bytes it did not write. The
// place that read them adds where they were.
var errMalformed = errors.New("malformed record")

// The writers leave out zero values, as proto3 does; the "always" ones do not.

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendTextAlways(b, num, s)
}

func appendTextAlways(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendInt(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return appendIntAlways(b, num, n)
}

func appendIntAlways(b []byte, num protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), n)
}

func appendDouble(b []byte, num protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), math.Float64bits(f))
}

// appendMessage appends what write writes as a submessage. The length is put in
// afterwards: one byte in nearly all cases, so that nothing moves.
func appendMessage(b []byte, num protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	at := len(b)
	b = append(b, 0)
	b = write(b)
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	size := protowire.SizeVarint(uint64(n))
	b = append(b, make([]byte, size-1)...)
	copy(b[at+size:], b[at+1:at+1+n])
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}

// field is one decoded field: n for numbers (varint and fixed64 bits), s for
// anything length-delimited, sharing the memory of what was parsed.
type field struct {
	num protowire.Number
	n   uint64
	s   string
}

func (f field) float() float64 { return math.Float64frombits(f.n) }

// next takes the first field off s. ok is false at the end and on malformed
// input; then rest is not empty.
func next(s string) (f field, rest string, ok bool) {
	if s == "" {
		return field{}, "", false
	}
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return field{}, s, false
	}
	b = b[n:]
	f.num = num
	var m int
	switch typ {
	case protowire.VarintType:
		f.n, m = protowire.ConsumeVarint(b)
	case protowire.Fixed64Type:
		f.n, m = protowire.ConsumeFixed64(b)
	case protowire.Fixed32Type:
		var v uint32
		v, m = protowire.ConsumeFixed32(b)
		f.n = uint64(v)
	case protowire.BytesType:
		var v []byte
		v, m = protowire.ConsumeBytes(b)
		if m >= 0 {
			f.s = s[n+m-len(v) : n+m]
		}
	default:
		return field{}, s, false // groups: never written
	}
	if m < 0 {
		return field{}, s, false
	}
	return f, s[n+m:], true
}

// each calls do with every field of message s, in order.
func each(s string, do func(f field) error) error {
	for s != "" {
		f, rest, ok := next(s)
		if !ok {
			return errMalformed
		}
		if err := do(f); err != nil {
			return err
		}
		s = rest
	}
	return nil
}

// count returns how many fields of message s have number num, so that a slice
// or map is made once in the right size.
func count(s string, num protowire.Number) (n int) {
	for {
		f, rest, ok := next(s)
		if !ok {
			return n
		}
		if f.num == num {
			n++
		}
		s = rest
	}
}
