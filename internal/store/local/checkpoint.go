package local

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// Checkpoint writes the state that the log's changes up to at led to, and drops
// the segments that are not needed besides it. Appends go on meanwhile. The
// checkpoint before is kept until the new one is durable. One that is older than
// it does nothing.
//
// While writes are off, a checkpoint at the last revision turns them on again,
// in a new segment.
func (l *Log) Checkpoint(ctx context.Context, at rollcall.Revision, state iter.Seq[rollcall.Change]) error {
	l.checkpointing.Lock()
	defer l.checkpointing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	start := time.Now()
	last := l.feed.End().Entry.Revision
	l.mu.Lock()
	old, closed, off, fence := l.checkpoint, l.closed, l.off != nil, l.fence
	l.mu.Unlock()
	heal := off && at == last
	switch {
	case closed:
		return store.Closed()
	case at > last, at == 0 && !heal:
		return rollcall.Invalid("at", fmt.Sprintf("no checkpoint at revision %d: the log is at %d", at, last))
	case at < old.at, at == old.at && !heal:
		return nil
	}
	c := checkpoint{at: at}
	if heal {
		l.writing.Lock()
		c.segment = l.next
		l.writing.Unlock()
	} else {
		if err := l.rotateUsed(); err != nil {
			return err
		}
		c.segment = l.firstAfter(at)
	}
	h := record.Header{Log: l.identity.ID, Created: l.identity.Created, Revision: at, Fence: fence, At: start.UTC()}
	size, err := l.writeCheckpoint(ctx, c, h, state, heal)
	if err != nil {
		l.metrics.checkpointFailures.Inc()
		return err
	}
	stale := l.adopt(c)
	if heal {
		err = l.turnOn()
	}
	l.remove(stale)
	l.metrics.checkpointed(time.Since(start), size)
	return err
}

// writeCheckpoint writes the file of a checkpoint, unless ctx ends or the log is
// closed meanwhile. Nobody waits for it unless there is a hurry, so it leaves
// most of a processor and of the disk to those who append.
func (l *Log) writeCheckpoint(ctx context.Context, c checkpoint, h record.Header, state iter.Seq[rollcall.Change], hurry bool) (size int64, err error) {
	var stopped error
	guarded := func(yield func(rollcall.Change) bool) {
		n := 0
		for change := range state {
			if n++; n%1024 == 0 {
				if stopped = l.interrupted(ctx); stopped != nil {
					return
				}
			}
			if !yield(change) {
				return
			}
		}
	}
	err = l.dir.write(c.name(), func(f vfs.File) error {
		w := &unhurriedWriter{file: f, begun: time.Now(), pause: func(d time.Duration) { l.pause(ctx, d) }}
		if hurry {
			w.pause = func(time.Duration) {}
		}
		err := record.WriteState(w, h, guarded)
		size = w.size
		if stopped != nil {
			return stopped
		}
		return err
	})
	return size, err
}

func (l *Log) interrupted(ctx context.Context) error {
	select {
	case <-l.stop:
		return store.Closed()
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

// pause waits, but not on when nobody wants the checkpoint any more.
func (l *Log) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.stop:
	case <-ctx.Done():
	}
}

// Of a checkpoint, stride bytes at a time are written and synced, so that no
// sync of the log waits for more than that; then follows a pause of rest times
// what it took.
const (
	stride = 2 << 20
	rest   = 3
)

// unhurriedWriter writes a file in strides.
type unhurriedWriter struct {
	file  vfs.File
	begun time.Time // of the stride
	since int       // bytes of it
	size  int64
	pause func(time.Duration)
}

func (w *unhurriedWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.size += int64(n)
	if w.since += n; err != nil || w.since < stride {
		return n, err
	}
	if err := w.file.SyncData(); err != nil {
		return n, err
	}
	w.pause(rest * time.Since(w.begun))
	w.begun, w.since = time.Now(), 0
	return n, nil
}

// rotateUsed begins a new segment if the current one has entries, so that the
// next checkpoint can drop this one.
func (l *Log) rotateUsed() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	used := len(l.segments) > 0 && l.segments[len(l.segments)-1].first > 0
	l.mu.Unlock()
	if !used || l.writer == nil || l.Err() != nil {
		return nil
	}
	return l.rotate()
}

// firstAfter returns the first segment that may hold entries after at.
func (l *Log) firstAfter(at rollcall.Revision) wal.NumWAL {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.segments {
		if s.last > at || i == len(l.segments)-1 {
			return s.num
		}
	}
	return l.checkpoint.segment
}

// adopt makes a checkpoint that is durable the log's own, and returns the files
// that are not needed any more.
func (l *Log) adopt(c checkpoint) (stale []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.checkpoint != (checkpoint{}) {
		stale = append(stale, l.checkpoint.name())
	}
	l.checkpoint = c
	keep := 0
	for ; keep < len(l.segments) && l.segments[keep].num < c.segment; keep++ {
		stale = append(stale, segmentName(l.segments[keep].num))
	}
	l.segments = slices.Clone(l.segments[keep:])
	return stale
}

// turnOn begins a new segment in place of the one that failed. The committer
// does it, between two groups, so that nothing that failed is under way.
func (l *Log) turnOn() error {
	result := make(chan error, 1)
	turn := func() {
		l.writing.Lock()
		defer l.writing.Unlock()
		if l.writer != nil {
			l.writer.Close() // failed before
			l.writer = nil
		}
		err := l.beginSegment()
		if err == nil {
			l.mu.Lock()
			l.off = nil
			l.mu.Unlock()
			l.log.Info("log takes writes again", "dir", l.dir.path)
		}
		result <- err
	}
	select {
	case l.control <- turn:
		return <-result
	case <-l.stopped:
		return store.Closed()
	}
}
