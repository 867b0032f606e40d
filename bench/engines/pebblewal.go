package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
	"github.com/prometheus/client_golang/prometheus"
)

// pebbleWAL is Pebble's write-ahead log without the database on top. Its reader wants
// each record to begin with a batch header: a sequence number that rises, and a count
// that is not zero. Here the sequence is dense, so that a gap between files shows, and
// the count is the record's place in its group, so that any record proves that the
// groups before its own were durable when it was written.
type pebbleWAL struct {
	fs     vfs.FS
	mu     sync.Mutex // native mode only: WriteRecord wants one caller at a time
	m      wal.Manager
	w      wal.Writer
	num    wal.NumWAL
	seq    uint64
	place  uint32 // of the last record in its group, from 1
	buf    []byte
	packed bool // one record per group
	trim   bool // drop, and so recycle, each file when the next one is full
}

const (
	batchHeader = 12
	// preallocate is small beside a segment: a closed file keeps what it has not used.
	preallocate = 8 << 20
)

func openPebbleWAL(c Config) (Engine, error) { return newPebbleWAL(c, &pebbleWAL{}) }

// openPebbleWALPacked puts a whole group into one record.
func openPebbleWALPacked(c Config) (Engine, error) {
	return newPebbleWAL(c, &pebbleWAL{packed: true})
}

// openPebbleWALRecycle trims as it goes, so that new files reuse the blocks of old ones.
func openPebbleWALRecycle(c Config) (Engine, error) {
	return newPebbleWAL(c, &pebbleWAL{trim: true})
}

func newPebbleWAL(c Config, p *pebbleWAL) (Engine, error) {
	p.fs = delayFS(c.FsyncDelay)
	dir := wal.Dir{FS: p.fs, Dirname: c.Dir}
	logs, err := wal.Scan(dir)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		if err := p.replay(l, c.Replay); err != nil {
			return nil, fmt.Errorf("log %s: %w", l.Num, err)
		}
		p.num = l.Num
	}
	if len(logs) > 0 {
		if err := p.settleLast(logs[len(logs)-1]); err != nil {
			return nil, err
		}
	}
	opts := wal.Options{
		Primary:         dir,
		PreallocateSize: func() int { return preallocate },
		// Without the histogram the writer never records how far it has synced, and the
		// reader cannot tell a damaged middle from a torn tail.
		FsyncLatency:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fsync"}),
		WriteWALSyncOffsets: func() bool { return true },
		Logger:              walEvents{},
		EventListener:       walEvents{},
	}
	if p.trim {
		opts.MaxNumRecyclableLogs = 2
	}
	if p.m, err = wal.Init(opts, logs); err != nil {
		return nil, err
	}
	return p, p.rotate()
}

// replay reads one file. A torn tail ends it; that this lost nothing acknowledged shows in
// the first sequence number of the next file or, in the last file, in what lies behind.
func (p *pebbleWAL) replay(l wal.LogicalLog, fn func([]byte)) error {
	r := l.OpenForRead()
	defer r.Close()
	for {
		rec, off, err := r.NextRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, record.ErrUnexpectedEOF) {
			return p.lookBehind(l, off.Physical)
		}
		if err != nil {
			return err
		}
		b := rec.(*bytes.Buffer).Bytes()
		if seq := binary.LittleEndian.Uint64(b); seq != p.seq+1 {
			return fmt.Errorf("record %d follows %d", seq, p.seq)
		}
		p.seq++
		for b = b[batchHeader:]; len(b) > 0; {
			n := binary.LittleEndian.Uint32(b)
			fn(b[4 : 4+n])
			b = b[4+n:]
		}
	}
}

