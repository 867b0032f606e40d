// Package compress makes answers short: as gzip for those who take that, in
// pieces that many streams can share, and packed to be kept in memory.
//
// A gzip stream (RFC 1952) is a header, deflate blocks (RFC 1951) and a
// trailer. Blocks that end on a byte and refer to nothing before them may be
// put one after the other, wherever they come from. So each batch is deflated
// once, on its own, for all who watch it, and a stream itself keeps a checksum
// and nothing else: a compressor of its own would cost it hundreds of
// kilobytes. What is lost is the reference from one batch to the one before,
// some 10 % of the size.
package compress

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/minio/minlz"
)

const (
	// Header begins a gzip stream.
	Header    = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
	lastBlock = "\x03\x00" // empty, and says that it is the last
)

// deflaters keeps compressors: each is large.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is right
	}
	return w
}}

// Accepted reports whether the answer to a request with these headers may be
// gzip.
func Accepted(h http.Header) bool {
	for _, value := range h["Accept-Encoding"] {
		if value == "gzip" {
			return true
		}
		for part := range strings.SplitSeq(value, ",") {
			coding, q, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				weight, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(q), "q="), ";")
				n, err := strconv.ParseFloat(weight, 64)
				return err != nil || n > 0
			}
		}
	}
	return false
}

// Blocks returns data as deflate blocks, of which none is the last.
func Blocks(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data)/4 + 64)
	w := deflaters.Get().(*flate.Writer)
	w.Reset(&b)
	w.Write(data) // into memory: never fails
	w.Flush()
	deflaters.Put(w)
	return b.Bytes()
}

// Gzip returns data as a whole gzip stream.
func Gzip(data []byte) []byte {
	var t Trailer
	t.Add(data)
	b := append([]byte(Header), Blocks(data)...)
	return t.Append(b)
}

// Trailer is what a gzip stream says of itself in its end.
type Trailer struct {
	crc  uint32
	size uint32
}

// Add takes in what the stream goes on with, before it is compressed.
func (t *Trailer) Add(data []byte) {
	t.crc = crc32.Update(t.crc, crc32.IEEETable, data)
	t.size += uint32(len(data))
}

// Append appends the end of the stream to b.
func (t *Trailer) Append(b []byte) []byte {
	b = append(b, lastBlock...)
	b = binary.LittleEndian.AppendUint32(b, t.crc)
	return binary.LittleEndian.AppendUint32(b, t.size)
}

// Pack returns text in the form in which it is kept, in b's memory if it is large
// enough; nil if it cannot be packed. The instances of an answer have most of
// their text in common, so that a tenth of it is left.
func Pack(b, text []byte) []byte {
	if most := minlz.MaxEncodedLen(len(text)); cap(b) < most {
		b = make([]byte, most)
	}
	packed, err := minlz.Encode(b[:cap(b)], text, minlz.LevelFastest)
	if err != nil { // too large
		return nil
	}
	return packed
}

// Unpack returns what was packed, in b's memory if it is large enough. It takes a
// tenth of the time of writing an answer anew, or less.
func Unpack(b, packed []byte) ([]byte, error) { return minlz.AppendDecoded(b[:0], packed) }
