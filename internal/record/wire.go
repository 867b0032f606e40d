package record

import (
	"errors"
	"math"

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

// appendDouble takes -0 for 0, which it equals.
func appendDouble(b []byte, num protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), math.Float64bits(f+0))
}

// field is one decoded field: n for numbers (varint and fixed bits), s for
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
	tag, at := varint(s, 0)
	if at < 0 || tag>>3 == 0 || tag>>3 > math.MaxInt32 {
		return field{}, s, false
	}
	f.num = protowire.Number(tag >> 3)
	switch protowire.Type(tag & 7) {
	case protowire.VarintType:
		if f.n, at = varint(s, at); at < 0 {
			return field{}, s, false
		}
	case protowire.BytesType:
		n, at := varint(s, at)
		if at < 0 || n > uint64(len(s)-at) {
			return field{}, s, false
		}
		end := at + int(n)
		f.s = s[at:end]
		return f, s[end:], true
	case protowire.Fixed64Type:
		if len(s)-at < 8 {
			return field{}, s, false
		}
		f.n = uint64(fixed32(s, at)) | uint64(fixed32(s, at+4))<<32
		at += 8
	case protowire.Fixed32Type:
		if len(s)-at < 4 {
			return field{}, s, false
		}
		f.n = uint64(fixed32(s, at))
		at += 4
	default:
		return field{}, s, false // groups: never written
	}
	return f, s[at:], true
}

// varint reads the number at a place of s and returns the place behind it, -1
// if there is none.
func varint(s string, at int) (n uint64, end int) {
	if at < len(s) && s[at] < 0x80 {
		return uint64(s[at]), at + 1
	}
	return longVarint(s, at)
}

func longVarint(s string, at int) (n uint64, end int) {
	for shift := 0; at < len(s) && shift < 64; shift += 7 {
		c := s[at]
		at++
		if shift == 63 && c > 1 {
			break // more than 64 bits
		}
		if n |= uint64(c&0x7f) << shift; c < 0x80 {
			return n, at
		}
	}
	return 0, -1
}

func fixed32(s string, at int) uint32 {
	return uint32(s[at]) | uint32(s[at+1])<<8 | uint32(s[at+2])<<16 | uint32(s[at+3])<<24
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
