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

// logged is an entry and the highest fence up to it.
type logged struct {
	entry rollcall.Entry
	fence rollcall.Fence
}

// parseGroup returns the entries of a group, which share the memory of s, and
// whether the record says that the log was closed.
func parseGroup(s string) (entries []logged, closed bool, err error) {
	if len(s) < groupHeader {
		return nil, false, errors.New("a record without a header")
	}
	if f := s[groupHeader-1]; f != record.Format {
		return nil, false, fmt.Errorf("a record of format %d, and this version reads up to %d: "+
			"run the version that wrote it, or a newer one", f, record.Format)
	}
	first := rollcall.Revision(binary.LittleEndian.Uint64([]byte(s[:8])))
	batches := int64(binary.LittleEndian.Uint32([]byte(s[8:12])))
	if s = s[groupHeader:]; s == "" {
		return nil, true, nil
	}
	for ; batches > 0; batches-- {
		if len(s) < 4 {
			return nil, false, errors.New("a group with fewer batches than it says")
		}
		n := int64(binary.LittleEndian.Uint32([]byte(s[:4])))
		if s = s[4:]; n > int64(len(s)) {
			return nil, false, errors.New("a batch that is longer than its group")
		}
		e, fence, err := record.ParseEntry(s[:n])
		if err != nil {
			return nil, false, err
		}
		if e.Revision != first {
			return nil, false, fmt.Errorf("revision %d where %d should be", e.Revision, first)
		}
		entries = append(entries, logged{e, fence})
		first, s = first+1, s[n:]
	}
	if s != "" {
		return nil, false, errors.New("a group with more in it than it says")
	}
	return entries, false, nil
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
	err = ahead(func(yield func([]logged) error) (err error) {
		x, err = readGroups(d, num, yield)
		return err
	}, func(group []logged) error {
		for i := range group {
			if err := each(group[i].entry, group[i].fence); err != nil {
				return err
			}
		}
		return nil
	})
	return x, err
}

// ahead calls each with what read yields, while read goes on in another
// goroutine, which has done with its files when ahead returns.
func ahead[T any](read func(yield func(T) error) error, each func(T) error) error {
	ready, stop, end := make(chan T, 4), make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ready)
		end <- read(func(v T) error {
			select {
			case ready <- v:
				return nil
			case <-stop:
				return errStop
			}
		})
	}()
	defer func() {
		close(stop)
		for range ready { // until it is closed
		}
	}()
	for v := range ready {
		if err := each(v); err != nil {
			return err
		}
	}
	return <-end
}

// readGroups calls each with the entries of every group of a segment.
func readGroups(d directory, num wal.NumWAL, each func([]logged) error) (x extent, err error) {
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
		entries, closed, err := parseGroup(string(b))
		if err != nil {
			return x, damaged(path, x.end, "%w", err)
		}
		if err := each(entries); err != nil {
			return x, err
		}
		x.closed, x.end = closed, r.offset
	}
}

// damaged returns the error for a file that is not as it was written.
func damaged(path string, at int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d: %w. Acknowledged changes are lost, so nothing was touched: "+
		"restore a backup into an empty directory, or look at this one first",
		record.ErrDamaged, path, at, fmt.Errorf(format, args...))
}
