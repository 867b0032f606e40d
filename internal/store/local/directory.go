package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

const (
	lockName     = "LOCK"
	identityName = "log.json"
	tmpSuffix    = ".tmp"
)

// directory is where a log lives.
type directory struct {
	fs   vfs.FS
	path string
}

func (d directory) file(name string) string { return d.fs.PathJoin(d.path, name) }

// privateFS makes files that only their owner may read: a log holds what
// instances say of themselves to nobody else.
type privateFS struct{ vfs.FS }

func (p privateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	if m, ok := f.(interface{ Chmod(os.FileMode) error }); ok {
		if err := m.Chmod(0o600); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (p privateFS) Unwrap() vfs.FS { return p.FS }

// lock takes the directory for this process.
func (d directory) lock() (io.Closer, error) {
	c, err := d.fs.Lock(d.file(lockName))
	if err != nil {
		return nil, fmt.Errorf("data directory %s is in use (%w): stop the other process (fuser %s shows which), "+
			"or give this one a directory of its own", d.path, err, d.file(lockName))
	}
	return c, nil
}

// write makes a file that is either there, whole and durable, or not there.
func (d directory) write(name string, content func(vfs.File) error) (err error) {
	tmp := d.file(name + tmpSuffix)
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	if err = content(f); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.fs.Rename(tmp, d.file(name))
	}
	if err != nil {
		d.fs.Remove(tmp) // if not, the next start does it
		return fmt.Errorf("write %s: %w", d.file(name), err)
	}
	return d.sync()
}

// sync makes names durable: of new files, and that of the directory's absence
// of old ones.
func (d directory) sync() error {
	f, err := d.fs.OpenDir(d.path)
	if err == nil {
		err = f.Sync()
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", d.path, err)
	}
	return nil
}

// identity is what log.json says.
type identity struct {
	Format  int            `json:"format"`
	ID      rollcall.LogID `json:"id"`
	Created time.Time      `json:"created"`
}

func newIdentity() identity {
	return identity{Format: record.Format, ID: rollcall.NewLogID(), Created: time.Now().UTC()}
}

// create makes the directory a log's, for good: its own name is made durable
// as well.
func (d directory) create(id identity) error {
	err := d.write(identityName, func(w vfs.File) error {
		b, err := json.Marshal(id)
		if err == nil {
			_, err = w.Write(append(b, '\n'))
		}
		return err
	})
	if err != nil {
		return err
	}
	return directory{d.fs, d.fs.PathDir(d.path)}.sync()
}

// readIdentity reads log.json; found is false if there is none.
func (d directory) readIdentity() (id identity, found bool, err error) {
	b, err := d.read(identityName)
	if errors.Is(err, os.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	id, err = parseIdentity(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", d.file(identityName), err)
	}
	return id, true, err
}

func (d directory) read(name string) ([]byte, error) {
	f, err := d.fs.Open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// parseIdentity reads the content of log.json.
func parseIdentity(b []byte) (id identity, err error) {
	// The format comes first: the rest may look different in another one.
	var format struct{ Format int }
	if err := json.Unmarshal(b, &format); err != nil {
		return id, fmt.Errorf("%w: %w: restore the data directory from a backup", record.ErrDamaged, err)
	}
	if format.Format > record.Format {
		return id, fmt.Errorf("the data directory has format %d and this version reads up to %d: "+
			"run the version that wrote it, or a newer one", format.Format, record.Format)
	}
	if err := json.Unmarshal(b, &id); err != nil || id.Format < 1 || !id.ID.Valid() || id.Created.IsZero() {
		return id, fmt.Errorf("%w: not the identity of a log: restore the data directory from a backup", record.ErrDamaged)
	}
	return id, nil
}

// checkpoint names a state file: the revision that it is an image of, and the
// first segment that counts besides it.
type checkpoint struct {
	at      rollcall.Revision
	segment wal.NumWAL
}

func (c checkpoint) name() string {
	return fmt.Sprintf("checkpoint-%020d-%06d", c.at, uint64(c.segment))
}

func parseCheckpointName(name string) (c checkpoint, ok bool) {
	n, err := fmt.Sscanf(name, "checkpoint-%d-%d", &c.at, (*uint64)(&c.segment))
	return c, err == nil && n == 2 && c.name() == name
}

func (c checkpoint) newer(o checkpoint) bool {
	return c.at > o.at || c.at == o.at && c.segment > o.segment
}

func segmentName(n wal.NumWAL) string { return fmt.Sprintf("%06d.log", uint64(n)) }

// listing is what a directory holds.
type listing struct {
	newest      checkpoint // zero if there is none
	checkpoints []checkpoint
	segments    []wal.NumWAL // in order
	temporary   []string
}

func (d directory) list() (l listing, err error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return l, fmt.Errorf("list %s: %w", d.path, err)
	}
	for _, name := range names {
		if c, ok := parseCheckpointName(name); ok {
			l.checkpoints = append(l.checkpoints, c)
			if c.newer(l.newest) {
				l.newest = c
			}
		}
		if num, _, ok := wal.ParseLogFilename(name); ok && segmentName(num) == name {
			l.segments = append(l.segments, num)
		}
		if strings.HasSuffix(name, tmpSuffix) {
			l.temporary = append(l.temporary, name)
		}
	}
	slices.Sort(l.segments)
	return l, nil
}
