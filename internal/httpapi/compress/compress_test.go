package compress_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/httpapi/compress"
)

func inflate(t *testing.T, stream []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r) // which checks the trailer
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGzip(t *testing.T) {
	for _, text := range []string{"", "a", strings.Repeat("text that repeats itself ", 10_000)} {
		if got := inflate(t, compress.Gzip([]byte(text))); got != text {
			t.Errorf("%.100q became %.100q", text, got)
		}
	}
}

func TestPack(t *testing.T) {
	text := []byte(strings.Repeat("text that repeats itself ", 3000))
	packed := compress.Pack(nil, text)
	if len(packed) == 0 || len(packed) > len(text)/20 {
		t.Errorf("%d bytes packed, of %d", len(packed), len(text))
	}
	room := make([]byte, 0, len(text))
	got, err := compress.Unpack(room, packed)
	if err != nil || !bytes.Equal(got, text) || &got[0] != &room[:1][0] {
		t.Errorf("%d bytes unpacked, %v", len(got), err)
	}
	if got, err := compress.Unpack(nil, packed[:len(packed)/2]); err == nil {
		t.Errorf("half of it unpacked: %d bytes", len(got))
	}
}

// TestStream: the same blocks are part of streams that begin differently.
func TestStream(t *testing.T) {
	shared := compress.Blocks([]byte("told to all, told to all"))
	for _, first := range []string{"one", "another, longer", strings.Repeat("long ", 100_000)} {
		var end compress.Trailer
		stream := append([]byte(compress.Header), compress.Blocks([]byte(first))...)
		end.Add([]byte(first))
		stream = append(stream, shared...)
		end.Add([]byte("told to all, told to all"))
		if got := inflate(t, end.Append(stream)); got != first+"told to all, told to all" {
			t.Errorf("after %.20q: %.100q", first, got)
		}
	}
}