// settleLast syncs the file that was being written when the process died. What was read
// from it may still be in the page cache only, and a later file must not outlive it.
func (p *pebbleWAL) settleLast(l wal.LogicalLog) error {
	fs, path := l.SegmentLocation(l.NumSegments() - 1)
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

const (
	blockSize   = 32 << 10 // a chunk never crosses a multiple of it
	maxRecord   = 1 << 20
	seqLen      = 8
	blockWindow = maxRecord + blockSize
)

// lookBehind reads the blocks after a tear. A record there whose group began after the
// torn record proves that the torn one was acknowledged: the file is damaged, not torn.
// (Pebble's own look-ahead does this by sync offsets, but v2.1.7 counts only the bytes of
// partial blocks in them, so it misses most damage when groups are large.)
func (p *pebbleWAL) lookBehind(l wal.LogicalLog, tear int64) error {
	fs, path := l.SegmentLocation(0)
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := make([]byte, batchHeader)
	for at := (tear/blockSize + 1) * blockSize; at < info.Size(); at += blockSize {
		r := newReader(record.NewReader, io.NewSectionReader(f, at, blockWindow), uint64(l.Num))
		rec, err := r.Next()
		if err != nil {
			continue
		}
		if _, err := io.ReadFull(rec, header); err != nil {
			continue
		}
		seq, place := binary.LittleEndian.Uint64(header), binary.LittleEndian.Uint32(header[seqLen:])
		if durable := seq - uint64(place); durable > p.seq {
			return fmt.Errorf("damaged after record %d at byte %d: %d records were durable", p.seq, tear, durable)
		}
	}
	return nil
}

// newReader calls record.NewReader, whose second parameter has a type of an internal package.
func newReader[N ~uint64](f func(io.Reader, N) *record.Reader, r io.Reader, n uint64) *record.Reader {
	return f(r, N(n))
}

func (p *pebbleWAL) rotate() (err error) {
	if p.w != nil {
		if _, err := p.w.Close(); err != nil {
			return err
		}
	}
	if p.trim {
		old, err := p.m.Obsolete(p.num, false)
		if err != nil {
			return err
		}
		for _, l := range old {
			if err := l.FS.Remove(l.Path); err != nil {
				return err
			}
		}
	}
	p.num++
	p.w, err = p.m.Create(p.num, 0)
	return err
}

func (p *pebbleWAL) Commit(group [][]byte) error {
	var done sync.WaitGroup
	var syncErr error
	sync := wal.SyncOptions{Done: &done, Err: &syncErr}
	done.Add(1)
	off, err := int64(0), error(nil)
	p.place = 0
	p.begin()
	for i, r := range group {
		p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(len(r)))
		p.buf = append(p.buf, r...)
		if i == len(group)-1 {
			off, err = p.w.WriteRecord(p.buf, sync, nil)
		} else if !p.packed {
			_, err = p.w.WriteRecord(p.buf, wal.SyncOptions{}, nil)
			p.begin()
		}
		if err != nil {
			return err
		}
	}
	done.Wait()
	if syncErr == nil && off >= segmentSize {
		return p.rotate()
	}
	return syncErr
}

// begin starts the next record in buf.
func (p *pebbleWAL) begin() {
	p.seq++
	p.place++
	p.buf = binary.LittleEndian.AppendUint64(p.buf[:0], p.seq)
	p.buf = binary.LittleEndian.AppendUint32(p.buf, p.place)
}

func (p *pebbleWAL) Close() error {
	_, err := p.w.Close()
	return errors.Join(err, p.m.Close())
}

// pebbleWALNative lets the log's own flush loop group the writers.
type pebbleWALNative struct{ *pebbleWAL }

func openPebbleWALNative(c Config) (Engine, error) {
	e, err := openPebbleWAL(c)
	if err != nil {
		return nil, err
	}
	return pebbleWALNative{e.(*pebbleWAL)}, nil
}

func (p pebbleWALNative) Commit(group [][]byte) error {
	var done sync.WaitGroup
	var syncErr error
	done.Add(1)
	p.mu.Lock()
	p.begin()
	p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(len(group[0])))
	p.buf = append(p.buf, group[0]...)
	off, err := p.w.WriteRecord(p.buf, wal.SyncOptions{Done: &done, Err: &syncErr}, nil)
	if err == nil && off >= segmentSize {
		err = p.rotate()
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	done.Wait()
	return syncErr
}
