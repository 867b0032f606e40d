package deflate_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/httpapi/deflate"
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
		if got := inflate(t, deflate.Gzip([]byte(text))); got != text {
			t.Errorf("%.100q became %.100q", text, got)
		}
	}
}

// TestStream: the same blocks are part of streams that begin differently.
func TestStream(t *testing.T) {
	shared := deflate.Blocks([]byte("told to all, told to all"))
	for _, first := range []string{"one", "another, longer", strings.Repeat("long ", 100_000)} {
		var end deflate.Trailer
		stream := append([]byte(deflate.Header), deflate.Blocks([]byte(first))...)
		end.Add([]byte(first))
		stream = append(stream, shared...)
		end.Add([]byte("told to all, told to all"))
		if got := inflate(t, end.Append(stream)); got != first+"told to all, told to all" {
			t.Errorf("after %.20q: %.100q", first, got)
		}
	}
}
