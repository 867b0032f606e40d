package dnsapi

import (
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// servicesAtOnce is how many services are asked for at a time, until an answer is full.
const servicesAtOnce = 100

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }

// browse answers with the instances of a service, as DNS-SD names them; an id that is
// no label has no such name.
func (h *handler) browse(b []byte, q *query, n *name.Name) []byte {
	k := h.learn(*n)
	a, err := h.resolve(k, h.place(q))
	if err != nil {
		q.subnet.scope = 0
		return h.failed(b, q, err, n.Origin)
	}
	ttl := h.ttl(a)
	r := h.reply(q, 0)
	service := h.typeOf(q, n)
	var in []resolve.Endpoint
	var names []string
	for _, e := range h.some(q, k, a) {
		if !name.Label(e.Item.ID()) || 1+len(e.Item.ID())+len(service) > 255 {
			continue
		}
		is := shown(append(name.AppendLabels(nil, e.Item.ID()), service...))
		if !r.add(sectionAnswer, &dns.PTR{Hdr: r.head(dns.TypePTR, ttl), Ptr: is}) {
			break
		}
		in, names = append(in, e), append(names, is)
	}
	if len(in) == 0 && !r.full {
		q.explain(dns.ExtendedErrorCodeOther, why(q, k, a, nil))
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
	}
	for i, e := range in {
		if !h.describe(r, k.terms, names[i], e, ttl) {
			break
		}
	}
	h.told(a, ttl)
	return r.send(b, true)
}

// typeOf returns where the name of the service begins that a Type is about, in wire
// form: behind the selection, if there is one.
func (h *handler) typeOf(q *query, n *name.Name) []byte {
	wire := q.name()
	if n.Meanings[0].Selection != "" {
		for range 2 { // _SELECTION._sub
			wire = wire[1+int(wire[0]):]
		}
	}
	return wire
}

// describe adds all that is to be known of an instance, and reports whether it had
// room.
func (h *handler) describe(r *reply, t answer.Terms, owner string, e resolve.Endpoint, ttl uint32) bool {
	header := func(name string, typ uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
	}
	target := answer.Target(nil, e.Item, t)
	p := port(e.Item)
	ok := true
	if len(target) > 0 && p != 0 {
		ok = r.add(sectionAdditional, &dns.SRV{Hdr: header(owner, dns.TypeSRV), Priority: 1, Weight: uint16(min(int(e.Weight)*256, 65280)), Port: p, Target: shown(target)})
	}
	ok = ok && r.add(sectionAdditional, &dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: text(e.Item, true)})
	_, where := record.Place(e.Item.Record())
	addr, err := netip.ParseAddr(where)
	if !ok || err != nil || addr.Zone() != "" {
		return ok
	}
	return r.add(sectionAdditional, address(addr.Unmap(), shown(target), ttl))
}

// port returns the port that an instance is called at, 0 if it has none.
func port(i *catalog.Item) uint16 {
	if p := record.Port(i.Record(), rollcall.DefaultPort); p != 0 {
		return p
	}
	first, port := "", uint16(0)
	for name, p := range record.Ports(i.Record()) {
		if first == "" || name < first {
			first, port = name, p
		}
	}
	return port
}

// address returns a record with an address.
func address(a netip.Addr, owner string, ttl uint32) dns.RR {
	h := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: ttl}
	if a.Is4() {
		h.Rrtype = dns.TypeA
		return &dns.A{Hdr: h, A: a.AsSlice()}
	}
	h.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: h, AAAA: a.AsSlice()}
}

// listed answers where DNS-SD begins: which services there are, and in which domain.
func (h *handler) listed(b []byte, q *query, n *name.Name) []byte {
	switch q.typ {
	case dns.TypePTR:
	case dns.TypeANY:
		return h.any(b, q)
	default:
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
	}
	r := h.reply(q, 0)
	ttl := h.ttlOf(nil)
	base := q.name()[n.Base:]
	if n.Kind == name.Domains {
		r.add(sectionAnswer, &dns.PTR{Hdr: r.head(dns.TypePTR, ttl), Ptr: shown(base)})
		return r.send(b, true)
	}
	namespace := n.Namespace
	if namespace == "" {
		namespace = rollcall.DefaultNamespace
	}
	for after := ""; ; {
		all, next, err := h.reg.Services(h.s.ctx, namespace, time.Time{}, after, servicesAtOnce)
		if err != nil {
			return h.failed(b, q, err, n.Origin)
		}
		for _, s := range all {
			label := "_" + rollcall.NewServiceKey("", s.Service).Service
			if s.Instances == 0 || !name.Label(label) || len(label)+len("\x00\x04_tcp")+len(base) > 255 {
				continue
			}
			is := append(name.AppendLabels(nil, label, "_tcp"), base...)
			if r.add(sectionAnswer, &dns.PTR{Hdr: r.head(dns.TypePTR, ttl), Ptr: shown(is)}); r.full || q.limited {
				return r.send(b, true)
			}
		}
		if after = next; after == "" {
			break
		}
	}
	if r.counts[sectionAnswer] == 0 {
		// What cannot be there is "not known yet" for as long as others are about to be.
		if _, err := h.reg.Items(rollcall.ServiceKey{Namespace: namespace}); errors.Is(err, rollcall.ErrSettling) {
			return h.failed(b, q, err, n.Origin)
		}
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
	}
	return r.send(b, true)
}

// fixed answers about names that are always the same: the zone, the server, and
// addresses that are written out.
func (h *handler) fixed(b []byte, q *query, n *name.Name) []byte {
	const ttl = 3600
	r := h.reply(q, 0)
	at := n.Addr
	if n.Kind != name.Address {
		at = q.from.To.Unmap().WithZone("")
	}
	of := dns.TypeAAAA
	if at.Is4() {
		of = dns.TypeA
	}
	switch {
	case q.typ == dns.TypeANY:
		return h.any(b, q)
	case n.Kind == name.Apex && q.typ == dns.TypeSOA:
		r.soa(sectionAnswer, n.Origin)
	case n.Kind == name.Apex && q.typ == dns.TypeNS:
		ns := shown(append(name.AppendLabels(nil, "ns"), q.name()...))
		r.add(sectionAnswer, &dns.NS{Hdr: r.head(dns.TypeNS, ttl), Ns: ns})
		if at.IsValid() {
			r.add(sectionAdditional, address(at, ns, ttl))
		}
	case n.Kind != name.Apex && at.IsValid() && q.typ == of:
		r.add(sectionAnswer, address(at, r.name(), ttl))
	default:
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
	}
	return r.send(b, true)
}
