// Package cache keeps views on disk, one file for each query, so that a client that
// finds no registry has something to begin with. A file is replaced whole or not at
// all. What was not written by this package, or is damaged, is as good as not there.
package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// File is a view as it is kept.
type File struct {
	// Query tells files apart. Another query's is as good as none.
	Query     string              `json:"query"`
	Token     rollcall.Token      `json:"token"`
	Confirmed time.Time           `json:"confirmed"` // when the registry last said so
	Instances []rollcall.Instance `json:"instances"`
}

// A file begins with magic, whose last byte is the format's, and the CRC-32C of all
// that follows: JSON.
const (
	magic    = "rollcall view\x01"
	header   = len(magic) + crc32.Size
	mostFile = 64 << 20
	keepFor  = 30 * 24 * time.Hour
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Encode returns the bytes of a file.
func Encode(f *File) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write(make([]byte, crc32.Size))
	if err := json.NewEncoder(&b).Encode(f); err != nil {
		return nil, err
	}
	if b.Len() > mostFile {
		return nil, fmt.Errorf("it would have %d MiB; %d are the most", b.Len()>>20, mostFile>>20)
	}
	binary.BigEndian.PutUint32(b.Bytes()[len(magic):], checksum(b.Bytes()[header:]))
	return b.Bytes(), nil
}

// Decode reads what Encode returned.
func Decode(b []byte) (*File, error) {
	switch {
	case len(b) < header || string(b[:len(magic)-1]) != magic[:len(magic)-1]:
		return nil, errors.New("it is not a view")
	case b[len(magic)-1] != magic[len(magic)-1]:
		return nil, fmt.Errorf("its format is %d, which this version does not know", b[len(magic)-1])
	case binary.BigEndian.Uint32(b[len(magic):]) != checksum(b[header:]):
		return nil, errors.New("its checksum is wrong")
	}
	var f File
	if err := json.Unmarshal(b[header:], &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// Dir is a directory of files, which need not exist yet. What goes wrong with it is
// logged, and otherwise as if there were none.
type Dir struct {
	Path string
	Log  *slog.Logger
}

// path returns where the file of a query is, whatever is in its text.
func (d Dir) path(query string) string {
	sum := sha256.Sum256([]byte(query))
	return filepath.Join(d.Path, hex.EncodeToString(sum[:16])+".view")
}

// Load returns what is kept of a query, nil if nothing is that can be read.
func (d Dir) Load(query string) *File {
	f, err := d.load(query)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		d.Log.Warn("a view on disk cannot be used", "file", d.path(query), "query", query, "err", err)
		return nil
	}
	return f
}

func (d Dir) load(query string) (*File, error) {
	file, err := os.Open(d.path(query))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a file")
	}
	b, err := io.ReadAll(io.LimitReader(file, mostFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > mostFile {
		return nil, fmt.Errorf("it has more than %d MiB", mostFile>>20)
	}
	f, err := Decode(b)
	if err == nil && f.Query != query {
		err = fmt.Errorf("it is that of %.200q", f.Query)
	}
	if err != nil {
		return nil, err
	}
	if now := time.Now(); f.Confirmed.After(now) { // by a clock that was ahead
		f.Confirmed = now
	}
	return f, nil
}

// Save replaces what is kept of a query.
func (d Dir) Save(f *File) {
	if err := d.save(f); err != nil {
		d.Log.Warn("a view cannot be kept on disk", "file", d.path(f.Query), "query", f.Query, "err", err)
	}
}

func (d Dir) save(f *File) (err error) {
	b, err := Encode(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(d.Path, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		file.Close()
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	if _, err := file.Write(b); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Rename(file.Name(), d.path(f.Query))
}

// Tidy removes what nobody has written for a month, and what was left half written.
func (d Dir) Tidy(now time.Time) {
	entries, _ := os.ReadDir(d.Path)
	for _, e := range entries {
		old, name := keepFor, e.Name()
		switch {
		case strings.HasPrefix(name, ".new-"):
			old = time.Hour
		case !strings.HasSuffix(name, ".view"):
			continue // it is somebody else's
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > old {
			os.Remove(filepath.Join(d.Path, name))
		}
	}
}
