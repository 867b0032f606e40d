package main

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// slowFS adds a delay to each fsync of the files that it creates.
type slowFS struct {
	vfs.FS
	delay time.Duration
}

type slowFile struct {
	vfs.File
	delay time.Duration
}

func delayFS(d time.Duration) vfs.FS {
	if d == 0 {
		return vfs.Default
	}
	return slowFS{vfs.Default, d}
}

func (s slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return slowFile{f, s.delay}, err
}

func (s slowFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(from, to, c)
	return slowFile{f, s.delay}, err
}

func (s slowFile) Sync() error {
	time.Sleep(s.delay)
	return s.File.Sync()
}

func (s slowFile) SyncData() error {
	time.Sleep(s.delay)
	return s.File.SyncData()
}

// walEvents is the listener and logger that the log insists on.
type walEvents struct{}

func (walEvents) LogCreated(wal.CreateInfo) {}
func (walEvents) Infof(string, ...any)      {}
func (walEvents) Errorf(f string, a ...any) { logger.Printf(f, a...) }
func (walEvents) Fatalf(f string, a ...any) { logger.Fatalf(f, a...) }
