package main

import (
	"encoding/binary"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// bolt is bbolt with the record's number as the key, which is its best case: every
// insert goes to the last page.
type bolt struct{ db *bbolt.DB }

var bucket = []byte("log")

func openBolt(c Config) (Engine, error) {
	db, err := bbolt.Open(filepath.Join(c.Dir, "db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil || c.Replay == nil {
			return err
		}
		return b.ForEach(func(_, v []byte) error {
			c.Replay(v)
			return nil
		})
	})
	return &bolt{db}, err
}

func (e *bolt) Commit(group [][]byte) error {
	return e.db.Update(func(tx *bbolt.Tx) error { return putAll(tx, group) })
}

func putAll(tx *bbolt.Tx, group [][]byte) error {
	b := tx.Bucket(bucket)
	b.FillPercent = 0.9
	for _, r := range group {
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, n), r); err != nil {
			return err
		}
	}
	return nil
}

func (e *bolt) Close() error { return e.db.Close() }

// boltBatch lets bbolt group the writers.
type boltBatch struct{ *bolt }

func openBoltBatch(c Config) (Engine, error) {
	e, err := openBolt(c)
	if err != nil {
		return nil, err
	}
	return boltBatch{e.(*bolt)}, nil
}

func (e boltBatch) Commit(group [][]byte) error {
	return e.db.Batch(func(tx *bbolt.Tx) error { return putAll(tx, group) })
}
