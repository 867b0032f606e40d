package forward

import (
	"bytes"
	"encoding/binary"
)

// Where things are in a message (RFC 1035, 4.1).
const (
	header   = 12
	minimum  = 512  // bytes that any client takes by UDP
	largest  = 1232 // bytes that pass every network in one piece, as far as is known
	optFixed = 11   // bytes of an OPT record before its options

	typeOPT = 41

	servfail, refused = 2, 5
)

// query is a client's, read.
type query struct {
	id       [2]byte
	question []byte // name, type and class as the client wrote them
	edns, do bool   // it has an OPT record, and wants signatures (RFC 3225)
	size     int    // bytes that the client takes by UDP
	onward   []byte // what upstreams are asked; the id is to be drawn
}

// readQuery reads a query and makes what upstreams are asked of it: the same flags and
// question, and the options that are not between the client and us alone. Whatever
// is no plain question with at most an OPT record, a signed one for instance, cannot
// be passed on, because it would not be what the client sent.
func readQuery(b []byte) (q query, err error) {
	if len(b) < header || b[2]&0xfa != 0 { // an answer, another opcode, or cut
		return q, ErrQuery
	}
	additional := count(b, 10)
	if count(b, 4) != 1 || count(b, 6) != 0 || count(b, 8) != 0 || additional > 1 {
		return q, ErrQuery
	}
	end := questionEnd(b)
	if end < 0 {
		return q, ErrQuery
	}
	q = query{id: [2]byte(b), question: bytes.Clone(b[header:end]), size: minimum}
	q.onward = append(make([]byte, 0, len(b)), b[:end]...)
	q.onward[3] &= 0x30 // AD and CD; what else there is belongs to answers
	if additional == 0 {
		if end != len(b) {
			return q, ErrQuery
		}
		return q, nil
	}
	r, ok := readRecord(b, end)
	if !ok || r.kind != typeOPT || b[end] != 0 || r.end != len(b) {
		return q, ErrQuery
	}
	q.edns, q.do, q.size = true, b[end+7]&0x80 != 0, max(minimum, r.class)
	if q.onward, ok = appendOPT(q.onward, b[end:], min(q.size, largest)); !ok {
		return q, ErrQuery
	}
	return q, nil
}

// questionEnd returns the offset behind the question of a message, whose name is not
// compressed, or -1 if there is none.
func questionEnd(b []byte) int {
	at := header
	for at < len(b) && b[at] != 0 && b[at] < 64 {
		at += 1 + int(b[at])
	}
	if at+5 > len(b) || b[at] != 0 || at-header >= 255 {
		return -1
	}
	return at + 5
}

// record is where a record of a message is.
type record struct {
	kind, class int
	data, end   int // of its data
}

// readRecord reads the record at an offset of a message.
func readRecord(b []byte, at int) (r record, ok bool) {
	at = skipName(b, at)
	if at < 0 || at+10 > len(b) {
		return r, false
	}
	r = record{kind: count(b, at), class: count(b, at+2), data: at + 10}
	r.end = r.data + count(b, at+8)
	return r, r.end <= len(b)
}

// skipName returns the offset behind the name at an offset, or -1 if there is none.
// The name that a pointer leads to is not looked at.
func skipName(b []byte, at int) int {
	for at < len(b) {
		switch n := int(b[at]); {
		case n == 0:
			return at + 1
		case n < 64:
			at += 1 + n
		case n >= 192 && at+2 <= len(b) && count(b, at)&0x3fff < at:
			return at + 2
		default:
			return -1
		}
	}
	return -1
}

func count(b []byte, at int) int { return int(binary.BigEndian.Uint16(b[at:])) }

func setCount(b []byte, at, n int) { binary.BigEndian.PutUint16(b[at:], uint16(n)) }

// appendOPT appends the OPT record that b begins with, one that was read, with
// another size and without what is between two neighbours alone; false if its options
// are not well formed.
func appendOPT(to, b []byte, size int) ([]byte, bool) {
	at := len(to)
	to = append(to, b[:optFixed]...)
	setCount(to, at+3, size)
	options := b[optFixed:][:count(b, 9)]
	for len(options) > 0 {
		n := firstOption(options)
		if n < 0 {
			return to, false
		}
		if !neighbourly(count(options, 0)) {
			to = append(to, options[:n]...)
		}
		options = options[n:]
	}
	setCount(to, at+9, len(to)-at-optFixed)
	return to, true
}

