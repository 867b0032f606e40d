package local

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// Follow yields every change behind from, in order: those on disk first, then
// new ones as they are written. If the log does not hold that point, or from is
// 0, a reset comes first. It ends with an error: that of ctx, one of reading, or
// [store.ErrClosed].
func (l *Log) Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error] {
	return func(yield func(rollcall.Entry, error) bool) {
		f := follower{Log: l, ctx: ctx, yield: yield, at: from, reset: from == 0}
		// What is to be read may be replaced by a newer checkpoint meanwhile.
		err := errTrimmed
		for errors.Is(err, errTrimmed) {
			err = f.catchUp()
		}
		switch {
		case err == nil:
			l.feed.Follow(ctx, f.node, yield)
		case !errors.Is(err, errStop):
			yield(rollcall.Entry{}, err)
		}
	}
}

// errTrimmed says that a file is gone because a checkpoint replaced it.
var errTrimmed = errors.New("trimmed")

// follower is the part of following that reads from disk.
type follower struct {
	*Log
	ctx   context.Context
	yield func(rollcall.Entry, error) bool
	at    rollcall.Revision // how far it has come
	reset bool              // it has to begin with a reset
	node  *store.Node       // where to go on in the feed
}

// catchUp reads what is on disk, up to a node of the feed. The end of the feed
// is taken first, so what a checkpoint trims after that is still behind it.
func (f *follower) catchUp() error {
	f.node = f.feed.End()
	last := f.node.Entry.Revision
	f.mu.Lock()
	checkpoint, held := f.checkpoint, f.checkpoint.at
	segments := make([]segment, 0, len(f.segments))
	for _, s := range f.segments {
		if s.first > 0 {
			segments = append(segments, s)
		}
	}
	f.mu.Unlock()
	if len(segments) > 0 && segments[0].first <= held {
		held = segments[0].first - 1
	}
	if f.reset || f.at < held || f.at > max(last, checkpoint.at) {
		if err := f.readReset(checkpoint); err != nil {
			return err
		}
		f.reset = false
	}
	for _, s := range segments {
		if s.last <= f.at || s.first > last {
			continue
		}
		if err := f.readEntries(s.num, last); err != nil {
			return err
		}
	}
	if f.at < last {
		return fmt.Errorf("%s ends at revision %d and should end at %d: restore a backup", f.dir.path, f.at, last)
	}
	// A checkpoint may be ahead of the node.
	for next := f.node.Next(); next != nil && next.Entry.Revision <= f.at; next = f.node.Next() {
		f.node = next
	}
	return nil
}

// emit yields one entry. It returns errStop if that was the last one wanted.
func (f *follower) emit(e rollcall.Entry) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	e.Log = f.identity.ID
	if !f.yield(e, nil) {
		return errStop
	}
	f.at = e.Revision
	return nil
}

func (f *follower) readReset(c checkpoint) error {
	page := rollcall.Entry{Revision: c.at, Reset: true}
	if c.at == 0 {
		return f.emit(page)
	}
	_, err := readCheckpoint(f.dir, c, f.identity.ID, func(changes []rollcall.Change) error {
		if page.Changes != nil {
			page.More = true
			if err := f.emit(page); err != nil {
				return err
			}
		}
		page.Changes = changes
		return nil
	})
	if err != nil {
		return f.trimmed(err)
	}
	page.More = false
	return f.emit(page)
}

// readEntries yields a segment's entries up to revision last. What follows that
// may just be being written.
func (f *follower) readEntries(num wal.NumWAL, last rollcall.Revision) error {
	done := false
	_, err := readSegment(f.dir, num, func(e rollcall.Entry, _ rollcall.Fence) error {
		if e.Revision <= f.at {
			return nil
		}
		if e.Revision != f.at+1 {
			return damaged(f.dir.file(segmentName(num)), 0, "entry %d where %d should be", e.Revision, f.at+1)
		}
		e.More = e.Revision < last || f.node.Next() != nil
		if err := f.emit(e); err != nil {
			return err
		}
		if done = e.Revision == last; done {
			return errStop
		}
		return nil
	})
	if done {
		return nil
	}
	return f.trimmed(err)
}

// trimmed tells a file that a checkpoint has replaced from one that is missing.
func (f *follower) trimmed(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errTrimmed
	}
	return err
}
