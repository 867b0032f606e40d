package dnsapi

import (
	"errors"
	"strings"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

const (
	// mostFolded is how many instances a service may have for an id to be looked for
	// without regard to case.
	mostFolded = 4096
	// mostOn is how many instances of a node are looked at for its addresses.
	mostOn = 512
	// mostAt is how many names an address has.
	mostAt = 32
)

// instance answers where one instance is, whatever its health: the name says whom, not
// that it should be called.
func (h *handler) instance(b []byte, q *query, n *name.Name) ([]byte, later) {
	i, err := h.item(n.Meanings)
	if err != nil {
		return h.absent(b, q, err, n), nil
	}
	v, _ := h.reg.Items(i.Key().ServiceKey)
	ttl := h.ttlOf(v)
	addresses := n.Kind == name.Instance
	switch {
	case q.typ == dns.TypeANY:
		return h.any(b, q), nil
	case q.typ == dns.TypeTXT:
		r := h.reply(q, 0)
		r.add(sectionAnswer, &dns.TXT{Hdr: r.head(dns.TypeTXT, ttl), Txt: text(i, n.Kind == name.Entry)})
		h.tell(i.Key().ServiceKey, ttl)
		return r.send(b, true), nil
	case q.typ != dns.TypeSRV && !(addresses && (q.typ == dns.TypeA || q.typ == dns.TypeAAAA || q.typ == dns.TypeCNAME)):
		return h.nothing(b, q, dns.RcodeSuccess, n.Origin), nil
	}
	z := h.s.zone(n)
	one := []resolve.Endpoint{{Item: i, Weight: max(1, record.Weight(i.Terms()))}}
	set := answer.Pack(nil, one, answer.Terms{Zone: z.Name, Datacenter: z.Datacenter, Port: n.Port})
	if set.Count(q.typ) > 0 {
		h.tell(i.Key().ServiceKey, ttl)
		return h.write(b, q, set, ttl), nil
	}
	if host, ok := set.Name(h.rand); ok && q.typ != dns.TypeSRV {
		h.tell(i.Key().ServiceKey, ttl+h.underWay(q, host))
		return h.alias(b, q, host, ttl)
	}
	return h.nothing(b, q, dns.RcodeSuccess, n.Origin), nil
}

// item finds the instance that is meant: the first that is known. Names have no case,
// so an id is what was written in lower case; or else as it was written, or one that
// differs from it in case alone.
func (h *handler) item(meanings []name.Meaning) (*catalog.Item, error) {
	var err error
	for _, m := range meanings {
		i, e := h.called(m)
		if !unknown(e) {
			return i, e
		}
		err = worse(err, e)
	}
	return nil, err
}

func (h *handler) called(m name.Meaning) (*catalog.Item, error) {
	lower := strings.ToLower(m.ID)
	i, err := h.reg.Item(rollcall.Key{ServiceKey: m.Service, ID: lower})
	if unknown(err) && lower != m.ID {
		i, err = h.reg.Item(rollcall.Key{ServiceKey: m.Service, ID: m.ID})
	}
	if !unknown(err) {
		return i, err
	}
	v, e := h.reg.Items(m.Service)
	if e != nil {
		return nil, worse(e, err)
	}
	if v.Len() <= mostFolded {
		for i := range v.All() {
			if strings.EqualFold(i.ID(), m.ID) {
				return i, nil
			}
		}
	}
	return nil, err
}

// tell is [Registry.Told] in seconds.
func (h *handler) tell(key rollcall.ServiceKey, ttl uint32) {
	if was, ok := h.noted[key]; !ok || was < ttl {
		if h.noted == nil {
			h.noted = map[rollcall.ServiceKey]uint32{}
		}
		h.noted[key], h.tells = ttl, true
	}
	h.reg.Told(key, seconds(ttl))
}

// node answers with the addresses of the instances on a node.
func (h *handler) node(b []byte, q *query, n *name.Name) []byte {
	items, err := h.reg.On(n.Node, mostOn)
	if err == nil && len(items) == 0 {
		err = rollcall.ErrNotFound
	}
	if err != nil {
		return h.failed(b, q, err, n.Origin)
	}
	ttl := h.ttlOf(nil)
	switch q.typ {
	case dns.TypeA, dns.TypeAAAA:
		all := make([]resolve.Endpoint, len(items))
		for n, i := range items {
			all[n] = resolve.Endpoint{Item: i, Weight: 1}
		}
		if set := answer.Pack(nil, all, answer.Terms{Zone: h.s.zone(n).Name}); set.Count(q.typ) > 0 {
			h.tellAll(items, ttl)
			return h.write(b, q, set, ttl)
		}
	case dns.TypeTXT:
		node, _ := record.Place(items[0].Record())
		r := h.reply(q, 0)
		r.add(sectionAnswer, &dns.TXT{Hdr: r.head(dns.TypeTXT, ttl), Txt: []string{escaped(clip("node=" + node))}})
		return r.send(b, true)
	case dns.TypeANY:
		return h.any(b, q)
	}
	return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
}

// tellAll is [handler.tell] for the services of instances.
func (h *handler) tellAll(items []*catalog.Item, ttl uint32) {
	seen := map[rollcall.ServiceKey]bool{}
	for _, i := range items {
		if key := i.Key().ServiceKey; !seen[key] {
			seen[key] = true
			h.tell(key, ttl)
		}
	}
}

// reverse answers with the names of the instances that have an address. Those of
// nobody are not ours.
func (h *handler) reverse(b []byte, q *query, n *name.Name) ([]byte, later) {
	items, err := h.reg.At(n.Addr, mostAt)
	switch {
	case err != nil && !errors.Is(err, rollcall.ErrNotFound):
		return h.failed(b, q, err, 0), nil
	case len(items) == 0:
		return h.outside(b, q)
	}
	ttl := h.ttlOf(nil)
	r := h.reply(q, 0)
	if q.typ == dns.TypeANY {
		return h.any(b, q), nil
	}
	if q.typ == dns.TypePTR {
		h.rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		for _, i := range items {
			if target := answer.Target(nil, i, h.s.reverse); len(target) > 0 {
				r.add(sectionAnswer, &dns.PTR{Hdr: r.head(dns.TypePTR, ttl), Ptr: shown(target)})
			}
		}
		h.tellAll(items, ttl)
	}
	return r.send(b, true), nil
}

// texts answers with what the instances of a service say of themselves, a record each.
func (h *handler) texts(b []byte, q *query, k *known, a *resolve.Answer) []byte {
	endpoints := h.some(q, k, a)
	if len(endpoints) == 0 {
		q.explain(dns.ExtendedErrorCodeOther, why(q, k, a, nil))
		return h.nothing(b, q, dns.RcodeSuccess, k.name.Origin)
	}
	ttl := h.ttl(a)
	r := h.reply(q, 0)
	for _, e := range endpoints {
		if !r.add(sectionAnswer, &dns.TXT{Hdr: r.head(dns.TypeTXT, ttl), Txt: text(e.Item, false)}) {
			break
		}
	}
	h.told(a, ttl)
	return r.send(b, true)
}

// mostString is how long a string of a TXT record is at most.
const mostString = 255

// text returns what an instance says of itself, as KEY=VALUE. What is too long to be a
// string is left out. The form of DNS-SD begins with its version (RFC 6763, 6.7), and
// its keys have no '='.
func text(i *catalog.Item, sd bool) (all []string) {
	add := func(k, v string) {
		if s := k + "=" + v; len(s) <= mostString && k != "" && !(sd && strings.Contains(k, "=")) {
			all = append(all, escaped(s))
		}
	}
	if sd {
		add("txtvers", "1")
	}
	add("id", i.ID())
	if version := record.Version(i.Record()); version != "" {
		add("version", version)
	}
	for k, v := range record.Pairs(i.Record()) {
		if k != "id" && k != "version" && k != "txtvers" {
			add(k, v)
		}
	}
	if len(all) == 0 { // there is no record without a string (RFC 1035, 3.3.14)
		return []string{""}
	}
	return all
}

// escaped writes a string as the library wants it.
func escaped(s string) string {
	if !strings.ContainsAny(s, `\"`) {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
}

// clip cuts a string to what a TXT record has room for.
func clip(s string) string { return s[:min(len(s), mostString)] }
