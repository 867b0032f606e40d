package local

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is one directory on a disk that forgets what was not synced. It keeps a
// journal of everything that was done to it, from which the disk after a power
// cut at any step can be made.
type disk struct {
	mu      sync.Mutex
	files   map[string]*inode // by base name, as the running system sees them
	journal []event
	inodes  int

	// fail, if set, may refuse an operation on a file: "create", "write",
	// "sync", "rename", "syncdir".
	fail func(op, name string) error
	// lazy makes every sync a lie.
	lazy bool
	// held, if set, gets a value at each sync of a file, which then waits until
	// it takes another one.
	held chan struct{}
}

type inode struct {
	id   int
	data []byte
}

// event is a step of the journal.
type event struct {
	kind     eventKind
	inode    int
	data     []byte
	name, to string
	n        int             // of evAck and evBoot
	files    map[int][]byte  // of evBoot
	names    map[string]int  // of evBoot
	history  []historyChange // of evBoot
}

type eventKind int

const (
	evWrite eventKind = iota
	evSync
	evSyncFailed
	evCreate
	evRename
	evRemove
	evSyncDir
	evAck  // whoever asked knows of everything up to revision n
	evBoot // the system starts with these files, and runs with this history
)

// view is a disk as one process sees it, until it is killed.
type view struct {
	vfs.FS // nil: what is not here is not used
	*disk
	dead atomic.Bool
}

var errDead = errors.New("this process is dead")

func newDisk(files map[string][]byte) *disk {
	d := &disk{files: map[string]*inode{}}
	for name, data := range files {
		d.inodes++
		d.files[name] = &inode{d.inodes, slices.Clone(data)}
	}
	return d
}

func (d *disk) view() *view { return &view{disk: d} }

