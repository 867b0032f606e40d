package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

const (
	// A group is closed once it has this many batches or bytes.
	groupBatches = 4096
	groupBytes   = 2 << 20
	// maxBatch bounds the size in bytes of one batch.
	maxBatch = 8 << 20
)

// request is a batch on its way to the disk.
type request struct {
	batch    rollcall.Batch
	state    atomic.Int32
	revision rollcall.Revision
	err      error
	done     chan struct{} // gets one value once revision and err are set
}

// States of a request. Only a waiting one can be taken or left.
const (
	waiting = iota
	taken   // by the committer
	left    // by its writer
)

// Append writes a batch and returns its revision once it is on disk. If ctx
// ends before the log has taken the batch, nothing is written; if it ends after
// that, the error says that the outcome is unknown.
func (l *Log) Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if n := sizeOf(b); n > maxBatch {
		return 0, &rollcall.Error{Kind: rollcall.ErrTooLarge,
			Detail: fmt.Sprintf("a batch of %d bytes: at most %d can be written at once; send several", n, maxBatch)}
	}
	r := l.requests.Get().(*request)
	r.batch = b
	r.state.Store(waiting)

	l.mu.Lock()
	if err := l.refusal(); err != nil {
		l.mu.Unlock()
		l.metrics.failed.Inc()
		return 0, err
	}
	l.pending = append(l.pending, r)
	first := len(l.pending) == 1
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}

	select {
	case <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, left) {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("%w while the batch was being written: it may be in the log or not", ctx.Err())
	}
	revision, err := r.revision, r.err
	r.batch, r.err = rollcall.Batch{}, nil
	l.requests.Put(r)
	return revision, err
}

// refusal returns why nothing can be written now, or nil. l.mu is held.
func (l *Log) refusal() error {
	switch {
	case l.closed:
		return store.Closed()
	case l.off != nil:
		return l.off
	}
	return nil
}

// sizeOf returns about how many bytes a batch takes.
func sizeOf(b rollcall.Batch) (n int) {
	for i := range b.Changes {
		c := &b.Changes[i]
		n += 64 + len(c.By) + len(c.Via) + len(c.Why)
		switch v := c.Body.(type) {
		case rollcall.InstancePut:
			n += len(v.Record)
		case rollcall.HealthPut:
			n += len(v.Reason)
			for _, id := range v.IDs {
				n += 2 + len(id)
			}
		case rollcall.Unknown:
			n += len(v.Data)
		}
	}
	return n
}

// group is what is written at once.
type group struct {
	requests []*request // one for each entry
	entries  []rollcall.Entry
	refused  []*request // hear of it with the group, on which it may depend
	buf      []byte
	fence    rollcall.Fence
	undo     store.Undo
	err      error
}

func (g *group) full() bool { return len(g.entries) >= groupBatches || len(g.buf) >= groupBytes }

// committer is the goroutine that decides. It alone touches the head.
type committer struct {
	*Log
	head    *store.Head
	queue   []*request // taken from pending, queue[:judged] judged already
	judged  int
	forming *group
	flying  *group // being written; nil if none is
	free    []*group
	disk    chan *group   // to the writing goroutine; has room for one
	landed  chan struct{} // flying has been written, or not: see its err
}

// run starts the log's two goroutines, which end after Close.
func (l *Log) run(head *store.Head) {
	c := &committer{
		Log: l, head: head, forming: new(group),
		disk: make(chan *group, 1), landed: make(chan struct{}, 1),
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for g := range c.disk {
			g.err = l.write(g)
			c.landed <- struct{}{}
		}
	})
	l.running.Go(func() {
		defer close(l.stopped)
		defer writing.Wait()
		defer close(c.disk)
		c.run()
	})
}

// run forms groups and sends them off, one at a time, until the log is closed.
func (c *committer) run() {
	stop := c.stop
	for {
		c.gather()
		var control chan func()
		if c.flying == nil {
			switch {
			case len(c.forming.entries) > 0:
				c.launch()
				continue // the next group may be waiting
			case len(c.forming.refused) > 0:
				c.reply(c.forming, nil)
			case stop == nil:
				return
			}
			control = c.control
		}
		select {
		case <-c.wake:
		case <-c.landed:
			g := c.flying
			c.flying = nil
			if g.err != nil {
				c.fail(g)
				break
			}
			c.publish(g)
			// Who has just been told has the next batch ready at once, and is
			// to go with the next group rather than wait for the one after it:
			// that halves the number of syncs for writers that wait for each.
			runtime.Gosched()
		case do := <-control:
			do()
		case <-stop:
			stop = nil // closed is set, so no more requests come in
		}
	}
}

// gather adds to the forming group what is pending and may be written.
func (c *committer) gather() {
	for g := c.forming; !g.full(); {
		if c.judged == len(c.queue) {
			clear(c.queue)
			c.mu.Lock()
			c.queue, c.pending, c.judged = c.pending, c.queue[:0], 0
			off := c.off
			c.mu.Unlock()
			if len(c.queue) == 0 {
				return
			}
			if off != nil {
				for _, r := range c.queue {
					c.answer(r, 0, off)
				}
				c.judged = len(c.queue)
				continue
			}
		}
		c.admit(g, c.queue[c.judged])
		c.judged++
	}
}

