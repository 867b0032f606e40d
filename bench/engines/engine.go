package main

import "time"

// An Engine is an open log. Grouped engines get one Commit call at a time from the
// program's commit goroutine; native ones are called by every writer at once.
type Engine interface {
	// Commit appends the records in order and returns when all of them are on disk.
	// It must not keep the slices.
	Commit(group [][]byte) error
	Close() error
}

// Config is what an engine needs to open its log.
type Config struct {
	Dir        string
	FsyncDelay time.Duration // added to each fsync by engines with a file layer
	// Replay sees each record that the directory already holds, in order, before Open
	// returns. It must not keep the slice.
	Replay func(record []byte)
}

// segmentSize is where engines start a new file, as etcd and raft-wal do by default.
const segmentSize = 64 << 20
