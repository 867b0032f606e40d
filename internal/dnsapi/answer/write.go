package answer

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
)

// Request is what [Set.Write] is to write.
type Request struct {
	Query    []byte // the header and the question are copied from it
	Question int    // where its question ends: 12 + name + 4
	Type     uint16 // A (1), AAAA (28) or SRV (33)
	Limit    int    // bytes of the whole message, at most 65,535
	TTL      uint32 // seconds
	RA       bool   // recursion is available
	TCP      bool   // as NoTrunc
	OPT      []byte // the complete OPT record to end with, or nil
	NoTrunc  bool   // what does not fit is left out without a word (TC): it would not fit anywhere
}

// Parts of a message, in bytes.
const (
	msgHeader = 12
	rrFixed   = 10                // type, class, TTL and length of a record, behind its name
	pointer   = 2                 // of compression
	rrHead    = pointer + rrFixed // of a record whose name is a pointer
	srvFixed  = 6                 // priority, weight and port
)

// Flags of a header, in its third and fourth byte.
const (
	flagQR, flagAA, flagTC, flagRD = 0x80, 0x04, 0x02, 0x01
	flagRA, flagCD                 = 0x80, 0x10
)

// maxPointer is the last offset that a compression pointer can name.
const maxPointer = 1<<14 - 1

// Write appends an answer to b: the header and the question as they were asked, with
// AA set and RD and CD as in the query; the records in an order drawn by weight;
// addresses of the targets of SRV records as far as they fit, each target's once; and
// the OPT record. [Set.Count] of the type must not be 0. It does not allocate if b has
// room for Limit bytes.
//
// If not all records fit, those that do are drawn by weight, and TC is set unless
// NoTrunc says otherwise. At least one is there, if any fits at all: in 512 bytes, one
// need not fit of targets and questions of more than 200 bytes. That an address of a
// target is not there is no truncation: there is a query for it.
func (s Set) Write(b []byte, q *Request, r *rand.Rand) []byte {
	room := rooms.Get().(*room)
	w := writer{b: b, begin: len(b), r: r, room: room, q: q}
	w.end = w.begin + min(q.Limit, math.MaxUint16) - len(q.OPT)
	w.b = append(w.b, q.Query[:q.Question]...)
	if t := s.of(q.Type); t == tableSRV {
		w.srv(s)
	} else if t != tables {
		w.addresses(s.table(t), bodies[t])
	}
	w.b = append(w.b, q.OPT...)
	w.header()
	rooms.Put(room)
	return w.b
}

// writer writes one message.
type writer struct {
	b                   []byte
	begin, end          int // of the message in b, the OPT record apart
	r                   *rand.Rand
	room                *room
	q                   *Request
	answers, additional int
	truncated           bool
}

func (w *writer) header() {
	h := w.b[w.begin:][:msgHeader]
	rd, cd := h[2]&flagRD, h[3]&flagCD
	h[2], h[3] = flagQR|flagAA|rd, cd
	if w.truncated && !w.q.NoTrunc && !w.q.TCP {
		h[2] |= flagTC
	}
	if w.q.RA {
		h[3] |= flagRA
	}
	if len(w.q.OPT) > 0 {
		w.additional++
	}
	binary.BigEndian.PutUint16(h[4:], 1)
	binary.BigEndian.PutUint16(h[6:], uint16(w.answers))
	binary.BigEndian.PutUint16(h[8:], 0)
	binary.BigEndian.PutUint16(h[10:], uint16(w.additional))
}

// appendHead appends what a record of the question's name has before its data.
func (w *writer) appendHead(b []byte, rtype uint16, length int) []byte {
	return w.appendFixed(binary.BigEndian.AppendUint16(b, toQuestion), rtype, length)
}

// appendFixed appends what a record has between its name and its data.
func (w *writer) appendFixed(b []byte, rtype uint16, length int) []byte {
	b = binary.BigEndian.AppendUint16(b, rtype)
	b = append(b, 0, 1) // IN
	b = binary.BigEndian.AppendUint32(b, w.q.TTL)
	return binary.BigEndian.AppendUint16(b, uint16(length))
}

// toQuestion is a pointer to the name of the question.
const toQuestion = 0xC000 | msgHeader

// addresses writes records of A or AAAA, whose data is size bytes.
func (w *writer) addresses(t table, size int) {
	k := min(t.n, max(0, w.end-len(w.b))/(rrHead+size))
	if w.truncated = k < t.n; k == 0 {
		return
	}
	var head [rrHead]byte
	w.appendHead(head[:0], w.q.Type, size)
	at := len(w.b)
	w.b = slices.Grow(w.b, k*(rrHead+size))[:at+k*(rrHead+size)]
	for _, i := range t.draw(k, true, w.r, w.room) {
		rr := w.b[at:][:rrHead+size]
		*(*[rrHead]byte)(rr) = head // not by copy, which is a call
		if size == 4 {
			*(*[4]byte)(rr[rrHead:]) = [4]byte(t.bodies[4*i:])
		} else {
			*(*[16]byte)(rr[rrHead:]) = [16]byte(t.bodies[16*i:])
		}
		at += len(rr)
	}
	w.answers = k
}

