package dnsapi

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall/internal/dnsapi/limit"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

// Sizes of parts of a message, in bytes.
const (
	headerSize = 12
	fixedSize  = 10 // of a record, behind its name
	leastUDP   = 512
)

// Bits of a header, in its third and fourth byte.
const (
	bitQR, bitAA, bitTC, bitRD = 0x80, 0x04, 0x02, 0x01
	bitRA, bitCD               = 0x80, 0x10
	maskOpcode                 = 0x78
	maskRcode                  = 0x0f
)

// query is a query as it was read.
type query struct {
	raw  []byte
	from socket.Source
	end  int // where its question ends; headerSize if that is not to be echoed
	typ  uint16
	key  []byte // the question's name in lower case, and its type
	hash uint64 // of key

	edns   bool
	size   int // bytes of UDP that the asker can take
	do     bool
	cookie []byte // what came of it; nil: none
	proven bool   // by a cookie, to be where it says
	subnet subnet

	limited bool // the answer is to be as small as can be
	limit   int  // bytes of the answer
	text    string
	info    uint16 // code of text, an extended error (RFC 8914); text "": none
}

// subnet is an EDNS Client Subnet (RFC 7871).
type subnet struct {
	there  bool
	option []byte // without the scope: family, length, 0, address
	addr   netip.Addr
	bits   int // that the asker told
	scope  int // that the answer is good for
}

// name returns the name of the question, in wire form.
func (q *query) name() []byte { return q.raw[headerSize : q.end-4] }

// rd reports whether recursion is desired.
func (q *query) rd() bool { return q.raw[2]&bitRD != 0 }

// read reads a query. It reports false for what is to have no answer at all; the code
// is what is wrong with it, 0 if nothing is.
func (q *query) read(raw []byte, from socket.Source) (code int, ok bool) {
	if len(raw) < headerSize || raw[2]&bitQR != 0 {
		return 0, false
	}
	*q = query{raw: raw, from: from, end: headerSize, key: q.key[:0]}
	counts := [4]int{}
	for n := range counts {
		counts[n] = int(binary.BigEndian.Uint16(raw[4+2*n:]))
	}
	asked := counts[0] == 1 && q.question()
	switch {
	case raw[2]&maskOpcode != 0:
		return dns.RcodeNotImplemented, true
	case !asked:
		return dns.RcodeFormatError, true
	}
	if code := q.records(counts[1]+counts[2], counts[3]); code != 0 {
		return code, true
	}
	class := binary.BigEndian.Uint16(raw[q.end-2:])
	switch {
	case q.typ == dns.TypeAXFR || q.typ == dns.TypeIXFR:
		return dns.RcodeNotImplemented, true
	case class != dns.ClassINET:
		q.explain(dns.ExtendedErrorCodeNotSupported, "only the class IN is answered for")
		return dns.RcodeRefused, true
	}
	return 0, true
}

// question reads the question. Its name cannot be compressed: nothing is before it.
func (q *query) question() bool {
	at := headerSize
	for at < len(q.raw) && q.raw[at] != 0 {
		if q.raw[at] > 63 {
			return false
		}
		at += 1 + int(q.raw[at])
	}
	if at++; at-headerSize > 255 || at+4 > len(q.raw) {
		return false
	}
	q.end = at + 4
	q.typ = binary.BigEndian.Uint16(q.raw[at:])
	q.key = append(name.Lower(q.key, q.raw[headerSize:at]), q.raw[at:at+2]...)
	return true
}

// records reads the others sections, of which only the OPT record says anything.
func (q *query) records(others, additional int) (code int) {
	at := q.end
	for n := range others + additional {
		begin := at
		var ok bool
		if at, ok = skipName(q.raw, at); !ok || at+fixedSize > len(q.raw) {
			return dns.RcodeFormatError
		}
		fixed := q.raw[at:][:fixedSize]
		if at += fixedSize + int(binary.BigEndian.Uint16(fixed[8:])); at > len(q.raw) {
			return dns.RcodeFormatError
		}
		if binary.BigEndian.Uint16(fixed) != dns.TypeOPT {
			continue
		}
		if n < others || q.edns || q.raw[begin] != 0 {
			return dns.RcodeFormatError
		}
		q.edns, q.size, q.do = true, int(binary.BigEndian.Uint16(fixed[2:])), fixed[6]&0x80 != 0
		if !q.options(q.raw[begin+1+fixedSize : at]) {
			code = dns.RcodeFormatError
		}
		if fixed[5] != 0 {
			code = dns.RcodeBadVers
		}
	}
	return code
}

// skipName returns where a name ends, which may be compressed.
func skipName(b []byte, at int) (int, bool) {
	for at < len(b) {
		switch size := b[at]; {
		case size == 0:
			return at + 1, true
		case size >= 0xc0:
			return at + 2, at+2 <= len(b)
		case size > 63:
			return 0, false
		}
		at += 1 + int(b[at])
	}
	return 0, false
}

// options reads those of an OPT record. It reports false if one is not as it must be.
func (q *query) options(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		code, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+size {
			return false
		}
		data := b[4 : 4+size]
		b = b[4+size:]
		switch code {
		case dns.EDNS0COOKIE:
			if !limit.Formed(data) {
				return false
			}
			if q.cookie == nil {
				q.cookie = data
			}
		case dns.EDNS0SUBNET:
			if !q.subnet.there && !q.subnet.read(data) {
				return false
			}
		}
	}
	return true
}

func (s *subnet) read(b []byte) bool {
	if len(b) < 4 || b[3] != 0 {
		return false
	}
	whole := map[uint16]int{1: 4, 2: 16}[binary.BigEndian.Uint16(b)]
	bits, addr := int(b[2]), b[4:]
	if whole == 0 || bits > 8*whole || len(addr) != (bits+7)/8 {
		return false
	}
	var all [16]byte
	copy(all[:], addr)
	a, _ := netip.AddrFromSlice(all[:whole])
	if p, err := a.Prefix(bits); err != nil || p.Addr() != a {
		return false // bits are set behind those that count
	}
	*s = subnet{there: true, option: b, addr: a, bits: bits}
	return true
}

// explain says why an answer is what it is, to whoever can be told.
func (q *query) explain(code uint16, text string) { q.info, q.text = code, text }
