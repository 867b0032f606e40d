package main

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleDB is the whole database, with the record's number as the key.
type pebbleDB struct {
	db   *pebble.DB
	next atomic.Uint64
}

func openPebbleDB(c Config) (Engine, error) {
	db, err := pebble.Open(c.Dir, &pebble.Options{
		FS:                 delayFS(c.FsyncDelay),
		MemTableSize:       segmentSize,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             walEvents{},
	})
	if err != nil {
		return nil, err
	}
	p := &pebbleDB{db: db}
	if c.Replay == nil {
		return p, nil
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		c.Replay(it.Value())
		p.next.Store(binary.BigEndian.Uint64(it.Key()))
	}
	return p, it.Close()
}

func (p *pebbleDB) Commit(group [][]byte) error {
	b := p.db.NewBatch()
	defer b.Close()
	for _, r := range group {
		if err := b.Set(binary.BigEndian.AppendUint64(nil, p.next.Add(1)), r, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

func (p *pebbleDB) Close() error { return p.db.Close() }

// openPebbleDBNative is the same engine, called by every writer at once.
func openPebbleDBNative(c Config) (Engine, error) { return openPebbleDB(c) }
