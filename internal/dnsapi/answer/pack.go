package answer

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// Terms say how endpoints become records.
type Terms struct {
	// Zone is the one that targets are in, as in "rollcall."; its labels have no escapes.
	Zone string
	// Port is the name of the port that records are of; instances without it have none.
	// "" is [rollcall.DefaultPort] where an instance has that, else the only one: with
	// several others, an instance has no SRV record.
	Port string
	// Datacenter, if not empty, makes targets those of Consul, with it before the zone.
	Datacenter string
}

// Longest names and labels in wire form and without, in bytes (RFC 1035, 2.3.4).
const (
	maxName  = 255
	maxLabel = 63
)

// Pack appends the set of endpoints to b, which it returns the new part of. Endpoints of
// weight 0 are left out, as are those without an address, without the port that is
// named and, of SRV records, without a port. An IPv6 address with a zone means nothing elsewhere: it counts as
// none.
func Pack(b []byte, endpoints []resolve.Endpoint, t Terms) Set {
	p := packer{
		terms: namesOf(t), addresses: make(map[netip.Addr]int, len(endpoints)), suffixes: map[string]uint32{"": 0}, shared: map[netip.Addr]int{},
		text: make([]byte, 1, 1+32*len(endpoints)), least: math.MaxUint16,
	}
	for n := range endpoints {
		if e := &endpoints[n]; e.Weight > 0 {
			p.max = max(p.max, e.Weight)
			p.add(e.Item, uint32(e.Weight))
		}
	}
	return p.set(b)
}

// packer makes a set.
type packer struct {
	terms     names
	max       uint16 // of the weights
	addresses map[netip.Addr]int
	suffixes  map[string]uint32 // where in the text each is
	weights   [tables][]uint32
	bodies    [tables][]byte
	text      []byte
	head      []byte             // of the target that is being written
	shared    map[netip.Addr]int // where in the text the first record is whose target is this address
	least     int                // bytes of an SRV record's data
}

func (p *packer) add(i *catalog.Item, weight uint32) {
	_, text := record.Place(i.Record())
	addr, host := place(text)
	port := p.terms.port(i.Record())
	switch {
	case port == 0 && p.terms.name != "":
		return
	case addr.IsValid():
		p.address(addr, weight)
	case host != nil:
		p.point(tableName, weight)
		p.text = append(append(p.text, byte(len(host))), host...)
	default:
		return
	}
	if port != 0 {
		p.target(i, addr, host, port, weight)
	}
}

// address adds a record of A or AAAA, or to the weight of the one there is.
func (p *packer) address(a netip.Addr, weight uint32) {
	t := tableA
	if a.Is6() {
		t = tableAAAA
	}
	if n, ok := p.addresses[a]; ok {
		w := &p.weights[t][n]
		*w = uint32(min(uint64(*w)+uint64(weight), math.MaxUint32))
		return
	}
	p.addresses[a] = len(p.weights[t])
	p.weights[t] = append(p.weights[t], weight)
	p.bodies[t] = appendAddr(p.bodies[t], a)
}

// point adds a record whose body is what comes next in the text.
func (p *packer) point(t int, weight uint32) {
	p.weights[t] = append(p.weights[t], weight)
	p.bodies[t] = binary.LittleEndian.AppendUint32(p.bodies[t], uint32(len(p.text)))
}

// target adds an SRV record. Its text is that of a [target].
func (p *packer) target(i *catalog.Item, addr netip.Addr, host []byte, port uint16, weight uint32) {
	head, suffix := host, ""
	if host == nil {
		head, suffix = p.terms.target(p.head[:0], i, addr)
		p.head = head
	}
	if len(head) == 0 {
		return
	}
	at, ok := p.suffixes[suffix]
	if !ok {
		at = uint32(len(p.text))
		p.suffixes[suffix] = at
		p.text = append(append(p.text, byte(len(suffix))), suffix...)
	}
	p.least = min(p.least, srvFixed+len(head)+len(suffix))
	p.point(tableSRV, weight)
	here := len(p.text)
	p.text = binary.BigEndian.AppendUint16(p.text, uint16(weight)) // see scale
	p.text = binary.BigEndian.AppendUint16(p.text, port)
	p.text = binary.LittleEndian.AppendUint32(p.text, at)
	p.text = append(p.text, byte(addr.BitLen()/8), byte(len(head)))
	p.text = append(appendAddr(p.text, addr), head...)
	if suffix == p.terms.addresses {
		p.share(addr, here)
	}
}

// share marks records whose target is the target of others, too.
func (p *packer) share(addr netip.Addr, here int) {
	first, ok := p.shared[addr]
	if !ok {
		p.shared[addr] = here
		return
	}
	p.text[first+sharedAt] |= sharedBit
	p.text[here+sharedAt] |= sharedBit
}

