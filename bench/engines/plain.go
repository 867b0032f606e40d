package main

import (
	"path/filepath"

	"github.com/rollcall-registry/rollcall/bench/plain"
)

// preallocated is more than a round writes.
const preallocated = 2 << 30

// openPlain opens the limit: one file, one write and one fdatasync per group.
func openPlain(c Config) (Engine, error) {
	l, err := plain.Open(filepath.Join(c.Dir, "log"))
	if err != nil {
		return nil, err
	}
	l.Delay = c.FsyncDelay
	if c.Replay != nil {
		err = l.Replay(c.Replay)
	}
	return l, err
}

// openPrealloc fills the file with zeros first.
func openPrealloc(c Config) (Engine, error) {
	e, err := openPlain(c)
	if err == nil && c.Replay == nil {
		err = e.(*plain.Log).Fill(preallocated)
	}
	return e, err
}
