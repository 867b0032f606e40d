package plain

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"syscall"
	"time"
)

// Log is an open file of records: length, CRC and record. One goroutine at a time may
// commit.
type Log struct {
	Delay time.Duration // added to each fdatasync
	f     *os.File
	buf   []byte
	off   int64 // next byte to write
}

const header = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open opens a file, or makes one.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return &Log{f: f}, err
}

// Replay calls yield with each record that the file holds, and appends behind them from
// then on. The slice is valid during the call.
func (l *Log) Replay(yield func(record []byte)) error {
	b, err := io.ReadAll(l.f)
	if err != nil {
		return err
	}
	for len(b) >= header {
		n := int(binary.LittleEndian.Uint32(b))
		if n == 0 || len(b) < header+n || crc32.Checksum(b[header:header+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			break
		}
		yield(b[header : header+n])
		b = b[header+n:]
		l.off += int64(header + n)
	}
	return nil
}

// Fill fills the file with zeros up to a size, so that an fdatasync has no metadata to
// write.
func (l *Log) Fill(size int64) error {
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := l.f.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return l.f.Sync()
}

// Commit appends the records in order and returns when all of them are on disk.
func (l *Log) Commit(group [][]byte) error {
	l.buf = l.buf[:0]
	for _, r := range group {
		l.buf = binary.LittleEndian.AppendUint32(l.buf, uint32(len(r)))
		l.buf = binary.LittleEndian.AppendUint32(l.buf, crc32.Checksum(r, castagnoli))
		l.buf = append(l.buf, r...)
	}
	if _, err := l.f.WriteAt(l.buf, l.off); err != nil {
		return err
	}
	l.off += int64(len(l.buf))
	if l.Delay > 0 {
		time.Sleep(l.Delay)
	}
	return syscall.Fdatasync(int(l.f.Fd()))
}

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }
