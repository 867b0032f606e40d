package dnsapi

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sections of a message, as they follow each other.
const (
	sectionAnswer = iota
	sectionAuthority
	sectionAdditional
)

// reply is an answer that is written record by record. What does not fit any more is
// left out: of answers that is a truncation, of the others it is not.
type reply struct {
	h      *handler
	q      *query
	msg    []byte // the message, in a buffer of the handler's
	owner  string // the question's name, as it is shown
	end    int    // of the records
	opt    []byte
	counts [3]uint16
	names  map[string]int // where each is, for compression
	full   bool           // some answer did not fit
	whole  bool           // that is none: it would not fit anywhere
	code   int
}

// reply begins an answer with a code.
func (h *handler) reply(q *query, code int) *reply {
	r := &reply{h: h, q: q, code: code, opt: h.options(q, code)}
	r.whole = q.from.TCP
	if h.room == nil {
		h.room = make([]byte, leastRoom)
	}
	r.end = q.limit - len(r.opt)
	r.msg = append(h.room[:0], q.raw[:q.end]...)
	return r
}

// leastRoom is how many bytes a handler has for such answers until one needs more. It
// has room for any question, an OPT record and the start of a zone.
const leastRoom = 1024

// add adds a record and reports whether there was room.
func (r *reply) add(section int, rr dns.RR) bool {
	if r.q.limited && (section != sectionAnswer || r.counts[sectionAnswer] > 0) {
		return false
	}
	if r.names == nil {
		r.names = map[string]int{}
		// The name of the question is where it was, and others may refer to it.
		dns.PackDomainName(r.name(), r.h.room[:r.q.end], headerSize, r.names, true)
		copy(r.msg, r.q.raw[:r.q.end])
	}
	if r.pack(rr) {
		r.counts[section]++
		return true
	}
	if section != sectionAnswer {
		return false
	}
	r.full = true
	if t, ok := rr.(*dns.TXT); ok && r.counts[sectionAnswer] == 0 { // some of it is better than nothing
		for short := *t; len(short.Txt) > 1; {
			if short.Txt = short.Txt[:len(short.Txt)-1]; r.pack(&short) {
				r.counts[section]++
				return true
			}
		}
	}
	return false
}

func (r *reply) pack(rr dns.RR) bool {
	for len(r.msg) < r.end {
		room := r.h.room[:min(len(r.h.room), r.end)]
		end, err := dns.PackRR(rr, room, len(r.msg), r.names, true)
		if err == nil {
			r.msg = room[:end]
			return true
		}
		// What was noted of names in the part that is given up is not there.
		for name, at := range r.names {
			if at >= len(r.msg) {
				delete(r.names, name)
			}
		}
		if len(room) == r.end {
			break
		}
		r.h.room = make([]byte, 4*len(r.h.room))
		r.msg = r.h.room[:copy(r.h.room, r.msg)]
	}
	return false
}

// name returns the name of the question as it is shown.
func (r *reply) name() string {
	if r.owner == "" {
		r.owner = shown(r.q.name())
	}
	return r.owner
}

// shown returns a name in wire form as the library has it.
func shown(wire []byte) string {
	s, _, err := dns.UnpackDomainName(wire, 0)
	if err != nil {
		return "."
	}
	return s
}

// head returns what a record of the question's name begins with.
func (r *reply) head(typ uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: r.name(), Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
}

// soa adds the start of a zone, whose name is in the question: who is told that there
// is nothing may believe it for a second.
func (r *reply) soa(section, origin int) {
	const ttl = 1
	at := uint16(0xc000 | headerSize + origin)
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint16(b, at)
	b = append(b, 0, byte(dns.TypeSOA), 0, dns.ClassINET)
	b = binary.BigEndian.AppendUint32(b, ttl)
	const names = len("\x02ns") + 2 + len("\x0ahostmaster") + 2
	b = binary.BigEndian.AppendUint16(b, uint16(names+20))
	b = binary.BigEndian.AppendUint16(append(b, "\x02ns"...), at)
	b = binary.BigEndian.AppendUint16(append(b, "\x0ahostmaster"...), at)
	for _, n := range [...]uint32{uint32(r.h.reg.Revision()), 3600, 600, 86400, ttl} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	if r.q.limited && section != sectionAnswer || len(r.msg)+len(b) > r.end {
		return
	}
	r.msg = append(r.msg, b...)
	r.counts[section]++
}

// send appends the answer to b.
func (r *reply) send(b []byte, authoritative bool) []byte {
	q := r.q
	h := r.msg[:headerSize]
	h[2] = bitQR | q.raw[2]&(maskOpcode|bitRD)
	h[3] = q.raw[3]&bitCD | byte(r.code&0xf)
	if authoritative {
		h[2] |= bitAA
	}
	if r.full && !r.whole || q.limited {
		h[2] |= bitTC
	}
	if r.h.s.forward != nil {
		h[3] |= bitRA
	}
	if len(r.opt) > 0 {
		r.counts[sectionAdditional]++
	}
	asked := uint16(0)
	if q.end > headerSize {
		asked = 1
	}
	binary.BigEndian.PutUint16(h[4:], asked)
	for n, c := range r.counts {
		binary.BigEndian.PutUint16(h[6+2*n:], c)
	}
	return append(append(b, r.msg...), r.opt...)
}

// options returns the OPT record of an answer with a code, nil if the query had none.
// It is valid until the next.
func (h *handler) options(q *query, code int) []byte {
	if !q.edns {
		return nil
	}
	b := append(h.opt[:0], 0, 0, byte(dns.TypeOPT))
	b = binary.BigEndian.AppendUint16(b, mostUDP)
	b = append(b, byte(code>>4), 0, 0, 0, 0, 0)
	if q.do {
		b[7] = 0x80
	}
	if q.cookie != nil {
		b = append(b, 0, dns.EDNS0COOKIE, 0, 24)
		b = h.s.cookies.Append(b, q.cookie[:8], q.from.From.Addr())
	}
	if s := &q.subnet; s.there {
		b = append(b, 0, dns.EDNS0SUBNET, 0, byte(len(s.option)))
		at := len(b)
		b = append(b, s.option...)
		b[at+3] = byte(s.scope)
	}
	if q.text != "" && !q.limited {
		text := q.text[:min(len(q.text), mostText)]
		b = append(b, 0, dns.EDNS0EDE, 0, byte(2+len(text)))
		b = append(binary.BigEndian.AppendUint16(b, q.info), text...)
	}
	binary.BigEndian.PutUint16(b[9:], uint16(len(b)-11))
	h.opt = b
	return b
}

// mostText is how many bytes of explanation an answer has room for.
const mostText = 120