// scale makes the weights of SRV records 256 times the effective ones, because HAProxy
// divides by that; if the largest would not fit, all are scaled so that it is 65280.
// They are not less than 1, which would be "none".
func (p *packer) scale() {
	for n := range p.weights[tableSRV] {
		w := p.text[binary.LittleEndian.Uint32(p.bodies[tableSRV][4*n:]):]
		weight := uint32(binary.BigEndian.Uint16(w)) * 256
		if p.max > 255 {
			weight = max(1, uint32(binary.BigEndian.Uint16(w))*65280/uint32(p.max))
		}
		binary.BigEndian.PutUint16(w, uint16(weight))
	}
}

func (p *packer) set(b []byte) Set {
	p.scale()
	begin, size := len(b), header+len(p.text)
	for t, ws := range p.weights {
		size += 4*len(ws) + len(p.bodies[t])
	}
	b = slices.Grow(b, size)
	var even byte
	for t, ws := range p.weights {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(ws)))
		if isEven(ws) {
			even |= 1 << t
		}
	}
	b = append(b, even, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(p.least))
	for t, ws := range p.weights {
		for _, w := range ws {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		if hasOdds(len(ws), even>>t&1 == 1) {
			b = appendOdds(b, ws)
		}
		b = append(b, p.bodies[t]...)
	}
	b = append(b, p.text...)
	return Set(b[begin:len(b):len(b)])
}

// appendAddr appends the bytes of an address; none if it is invalid.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		ip := a.As4()
		return append(b, ip[:]...)
	case a.Is6():
		ip := a.As16()
		return append(b, ip[:]...)
	}
	return b
}

// place reads the address of a registration: an IP address or a host name in wire form.
func place(text string) (netip.Addr, []byte) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, wire(text)
	case a.Zone() != "":
		return netip.Addr{}, nil
	}
	return a.Unmap(), nil
}

// wire returns a host name in wire form; nil if it has none.
func wire(host string) []byte {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxName-2 {
		return nil
	}
	b := make([]byte, 0, len(host)+2)
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return nil
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// names are terms in wire form.
type names struct {
	name      string // of the port
	consul    bool
	instances string // "instance" and what follows it
	addresses string // "addr" and what follows it
	service   rollcall.ServiceKey
	suffix    string // of the service's instances, kept from the one before
}

func namesOf(t Terms) names {
	zone := "\x00"
	if w := wire(t.Zone); w != nil {
		zone = string(w)
	}
	n := names{name: t.Port, consul: t.Datacenter != "", instances: "\x08instance" + zone, addresses: "\x04addr" + zone}
	if n.consul {
		dc := wire(t.Datacenter)
		n.addresses = "\x04addr" + string(dc[:max(0, len(dc)-1)]) + zone
	}
	return n
}

// Target appends the name that SRV records of an instance point to, in wire form:
// ID.SERVICE.instance.ZONE, with the namespace behind the service unless it is the
// default one. Where one of them is no lower-case label of letters, digits, '-' and
// '_', where that would be too long, or in Consul's form, it is HEX.addr.ZONE instead. An
// instance with a host name has that; one without either has none, and b is returned
// as it is.
func Target(b []byte, i *catalog.Item, t Terms) []byte {
	_, text := record.Place(i.Record())
	addr, host := place(text)
	if host != nil {
		return append(b, host...)
	}
	if !addr.IsValid() {
		return b
	}
	n := namesOf(t)
	b, suffix := n.target(b, i, addr)
	return append(b, suffix...)
}

// target appends the labels of an instance's target that are its own, and returns
// those it shares with others. There are none if the zone is too long.
func (n *names) target(b []byte, i *catalog.Item, addr netip.Addr) ([]byte, string) {
	if id := i.ID(); !n.consul && plain(id) {
		if key := i.Key().ServiceKey; n.service != key {
			n.service, n.suffix = key, n.of(key)
		}
		if n.suffix != "" && 1+len(id)+len(n.suffix) <= maxName {
			return append(append(b, byte(len(id))), id...), n.suffix
		}
	}
	digits := addr.BitLen() / 4
	if 1+digits+len(n.addresses) > maxName {
		return b, ""
	}
	var a [16]byte
	return hex.AppendEncode(append(b, byte(digits)), appendAddr(a[:0], addr)), n.addresses
}

// of returns what the targets of a service's instances end with; "" if that cannot be.
func (n *names) of(key rollcall.ServiceKey) string {
	if !plain(key.Service) || !plain(key.Namespace) {
		return ""
	}
	s := string(rune(len(key.Service))) + key.Service
	if key.Namespace != rollcall.DefaultNamespace {
		s += string(rune(len(key.Namespace))) + key.Namespace
	}
	return s + n.instances
}

// plain reports whether s is a label that all clients take and none changes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxLabel
}

// port returns the port that SRV records of an instance are of; 0 if it has none of
// that name, or several of which none is the usual one. Names have no case in DNS.
func (n *names) port(r rollcall.Record) uint16 {
	only, several := uint16(0), false
	for name, p := range record.Ports(r) {
		switch {
		case n.name == "" && name == rollcall.DefaultPort, n.name != "" && strings.EqualFold(name, n.name):
			return p
		case only != 0 || n.name != "":
			several = true
		default:
			only = p
		}
	}
	if several {
		return 0
	}
	return only
}
