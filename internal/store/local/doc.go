// Package local is the log on this machine's disk: a write-ahead log in
// segments, and the newest checkpoint of the state before them. The segments'
// framing, checksums and flushing are those of Pebble's write-ahead log
// (github.com/cockroachdb/pebble/v2/wal), used without the database on top; the
// checkpoints are state files of package record.
//
// # Writing
//
// One goroutine, the committer, judges batches in their order of arrival and
// packs those that are there into a group. Another writes a group as one record
// and syncs it, while the committer forms the next group on top of it. Once a
// group is on disk its entries go to the followers and its writers hear of it;
// before that nobody does, not even a writer who was refused because of it. The
// next record is only written after the one before it has been synced. Recovery
// rests on this rule: at most the last record of the last segment can be torn,
// and a whole record behind a torn place proves that place to be damage.
//
// If a write or sync fails, what was under way is taken back, and writes stay
// off: a file whose sync failed once is not to be trusted again (see "Can
// Applications Recover from fsync Failures?", Rebello et al., USENIX ATC 2020).
// A checkpoint at the last revision turns them on: it holds the whole state, so
// the doubtful segments are not needed any more.
//
// # The directory
//
//	LOCK                          held while the log is open
//	log.json                      format, identity, creation
//	checkpoint-REVISION-SEGMENT   the state at REVISION; segments before SEGMENT are void
//	000001.log ...                segments
//
// Files appear under a temporary name, are synced, and then renamed. Entries up
// to the checkpoint's revision may still stand in the segments; they are passed
// over. Each start begins a new segment, and first copies a segment that was not
// closed up to its last whole record: what was read may have been in memory
// only, and after a failed sync no further sync would say so.
package local
