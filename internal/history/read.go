package history

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// view is what there is at one moment.
type view struct {
	blocks []*block
	next   uint64 // number of the next entry
	high   int64  // the last stamp of all that was added
}

func (h *History) view() view {
	h.mu.RLock()
	defer h.mu.RUnlock()
	v := view{h.blocks, h.open.end(), h.open.newest()}
	if h.open.count > 0 {
		v.blocks = append(v.blocks[:len(v.blocks):len(v.blocks)], h.open.finished())
	}
	return v
}

// oldest returns the stamp back to which the past can be told: math.MaxInt64 if
// there is none.
func (v view) oldest() int64 {
	if len(v.blocks) == 0 {
		return math.MaxInt64
	}
	oldest := v.blocks[0].min
	if v.blocks[0].first > 1 {
		oldest = v.blocks[0].high
	}
	end := v.blocks[0].first
	for _, b := range v.blocks {
		if b.first != end {
			oldest = max(oldest, b.high)
		}
		oldest, end = max(oldest, b.gap), b.end()
	}
	if end != v.next {
		oldest = max(oldest, v.high)
	}
	return oldest
}

// Oldest returns the earliest time that [History.Since] can tell of; zero if
// there is none.
func (h *History) Oldest() time.Time {
	return timeOf(h.view().oldest())
}

func timeOf(stamp int64) time.Time {
	if stamp == math.MaxInt64 || stamp == never {
		return time.Time{}
	}
	return time.Unix(0, stamp).UTC()
}

// Events returns up to limit events that match f, newest first, and a cursor
// for those that follow; "" if there are none. A gap concerns all services: it
// matches by its time alone. A cursor outlives a restart; that of a page that is
// no longer kept ends the listing.
func (h *History) Events(f rollcall.EventFilter, after string, limit int) (es []rollcall.Event, next string, err error) {
	v := h.view()
	n := v.next - 1
	if after != "" {
		if n, err = strconv.ParseUint(after, 10, 64); err != nil || n >= v.next {
			return nil, "", rollcall.Invalid("after", fmt.Sprintf("%.40q is not a cursor: pass back what next said", after))
		}
	}
	f.Namespace, f.Service = strings.ToLower(f.Namespace), strings.ToLower(f.Service)
	// take adds what matches and reports whether there is room for more.
	take := func(number uint64, e *Entry) bool {
		if number > n || e.begins() || !matches(&f, &e.Event) {
			return true
		}
		if len(es) == limit {
			next = strconv.FormatUint(number, 10)
			return false
		}
		es = append(es, own(&e.Event))
		return true
	}
	end, high := v.next, v.high // of what was looked at, and before that
	for i := len(v.blocks) - 1; i >= 0; i-- {
		b := v.blocks[i]
		if b.end() != end && !take(end-1, hole(high)) {
			return es, next, nil
		}
		end, high = b.first, b.high
		if b.first > n || !concerns(b, &f) {
			continue
		}
		text, starts, err := h.cache.read(b, h.text)
		for k := len(starts) - 1; err == nil && k >= 0; k-- {
			if b.first+uint64(k) > n {
				continue
			}
			message, _, _ := cut(text[starts[k]:])
			var e Entry
			if e, err = parseEntry(message, ""); err == nil && !take(b.first+uint64(k), &e) {
				return es, next, nil
			}
		}
		if err != nil {
			h.damaged(b, err)
		}
	}
	return es, next, nil
}

// hole is the gap of missing entries, the last of which had a stamp up to high.
func hole(high int64) *Entry {
	return &Entry{Event: rollcall.Event{
		Type: TypeGap, At: timeOf(high), Why: "events are missing here: they were damaged, or could not be written",
	}}
}

// concerns reports whether a block may hold what matches f.
func concerns(b *block, f *rollcall.EventFilter) bool {
	return (b.mayHold(f.Service, f.ID) || b.gap != never) &&
		(f.Since.IsZero() || b.max >= stamp(f.Since)) &&
		(f.Until.IsZero() || b.min <= stamp(f.Until))
}

// matches takes the names in f in lower case.
func matches(f *rollcall.EventFilter, e *rollcall.Event) bool {
	return (f.Since.IsZero() || !e.At.Before(f.Since)) &&
		(f.Until.IsZero() || e.At.Before(f.Until)) &&
		(e.Type == TypeGap ||
			(f.Namespace == "" || f.Namespace == strings.ToLower(e.Namespace)) &&
				(f.Service == "" || f.Service == strings.ToLower(e.Service)) &&
				(f.ID == "" || f.ID == e.ID))
}

// own returns an event that does not hold on to the block it comes from.
func own(e *rollcall.Event) rollcall.Event {
	c := *e
	for _, s := range []*string{&c.Type, &c.Namespace, &c.Service, &c.ID, &c.By, &c.Via, &c.Why} {
		*s = strings.Clone(*s)
	}
	return c
}

// Since returns, for each thing of a service (the zero key: of everything) that
// an event with a time after t concerns, its image at t: that of the earliest
// added of those events. Entries are undone by their own times, in the order in
// which they were added: if clocks disagree, an event with a time up to t stands
// though one before it, with a time after t, is undone. The error for a time
// that cannot be told of names the field "at".
func (h *History) Since(t time.Time, service rollcall.ServiceKey) (map[rollcall.Key]string, error) {
	if t.After(h.now()) {
		return nil, rollcall.Invalid("at", "lies in the future: ask for a time that has been")
	}
	for {
		v := h.view()
		switch oldest := v.oldest(); {
		case oldest == math.MaxInt64:
			return nil, rollcall.Invalid("at", "nothing is known of the past yet: leave it out")
		case stamp(t) < oldest:
			return nil, rollcall.Invalid("at", fmt.Sprintf("the past is known back to %s: ask for that, or for a later time",
				timeOf(oldest).Format(time.RFC3339Nano)))
		}
		before, b, err := h.undo(v, t, service)
		if err == nil {
			return before, nil
		}
		h.damaged(b, err) // so the next view does not reach back so far
	}
}

