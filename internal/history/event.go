package history

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// An entry is a length (4 bytes, little endian) and a message in the wire format
// of protobuf. Zero values are left out; what a newer version adds is skipped.
// The log is written where it is another than that of the entry before.
const (
	fieldRevision protowire.Number = iota + 1
	fieldSeconds                   // of At, zigzag; left out if At is zero
	fieldNanos
	fieldType
	fieldNamespace
	fieldService
	fieldID
	fieldBefore
	fieldAfter
	fieldBy
	fieldVia
	fieldWhy
	fieldLog
	fieldImage
)

const lengthSize = 4

// errMalformed is what every parser here says of bytes it did not write.
var errMalformed = errors.New("malformed history")

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendInt(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), n)
}

// appendEntry appends an entry that follows one of a log, without an image that is
// yet to be told.
func appendEntry(b []byte, e *Entry, log rollcall.LogID) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendInt(b, fieldRevision, uint64(e.Revision))
	if !e.At.IsZero() {
		b = protowire.AppendTag(b, fieldSeconds, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(e.At.Unix()))
		b = appendInt(b, fieldNanos, uint64(e.At.Nanosecond()))
	}
	b = appendText(b, fieldType, e.Type)
	b = appendText(b, fieldNamespace, e.Namespace)
	b = appendText(b, fieldService, e.Service)
	b = appendText(b, fieldID, e.ID)
	b = appendInt(b, fieldBefore, uint64(e.Before))
	b = appendInt(b, fieldAfter, uint64(e.After))
	b = appendText(b, fieldBy, e.By)
	b = appendText(b, fieldVia, e.Via)
	b = appendText(b, fieldWhy, e.Why)
	if e.Log != log {
		b = protowire.AppendString(protowire.AppendTag(b, fieldLog, protowire.BytesType), string(e.Log))
	}
	if e.Stood == nil {
		b = appendText(b, fieldImage, e.Image)
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-lengthSize))
	return b
}

// withImage adds an image to b, an entry that has none.
func withImage(b, image []byte) []byte {
	if len(image) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, fieldImage, protowire.BytesType), image)
		binary.LittleEndian.PutUint32(b, uint32(len(b)-lengthSize))
	}
	return b
}

// cut takes the first entry's message off the text of a block. It fails at the
// end; then rest is empty, unless the text is malformed.
func cut(text string) (message, rest string, ok bool) {
	if len(text) < lengthSize {
		return "", text, false
	}
	n := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24
	if n > uint64(len(text)-lengthSize) {
		return "", text, false
	}
	end := lengthSize + int(n)
	return text[lengthSize:end], text[end:], true
}

// parseEntry reads the message of an entry that follows one of a log. What it
// returns shares the memory of s.
func parseEntry(s string, log rollcall.LogID) (e Entry, err error) {
	e.Log = log
	var seconds, nanos uint64
	dated := false
	for s != "" {
		f, rest, ok := next(s)
		if !ok {
			return e, errMalformed
		}
		s = rest
		switch f.num {
		case fieldRevision:
			e.Revision = rollcall.Revision(f.n)
		case fieldSeconds:
			seconds, dated = f.n, true
		case fieldNanos:
			nanos = f.n
		case fieldType:
			e.Type = f.s
		case fieldNamespace:
			e.Namespace = f.s
		case fieldService:
			e.Service = f.s
		case fieldID:
			e.ID = f.s
		case fieldBefore, fieldAfter:
			if f.n > math.MaxUint8 {
				return e, errMalformed
			}
			if f.num == fieldBefore {
				e.Before = rollcall.Status(f.n)
			} else {
				e.After = rollcall.Status(f.n)
			}
		case fieldBy:
			e.By = f.s
		case fieldVia:
			e.Via = f.s
		case fieldWhy:
			e.Why = f.s
		case fieldLog:
			e.Log = rollcall.LogID(f.s)
		case fieldImage:
			e.Image = f.s
		}
	}
	if nanos > 999_999_999 {
		return e, errMalformed
	}
	if dated {
		e.At = time.Unix(protowire.DecodeZigZag(seconds), int64(nanos)).UTC()
	}
	return e, nil
}

// field is one decoded field: n of a number, s of anything length-delimited,
// sharing the memory of what was parsed.
type field struct {
	num protowire.Number
	n   uint64
	s   string
}

// next takes the first field off s, which is not empty.
func next(s string) (f field, rest string, ok bool) {
	tag, at := varint(s, 0)
	if at < 0 || tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return f, s, false
	}
	f.num = protowire.Number(tag >> 3)
	switch protowire.Type(tag & 7) {
	case protowire.VarintType:
		if f.n, at = varint(s, at); at < 0 {
			return f, s, false
		}
		return f, s[at:], true
	case protowire.BytesType:
		n, at := varint(s, at)
		if at < 0 || n > uint64(len(s)-at) {
			return f, s, false
		}
		end := at + int(n)
		f.s = s[at:end]
		return f, s[end:], true
	case protowire.Fixed32Type:
		at += 4
	case protowire.Fixed64Type:
		at += 8
	default:
		return f, s, false // groups: never written
	}
	if at > len(s) {
		return f, s, false
	}
	return f, s[at:], true // of a version to come: skipped
}

// varint reads the number at a place of s and returns the place behind it, -1
// if there is none.
func varint(s string, at int) (n uint64, end int) {
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
