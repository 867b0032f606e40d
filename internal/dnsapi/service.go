package dnsapi

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// service answers a query about the instances of a service.
func (h *handler) service(b []byte, q *query, k *known) ([]byte, later) {
	near := h.place(q)
	if near == "" {
		if b, ok := h.again(b, q, &k.last); ok {
			return b, nil
		}
	}
	at := k.last.stamp.Load()
	a, err := h.resolve(k, near)
	if err != nil {
		q.subnet.scope = 0
		return h.absent(b, q, err, &k.name), nil
	}
	switch q.typ {
	case dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME:
		return h.records(b, q, k, a, at)
	case dns.TypeTXT:
		return h.texts(b, q, k, a), nil
	case dns.TypeANY:
		return h.any(b, q), nil
	}
	return h.nothing(b, q, dns.RcodeSuccess, k.name.Origin), nil
}

// mostNear is how many instances an asker is given whose place is a point: the nearest.
const mostNear = 16

// resolve finds who is meant: the instances of the first service that is known. If
// none is, but one of them may be about to be, nobody can tell.
func (h *handler) resolve(k *known, near string) (a *resolve.Answer, err error) {
	query := &h.ask // of which nothing else is ever set
	for n := range k.name.Meanings {
		m := &k.name.Meanings[n]
		query.Namespace, query.Service, query.Near, query.Limit = m.Service.Namespace, m.Service.Service, near, 0
		query.Filter = selection(m.Selection)
		if near != "" && !strings.Contains(near, ":") { // a point, from which all are near or far
			query.Limit = mostNear
		}
		if query.Filter != "" { // is there such a service at all, and who may be meant?
			all := rollcall.Query{Namespace: query.Namespace, Service: query.Service}
			every, e := h.reg.Resolve(h.s.ctx, &all)
			switch {
			case unknown(e):
				err = worse(err, e)
				continue
			case e == nil && every.View != nil && !selectable(every.View, k.name.Meanings[n].Selection):
				return nil, fmt.Errorf("%s, %w", instances(every.View.Len()), errNobody)
			case e == nil && every.Plan.Named(): // whatever that costs, anybody may make up
				return nil, fmt.Errorf("%w: a named query selects by itself", errNobody)
			}
		}
		a, e := h.reg.Resolve(h.s.ctx, query)
		if !unknown(e) {
			return a, e
		}
		err = worse(err, e)
	}
	return nil, err
}

func unknown(err error) bool {
	return errors.Is(err, rollcall.ErrNotFound) || errors.Is(err, rollcall.ErrSettling)
}

// worse returns which of two errors about what is not known says less.
func worse(a, b error) error {
	if a != nil && errors.Is(a, rollcall.ErrSettling) {
		return a
	}
	return b
}

// records answers with addresses or SRV records.
func (h *handler) records(b []byte, q *query, k *known, a *resolve.Answer, at uint64) ([]byte, later) {
	set := h.setOf(k, a)
	if set.Count(q.typ) > 0 || k.name.Port == "" && k.name.Meanings[0].Selection == "" {
		h.remember(q, k)
	}
	if set.Count(q.typ) > 0 {
		ttl := h.ttl(a)
		b = h.write(b, q, set, ttl)
		h.told(a, ttl)
		h.keep(&k.last, a, at, set, ttl)
		return b, nil
	}
	if q.typ != dns.TypeSRV && set.Count(dns.TypeA)+set.Count(dns.TypeAAAA) == 0 {
		if host, ok := set.Name(h.rand); ok {
			ttl := h.ttl(a)
			h.told(a, ttl+h.underWay(q, host))
			return h.alias(b, q, host, ttl)
		}
	}
	q.explain(dns.ExtendedErrorCodeOther, why(q, k, a, set))
	return h.nothing(b, q, dns.RcodeSuccess, k.name.Origin), nil
}

