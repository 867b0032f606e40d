package main

import (
	"errors"
	"io"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// etcdWAL is etcd's own log: each record is a raft entry, each group one Save.
type etcdWAL struct {
	w       *wal.WAL
	next    uint64
	entries []*raftpb.Entry
}

func openEtcd(c Config) (Engine, error) {
	dir := filepath.Join(c.Dir, "wal")
	if !wal.Exist(dir) {
		w, err := wal.Create(nil, dir, nil)
		return &etcdWAL{w: w, next: 1}, err
	}
	w, entries, err := readEtcd(dir)
	if errors.Is(err, io.ErrUnexpectedEOF) && wal.Repair(nil, dir) {
		w, entries, err = readEtcd(dir)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		c.Replay(e.Data)
	}
	return &etcdWAL{w: w, next: uint64(len(entries)) + 1}, nil
}

func readEtcd(dir string) (*wal.WAL, []*raftpb.Entry, error) {
	w, err := wal.Open(nil, dir, &walpb.Snapshot{Index: new(uint64), Term: new(uint64)})
	if err != nil {
		return nil, nil, err
	}
	_, _, entries, err := w.ReadAll()
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	return w, entries, nil
}

func (e *etcdWAL) Commit(group [][]byte) error {
	block := make([]raftpb.Entry, len(group))
	e.entries = e.entries[:0]
	for i, r := range group {
		block[i].Index, block[i].Term, block[i].Data = new(e.next), new(uint64(1)), r
		e.next++
		e.entries = append(e.entries, &block[i])
	}
	return e.w.Save(&raftpb.HardState{}, e.entries)
}

func (e *etcdWAL) Close() error { return e.w.Close() }
