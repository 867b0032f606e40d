package dnsapi

import (
	"context"
	"math/rand/v2"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// Bytes of answers over UDP. The larger one fits any network without fragments; on the
// loopback interface there are none.
const (
	mostUDP      = 1232
	mostLoopback = 8192
	mostTCP      = 65535
)

// How many services a handler remembers the names of, the one of a TCP connection
// less.
const (
	mostKnown    = 1 << 17
	mostKnownTCP = 1 << 8
)

// handler answers queries one after another. What it keeps is memory that is used
// again, and what the names of services mean; what these are is looked up for each
// query.
type handler struct {
	s       *Server
	reg     Registry // nil: there was none yet
	rand    *rand.Rand
	known   questions // name in lower case, and type
	hashes  []uint64  // of questions that are expected
	q       query
	room    []byte // of answers that are written record by record
	opt     []byte
	set     []byte                         // that is of no view
	tells   bool                           // the registry was told what it did not know of the answer
	noted   map[rollcall.ServiceKey]uint32 // of which services it was told, for how many seconds
	ask     rollcall.Query
	request answer.Request
}

func (s *Server) handler(r *rand.Rand) *handler {
	return &handler{s: s, rand: r, known: newQuestions()}
}

// later is the rest of an answer that takes long.
type later = func(ctx context.Context) []byte

// Answer implements [socket.Handler].
func (h *handler) Answer(b, raw []byte, from socket.Source) ([]byte, later) {
	q := &h.q
	code, ok := q.read(raw, from)
	if !ok {
		return b, nil
	}
	if code == 0 && !h.open() {
		q.explain(dns.ExtendedErrorCodeNotReady, "the log is being opened")
		code = dns.RcodeServerFailure
	}
	h.bound(q)
	begin := len(b)
	var rest later
	if code == 0 {
		b, rest = h.current(b, q)
	} else {
		b = h.reply(q, code).send(b, false)
	}
	if rest == nil {
		h.s.metrics.count(q.typ, b[begin:], from.TCP, code == dns.RcodeBadVers)
	}
	return b, rest
}

// current appends the answer to a query, so that nobody waits in vain for those who
// were told before: a barrier that begins between the look-up and [Registry.Told] does
// not know of it. What is looked up after that is as new as the barrier, if it is of the
// same services, and to be kept no longer.
func (h *handler) current(b []byte, q *query) ([]byte, later) {
	if len(h.noted) > 0 {
		clear(h.noted)
	}
	for begin := len(b); ; {
		h.tells = false
		before := h.reg.Revision()
		b, rest := h.answer(b[:begin], q)
		if !h.tells || h.reg.Revision() == before {
			return b, rest
		}
	}
}

// open reports whether there is a registry to ask.
func (h *handler) open() bool {
	if h.reg == nil {
		if reg := h.s.reg.Load(); reg != nil {
			h.reg = *reg
		}
	}
	return h.reg != nil
}

// bound says how much of an answer a source may have. One that has not shown to be
// where it says may be somebody else, whom large answers are meant to hurt.
func (h *handler) bound(q *query) {
	addr := q.from.From.Addr()
	if q.from.TCP {
		q.limit = mostTCP
		return
	}
	q.proven = len(q.cookie) > 8 && h.s.cookies.Valid(q.cookie, addr)
	q.limit = leastUDP
	switch loopback := addr.IsLoopback(); {
	case q.edns && loopback:
		q.limit = max(leastUDP, min(q.size, mostLoopback))
	case q.edns && q.proven:
		q.limit = max(leastUDP, min(q.size, mostUDP))
	}
	if !q.proven && !h.s.limiter.Allow(addr) {
		q.limited = true
		h.s.metrics.limited.Inc()
	}
}

// answer appends the answer to a query.
func (h *handler) answer(b []byte, q *query) ([]byte, later) {
	q.hash = h.known.hash(q.key)
	if k := h.known.get(q.hash, q.key); k != nil {
		return h.service(b, q, k)
	}
	n := h.s.names.Parse(q.name())
	switch n.Kind {
	case name.Service:
		return h.service(b, q, h.learn(n))
	case name.Type:
		if q.typ == dns.TypePTR {
			return h.browse(b, q, &n), nil
		}
		return h.service(b, q, h.learn(n))
	case name.Instance, name.Entry:
		return h.instance(b, q, &n)
	case name.Node:
		return h.node(b, q, &n), nil
	case name.Types, name.Domains:
		return h.listed(b, q, &n), nil
	case name.Apex, name.Host, name.Address:
		return h.fixed(b, q, &n), nil
	case name.Empty:
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin), nil
	case name.Nothing:
		return h.nothing(b, q, dns.RcodeNameError, n.Origin), nil
	case name.Reverse:
		return h.reverse(b, q, &n)
	}
	return h.outside(b, q)
}

// known is what a question about a service means.
type known struct {
	question string // as it is remembered by; "": it is not
	last     last
	name     name.Name
	zone     *zone
	terms    answer.Terms
	// key is that of the sets that hang on views, of a generation and a plan.
	key        string
	generation uint64
	plan       *resolve.Plan
}

func (h *handler) learn(n name.Name) *known {
	k := &known{name: n, zone: h.s.zone(&n)}
	k.terms = answer.Terms{Zone: k.zone.Name, Port: n.Port, Datacenter: k.zone.Datacenter}
	k.last.service = n.Meanings[0].Service
	k.last.stamp = h.reg.Stamp(k.last.service)
	return k
}

// remember keeps what a question means. It is one that has records, or about all of a
// service that is there: there is no end to what else whoever asks may make up.
func (h *handler) remember(q *query, k *known) {
	if k.question != "" {
		return
	}
	most := mostKnown
	if q.from.TCP {
		most = mostKnownTCP
	}
	h.known.put(q.hash, q.key, k, most)
}

// place says where the asker is, as far as that is known: who they ask for, if they
// say so, and else they themselves.
func (h *handler) place(q *query) string {
	if h.s.o.Places == nil {
		return ""
	}
	if s := &q.subnet; s.there && s.bits > 0 {
		s.scope = h.s.o.Places.Scope(s.addr) // also of who is nowhere: others near it may be somewhere
		near, _ := h.s.o.Places.Find(s.addr)
		return near
	}
	near, _ := h.s.o.Places.Find(q.from.From.Addr())
	return near
}
