package plain

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SlowFS is the operating system's file system with a delay in each fsync of the files
// that are made in it. It counts them, and the time they take with the delay.
type SlowFS struct {
	vfs.FS
	delay time.Duration
	syncs atomic.Int64
	took  atomic.Int64
}

// NewSlowFS returns one that adds a delay, which may be 0.
func NewSlowFS(delay time.Duration) *SlowFS { return &SlowFS{FS: vfs.Default, delay: delay} }

// Syncs returns how many fsyncs there were and how long they took together.
func (s *SlowFS) Syncs() (n int64, took time.Duration) {
	return s.syncs.Load(), time.Duration(s.took.Load())
}

// Create implements [vfs.FS].
func (s *SlowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.slow(s.FS.Create(name, c))
}

// ReuseForWrite implements [vfs.FS].
func (s *SlowFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.slow(s.FS.ReuseForWrite(from, to, c))
}

func (s *SlowFS) slow(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f, s}, nil
}

type slowFile struct {
	vfs.File
	fs *SlowFS
}

func (f slowFile) Sync() error     { return f.fs.sync(f.File.Sync) }
func (f slowFile) SyncData() error { return f.fs.sync(f.File.SyncData) }

func (s *SlowFS) sync(sync func() error) error {
	start := time.Now()
	time.Sleep(s.delay)
	err := sync()
	s.syncs.Add(1)
	s.took.Add(int64(time.Since(start)))
	return err
}
