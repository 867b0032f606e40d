package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Feed hands the entries of a log to any number of followers. It is a linked
// list that only grows at its end: a follower holds the node it has come to,
// and what all followers have passed belongs to the garbage collector. So a slow
// follower keeps what it has not read yet, and costs writers and other followers
// nothing.
type Feed struct {
	mu     sync.Mutex
	end    *Node
	done   chan struct{}
	reason error // why it was closed; set before done is closed
}

// Node is one entry in a [Feed], or the place before its first entry: then only
// the entry's revision is set.
type Node struct {
	Entry rollcall.Entry

	next atomic.Pointer[Node]
	// ready is closed once next is set. The first who waits makes it; Feed.mu
	// guards it.
	ready chan struct{}
}

// NewFeed returns a feed without entries, of a log that is at a revision.
func NewFeed(at rollcall.Revision) *Feed {
	return &Feed{end: &Node{Entry: rollcall.Entry{Revision: at}}, done: make(chan struct{})}
}

// End returns the newest node. Its entry's revision is the log's.
func (f *Feed) End() *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end
}

// Publish appends entries, which must not be altered from then on.
func (f *Feed) Publish(entries []rollcall.Entry) {
	if len(entries) == 0 {
		return
	}
	nodes := make([]Node, len(entries))
	now := time.Now()
	for i := range nodes {
		nodes[i].Entry = entries[i]
		nodes[i].Entry.Committed = now
		if i > 0 {
			nodes[i-1].next.Store(&nodes[i])
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end.next.Store(&nodes[0])
	if f.end.ready != nil {
		close(f.end.ready)
	}
	f.end = &nodes[len(nodes)-1]
}

// Close ends the waiting of all followers with err, once they have read what is
// there.
func (f *Feed) Close(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason == nil {
		f.reason = err
		close(f.done)
	}
}

// Follow yields the entries behind n until ctx ends, the feed is closed, either
// of which it yields as an error, or yield returns false.
func (f *Feed) Follow(ctx context.Context, n *Node, yield func(rollcall.Entry, error) bool) {
	for {
		next, err := f.wait(ctx, n)
		if err != nil {
			yield(rollcall.Entry{}, err)
			return
		}
		n = next
		e := n.Entry
		e.More = n.Next() != nil
		if !yield(e, nil) {
			return
		}
	}
}

// Next returns the node behind n, or nil if there is none yet.
func (n *Node) Next() *Node { return n.next.Load() }

func (f *Feed) wait(ctx context.Context, n *Node) (*Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if next := n.Next(); next != nil {
		return next, nil
	}
	f.mu.Lock()
	if n.ready == nil && n.Next() == nil {
		n.ready = make(chan struct{})
	}
	ready := n.ready
	f.mu.Unlock()
	if next := n.Next(); next != nil {
		return next, nil
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.done:
		if n.Next() == nil {
			return nil, f.reason
		}
	}
	return n.Next(), nil
}
