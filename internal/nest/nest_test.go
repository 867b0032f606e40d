package nest

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestNested: messages of each length of a length, one within the other, are as they
// are written when the inner one is known before.
func TestNested(t *testing.T) {
	for _, size := range []int{0, 1, 126, 127, 128, 1 << 14, 1<<14 + 1, 1 << 21} {
		text := bytes.Repeat([]byte("x"), size)
		inner := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), text)
		want := protowire.AppendBytes(protowire.AppendTag([]byte("before"), 1, protowire.BytesType), inner)

		got, outer := Open([]byte("before"), 1)
		got, at := Open(got, 2)
		got = Shut(Shut(append(got, text...), at), outer)
		if !bytes.Equal(got, want) {
			t.Errorf("of %d bytes it is %d bytes, want %d", size, len(got), len(want))
		}
	}
}
