// Package memory is a log that is kept in memory and gone when the process is:
// for tests, and for servers that are told to keep nothing.
package memory

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

// pageSize is the number of changes in a page of a reset.
const pageSize = 512

// Log is an ordered sequence of changes in memory. It is safe for concurrent
// use.
type Log struct {
	id      rollcall.LogID
	created time.Time
	feed    *store.Feed

	mu   sync.Mutex // guards what follows
	head *store.Head
	// before is the node before the first entry that is kept.
	before *store.Node
	image  []rollcall.Change
	at     rollcall.Revision // of image
	closed bool
}

// New returns an empty log with an identity of its own.
func New() *Log {
	l := &Log{id: rollcall.NewLogID(), created: time.Now().UTC(), feed: store.NewFeed(0), head: store.NewHead()}
	l.before = l.feed.End()
	return l
}

// Status returns how the log is.
func (l *Log) Status() rollcall.LogStatus {
	return rollcall.LogStatus{ID: l.id, Created: l.created, First: true, Revision: l.feed.End().Entry.Revision}
}

// Append writes a batch and returns its revision.
func (l *Log) Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, store.Closed()
	}
	e, err := l.head.Admit(b, nil)
	if err != nil {
		return 0, err
	}
	e.Log = l.id
	l.feed.Publish([]rollcall.Entry{e})
	return e.Revision, nil
}

// Follow yields every change behind from, in order. If the log does not hold
// that point, or from is 0, a reset comes first.
func (l *Log) Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error] {
	return func(yield func(rollcall.Entry, error) bool) {
		l.mu.Lock()
		n, image, at := l.before, l.image, l.at
		reset := from == 0 || from < at || from > l.head.Revision
		l.mu.Unlock()

		if reset {
			for {
				page := slices.Clip(image[:min(len(image), pageSize)])
				image = image[len(page):]
				e := rollcall.Entry{Log: l.id, Revision: at, Changes: page, Reset: true, More: len(image) > 0}
				if ctx.Err() != nil {
					yield(rollcall.Entry{}, ctx.Err())
					return
				}
				if !yield(e, nil) {
					return
				}
				if !e.More {
					break
				}
			}
			from = at
		}
		for next := n.Next(); next != nil && next.Entry.Revision <= from; next = n.Next() {
			n = next
		}
		l.feed.Follow(ctx, n, yield)
	}
}

// Checkpoint replaces the changes up to at by the state they led to.
func (l *Log) Checkpoint(ctx context.Context, at rollcall.Revision, state iter.Seq[rollcall.Change]) error {
	image := slices.Collect(state)
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return store.Closed()
	case at == 0 || at > l.head.Revision:
		return rollcall.Invalid("at", fmt.Sprintf("no checkpoint at revision %d: the log is at %d", at, l.head.Revision))
	case at < l.at:
		return nil // there is a newer one
	}
	l.image, l.at = image, at
	for next := l.before.Next(); next != nil && next.Entry.Revision <= at; next = l.before.Next() {
		l.before = next
	}
	return nil
}

// Close ends all followers and refuses further writes.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.feed.Close(store.Closed())
	return nil
}
