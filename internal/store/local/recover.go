package local

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// recovered is what the files of a log say.
type recovered struct {
	head     *store.Head
	segments []segment  // those with entries
	next     wal.NumWAL // of the next segment
	// empty are segments without entries; tail is how far the newest segment
	// could be read, if there is one.
	empty []wal.NumWAL
	tail  *extent
}

// recoverFiles reads a log: its newest checkpoint, then the segments that count
// besides it. It changes nothing.
func recoverFiles(d directory, id identity, files listing) (*recovered, error) {
	r := &recovered{head: store.NewHead(), next: max(1, files.newest.segment)}
	if files.newest.at > 0 {
		h, err := readCheckpoint(d, files.newest, id.ID, func(page []rollcall.Change) error {
			r.head.Load(page)
			return nil
		})
		if err != nil {
			return nil, err
		}
		r.head.Revision, r.head.Fence = h.Revision, h.Fence
	}
	last := rollcall.Revision(0) // of the entries read; 0 before the first
	for _, num := range files.segments {
		r.next = max(r.next, num+1)
		if num < files.newest.segment {
			continue
		}
		s := segment{num: num}
		x, err := readSegment(d, num, func(e rollcall.Entry, fence rollcall.Fence) error {
			if e.Revision > r.head.Revision+1 || last != 0 && e.Revision != last+1 {
				return damaged(d.file(segmentName(num)), 0, "entry %d where %d should be",
					e.Revision, max(last, r.head.Revision)+1)
			}
			if last = e.Revision; s.first == 0 {
				s.first = last
			}
			s.last = last
			if last > r.head.Revision {
				r.head.Replay(e, fence)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if s.size, r.tail = x.end, &x; s.first == 0 {
			r.empty = append(r.empty, s.num)
			continue
		}
		r.segments = append(r.segments, s)
	}
	return r, nil
}

// readCheckpoint calls each with the pages of a checkpoint.
func readCheckpoint(d directory, c checkpoint, id rollcall.LogID, each func([]rollcall.Change) error) (h record.Header, err error) {
	err = ahead(func(yield func([]rollcall.Change) error) (err error) {
		h, err = readPages(d, c, id, yield)
		return err
	}, each)
	return h, err
}

func readPages(d directory, c checkpoint, id rollcall.LogID, yield func([]rollcall.Change) error) (h record.Header, err error) {
	path := d.file(c.name())
	f, err := d.fs.Open(path)
	if err != nil {
		return h, fmt.Errorf("read checkpoint: %w", err)
	}
	defer f.Close()
	counter := &countingReader{r: f}
	r, err := record.NewReader(counter)
	if err == nil && (r.Header.Log != id || r.Header.Revision != c.at) {
		return h, fmt.Errorf("%s is of log %s at revision %d, but the directory holds log %s: "+
			"restore a backup into an empty directory", path, r.Header.Log, r.Header.Revision, id)
	}
	for err == nil {
		var page []rollcall.Change
		if page, err = r.Next(); err == nil {
			if err := yield(page); err != nil {
				return h, err
			}
		}
	}
	switch {
	case err == io.EOF:
		return r.Header, nil
	case errors.Is(err, record.ErrDamaged):
		return h, damaged(path, counter.n, "%w", err)
	}
	return h, fmt.Errorf("read %s: %w", path, err)
}

// countingReader knows about where in a file it is.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// settle makes the newest segment durable as far as it was read, and ends it
// there. It is written anew: after a failed sync, or one that never came, the
// pages that were read might never reach the disk, and syncing them again would
// not tell.
func (l *Log) settle(r *recovered) error {
	if r.tail == nil || r.tail.closed || len(r.segments) == 0 {
		return nil
	}
	s := r.segments[len(r.segments)-1]
	if n := len(r.empty); n > 0 && r.empty[n-1] > s.num {
		// Nothing came to be written after s, which was settled when that
		// segment was begun.
		return nil
	}
	if r.tail.torn {
		l.log.Warn("cutting off a write that was never finished; nobody was told that it was",
			"file", l.dir.file(segmentName(s.num)), "at", s.size)
	}
	return l.dir.write(segmentName(s.num), func(w vfs.File) error {
		f, err := l.dir.fs.Open(l.dir.file(segmentName(s.num)))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(w, f, s.size)
		return err
	})
}

// removeStale removes what recovery passed over. The directory has been synced
// since, so that what replaces it is there to stay.
func (l *Log) removeStale(files listing, empty []wal.NumWAL) {
	names := files.temporary
	for _, c := range files.checkpoints {
		if c != files.newest {
			names = append(names, c.name())
		}
	}
	for _, s := range files.segments {
		if s < files.newest.segment {
			names = append(names, segmentName(s))
		}
	}
	for _, num := range empty {
		names = append(names, segmentName(num))
	}
	l.remove(names)
}

// remove removes files that no longer count. What stays is in nobody's way, and
// the next start tries again.
func (l *Log) remove(names []string) {
	for _, name := range names {
		if err := l.dir.fs.Remove(l.dir.file(name)); err != nil {
			l.log.Warn("cannot remove an old file", "err", err)
		}
	}
}
