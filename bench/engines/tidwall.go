package main

import (
	"errors"
	"path/filepath"

	"github.com/tidwall/wal"
)

// tidwall is tidwall/wal: a group is one WriteBatch.
type tidwall struct {
	l     *wal.Log
	next  uint64
	batch wal.Batch
}

func openTidwall(c Config) (Engine, error) {
	opts := *wal.DefaultOptions
	opts.SegmentSize, opts.NoCopy = segmentSize, true
	l, err := wal.Open(filepath.Join(c.Dir, "wal"), &opts)
	if err != nil {
		return nil, err
	}
	t := &tidwall{l: l, next: 1}
	last, err := l.LastIndex()
	if err != nil {
		return nil, err
	}
	for ; t.next <= last; t.next++ {
		data, err := l.Read(t.next)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		c.Replay(data)
	}
	return t, nil
}

func (t *tidwall) Commit(group [][]byte) error {
	t.batch.Clear()
	for _, r := range group {
		t.batch.Write(t.next, r)
		t.next++
	}
	return t.l.WriteBatch(&t.batch)
}

func (t *tidwall) Close() error { return t.l.Close() }
