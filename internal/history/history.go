// Package history remembers what happened: who did what, when, through which
// door and why, and what stood there before. It has no images of whole states:
// a past one is made of today's by undoing what happened since.
//
// Entries are numbered and collected in a block. A full block is compressed and
// appended to a segment file; segments are removed oldest first. What the block
// under construction holds is written each second to a file of its own, the
// tail, which starts anew once that block is in a segment. Of all other blocks
// only an index is kept in memory: their times, and hashes of the services they
// tell of. A number that is missing between two blocks is a gap, whether the
// block was damaged or could never be written, so a gap needs nobody who is able
// to write it down. Nothing that is wrong with its files keeps history from
// opening: the truth is the log.
package history

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// DefaultMaxBytes is how much history is kept on disk unless configured: just
// under 200 MB.
const DefaultMaxBytes = 190 << 20

const (
	// maxWaiting bounds, in bytes, what is kept in memory while the disk takes
	// nothing, and all there is without a disk.
	maxWaiting = 64 << 20
	// writeAt is how much waits before it is written within the second.
	writeAt    = 1 << 20
	flushEvery = time.Second
)

// TypeGap is the type of an event that says that not all that happened before it
// is known.
const TypeGap = "gap"

// Entry is an event with what it takes to undo it.
type Entry struct {
	rollcall.Event
	Log rollcall.LogID // that the event's revision is of
	// Image is what stood under the event's namespace, service and ID before it;
	// "" is nothing. Of an event without ID it is what the service had of its
	// own. It is given even if the event leaves it as it was. Only its owner
	// knows what is in it.
	Image string
	// Stood, if set, tells the image in place of Image, when it is known to be needed.
	Stood Imager
}

// Imager appends an image to b. It is called while the history is locked.
type Imager interface{ AppendImage(b []byte) []byte }

// key is what an image is of: the zero service for an event about everything.
func (e *Entry) key() rollcall.Key {
	if e.Service == "" {
		return rollcall.Key{ID: e.ID}
	}
	return rollcall.NewKey(e.Namespace, e.Service, e.ID)
}

// Options configure a history.
type Options struct {
	MaxBytes int64            // on disk; 0 is DefaultMaxBytes, or 64 MiB without a disk
	Logger   *slog.Logger     // nil: nobody hears of it
	Now      func() time.Time // nil: time.Now
}

// position is how far a history goes.
type position struct {
	log rollcall.LogID
	rev rollcall.Revision
}

// deed tells the events of one revision apart.
type deed struct {
	key rollcall.Key
	typ string
}

// History is a sequence of entries. Add and Gap belong to one goroutine, as does
// Run; the other methods may be called by any.
type History struct {
	logger *slog.Logger
	now    func() time.Time
	packer packer
	disk   *disk // nil: memory only
	cache  cache
	full   chan struct{} // holds one token while much waits to be written

	mu      sync.RWMutex // guards what follows
	blocks  []*block     // oldest first. What is in the slice is never replaced: others read it without mu
	waiting []*block     // the newest of them, which are not on disk
	waits   int          // bytes of these, and of those that are being written
	most    int          // bytes that may wait
	open    draft
	newest  position
	durable position
	again   map[deed]int // events of newest that were read back, until they are added again
	scratch []byte
	image   []byte // room for one
	lost    uint64
}

// draft is the block under construction.
type draft struct {
	block
	text strings.Builder
	// Hashes of what its entries are about, some more than once.
	ofServices, ofIDs []uint32
}

