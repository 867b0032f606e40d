package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// plain is the limit: length, CRC and record appended to one file with one write and one
// fdatasync per group. It neither rotates nor repairs.
type plain struct {
	f     *os.File
	buf   []byte
	off   int64 // next byte to write
	delay time.Duration
}

const (
	plainHeader  = 8
	preallocStep = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openPlain(c Config) (Engine, error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &plain{f: f, delay: c.FsyncDelay}
	if c.Replay == nil {
		return p, nil
	}
	all, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	for b := all; len(b) >= plainHeader; {
		n := int(binary.LittleEndian.Uint32(b))
		if n == 0 || len(b) < plainHeader+n || crc32.Checksum(b[plainHeader:plainHeader+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			break
		}
		c.Replay(b[plainHeader : plainHeader+n])
		b = b[plainHeader+n:]
		p.off += int64(plainHeader + n)
	}
	return p, nil
}

// openPrealloc fills the file with zeros first, so that an fdatasync has no metadata to write.
func openPrealloc(c Config) (Engine, error) {
	e, err := openPlain(c)
	if err != nil || c.Replay != nil {
		return e, err
	}
	p := e.(*plain)
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < preallocStep*8; off += int64(len(zeros)) {
		if _, err := p.f.WriteAt(zeros, off); err != nil {
			return nil, err
		}
	}
	return p, p.f.Sync()
}

func (p *plain) Commit(group [][]byte) error {
	p.buf = p.buf[:0]
	for _, r := range group {
		p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(len(r)))
		p.buf = binary.LittleEndian.AppendUint32(p.buf, crc32.Checksum(r, castagnoli))
		p.buf = append(p.buf, r...)
	}
	if _, err := p.f.WriteAt(p.buf, p.off); err != nil {
		return err
	}
	p.off += int64(len(p.buf))
	if p.delay > 0 {
		time.Sleep(p.delay)
	}
	return syscall.Fdatasync(int(p.f.Fd()))
}

func (p *plain) Close() error { return p.f.Close() }