// target is what the text of a set has for an SRV record: weight and port as they are
// in the record, where in the text the target's end is, how long the address and the
// target's beginning are, and both.
type target struct {
	rdata      []byte // weight and port
	addr       []byte // of 0, 4 or 16 bytes
	head, tail []byte // the target
	shared     bool   // others have the same
}

const (
	targetFixed = 10
	// sharedAt is the byte that has the length of the address and, as a bit, whether the
	// target is shared.
	sharedAt, sharedBit = 8, 0x80
)

func targetAt(text []byte, at uint32) (t target, ok bool) {
	if uint64(at)+targetFixed > uint64(len(text)) {
		return t, false
	}
	b := text[at:]
	tail, addr, head := uint64(binary.LittleEndian.Uint32(b[4:])), int(b[sharedAt]&^sharedBit), int(b[9])
	if targetFixed+addr+head > len(b) || tail >= uint64(len(text)) || tail+1+uint64(text[tail]) > uint64(len(text)) {
		return t, false
	}
	return target{b[:4], b[targetFixed:][:addr], b[targetFixed+addr:][:head], text[tail+1:][:text[tail]], b[sharedAt]&sharedBit != 0}, true
}

func (t *target) length() int { return srvFixed + len(t.head) + len(t.tail) }

// srv writes SRV records, and the addresses of their targets behind them.
func (w *writer) srv(s Set) {
	t, _ := s.upTo(tableSRV)
	_, text := s.upTo(tableName)
	if t.n == 0 {
		return
	}
	at := len(w.b)
	least := rrHead + max(srvFixed+1, int(binary.LittleEndian.Uint16(s[leastAt:])))
	k := min(t.n, max(0, w.end-at)/least)
	order := w.targets(t, text, k)
	if len(order) == 0 && k > 0 && k < t.n {
		order = w.targets(t, text, t.n) // those that were drawn have long names
	}
	w.answers, w.truncated = len(order), len(order) < t.n
	w.hints(t, text, order, at)
}

// targets writes SRV records for the first k places, up to where one does not fit, and
// returns who has them. If the very first does not fit, it is the next that does, alone.
func (w *writer) targets(t table, text []byte, k int) []uint32 {
	if k == 0 {
		return nil
	}
	order := t.draw(k, false, w.r, w.room)
	for n, i := range order {
		if !w.target(text, binary.LittleEndian.Uint32(t.bodies[4*i:])) {
			if n > 0 {
				return order[:n]
			}
			return w.any(t, text, order[1:])
		}
	}
	return order
}

// any writes an SRV record of the first of order that fits.
func (w *writer) any(t table, text []byte, order []uint32) []uint32 {
	for n, i := range order {
		if w.target(text, binary.LittleEndian.Uint32(t.bodies[4*i:])) {
			return order[n : n+1]
		}
	}
	return nil
}

// target writes the SRV record whose text is at an offset; it reports whether it fits.
func (w *writer) target(text []byte, at uint32) bool {
	t, ok := targetAt(text, at)
	if !ok || len(w.b)+rrHead+t.length() > w.end {
		return false
	}
	b := append(w.appendHead(w.b, typeSRV, t.length()), 0, 1) // priority
	b = append(b, t.rdata...)
	w.b = append(append(b, t.head...), t.tail...)
	return true
}

// hints writes the addresses of the targets of SRV records, the first of which is at an
// index of b, as far as they fit.
func (w *writer) hints(t table, text []byte, order []uint32, at int) {
	for n, i := range order {
		tg, _ := targetAt(text, binary.LittleEndian.Uint32(t.bodies[4*i:]))
		if len(tg.addr) > 0 && !(tg.shared && told(&tg, t, text, order[:n])) && !w.hint(&tg, at-w.begin+rrHead+srvFixed) {
			return
		}
		at += rrHead + tg.length()
	}
}

// told reports whether one of the records before has the target.
func told(tg *target, t table, text []byte, before []uint32) bool {
	return slices.ContainsFunc(before, func(i uint32) bool {
		o, _ := targetAt(text, binary.LittleEndian.Uint32(t.bodies[4*i:]))
		return o.shared && bytes.Equal(o.addr, tg.addr)
	})
}

// hint writes the address of a target whose name is at an offset of the message; it
// reports whether there was room.
func (w *writer) hint(t *target, at int) bool {
	size, name := rrHead+len(t.addr), at <= maxPointer
	if !name {
		size += len(t.head) + len(t.tail) - pointer
	}
	if len(w.b)+size > w.end {
		return false
	}
	rtype := uint16(typeA)
	if len(t.addr) == 16 {
		rtype = typeAAAA
	}
	if name {
		w.b = binary.BigEndian.AppendUint16(w.b, 0xC000|uint16(at))
	} else {
		w.b = append(append(w.b, t.head...), t.tail...)
	}
	w.b = append(w.appendFixed(w.b, rtype, len(t.addr)), t.addr...)
	w.additional++
	return true
}
