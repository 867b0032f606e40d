package main

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// raftWAL is HashiCorp's log for raft: a group is one StoreLogs.
type raftWAL struct {
	w    *wal.WAL
	meta *metadb.BoltMetaDB // the log leaves its own open, and so locked, when it is closed
	next uint64
	logs []*raft.Log
}

func openRaftWAL(c Config) (Engine, error) {
	e := &raftWAL{meta: &metadb.BoltMetaDB{}, next: 1}
	if err := e.open(c); err != nil {
		return nil, errors.Join(err, e.meta.Close())
	}
	return e, nil
}

func (e *raftWAL) open(c Config) (err error) {
	e.w, err = wal.Open(c.Dir,
		wal.WithSegmentFiler(segment.NewFiler(c.Dir, slowVFS{fs.New(), c.FsyncDelay})),
		wal.WithMetaStore(e.meta),
		wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return err
	}
	last, err := e.w.LastIndex()
	if err != nil {
		return err
	}
	for ; e.next <= last; e.next++ {
		var l raft.Log
		if err := e.w.GetLog(e.next, &l); err != nil {
			return errors.Join(err, e.w.Close())
		}
		c.Replay(l.Data)
	}
	return nil
}

func (e *raftWAL) Commit(group [][]byte) error {
	block := make([]raft.Log, len(group))
	e.logs = e.logs[:0]
	for i, r := range group {
		block[i].Index, block[i].Data = e.next, r
		e.next++
		e.logs = append(e.logs, &block[i])
	}
	return e.w.StoreLogs(e.logs)
}

func (e *raftWAL) Close() error { return errors.Join(e.w.Close(), e.meta.Close()) }

// slowVFS adds a delay to each fsync of the files that it creates.
type slowVFS struct {
	types.VFS
	delay time.Duration
}

type slowWritable struct {
	types.WritableFile
	delay time.Duration
}

func (s slowVFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := s.VFS.Create(dir, name, size)
	return slowWritable{f, s.delay}, err
}

func (s slowWritable) Sync() error {
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	return s.WritableFile.Sync()
}