// undo collects the images at t, oldest first: the first one of a key counts. If
// a block cannot be read, it returns that.
func (h *History) undo(v view, t time.Time, service rollcall.ServiceKey) (map[rollcall.Key]string, *block, error) {
	before := map[rollcall.Key]string{}
	at := stamp(t)
	names := map[rollcall.ServiceKey]rollcall.ServiceKey{} // a copy for each, not for each instance
	concerned := slices.DeleteFunc(slices.Clone(v.blocks), func(b *block) bool {
		return b.max <= at || !b.mayHold(service.Service, "")
	})
	for l := range h.ahead(concerned) {
		if l.err != nil {
			return nil, l.of, l.err
		}
		err := each(l.of, l.text, func(_ int, e *Entry) {
			if e.Type == TypeGap || stamp(e.At) <= at {
				return
			}
			key := e.key()
			if service != (rollcall.ServiceKey{}) && service != key.ServiceKey {
				return
			}
			if _, known := before[key]; known {
				return
			}
			name, known := names[key.ServiceKey]
			if !known {
				name = rollcall.ServiceKey{Namespace: strings.Clone(key.Namespace), Service: strings.Clone(key.Service)}
				names[name] = name
			}
			before[rollcall.Key{ServiceKey: name, ID: strings.Clone(key.ID)}] = strings.Clone(e.Image)
		})
		if err != nil {
			return nil, l.of, err
		}
	}
	return before, nil, nil
}

// loaded is a block with its text, or why it has none.
type loaded struct {
	of   *block
	text string
	err  error
}

// ahead yields blocks with their texts, and reads the next ones meanwhile.
func (h *History) ahead(bs []*block) iter.Seq[loaded] {
	return func(yield func(loaded) bool) {
		ready, stop := make(chan loaded, 2), make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(ready)
			for _, b := range bs {
				text, err := h.text(b)
				select {
				case ready <- loaded{b, text, err}:
				case <-stop:
					return
				}
			}
		})
		defer reading.Wait()
		defer close(stop)
		for l := range ready {
			if !yield(l) {
				return
			}
		}
	}
}

// text returns a block's entries as they are written.
func (h *History) text(b *block) (string, error) {
	if raw := b.raw.Load(); raw != nil {
		return *raw, nil
	}
	body, err := b.at.read()
	if err != nil {
		return "", err
	}
	return h.packer.unpack(b, body)
}

// each calls do with every entry of a block, which shares the memory of text,
// and its place.
func each(b *block, text string, do func(n int, e *Entry)) error {
	n := 0
	for e := (Entry{Log: b.log}); text != ""; n++ {
		message, rest, ok := cut(text)
		if !ok {
			return errMalformed
		}
		var err error
		if e, err = parseEntry(message, e.Log); err != nil {
			return err
		}
		do(n, &e)
		text = rest
	}
	if n != b.count {
		return fmt.Errorf("%w: a block of %d entries that should have %d", errMalformed, n, b.count)
	}
	return nil
}

// damaged takes a block out that could not be read, unless it was removed
// meanwhile, which is no damage.
func (h *History) damaged(b *block, err error) {
	h.mu.Lock()
	known := slices.Contains(h.blocks, b)
	if known {
		h.remove(func(k *block) bool { return k == b })
	}
	h.mu.Unlock()
	if known {
		h.logger.Warn("a block of history cannot be read; the past before it is not known any more",
			"events", b.count, "until", timeOf(b.newest()), "err", err)
	}
}

// cached is how many blocks are kept as they were read: whoever turns pages, or
// asks again, is in the same few.
const cached = 8

// cache keeps the blocks that were read last.
type cache struct {
	mu   sync.Mutex // guards what follows
	last []opened   // newest last
}

// opened is a block's text and where in it its entries start.
type opened struct {
	of     *block
	text   string
	starts []uint32
}

func (c *cache) read(b *block, read func(*block) (string, error)) (text string, starts []uint32, err error) {
	if o, ok := c.find(b); ok {
		return o.text, o.starts, nil
	}
	if text, err = read(b); err != nil {
		return "", nil, err
	}
	starts = make([]uint32, 0, min(b.count, len(text)/lengthSize))
	for rest, ok := text, true; rest != ""; {
		starts = append(starts, uint32(len(text)-len(rest)))
		if _, rest, ok = cut(rest); !ok {
			return "", nil, errMalformed
		}
	}
	if len(starts) != b.count {
		return "", nil, errMalformed
	}
	if b.raw.Load() == nil { // what is in memory is not kept twice
		c.keep(opened{b, text, starts})
	}
	return text, starts, nil
}

func (c *cache) find(b *block) (o opened, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.last, func(o opened) bool { return o.of == b })
	if i < 0 {
		return o, false
	}
	o = c.last[i]
	c.last = append(slices.Delete(c.last, i, i+1), o)
	return o, true
}

func (c *cache) keep(o opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == cached {
		c.last = slices.Delete(c.last, 0, 1)
	}
	c.last = append(c.last, o)
}
