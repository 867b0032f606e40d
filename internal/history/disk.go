package history

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
)

// A file begins with a magic word and the format byte; blocks follow.
const (
	fileHead    = "ROLLHIST\x01"
	segmentSize = 8 << 20
	suffix      = ".hist"
	tailName    = "tail" + suffix
	maxFile     = 64 << 20 // nothing this large was written here
)

// disk is the files of a history. It is the writer's own, but for bytes.
type disk struct {
	dir   string
	max   int64 // bytes of all files
	room  int64 // bytes of a segment
	write func(f *os.File, b []byte, at int64) error
	sync  func(f *os.File) error

	mu       sync.Mutex // guards segments, which Close may meet
	segments []*segment // oldest first
	current  *segment   // the newest of them, if it takes blocks; else nil
	next     uint64     // number of the next
	tail     tail
	bytes    atomic.Int64
	failing  bool
	buf      []byte // of the frame that is being made
	text     []byte
	packed   []byte
}

// tail is the file of the block under construction.
type tail struct {
	file  *os.File
	of    uint64         // first entry of the block it is of; 0 if it is not begun
	count int            // entries in it
	upTo  int            // bytes of the block's text in it
	log   rollcall.LogID // of the last of them
	end   int64
}

// openDisk reads what there is into h.
func openDisk(dir string, most int64, h *History) (*disk, error) {
	d := &disk{
		dir: dir, max: most, room: min(segmentSize, max(most/8, 1)), next: 1,
		write: func(f *os.File, b []byte, at int64) error { _, err := f.WriteAt(b, at); return err },
		sync:  (*os.File).Sync,
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	nums := make([]uint64, 0, len(names))
	for _, name := range names {
		if n, ok := parseName(name.Name()); ok {
			nums = append(nums, n)
		}
	}
	slices.Sort(nums)
	buf := make([]byte, 0, d.room+2*maxText)
	for _, n := range nums {
		if buf, err = d.recover(n, n == nums[len(nums)-1], buf, h); err != nil {
			h.logger.Warn("a file of history cannot be read; what it holds is missing", "file", d.path(name(n)), "err", err)
		}
		d.next = n + 1
	}
	d.recoverTail(buf, h)
	d.count()
	return d, nil
}

func name(n uint64) string { return fmt.Sprintf("%08d%s", n, suffix) }

func parseName(s string) (n uint64, ok bool) {
	_, err := fmt.Sscanf(s, "%d"+suffix, &n)
	return n, err == nil && name(n) == s
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// recover reads one segment; buf is used for that and returned.
func (d *disk) recover(n uint64, last bool, buf []byte, h *History) ([]byte, error) {
	f, err := os.OpenFile(d.path(name(n)), os.O_RDWR, 0)
	if err != nil {
		return buf, err
	}
	s := &segment{num: n, file: f}
	d.segments = append(d.segments, s)
	st, err := f.Stat()
	if err != nil {
		return buf, err
	}
	if s.end = st.Size(); s.end > maxFile {
		return buf, fmt.Errorf("it has %d bytes", s.end)
	}
	buf = slices.Grow(buf[:0], int(s.end))[:s.end]
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, s.end), buf); err != nil {
		return buf, err
	}
	if !slices.Equal(buf[:min(len(buf), len(fileHead))], []byte(fileHead)) {
		return buf, errors.New("it is of another format, or damaged at its start")
	}
	end := scan(buf, len(fileHead), func(b *block) {
		if n := len(h.blocks); n > 0 && b.first < h.blocks[n-1].end() {
			return // written once more after a failure
		}
		if n := len(h.blocks); n > 0 && h.blocks[n-1].log == b.log {
			b.log = h.blocks[n-1].log // one copy for all
		}
		b.at.seg = s
		h.blocks = append(h.blocks, b)
	})
	if !last || s.end >= d.room {
		return buf, nil
	}
	if int64(end) < s.end {
		h.logger.Warn("cutting off the end of history that was never finished", "file", f.Name(), "at", end)
		if err := f.Truncate(int64(end)); err != nil {
			return buf, err
		}
		s.end = int64(end)
	}
	d.current = s
	return buf, nil
}