// why says how there is nothing in an answer, if anybody can be told.
func why(q *query, k *known, a *resolve.Answer, set answer.Set) string {
	if !q.edns {
		return ""
	}
	v := a.View
	if v == nil && !a.Plan.Named() {
		v = a.World.View(a.Key)
	}
	which := "none routable"
	switch {
	case set.Count(dns.TypeA)+set.Count(dns.TypeAAAA) > 0 && q.typ == dns.TypeSRV:
		which = "none routable with one port or one called " + rollcall.DefaultPort + "; _PORT._tcp. before the name says which"
	case set.Count(dns.TypeA)+set.Count(dns.TypeAAAA) > 0:
		which = "none routable with an address of this family"
	case k.name.Port != "":
		which = "none routable with the port"
	case k.name.Meanings[0].Selection != "" || len(k.name.Meanings) > 1 && a.Plan.Text() != "":
		which = errNobody.Error()
	case v != nil && v.Routable() > 0:
		which = "none routable with an address and a weight"
	}
	if v == nil {
		return which
	}
	return instances(v.Len()) + ", " + which
}

func instances(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return strconv.Itoa(n) + " instances"
}

// write appends an answer with records of a set, of which there are some.
func (h *handler) write(b []byte, q *query, set answer.Set, ttl uint32) []byte {
	begin := len(b)
	request := &h.request
	*request = answer.Request{
		Query: q.raw, Question: q.end, Type: q.typ, Limit: q.limit, TTL: ttl, RA: h.s.forward != nil, TCP: q.from.TCP, OPT: h.options(q, 0), NoTrunc: q.from.TCP,
	}
	if !q.limited {
		return set.Write(b, request, h.rand)
	}
	// One record, which is enough for who is there to ask again by TCP.
	for one := map[uint16]int{dns.TypeA: 4, dns.TypeAAAA: 16, dns.TypeSRV: shortTarget}[q.typ]; ; one *= 2 {
		request.Limit = min(q.limit, q.end+2+fixedSize+one+len(request.OPT))
		b = set.Write(b[:begin], request, h.rand)
		if b[begin+7] > 0 || request.Limit == q.limit {
			b[begin+2] |= bitTC
			return b
		}
	}
}

// shortTarget is how many bytes of data most SRV records have at most.
const shortTarget = 6 + 64

// ttl returns the time to live of an answer, in seconds: of several services, the
// shortest.
func (h *handler) ttl(a *resolve.Answer) uint32 {
	if a.View != nil {
		return h.ttlOf(a.View)
	}
	if !a.Plan.Named() {
		return h.ttlOf(a.World.View(a.Key))
	}
	least, last := uint32(math.MaxUint32), rollcall.ServiceKey{}
	for n := range a.Result.Endpoints {
		if key := a.Result.Endpoints[n].Item.Key().ServiceKey; key != last {
			last, least = key, min(least, h.ttlOf(a.World.View(key)))
		}
	}
	return least
}

func (h *handler) ttlOf(v *catalog.View) uint32 {
	ttl := h.s.o.TTL
	if v != nil {
		if set := v.Settings().DNSTTL; set != nil {
			ttl = time.Duration(*set)
		}
	}
	return uint32((ttl + time.Second - 1) / time.Second)
}

// told says of which services an answer was given, and for how long.
func (h *handler) told(a *resolve.Answer, ttl uint32) {
	if a.View != nil || !a.Plan.Named() {
		h.tell(a.Key, ttl)
		return
	}
	var seen []rollcall.ServiceKey
	last := rollcall.ServiceKey{}
next:
	for n := range a.Result.Endpoints {
		key := a.Result.Endpoints[n].Item.Key().ServiceKey
		if key == last {
			continue
		}
		last = key
		for _, s := range seen {
			if s == key {
				continue next
			}
		}
		seen = append(seen, key)
		h.tell(key, ttl)
	}
}

// alias answers with the host name of an instance, and what others know of it.
func (h *handler) alias(b []byte, q *query, host []byte, ttl uint32) ([]byte, later) {
	r := h.reply(q, 0)
	cname := &dns.CNAME{Hdr: r.head(dns.TypeCNAME, ttl), Target: shown(host)}
	r.add(sectionAnswer, cname)
	begin := len(b)
	b = r.send(b, true)
	if !h.chases(q, host) {
		return b, nil
	}
	return b, h.chase(q, b[begin:], host)
}

// any answers the query for all types there are (RFC 8482): whoever wants something
// asks for it.
func (h *handler) any(b []byte, q *query) []byte {
	r := h.reply(q, 0)
	r.add(sectionAnswer, &dns.HINFO{Hdr: r.head(dns.TypeHINFO, 3600), Cpu: "RFC8482"})
	return r.send(b, true)
}