// do runs one operation, with the disk locked.
func (v *view) do(op, name string, do func() error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead.Load() {
		return errDead
	}
	if v.fail != nil {
		if err := v.fail(op, path.Base(name)); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return do()
}

func (v *view) Create(name string, _ vfs.DiskWriteCategory) (f vfs.File, err error) {
	name = path.Base(name)
	err = v.do("create", name, func() error {
		v.inodes++
		i := &inode{id: v.inodes}
		v.files[name] = i
		v.journal = append(v.journal, event{kind: evCreate, name: name, inode: i.id})
		f = &file{view: v, name: name, inode: i}
		return nil
	})
	return f, err
}

func (v *view) Open(name string, _ ...vfs.OpenOption) (f vfs.File, err error) {
	err = v.do("open", name, func() error {
		i := v.files[path.Base(name)]
		if i == nil {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		f = &file{view: v, name: path.Base(name), inode: i}
		return nil
	})
	return f, err
}

func (v *view) OpenDir(string) (vfs.File, error) { return &file{view: v}, nil }

func (v *view) Remove(name string) error {
	return v.do("remove", name, func() error {
		name = path.Base(name)
		if v.files[name] == nil {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		delete(v.files, name)
		v.journal = append(v.journal, event{kind: evRemove, name: name})
		return nil
	})
}

func (v *view) Rename(from, to string) error {
	return v.do("rename", from, func() error {
		from, to = path.Base(from), path.Base(to)
		v.files[to] = v.files[from]
		delete(v.files, from)
		v.journal = append(v.journal, event{kind: evRename, name: from, to: to, inode: v.files[to].id})
		return nil
	})
}

func (v *view) List(string) (names []string, err error) {
	err = v.do("list", "", func() error {
		names = slices.Sorted(maps.Keys(v.files))
		return nil
	})
	return names, err
}

func (v *view) Stat(name string) (vfs.FileInfo, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

func (v *view) MkdirAll(string, os.FileMode) error { return nil }
func (v *view) Lock(string) (io.Closer, error)     { return io.NopCloser(nil), nil }
func (v *view) PathBase(p string) string           { return path.Base(p) }
func (v *view) PathDir(p string) string            { return path.Dir(p) }
func (v *view) PathJoin(elem ...string) string     { return path.Join(elem...) }
func (v *view) Unwrap() vfs.FS                     { return nil }

// file is an open file; without an inode it is the directory.
type file struct {
	*view
	name  string
	inode *inode
	at    int64
}

func (f *file) Write(p []byte) (n int, err error) {
	err = f.do("write", f.name, func() error {
		i := f.inode
		i.data = append(i.data, p...)
		// How a flusher cuts what it writes is a matter of timing, so writes
		// without a step between them count as one.
		if n := len(f.journal); n > 0 && f.journal[n-1].kind == evWrite && f.journal[n-1].inode == i.id {
			f.journal[n-1].data = append(f.journal[n-1].data, p...)
		} else {
			f.journal = append(f.journal, event{kind: evWrite, inode: i.id, data: slices.Clone(p)})
		}
		n = len(p)
		return nil
	})
	return n, err
}

func (f *file) Sync() error {
	if f.inode == nil {
		return f.do("syncdir", "", func() error {
			if !f.lazy {
				f.journal = append(f.journal, event{kind: evSyncDir})
			}
			return nil
		})
	}
	if held := f.held; held != nil {
		held <- struct{}{}
		<-held
	}
	err := f.do("sync", f.name, func() error {
		if !f.lazy {
			f.journal = append(f.journal, event{kind: evSync, inode: f.inode.id})
		}
		return nil
	})
	if err != nil && !f.dead.Load() {
		// The pages count as clean from now on, and never reach the disk.
		f.mu.Lock()
		f.journal = append(f.journal, event{kind: evSyncFailed, inode: f.inode.id})
		f.mu.Unlock()
	}
	return err
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, at int64) (n int, err error) {
	err = f.do("read", f.name, func() error {
		n = copy(p, f.inode.data[min(at, int64(len(f.inode.data))):])
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) Stat() (vfs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return size{n: int64(len(f.inode.data))}, nil
}

func (f *file) Close() error                        { return nil }
func (f *file) SyncData() error                     { return f.Sync() }
func (f *file) SyncTo(int64) (bool, error)          { return true, f.Sync() }
func (f *file) WriteAt([]byte, int64) (int, error)  { return 0, errors.ErrUnsupported }
func (f *file) Preallocate(_, _ int64) error        { return nil }
func (f *file) Prefetch(offset, length int64) error { return nil }
func (f *file) Fd() uintptr                         { return vfs.InvalidFd }

type size struct {
	vfs.FileInfo
	n int64
}

func (s size) Size() int64 { return s.n }

// platter is what is on the disk itself after some steps of a journal, and what
// may or may not have got there.
type platter struct {
	inodes  map[int]*stored
	names   map[string]int // durable
	pending []event        // what was done to names since
}

type stored struct {
	data   []byte
	synced int
	stuck  bool // a sync failed: no later one writes it
}

func (p *platter) apply(e event) {
	switch e.kind {
	case evBoot:
		p.inodes, p.names, p.pending = map[int]*stored{}, maps.Clone(e.names), nil
		for id, data := range e.files {
			p.inodes[id] = &stored{data: slices.Clone(data), synced: len(data)}
		}
	case evWrite:
		p.inodes[e.inode].data = append(p.inodes[e.inode].data, e.data...)
	case evSync:
		if i := p.inodes[e.inode]; !i.stuck {
			i.synced = len(i.data)
		}
	case evSyncFailed:
		p.inodes[e.inode].stuck = true
	case evCreate:
		p.inodes[e.inode] = new(stored)
		p.pending = append(p.pending, e)
	case evRename, evRemove:
		p.pending = append(p.pending, e)
	case evSyncDir:
		for _, e := range p.pending {
			rename(p.names, e)
		}
		p.pending = nil
	}
}

func rename(names map[string]int, e event) {
	delete(names, e.name)
	switch e.kind {
	case evCreate:
		names[e.name] = e.inode
	case evRename:
		names[e.to] = e.inode
	}
}

// unsynced is how many bytes are on their way.
func (p *platter) unsynced() (n int) {
	for _, i := range p.inodes {
		n = max(n, len(i.data)-i.synced)
	}
	return n
}

// cut is one way in which a power cut can go.
type cut struct {
	keep  int // bytes of each write under way that got to the disk
	blank int // what is in the place of the others
	names int // which changes of names got there
	seed  uint64
}

// Kinds of blank.
const (
	short   = iota // the file ends
	zeros          // zeros: the size was written, the data not
	sectors        // some of the others did get there, too
	blanks
)

// Kinds of names.
const (
	allNames = iota
	noNames
	someNames
	nameKinds
)

// crash returns the files that are there after a power cut.
func (p *platter) crash(c cut) map[string][]byte {
	random := rand.New(rand.NewPCG(c.seed, 1))
	names := maps.Clone(p.names)
	for _, e := range p.pending {
		if c.names == allNames || c.names == someNames && random.IntN(2) == 0 {
			rename(names, e)
		}
	}
	files := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		i := p.inodes[names[name]]
		data := slices.Clone(i.data)
		keep := min(len(data), i.synced+c.keep)
		switch c.blank {
		case short:
			data = data[:keep]
		case zeros:
			clear(data[keep:])
		case sectors:
			for at := keep; at < len(data); {
				end := min(len(data), at/512*512+512)
				if random.IntN(2) == 0 {
					clear(data[at:end])
				}
				at = end
			}
		}
		files[name] = data
	}
	return files
}
