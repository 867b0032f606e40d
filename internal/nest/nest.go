// Package nest writes messages of protobuf that stand in others, straight into the bytes
// of those: the length in front of each, which is not known before its end, is put in
// then. It is what protowire lacks.
package nest

import "google.golang.org/protobuf/encoding/protowire"

// Open begins a message: what is appended to b until it is shut.
func Open(b []byte, num protowire.Number) (_ []byte, at int) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return append(b, 0), len(b)
}

// Shut ends the message that was opened at a place. Where its length takes one byte, as
// nearly always, nothing moves.
func Shut(b []byte, at int) []byte {
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
