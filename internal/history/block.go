package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

const (
	blockSize = 256 << 10 // a block is closed before it grows larger
	maxEntry  = 1 << 20   // an entry that is larger alone is a gap
	maxText   = blockSize + maxEntry
	maxHead   = 256 << 10 // of a frame; a block of the smallest entries has less
)

// never is the stamp of no time: it is before all others.
const never = math.MinInt64

// stamp returns a time in nanoseconds since 1970, the nearest there is.
func stamp(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < -9e9:
		return never
	case s > 9e9:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// block is a run of entries that are read together. Apart from raw, which is
// taken away once the block is on disk, nothing in it changes once others see it.
type block struct {
	first uint64         // number of its first entry; they are counted from 1
	count int            // of entries
	log   rollcall.LogID // what the first entry follows
	size  int            // of its text

	min, max int64    // the first and last stamp of its events
	high     int64    // the last stamp of all that was added before
	gap      int64    // the last stamp of its gaps; never if it has none
	services []uint32 // hashes of their names, rising
	ids      []uint32

	raw atomic.Pointer[string] // its text; nil: on disk, at place
	at  place
}

// place is where a block's body lies.
type place struct {
	seg   *segment
	off   int64
	size  int
	sum   uint32
	codec byte
}

func newBlock(first uint64, log rollcall.LogID, high int64) block {
	return block{first: first, log: log, min: math.MaxInt64, max: never, high: high, gap: never}
}

// end is the number behind that of its last entry.
func (b *block) end() uint64 { return b.first + uint64(b.count) }

// newest is the last stamp up to the end of the block.
func (b *block) newest() int64 { return max(b.high, b.max, b.gap) }

// note counts an entry in.
func (b *block) note(e *Entry) {
	b.count++
	at := stamp(e.At)
	if e.Type == TypeGap {
		b.gap = max(b.gap, at)
	}
	b.min, b.max = min(b.min, at), max(b.max, at)
}

// mayHold reports whether there may be an entry about a service and an instance;
// "" is any.
func (b *block) mayHold(service, id string) bool {
	return within(b.services, strings.ToLower(service)) && within(b.ids, id)
}

// within takes no index for one of everything.
func within(index []uint32, name string) bool {
	if name == "" || index == nil {
		return true
	}
	_, found := slices.BinarySearch(index, hash(name))
	return found
}

// hash is FNV-1a (Fowler, Noll, Vo).
func hash(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}

// indexed appends the hash of a name, if there is one.
func indexed(hashes []uint32, name string) []uint32 {
	if name == "" {
		return hashes
	}
	h := hash(name)
	if n := len(hashes); n > 0 && hashes[n-1] == h {
		return hashes
	}
	return append(hashes, h)
}

// index returns the hashes as they are searched.
func index(hashes []uint32) []uint32 {
	slices.Sort(hashes)
	return append([]uint32{}, slices.Compact(hashes)...)
}

// A frame is a block in a file:
//
//	mark (4 bytes) | size of the head (4, little endian) | of the body (4) | head | CRC-32C (4) of all that | body
//
// The head is a message in the wire format of protobuf, with the checksum of the
// body in it, so that the index can be trusted without it.
const (
	mark      = "hist"
	frameFore = len(mark) + 8
	crcSize   = 4

	codecNone = 0
	codecZstd = 1
)

const (
	headCodec protowire.Number = iota + 1
	headFirst
	headCount
	headLog
	headSize
	headMin
	headMax
	headHigh
	headGap
	headServices // 4 bytes each, little endian, rising
	headSum
	headIDs // as are these
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a block and its body, of which it notes the checksum and
// where it lies in b.
func appendFrame(b []byte, k *block, codec byte, body []byte) ([]byte, place) {
	p := place{size: len(body), sum: crc32.Checksum(body, castagnoli), codec: codec}
	at := len(b)
	b = append(b, mark...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = appendInt(b, headCodec, uint64(codec))
	b = appendInt(b, headFirst, k.first)
	b = appendInt(b, headCount, uint64(k.count))
	b = appendText(b, headLog, string(k.log))
	b = appendInt(b, headSize, uint64(k.size))
	b = appendInt(b, headMin, uint64(k.min))
	b = appendInt(b, headMax, uint64(k.max))
	b = appendInt(b, headHigh, uint64(k.high))
	b = appendInt(b, headGap, uint64(k.gap))
	b = appendIndex(b, headServices, k.services)
	b = appendIndex(b, headIDs, k.ids)
	b = appendInt(b, headSum, uint64(p.sum))
	binary.LittleEndian.PutUint32(b[at+len(mark):], uint32(len(b)-at-frameFore))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	p.off = int64(len(b))
	return append(b, body...), p
}

func appendIndex(b []byte, num protowire.Number, index []uint32) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(4*len(index)))
	for _, h := range index {
		b = binary.LittleEndian.AppendUint32(b, h)
	}
	return b
}

func parseIndex(s string) []uint32 {
	index := make([]uint32, len(s)/4)
	for i := range index {
		index[i] = binary.LittleEndian.Uint32([]byte(s[4*i : 4*i+4]))
	}
	return index
}

// parseFrame reads the frame that data begins with. n is its length, 0 if there
// is none; k is nil if its body is damaged. The place's offset counts from the
// beginning of data.
func parseFrame(data []byte) (k *block, n int) {
	if len(data) < frameFore || string(data[:len(mark)]) != mark {
		return nil, 0
	}
	head := int64(binary.LittleEndian.Uint32(data[len(mark):]))
	body := int64(binary.LittleEndian.Uint32(data[len(mark)+4:]))
	if head > maxHead || int64(frameFore)+head+crcSize+body > int64(len(data)) {
		return nil, 0
	}
	at := frameFore + int(head)
	if crc32.Checksum(data[:at], castagnoli) != binary.LittleEndian.Uint32(data[at:]) {
		return nil, 0
	}
	k, err := parseHead(string(data[frameFore:at]))
	at += crcSize
	n = at + int(body)
	if err != nil || crc32.Checksum(data[at:n], castagnoli) != k.at.sum {
		return nil, n
	}
	k.at.off, k.at.size = int64(at), int(body)
	return k, n
}

func parseHead(s string) (*block, error) {
	k := newBlock(0, "", never)
	k.min, k.max, k.high, k.gap = 0, 0, 0, 0
	for s != "" {
		f, rest, ok := next(s)
		if !ok {
			return nil, errMalformed
		}
		s = rest
		switch f.num {
		case headCodec:
			if f.n > codecZstd {
				return nil, fmt.Errorf("%w: codec %d", errMalformed, f.n)
			}
			k.at.codec = byte(f.n)
		case headFirst:
			k.first = f.n
		case headCount:
			k.count = int(min(f.n, maxText+1))
		case headLog:
			k.log = rollcall.LogID(strings.Clone(f.s))
		case headSize:
			k.size = int(min(f.n, maxText+1))
		case headMin:
			k.min = int64(f.n)
		case headMax:
			k.max = int64(f.n)
		case headHigh:
			k.high = int64(f.n)
		case headGap:
			k.gap = int64(f.n)
		case headServices:
			k.services = parseIndex(f.s)
		case headIDs:
			k.ids = parseIndex(f.s)
		case headSum:
			k.at.sum = uint32(f.n)
		}
	}
	if k.first == 0 || k.first > math.MaxUint64/2 || k.size > maxText || k.count > k.size || k.count == 0 {
		return nil, errMalformed
	}
	return &k, nil
}

// scan calls each with every block of a file's content, and returns where the
// last one ends. What is no frame is passed over.
func scan(data []byte, from int, each func(k *block)) (end int) {
	end = from
	for at := from; at < len(data); {
		k, n := parseFrame(data[at:])
		if n == 0 {
			i := bytes.Index(data[at+1:], []byte(mark))
			if i < 0 {
				break
			}
			at += 1 + i
			continue
		}
		if k != nil {
			k.at.off += int64(at)
			each(k)
		}
		at += n
		end = at
	}
	return end
}

// packer compresses and decompresses the text of blocks.
type packer struct {
	enc *zstd.Encoder // the writer's own
	dec *zstd.Decoder // for any goroutine
}

func newPacker() (p packer, err error) {
	p.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(blockSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return p, err
	}
	p.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxText), zstd.WithDecoderLowmem(true))
	return p, err
}

// unpack returns the text of a block's body. What it allocates is bounded by
// what a block may hold.
func (p packer) unpack(k *block, body []byte) (string, error) {
	if k.at.codec == codecZstd {
		var err error
		if body, err = p.dec.DecodeAll(body, make([]byte, 0, k.size)); err != nil {
			return "", err
		}
	}
	if len(body) != k.size {
		return "", fmt.Errorf("%w: a block of %d bytes that should have %d", errMalformed, len(body), k.size)
	}
	return string(body), nil
}

// read reads a block's body from its file.
func (p place) read() ([]byte, error) {
	body := make([]byte, p.size)
	if _, err := p.seg.file.ReadAt(body, p.off); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != p.sum {
		return nil, fmt.Errorf("%s at byte %d: wrong checksum", p.seg.file.Name(), p.off)
	}
	return body, nil
}

// segment is a file of blocks.
type segment struct {
	num  uint64
	file *os.File
	end  int64 // of what is durable in it; the writer's own
}
