package local

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble writes segments as chunks (its package record describes them). A
// segment is divided into blocks, which chunks do not cross: where a block has
// no room for a chunk's header, it is filled up with zeros. A chunk is
//
//	CRC (4 bytes) | length of payload (2) | type (1) | segment (4) | synced offset (8) | payload
//
// in little endian, with the checksum over all from the type on. A record is one
// full chunk, or a first one, any middle ones, and a last one. A segment that was
// closed ends with the header of an empty chunk of the segment after it, without
// the offset and checksum.
//
// They are read here and not by Pebble's reader, because that one takes most
// damage behind the last few blocks for a torn end, and a changed bit in a
// segment's number for the end of the file; and it tries all bits of a torn
// chunk in turn, which takes seconds.
const (
	blockSize   = 32 << 10
	chunkHeader = 19

	trailerType = 5
	chunkFull   = 9
	chunkFirst  = 10
	chunkMiddle = 11
	chunkLast   = 12
)

// chunk is one chunk's header, and its payload.
type chunk struct {
	kind    byte
	payload []byte
}

// parseChunk reads the chunk at the start of b, which ends where the block or
// the file does. ok is false if there is none of this segment.
func parseChunk(b []byte, num uint32) (c chunk, ok bool) {
	if len(b) < chunkHeader {
		return c, false
	}
	// What is cheap to check comes first: this is tried at every byte behind
	// the end.
	kind := b[6]
	if kind < chunkFull || kind > chunkLast || binary.LittleEndian.Uint32(b[7:]) != num {
		return c, false
	}
	end := chunkHeader + int(binary.LittleEndian.Uint16(b[4:]))
	if end > len(b) {
		return c, false
	}
	// As in LevelDB, the checksum is rotated and moved.
	sum := crc32.Checksum(b[6:end], castagnoli)
	sum = (sum>>15 | sum<<17) + 0xa282ead8
	return chunk{kind, b[chunkHeader:end]}, sum == binary.LittleEndian.Uint32(b)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkReader reads the records of one segment up to where they end.
type chunkReader struct {
	r   io.Reader
	num uint32

	offset int64 // behind the last record read
	torn   bool  // what follows offset is no regular end
	ended  bool
	record []byte
	block  [blockSize]byte
	start  int64  // of block, in the file
	rest   []byte // of block, unread
	n      int    // bytes read into block
}

// next returns the next record, which is valid until the next call, or nil at
// the end. An error is one of reading, not of what was read.
func (r *chunkReader) next() ([]byte, error) {
	r.record = r.record[:0]
	for first := true; !r.ended; {
		if len(r.rest) < chunkHeader && (r.n == blockSize || r.n == 0) {
			if err := r.nextBlock(); err != nil {
				return nil, err
			}
		}
		c, ok := parseChunk(r.rest, r.num)
		begins, ends := c.kind == chunkFull || c.kind == chunkFirst, c.kind == chunkFull || c.kind == chunkLast
		if !ok || begins != first {
			r.ended, r.torn = true, !first || !r.regularEnd()
			break
		}
		r.record = append(r.record, c.payload...)
		r.rest = r.rest[chunkHeader+len(c.payload):]
		if first = false; ends {
			r.offset = r.start + int64(r.n-len(r.rest))
			return r.record, nil
		}
	}
	return nil, nil
}

func (r *chunkReader) nextBlock() error {
	r.start += int64(r.n)
	n, err := io.ReadFull(r.r, r.block[:])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	r.n, r.rest = n, r.block[:n]
	return err
}

// regularEnd reports whether nothing is left, or what closing a segment leaves.
func (r *chunkReader) regularEnd() bool {
	b := r.rest
	return len(b) == 0 || len(b) >= 11 && b[6] == trailerType &&
		binary.LittleEndian.Uint32(b) == 0 && binary.LittleEndian.Uint32(b[7:]) == r.num+1
}

// checkEnd looks behind the place where the reading of a segment ended. No
// record is written before the last one is synced; so if another one begins
// behind that place, it is no torn end, but damage to what was acknowledged.
func checkEnd(f vfs.File, path string, num uint32, end int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	// The unfinished record, if any, begins here; not at the end of a block
	// that has no room for a chunk's header.
	if left := blockSize - end%blockSize; left < chunkHeader {
		end += left
	}
	if info.Size()-end <= chunkHeader {
		return nil
	}
	b := make([]byte, info.Size()-end)
	if _, err := f.ReadAt(b, end); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for i := 1; i+chunkHeader <= len(b); i++ {
		at := end + int64(i)
		room := min(int64(len(b)-i), blockSize-at%blockSize)
		c, ok := parseChunk(b[i:int64(i)+room], num)
		if ok && (c.kind == chunkFull || c.kind == chunkFirst) {
			return damaged(path, end, "unreadable, although what follows at byte %d was written later", at)
		}
	}
	return nil
}
