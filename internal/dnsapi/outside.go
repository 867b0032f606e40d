package dnsapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"

	"github.com/miekg/dns"
)

// outside answers a query for a name that is in none of the zones: as the upstreams
// do, if there are any.
func (h *handler) outside(b []byte, q *query) ([]byte, later) {
	if h.s.forward == nil || !q.rd() {
		return h.refused(b, q), nil
	}
	if q.limited { // to be asked again by TCP
		return h.reply(q, 0).send(b, false), nil
	}
	s, typ, limit, tcp := h.s, q.typ, q.limit, q.from.TCP
	query := passed(q)
	var cookie []byte
	if q.cookie != nil {
		cookie = s.cookies.Append(nil, q.cookie, q.from.From.Addr())
	}
	q.explain(dns.ExtendedErrorCodeNetworkError, "no upstream answers")
	broken := bytes.Clone(h.reply(q, dns.RcodeServerFailure).send(nil, false))
	return b, func(ctx context.Context) []byte {
		a, err := s.forward.Forward(ctx, query, tcp)
		if err != nil {
			s.metrics.forwarded.failed.Inc()
			a = broken
		} else {
			s.metrics.forwarded.answered.Inc()
			a = signed(a, limit, cookie)
		}
		s.metrics.count(typ, a, tcp, false)
		return a
	}
}

// passed returns a query as it is passed on: the options of EDNS are between us and
// who asked, and it takes no more bytes than who asked may have.
func passed(q *query) []byte {
	b := bytes.Clone(q.raw[:q.end])
	b[2] &= bitRD
	b[3] &= bitCD | 0x20 // and AD
	copy(b[4:headerSize], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	if !q.edns {
		return b
	}
	b[11] = 1
	b = append(b, 0, 0, byte(dns.TypeOPT))
	b = binary.BigEndian.AppendUint16(b, uint16(q.limit))
	do := byte(0)
	if q.do {
		do = 0x80
	}
	return append(b, 0, 0, do, 0, 0, 0)
}

// signed returns an answer of others with our cookie for who sent one: some do not
// believe an answer without.
func signed(a []byte, limit int, cookie []byte) []byte {
	var m dns.Msg
	if cookie == nil || m.Unpack(a) != nil {
		return a
	}
	if o := m.IsEdns0(); o != nil {
		o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(cookie)})
	}
	m.Truncate(limit)
	if b, err := m.Pack(); err == nil && len(b) <= limit {
		return b
	}
	return a
}

// mostChase is how many seconds upstreams have to complete an answer.
const mostChase = 2

// chases reports whether an answer that is a host name is completed. One of our own
// is not: upstreams would ask us.
func (h *handler) chases(q *query, host []byte) bool {
	return h.s.forward != nil && q.rd() && !q.limited && q.typ != dns.TypeCNAME && h.s.names.Parse(host).Zone == nil
}

// underWay returns for how many seconds longer than others such an answer may be kept,
// because it is sent so much later.
func (h *handler) underWay(q *query, host []byte) uint32 {
	if h.chases(q, host) {
		return mostChase
	}
	return 0
}

// chase returns what completes an answer that is a host name of elsewhere, with what
// the upstreams know of it. If they do not say, nobody can: who is given the name alone
// takes it for one without addresses.
func (h *handler) chase(q *query, so []byte, host []byte) later {
	s, typ, limit, tcp := h.s, q.typ, q.limit, q.from.TCP
	so = bytes.Clone(so)
	q.explain(dns.ExtendedErrorCodeNetworkError, "no upstream knows of its host name")
	broken := bytes.Clone(h.reply(q, dns.RcodeServerFailure).send(nil, false))
	query := make([]byte, headerSize, headerSize+len(host)+4)
	copy(query, q.raw[:2])
	query[2], query[5] = bitRD, 1
	query = append(query, host...)
	query = binary.BigEndian.AppendUint16(query, typ)
	query = append(query, 0, dns.ClassINET)
	return func(ctx context.Context) []byte {
		ctx, cancel := context.WithTimeout(ctx, seconds(mostChase))
		defer cancel()
		a, err := s.forward.Forward(ctx, query, tcp)
		switch {
		case err != nil:
			s.metrics.forwarded.failed.Inc()
			so = broken
		case a[3]&maskRcode != dns.RcodeSuccess && a[3]&maskRcode != dns.RcodeNameError:
			s.metrics.forwarded.answered.Inc()
			so = broken
		default:
			s.metrics.forwarded.answered.Inc()
			so = joined(so, a, limit)
		}
		s.metrics.count(typ, so, tcp, false)
		return so
	}
}

// joined returns an answer with the records of another's behind its own, and that what
// it points to is not there if the other says so (RFC 6604); as it was if that cannot be.
// If they do not fit, or were cut, it is cut.
func joined(so, more []byte, limit int) []byte {
	var all, others dns.Msg
	if all.Unpack(so) != nil || others.Unpack(more) != nil {
		return so
	}
	for _, rr := range others.Answer {
		switch rr.Header().Rrtype {
		case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME:
			all.Answer = append(all.Answer, rr)
		}
	}
	if others.Rcode == dns.RcodeNameError {
		all.Rcode = others.Rcode
	}
	all.Compress = true
	all.Truncated = others.Truncated
	b, err := all.Pack()
	switch {
	case err != nil:
		return so
	case len(b) > limit:
		so[2] |= bitTC
		return so
	}
	return b
}