// Open reads what is kept in dir/history; "" keeps it in memory alone. Only one
// process may have a directory open. What is wrong with files is logged and
// becomes a gap; an error means that there can be none.
func Open(dir string, o Options) (*History, error) {
	h := &History{logger: o.Logger, now: o.Now, full: make(chan struct{}, 1), most: maxWaiting}
	if h.logger == nil {
		h.logger = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.begin(1, never)
	if dir == "" {
		if o.MaxBytes > 0 {
			h.most = int(min(o.MaxBytes, math.MaxInt))
		}
		return h, nil
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	var err error
	if h.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if h.disk, err = openDisk(filepath.Join(dir, "history"), o.MaxBytes, h); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	h.resume()
	return h, nil
}

// Close lets go of the files. What Run has not written is lost.
func (h *History) Close() error {
	if h.disk == nil {
		return nil
	}
	h.packer.dec.Close()
	return h.disk.close()
}

// Add appends entries. It never waits for the disk. An entry that is there
// already, because it was read back after a restart, is ignored: the order of
// revisions within a log is that of their addition. An entry of another log than
// that of the one before comes after a gap.
func (h *History) Add(es ...Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range es {
		e := &es[i]
		if h.has(e) {
			continue
		}
		if e.Log != h.newest.log && h.open.end() > 1 {
			h.put(&Entry{Log: e.Log, Event: rollcall.Event{Type: TypeGap, At: e.At, Why: "another log begins"}})
		}
		h.put(e)
	}
}

// Gap records that the past before at is not known as a whole, and why. It is
// listed as an event of its own, except that without a reason nothing is missing:
// there is no past before at.
func (h *History) Gap(log rollcall.LogID, at time.Time, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := Entry{Log: log, Event: rollcall.Event{Type: TypeGap, At: at, Why: why}}
	if log == h.newest.log {
		e.Revision = h.newest.rev // so that the newest entry says how far history goes
	}
	h.put(&e)
}

// From records that a log tells what happened only from a revision and time on, if
// history does not know better. A log that begins, at revision 0, has no past before
// it was created.
func (h *History) From(log rollcall.LogID, rev rollcall.Revision, at, created time.Time) {
	was, last := h.Last()
	switch {
	case was == log && last >= rev:
	case was == "" && rev == 0:
		h.Gap(log, created, "")
	default:
		h.Gap(log, at, "what happened before is in the log no more, and was not written down")
	}
}

// Note adds an event that is not of the log, by any goroutine.
func (h *History) Note(ev rollcall.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ev.Revision = h.newest.rev
	h.put(&Entry{Event: ev, Log: h.newest.log})
}

// begins reports whether e says where history begins.
func (e *Entry) begins() bool { return e.Type == TypeGap && e.Why == "" }

// has reports whether an entry was added before. mu is held.
func (h *History) has(e *Entry) bool {
	if e.Log != h.newest.log || e.Revision == 0 || e.Revision > h.newest.rev {
		return false
	}
	if e.Revision < h.newest.rev {
		return true
	}
	if len(h.again) == 0 {
		return false
	}
	d := deed{e.key(), e.Type}
	n := h.again[d]
	if n > 0 {
		h.again[d] = n - 1
	}
	return n > 0
}

// put appends an entry to the block under construction. mu is held.
func (h *History) put(e *Entry) {
	h.scratch = appendEntry(h.scratch[:0], e, h.newest.log)
	if e.Stood != nil {
		h.image = e.Stood.AppendImage(h.image[:0])
		h.scratch = withImage(h.scratch, h.image)
	}
	if len(h.scratch) > maxEntry {
		large := len(h.scratch)
		h.scratch, h.image = nil, nil
		h.put(&Entry{Log: e.Log, Event: rollcall.Event{
			Revision: e.Revision, At: e.At, Type: TypeGap, Why: fmt.Sprintf("an event of %d bytes was too large to keep", large),
		}})
		return
	}
	if d := &h.open; d.count > 0 && d.text.Len()+len(h.scratch) > blockSize {
		h.seal()
	}
	d := &h.open
	if d.count == 0 {
		d.text.Grow(max(blockSize, len(h.scratch)))
	}
	d.text.Write(h.scratch)
	d.note(e)
	d.ofServices = indexed(d.ofServices, strings.ToLower(e.Service))
	d.ofIDs = indexed(d.ofIDs, e.ID)
	if e.Log != h.newest.log {
		h.newest, h.again = position{log: rollcall.LogID(strings.Clone(string(e.Log)))}, nil
	}
	if e.Revision > h.newest.rev {
		h.newest.rev, h.again = e.Revision, nil
	}
}

// seal ends the block under construction and begins the next. mu is held.
func (h *History) seal() {
	d := &h.open
	if d.count == 0 {
		return
	}
	b := d.finished()
	b.services, b.ids = index(d.ofServices), index(d.ofIDs)
	h.blocks = append(h.blocks, b)
	h.waiting = append(h.waiting, b)
	h.waits += b.size
	h.begin(b.end(), b.newest())
	h.shed()
	if h.disk != nil && h.waits >= writeAt {
		select {
		case h.full <- struct{}{}:
		default:
		}
	}
}

// begin starts a block. mu is held, or nobody else is there.
func (h *History) begin(first uint64, high int64) {
	h.open = draft{block: newBlock(first, h.newest.log, high), ofServices: h.open.ofServices[:0], ofIDs: h.open.ofIDs[:0]}
}

// finished returns a draft as a block, without an index.
func (d *draft) finished() *block {
	text := d.text.String()
	b := &block{first: d.first, count: d.count, log: d.log, size: len(text), min: d.min, max: d.max, high: d.high, gap: d.gap}
	b.raw.Store(&text)
	return b
}

// shed drops the oldest blocks that wait if they are too many. mu is held.
func (h *History) shed() {
	for h.waits > h.most && len(h.waiting) > 0 {
		b := h.waiting[0]
		h.waiting[0] = nil
		h.waiting = h.waiting[1:]
		h.waits -= b.size
		h.remove(func(k *block) bool { return k == b })
		if h.disk != nil {
			h.lost += uint64(b.count)
		}
	}
}

// remove takes blocks out. mu is held.
func (h *History) remove(which func(*block) bool) {
	h.blocks = slices.DeleteFunc(slices.Clone(h.blocks), which)
}

// resume finds out how far what was read back goes, and which events of its last
// revision are there.
func (h *History) resume() {
	h.newest, h.again = position{}, map[deed]int{}
	end := h.open.first
	for i := len(h.blocks) - 1; i >= 0 && h.blocks[i].end() == end; i-- {
		b := h.blocks[i]
		var of []Entry // the last revision in the block
		text, err := h.text(b)
		if err == nil {
			err = each(b, text, func(_ int, e *Entry) {
				if n := len(of); n > 0 && (of[n-1].Log != e.Log || of[n-1].Revision != e.Revision) {
					of = of[:0]
				}
				of = append(of, *e)
			})
		}
		if err != nil || len(of) == 0 {
			break
		}
		at := position{of[0].Log, of[0].Revision}
		if i == len(h.blocks)-1 {
			h.newest = position{rollcall.LogID(strings.Clone(string(at.log))), at.rev}
		} else if at != h.newest {
			break
		}
		for k := range of {
			if e := (Entry{Event: own(&of[k].Event)}); e.Type != TypeGap {
				h.again[deed{e.key(), e.Type}]++
			}
		}
		if end = b.first; len(of) < b.count {
			break
		}
	}
	h.durable, h.open.log = h.newest, h.newest.log
}

// Last returns the log and revision of the newest entry that is durable, in
// memory alone of the newest; zero if there is none. A revision may have been
// cut in the middle: it is to be added once more, and is then completed.
func (h *History) Last() (rollcall.LogID, rollcall.Revision) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.disk == nil {
		return h.newest.log, h.newest.rev
	}
	return h.durable.log, h.durable.rev
}

// Len returns how many entries are kept.
func (h *History) Len() (n int) {
	for _, b := range h.view().blocks {
		n += b.count
	}
	return n
}

// Bytes returns how large the files are; without a disk, what is in memory.
func (h *History) Bytes() int64 {
	if h.disk != nil {
		return h.disk.bytes.Load()
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return int64(h.waits + h.open.text.Len())
}

// Waiting returns how many bytes of full blocks are not on disk yet.
func (h *History) Waiting() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.waits
}

// Lost returns how many entries were dropped because the disk took none for too
// long.
func (h *History) Lost() uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.lost
}

// Run writes what was added, at least once a second, until ctx ends and the rest
// is written. It returns nil: what fails is logged and tried again.
func (h *History) Run(ctx context.Context) error {
	if h.disk == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	full := h.full
	for {
		select {
		case <-ctx.Done():
			h.flush()
			return nil
		case <-tick.C:
			full = h.full
		case <-full:
		}
		if !h.flush() {
			full = nil // one failure a second is enough
		}
	}
}
