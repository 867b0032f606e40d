package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// A record of a segment is a group of batches:
//
//	first revision (8 bytes, little endian) | batches (4) | format (1) | { length (4) | entry } ...
//
// The first 12 bytes are the header that Pebble's reader insists on: a number
// that rises within a segment, and a count that is not zero. A record that ends
// after the format is the last one of a log that was closed in peace; its number
// is the next revision, its count 1.
const groupHeader = 13

func beginGroup(b []byte, first rollcall.Revision) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(first))
	b = binary.LittleEndian.AppendUint32(b, 1)
	return append(b, record.Format)
}

// setBatches says how many batches a group has in the end.
func setBatches(group []byte, n int) { binary.LittleEndian.PutUint32(group[8:], uint32(n)) }

// appendBatch appends an entry to a group. Its changes' revisions are left out:
// they are the entry's.
func appendBatch(b []byte, e *rollcall.Entry, fence rollcall.Fence) []byte {
	for i := range e.Changes {
		e.Changes[i].Revision = 0
	}
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = record.AppendEntry(b, e.Revision, fence, e.Changes)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	for i := range e.Changes {
		e.Changes[i].Revision = e.Revision
	}
	return b
}

// parseGroup calls each with every entry of a group, and reports whether the
// record says that the log was closed. The entries share the memory of s.
func parseGroup(s string, each func(rollcall.Entry, rollcall.Fence) error) (closed bool, err error) {
	if len(s) < groupHeader {
		return false, errors.New("a record without a header")
	}
	if f := s[groupHeader-1]; f != record.Format {
		return false, fmt.Errorf("a record of format %d, and this version reads up to %d: "+
			"run the version that wrote it, or a newer one", f, record.Format)
	}
	first := rollcall.Revision(binary.LittleEndian.Uint64([]byte(s[:8])))
	batches := int64(binary.LittleEndian.Uint32([]byte(s[8:12])))
	if s = s[groupHeader:]; s == "" {
		return true, nil
	}
	for ; batches > 0; batches-- {
		if len(s) < 4 {
			return false, errors.New("a group with fewer batches than it says")
		}
		n := int64(binary.LittleEndian.Uint32([]byte(s[:4])))
		if s = s[4:]; n > int64(len(s)) {
			return false, errors.New("a batch that is longer than its group")
		}
		e, fence, err := record.ParseEntry(s[:n])
		if err != nil {
			return false, err
		}
		if e.Revision != first {
			return false, fmt.Errorf("revision %d where %d should be", e.Revision, first)
		}
		for i, c := range e.Changes {
			if p, ok := c.Body.(rollcall.InstancePut); ok && p.Incarnation == 0 {
				p.Incarnation = e.Revision
				e.Changes[i].Body = p
			}
		}
		if err := each(e, fence); err != nil {
			return false, err
		}
		first, s = first+1, s[n:]
	}
	if s != "" {
		return false, errors.New("a group with more in it than it says")
	}
	return false, nil
}

// errStop ends the reading of a segment before its end.
var errStop = errors.New("stop")

// extent is how far a segment could be read.
type extent struct {
	end    int64 // behind its last whole record
	closed bool  // the log was closed after it
	torn   bool  // something unfinished follows
}

// readSegment calls each with every entry of a segment. A torn end, which no
// writer was told is on disk, is passed over; damage is an error. Errors of each
// are returned as they are.
func readSegment(d directory, num wal.NumWAL, each func(rollcall.Entry, rollcall.Fence) error) (x extent, err error) {
	path := d.file(segmentName(num))
	f, err := d.fs.Open(path)
	if err != nil {
		return x, fmt.Errorf("read segment: %w", err)
	}
	defer f.Close()
	r := chunkReader{r: f, num: uint32(num)}
	for {
		b, err := r.next()
		if err != nil {
			return x, fmt.Errorf("read %s: %w", path, err)
		}
		if b == nil {
			x.torn = r.torn
			return x, checkEnd(f, path, uint32(num), x.end)
		}
		var eachErr error
		x.closed, err = parseGroup(string(b), func(e rollcall.Entry, f rollcall.Fence) error {
			eachErr = each(e, f)
			return eachErr
		})
		if eachErr != nil {
			return x, eachErr
		}
		if err != nil {
			return x, damaged(path, x.end, "%w", err)
		}
		x.end = r.offset
	}
}

// damaged returns the error for a file that is not as it was written.
func damaged(path string, at int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d: %w. Acknowledged changes are lost, so nothing was touched: "+
		"restore a backup into an empty directory, or look at this one first",
		record.ErrDamaged, path, at, fmt.Errorf(format, args...))
}
