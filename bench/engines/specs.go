package main

// Spec names an engine and says how to open it.
type Spec struct {
	Name   string
	Native bool // the engine groups concurrent commits by itself
	Slow   bool // has a file layer through which fsyncs can be delayed
	Reload bool // worth reloading: neither trims its log nor is a variant that reads the same
	Tear   bool // has a log whose tail can be torn
	Open   func(Config) (Engine, error)
}

func specs() []Spec {
	return []Spec{
		{Name: "plain", Reload: true, Slow: true, Open: openPlain},
		{Name: "plain-prealloc", Slow: true, Open: openPrealloc},
		{Name: "etcd-wal", Reload: true, Tear: true, Open: openEtcd},
		{Name: "pebble-wal", Reload: true, Slow: true, Tear: true, Open: openPebbleWAL},
		{Name: "pebble-wal-packed", Slow: true, Open: openPebbleWALPacked},
		{Name: "pebble-wal-recycle", Slow: true, Open: openPebbleWALRecycle},
		{Name: "pebble-wal-native", Native: true, Slow: true, Open: openPebbleWALNative},
		{Name: "pebble-db", Reload: true, Slow: true, Open: openPebbleDB},
		{Name: "pebble-db-native", Native: true, Slow: true, Open: openPebbleDBNative},
		{Name: "raft-wal", Reload: true, Slow: true, Tear: true, Open: openRaftWAL},
		{Name: "tidwall-wal", Reload: true, Tear: true, Open: openTidwall},
		{Name: "bbolt", Reload: true, Open: openBolt},
		{Name: "bbolt-batch", Native: true, Open: openBoltBatch},
	}
}