// admit judges one request.
func (c *committer) admit(g *group, r *request) {
	if !r.state.CompareAndSwap(waiting, taken) {
		return
	}
	e, err := c.head.Admit(r.batch, &g.undo)
	if err != nil {
		r.err = err
		g.refused = append(g.refused, r)
		return
	}
	e.Log = c.identity.ID
	if len(g.entries) == 0 {
		g.buf = beginGroup(g.buf, e.Revision)
	}
	g.buf = appendBatch(g.buf, &e, r.batch.Fence)
	g.fence = c.head.Fence
	g.entries = append(g.entries, e)
	g.requests = append(g.requests, r)
}

// launch sends the forming group off to the disk.
func (c *committer) launch() {
	c.flying, c.forming = c.forming, nil
	if n := len(c.free); n > 0 {
		c.forming, c.free = c.free[n-1], c.free[:n-1]
	} else {
		c.forming = new(group)
	}
	setBatches(c.flying.buf, len(c.flying.entries))
	c.disk <- c.flying
}

// publish tells of a group that is on disk: the followers first, so that who
// has written and looks finds it.
func (c *committer) publish(g *group) {
	c.mu.Lock()
	c.fence = g.fence
	c.mu.Unlock()
	c.feed.Publish(g.entries)
	c.metrics.written.Add(float64(len(g.entries)))
	c.metrics.group.Observe(float64(len(g.entries)))
	c.reply(g, nil)
	c.free = append(c.free, g)
}

// fail turns writes off after a group did not get to the disk, and takes back
// that group and the one formed on top of it.
func (c *committer) fail(g *group) {
	off := c.turnOff(g.err)
	c.head.Revert(&c.forming.undo)
	c.head.Revert(&g.undo)
	c.reply(g, off)
	c.reply(c.forming, off)
	c.free = append(c.free, g)
}

// reply answers all requests of a group, with err unless that is nil, and
// empties the group.
func (c *committer) reply(g *group, err error) {
	for i, r := range g.requests {
		c.answer(r, g.entries[i].Revision, err)
	}
	for _, r := range g.refused {
		if err == nil {
			c.metrics.refused.Inc()
		}
		c.answer(r, 0, cmp.Or(err, r.err))
	}
	clear(g.requests)
	clear(g.entries)
	clear(g.refused)
	g.undo.Reset()
	*g = group{requests: g.requests[:0], entries: g.entries[:0], refused: g.refused[:0], buf: g.buf[:0], undo: g.undo}
	if cap(g.buf) > 2*groupBytes {
		g.buf = nil
	}
}

func (c *committer) answer(r *request, revision rollcall.Revision, err error) {
	if errors.Is(err, rollcall.ErrUnavailable) {
		c.metrics.failed.Inc()
	}
	if err != nil {
		revision = 0
	}
	r.revision, r.err = revision, err
	r.done <- struct{}{}
}

// write puts a group on the disk.
func (l *Log) write(g *group) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.writer == nil {
		return l.Err() // set by whoever took the writer away
	}
	size, err := l.writeSynced(g.buf)
	if err != nil {
		return err
	}
	l.mu.Lock()
	s := &l.segments[len(l.segments)-1]
	if s.first == 0 {
		s.first = g.entries[0].Revision
	}
	s.last, s.size = g.entries[len(g.entries)-1].Revision, size
	full := size >= l.segmentSize
	l.mu.Unlock()
	if full {
		l.rotate() // g is on disk even if this fails; what comes after it is refused
	}
	return nil
}

// writeSynced appends a record to the segment and waits until it is on disk.
// l.writing is held.
func (l *Log) writeSynced(b []byte) (size int64, err error) {
	var done sync.WaitGroup
	var syncErr error
	done.Add(1)
	size, err = l.writer.WriteRecord(b, wal.SyncOptions{Done: &done, Err: &syncErr}, nil)
	if err == nil {
		done.Wait()
		err = syncErr
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", l.dir.file(segmentName(l.next-1)), err)
	}
	return size, nil
}

// rotate ends the segment and begins the next. If it cannot, writes are off.
// l.writing is held.
func (l *Log) rotate() error {
	w := l.writer
	l.writer = nil
	_, err := w.Close()
	if err != nil {
		err = fmt.Errorf("close %s: %w", l.dir.file(segmentName(l.next-1)), err)
	} else {
		err = l.beginSegment()
	}
	if err != nil {
		return l.turnOff(err)
	}
	return nil
}

// beginSegment begins the next segment. l.writing is held, if anybody else is
// there.
func (l *Log) beginSegment() error {
	num := l.next
	l.next++ // also if it fails: what it left behind is not to be written to
	w, err := l.manager.Create(num, 0)
	if err != nil {
		return fmt.Errorf("create %s: %w", l.dir.file(segmentName(num)), err)
	}
	l.manager.Obsolete(num, true) // we keep track of the files ourselves
	l.writer = w
	l.mu.Lock()
	l.segments = append(l.segments, segment{num: num})
	l.mu.Unlock()
	return nil
}