// recoverTail reads what the block under construction had when it was last
// written, and ends that block, so that it goes into a segment next.
func (d *disk) recoverTail(buf []byte, h *History) {
	if n := len(h.blocks); n > 0 {
		h.begin(h.blocks[n-1].end(), h.blocks[n-1].newest())
	}
	f, err := os.Open(d.path(tailName))
	if err != nil {
		return // there is none, or it is made anew
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil || len(data) < len(fileHead) || string(data[:len(fileHead)]) != fileHead {
		return
	}
	scan(data, len(fileHead), func(b *block) {
		text, err := h.packer.unpack(b, data[b.at.off:b.at.off+int64(b.at.size)])
		if err != nil {
			return
		}
		if b.first > h.open.end() {
			h.seal()
			h.begin(b.first, b.high)
		}
		err = each(b, text, func(i int, e *Entry) {
			if b.first+uint64(i) == h.open.end() { // else it is in a segment already
				h.put(e)
			}
		})
		if err != nil {
			h.logger.Warn("the newest history is damaged", "err", err)
		}
	})
	h.seal()
}

// count adds up how large the files are.
func (d *disk) count() int64 {
	n := d.tail.end
	for _, s := range d.segments {
		n += s.end
	}
	d.bytes.Store(n)
	return n
}

// store appends blocks to segments and syncs them. done is called with those
// that are there for good and where, forget with each segment that is removed to
// make room. After an error, what was not done is to be stored again, and goes
// over what that write or sync may have left.
func (d *disk) store(p packer, blocks []*block, done func([]*block, []place), forget func(*segment)) error {
	var written []*block
	var places []place
	commit := func() error {
		if len(written) == 0 {
			return nil
		}
		if err := d.sync(d.current.file); err != nil {
			return err
		}
		last := places[len(places)-1]
		d.current.end = last.off + int64(last.size)
		d.count()
		done(written, places)
		written, places = nil, nil
		return nil
	}
	end := int64(0)
	if d.current != nil {
		end = d.current.end
	}
	for _, b := range blocks {
		d.text = append(d.text[:0], *b.raw.Load()...)
		d.packed = p.enc.EncodeAll(d.text, d.packed[:0])
		var at place
		d.buf, at = appendFrame(d.buf[:0], b, codecZstd, d.packed)
		if d.current == nil || end+int64(len(d.buf)) > d.room && end > int64(len(fileHead)) {
			if err := commit(); err != nil {
				return err
			}
			if err := d.rotate(); err != nil {
				return err
			}
			end = d.current.end
		}
		d.makeRoom(end-d.current.end+int64(len(d.buf)), forget)
		if err := d.write(d.current.file, d.buf, end); err != nil {
			return err
		}
		at.seg, at.off = d.current, at.off+end
		written, places = append(written, b), append(places, at)
		end += int64(len(d.buf))
	}
	return commit()
}

// rotate begins a segment.
func (d *disk) rotate() error {
	f, err := d.create(name(d.next), os.O_EXCL)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = &segment{num: d.next, file: f, end: int64(len(fileHead))}
	d.segments = append(d.segments, d.current)
	d.next++
	return nil
}

// create makes a file with nothing but its head, whose name is there to stay.
func (d *disk) create(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err = d.write(f, []byte(fileHead), 0); err == nil {
		err = d.syncNames()
	}
	if err != nil {
		f.Close()
		os.Remove(d.path(name))
		return nil, err
	}
	return f, nil
}

func (d *disk) syncNames() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.sync(f)
}

// makeRoom removes the oldest segments until n more bytes are within the bound.
func (d *disk) makeRoom(n int64, forget func(*segment)) {
	for d.count()+n > d.max && len(d.segments) > 1 && d.segments[0] != d.current {
		s := d.segments[0]
		forget(s)
		d.removeSegment(s)
	}
}

func (d *disk) removeSegment(s *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments = slices.DeleteFunc(d.segments, func(o *segment) bool { return o == s })
	os.Remove(s.file.Name()) // if not, it is in nobody's way but the next start's
	s.file.Close()           // a reader that is in it sees the end of history
}

// storeTail writes what the block under construction has and the tail has not.
// The blocks before it are in segments.
func (d *disk) storeTail(b *block, newest rollcall.LogID) error {
	t := &d.tail
	if t.of == b.first && t.count == b.count {
		return nil
	}
	defer d.count()
	if t.of != b.first {
		if err := d.beginTail(b); err != nil {
			return err
		}
	}
	if b.count == 0 {
		return nil
	}
	text := (*b.raw.Load())[t.upTo:]
	part := newBlock(b.first+uint64(t.count), t.log, b.high)
	part.count, part.size = b.count-t.count, len(text)
	d.text = append(d.text[:0], text...)
	d.buf, _ = appendFrame(d.buf[:0], &part, codecNone, d.text)
	if err := d.write(t.file, d.buf, t.end); err != nil {
		return err
	}
	if err := d.sync(t.file); err != nil {
		return err
	}
	t.count, t.upTo, t.log = b.count, b.size, newest
	t.end += int64(len(d.buf))
	return nil
}

// beginTail empties the tail for another block.
func (d *disk) beginTail(b *block) (err error) {
	t := &d.tail
	if t.file == nil {
		t.file, err = d.create(tailName, 0)
	}
	if err == nil {
		err = t.file.Truncate(int64(len(fileHead)))
	}
	if err != nil {
		return err
	}
	t.of, t.count, t.upTo, t.log, t.end = b.first, 0, 0, b.log, int64(len(fileHead))
	return nil
}

func (d *disk) close() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.segments {
		err = errors.Join(err, s.file.Close())
	}
	if d.tail.file != nil {
		err = errors.Join(err, d.tail.file.Close())
	}
	return err
}

// flush writes what was added and reports whether that went well. It belongs to
// the goroutine of Run.
func (h *History) flush() bool {
	h.mu.Lock()
	writing := h.waiting
	h.waiting = nil
	open, newest := h.open.finished(), h.newest
	h.mu.Unlock()

	err := h.disk.store(h.packer, writing, func(bs []*block, at []place) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, b := range bs {
			b.at = at[i]
			b.raw.Store(nil)
			h.waits -= b.size
		}
		writing = writing[len(bs):]
	}, func(s *segment) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.remove(func(b *block) bool { return b.raw.Load() == nil && b.at.seg == s })
	})
	if err == nil {
		err = h.disk.storeTail(open, newest.log)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.durable = newest
	}
	h.waiting = append(writing, h.waiting...)
	h.shed()
	h.report(err)
	return err == nil
}

// report says once that the disk takes nothing, and once that it does again.
func (h *History) report(err error) {
	d := h.disk
	switch failing := err != nil; {
	case failing && !d.failing:
		h.logger.Error("history is not written; what is new stays in memory as far as there is room", "err", err, "room", h.most)
	case !failing && d.failing:
		h.logger.Info("history is written again", "events_lost", h.lost)
	}
	d.failing = err != nil
}
