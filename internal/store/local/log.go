package local

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
)

const (
	// defaultSegmentSize is the size from which on a new segment is begun.
	defaultSegmentSize = 64 << 20
	// preallocate is by how much a segment grows ahead on the disk, so that a
	// sync has less to write down.
	preallocate = 8 << 20
	// retryAfter is what writers are told while writes are off.
	retryAfter = 5 * time.Second
)

// Options are what a log can be told. The zero value is ready for use.
type Options struct {
	// FS is where the files are; nil is the operating system's file system.
	FS vfs.FS
	// Logger hears what an operator should know; nil is nobody.
	Logger *slog.Logger
	// Registerer takes the metrics; nil keeps none.
	Registerer prometheus.Registerer
	// SegmentSize is the size in bytes from which on a new segment is begun; 0
	// is 64 MiB.
	SegmentSize int64
}

// Log is an open log. It is safe for concurrent use.
type Log struct {
	dir         directory
	identity    identity
	log         *slog.Logger
	metrics     *metrics
	segmentSize int64
	lock        io.Closer
	first       bool // opened for the first time since it was created or restored
	feed        *store.Feed

	wake     chan struct{} // something is pending
	control  chan func()   // run by the committer while no group is under way
	stop     chan struct{} // closed by Close
	stopped  chan struct{} // closed when the committer has returned
	running  sync.WaitGroup
	requests sync.Pool

	// checkpointing is held through a checkpoint. It is locked before writing,
	// and that before mu.
	checkpointing sync.Mutex

	writing sync.Mutex // guards the segment being written
	manager wal.Manager
	writer  wal.Writer // nil if there is none to write to
	next    wal.NumWAL // of the next segment

	mu         sync.Mutex // guards what follows
	pending    []*request
	off        *rollcall.Error // why writes are off
	closed     bool
	fence      rollcall.Fence // the highest on disk
	checkpoint checkpoint
	segments   []segment // in order; the last one is being written
}

// segment is one file of the log.
type segment struct {
	num         wal.NumWAL
	first, last rollcall.Revision // of its entries; 0 if it has none
	size        int64
}

// Open opens the log in dir, or makes one if there is nothing. What it finds
// damaged it refuses and leaves as it is.
func Open(dir string, o Options) (_ *Log, err error) {
	d := o.directory(dir)
	if err := d.fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	id, found, err := d.readIdentity()
	if err != nil {
		return nil, err
	}
	files, err := d.list()
	if err != nil {
		return nil, err
	}
	if !found {
		if len(files.checkpoints)+len(files.segments) > 0 {
			return nil, fmt.Errorf("%s holds a log, but %s is missing: put it back, or restore a backup "+
				"into an empty directory", dir, identityName)
		}
		id = newIdentity()
		if err := d.create(id); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	r, err := recoverFiles(d, id, files)
	if err != nil {
		return nil, err
	}
	l := &Log{
		dir:         d,
		identity:    id,
		log:         o.Logger,
		segmentSize: o.SegmentSize,
		lock:        lock,
		first:       len(files.segments) == 0,
		feed:        store.NewFeed(r.head.Revision),
		wake:        make(chan struct{}, 1),
		control:     make(chan func()),
		stop:        make(chan struct{}),
		stopped:     make(chan struct{}),
		next:        r.next,
		fence:       r.head.Fence,
		checkpoint:  files.newest,
		segments:    r.segments,
	}
	l.requests.New = func() any { return &request{done: make(chan struct{}, 1)} }
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.segmentSize == 0 {
		l.segmentSize = defaultSegmentSize
	}
	if l.metrics, err = newMetrics(o.Registerer, l); err != nil {
		return nil, err
	}
	if err := l.begin(r, files); err != nil {
		l.metrics.unregister()
		return nil, err
	}
	l.log.Info("log opened", "dir", dir, "id", id.ID, "revision", r.head.Revision,
		"checkpoint", files.newest.at, "segments", len(r.segments), "took", time.Since(start))
	l.run(r.head)
	return l, nil
}

func (o Options) directory(path string) directory {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return directory{privateFS{o.FS}, path}
}

// begin makes durable what was recovered, tidies up, and begins a segment. If
// the disk refuses, the log opens all the same, with writes off: what it holds
// can be read.
func (l *Log) begin(r *recovered, files listing) (err error) {
	l.manager, err = wal.Init(wal.Options{
		Primary:             wal.Dir{FS: l.dir.fs, Dirname: l.dir.path},
		PreallocateSize:     func() int { return preallocate },
		WriteWALSyncOffsets: func() bool { return true },
		FsyncLatency:        l.metrics.fsync, // without one there are no sync offsets either
		Logger:              engineLog{l.log},
		EventListener:       engineLog{l.log},
	}, nil)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	err = l.settle(r)
	if err == nil {
		err = l.beginSegment()
	}
	if err != nil {
		l.turnOff(err)
		return nil
	}
	l.removeStale(files, r.empty)
	return nil
}

// Status returns how the log is.
func (l *Log) Status() rollcall.LogStatus {
	return rollcall.LogStatus{
		ID: l.identity.ID, Created: l.identity.Created, First: l.first, Revision: l.feed.End().Entry.Revision, Err: l.Err(),
	}
}

// Err returns why writes are off, or nil. Once the cause is gone, a checkpoint
// at the last revision turns them on again.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off == nil {
		return nil
	}
	return l.off
}

// turnOff refuses writes from now on, because of err.
func (l *Log) turnOff(err error) *rollcall.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off == nil {
		hint := "mend the disk"
		if vfs.IsNoSpaceError(err) {
			hint = "make room on the disk"
		}
		l.off = &rollcall.Error{
			Kind:       rollcall.ErrUnavailable,
			Detail:     fmt.Sprintf("the log takes no writes: %v; %s: the next checkpoint turns them on again", err, hint),
			RetryAfter: retryAfter,
			Cause:      err,
		}
		l.log.Error("log takes no writes", "dir", l.dir.path, "err", err, "to do", hint)
	}
	return l.off
}

// Close ends the followers and closes the log, after what is under way.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.running.Wait()
	l.checkpointing.Lock()
	defer l.checkpointing.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()

	var err error
	if l.writer != nil {
		if l.Err() == nil {
			// The mark that nothing follows: without it, damage to the last
			// group would look like a torn end.
			b := beginGroup(nil, l.feed.End().Entry.Revision+1)
			_, err = l.writer.WriteRecord(b, wal.SyncOptions{}, nil)
		}
		_, cerr := l.writer.Close()
		err = errors.Join(err, cerr)
		l.writer = nil
	}
	if l.Err() != nil {
		err = nil // said already
	}
	err = errors.Join(err, l.manager.Close())
	l.feed.Close(store.Closed())
	l.metrics.unregister()
	return errors.Join(err, l.lock.Close())
}

// engineLog hands on what the write-ahead log has to say.
type engineLog struct{ log *slog.Logger }

func (e engineLog) LogCreated(wal.CreateInfo)         {}
func (e engineLog) Infof(format string, args ...any)  { e.log.Debug(fmt.Sprintf(format, args...)) }
func (e engineLog) Errorf(format string, args ...any) { e.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf is called if the directory is gone. The error comes back as well, and
// turns writes off.
func (e engineLog) Fatalf(format string, args ...any) { e.log.Error(fmt.Sprintf(format, args...)) }