// firstOption returns the length of the option that options begin with, or -1 if it is
// not well formed.
func firstOption(options []byte) int {
	if len(options) < 4 || 4+count(options, 2) > len(options) {
		return -1
	}
	return 4 + count(options, 2)
}

// neighbourly reports whether an option is about the way between two neighbours, so
// that it is not for the next: a cookie (RFC 7873), which would tell one server what
// a client is known by at another, how long a connection is kept (RFC 7828), and
// padding (RFC 7830). The client's subnet is for all (RFC 7871).
func neighbourly(option int) bool { return option == 10 || option == 11 || option == 12 }

// answers reports whether a message may be the answer to a query that was sent with an
// id: everything is where its header says, and the question is the one that was
// asked byte by byte. Of one that is cut, what follows the question may be missing.
func (q *query) answers(b []byte, id [2]byte) bool {
	if len(b) < header+len(q.question) || [2]byte(b) != id || b[2]&0xf8 != 0x80 || count(b, 4) != 1 ||
		!bytes.Equal(b[header:][:len(q.question)], q.question) {
		return false
	}
	if truncated(b) {
		return true
	}
	_, ok := q.walk(b)
	return ok
}

// tail is where the OPT record of an answer is.
type tail struct {
	opt, end int // offsets; opt is 0 if there is none
	before   int // records of the additional section before it
}

// walk goes through the records of an answer; false if they are not what its header
// says, or if there is more than one OPT record, or one elsewhere or not well formed.
func (q *query) walk(b []byte) (t tail, ok bool) {
	first := count(b, 6) + count(b, 8)
	at := header + len(q.question)
	for i := range first + count(b, 10) {
		r, ok := readRecord(b, at)
		if !ok {
			return t, false
		}
		if r.kind == typeOPT {
			if i < first || t.opt != 0 || b[at] != 0 {
				return t, false
			}
			for options := b[r.data:r.end]; len(options) > 0; {
				n := firstOption(options)
				if n < 0 {
					return t, false
				}
				options = options[n:]
			}
			t = tail{opt: at, end: r.end, before: i - first}
		}
		at = r.end
	}
	return t, at == len(b)
}

// forClient makes an upstream's answer the client's: its id, an OPT record only if it
// sent one, and no options that were meant for us. If that takes something out, the
// additional records behind the OPT go as well, since their names may point past it.
// One that is cut keeps the records it has: some clients make do with them. The answer
// is changed.
func (q *query) forClient(b []byte) []byte {
	copy(b, q.id[:])
	t, ok := q.walk(b)
	switch {
	case !ok || truncated(b) && count(b, 6) == 0: // if not ok, it is cut within a record
		return q.cut(b)
	case t.opt == 0:
		return b
	case !q.edns:
		setCount(b, 10, t.before)
		return b[:t.opt]
	}
	opt, _ := appendOPT(nil, b[t.opt:t.end], largest)
	if len(opt) == t.end-t.opt {
		copy(b[t.opt:], opt)
		return b
	}
	setCount(b, 10, t.before+1)
	return append(b[:t.opt], opt...)
}

// fit returns an answer that was made the client's, or if it is larger than the client
// takes by UDP the one that says to come by TCP.
func (q *query) fit(b []byte) []byte {
	if len(b) <= q.size {
		return b
	}
	return q.cut(b)
}

// cut returns an answer without records and marked as cut.
func (q *query) cut(b []byte) []byte {
	b = bytes.Clone(b[:header+len(q.question)])
	b[2] |= 0x02
	clear(b[6:header])
	if q.edns {
		b = append(b, 0, 0, typeOPT, largest>>8, largest&0xff, 0, 0, 0, 0, 0, 0)
		if q.do {
			b[len(b)-4] = 0x80
		}
		setCount(b, 10, 1)
	}
	return b
}

func truncated(b []byte) bool { return b[2]&0x02 != 0 }

func rcode(b []byte) int { return int(b[3] & 0x0f) }
