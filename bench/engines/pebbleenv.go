package main

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall/bench/plain"
)

// delayFS is the file system with a delay added to each fsync.
func delayFS(d time.Duration) vfs.FS {
	if d == 0 {
		return vfs.Default
	}
	return plain.NewSlowFS(d)
}

// walEvents is the listener and logger that the log insists on.
type walEvents struct{}

func (walEvents) LogCreated(wal.CreateInfo) {}
func (walEvents) Infof(string, ...any)      {}
func (walEvents) Errorf(f string, a ...any) { logger.Printf(f, a...) }
func (walEvents) Fatalf(f string, a ...any) { logger.Fatalf(f, a...) }
