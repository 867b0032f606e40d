// Package name knows what a domain name asks for: which service, in which
// namespace, selected how; one instance, a node, an address, or what DNS-SD lists
// (RFC 6763). It reads names as they are on the wire, where a label may hold any
// byte, and compares labels, never text: escapes exist only where names are shown.
//
// There are two dialects: that of our own zones, and that of Consul's, which a
// datacenter marks. A name of ours may mean several things, because services and
// namespaces may have dots in their names; it means the first of them that is known.
package name

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rollcall-registry/rollcall"
)

// Kind is what a name is about.
type Kind uint8

const (
	Outside  Kind = iota // of none of the zones
	Nothing              // in a zone, of no form that means anything
	Empty                // an empty non-terminal: names below it exist, nothing is there
	Apex                 // the zone itself
	Host                 // ns.ZONE, the server
	Service              // the instances of a service
	Instance             // one instance
	Entry                // one instance as DNS-SD names it: ID._SERVICE._tcp.ZONE
	Type                 // a service as DNS-SD names it: _SERVICE._tcp.ZONE
	Types                // all services: _services._dns-sd._udp.ZONE
	Domains              // where DNS-SD is to be browsed: b._dns-sd._udp.ZONE
	Address              // HEX.addr.ZONE
	Node                 // NODE.node.ZONE
	Reverse              // an address below in-addr.arpa or ip6.arpa
)

// Zone is a domain that is answered for.
type Zone struct {
	Name string // "rollcall."; any case, the last dot may be absent
	// Datacenter, if not empty, makes the zone's names those of Consul's DNS: it is
	// the one that they may name.
	Datacenter string
}

// Name is what a name asks for. It is immutable and shares no memory with the
// packet it came in.
type Name struct {
	Kind Kind
	Zone *Zone // nil: of none
	// Meanings are what a Service, Type, Instance or Entry may mean, best first.
	Meanings  []Meaning
	Port      string     // the named port that is asked for, lower case; "": the usual one
	Namespace string     // of Types: whose services
	Node      string     // lower case
	Addr      netip.Addr // of Address and Reverse
	// Base is where in the wire form of the name the domain begins that the names of
	// DNS-SD are below of: the zone, or NAMESPACE.ns before it.
	Base int
	// Origin is where the zone begins.
	Origin int
}

// Meaning is a service that a name may mean.
type Meaning struct {
	Service rollcall.ServiceKey
	// Selection is the version or capability that instances have to have, lower case;
	// "": all of them.
	Selection string
	// ID is that of the instance, as it was written.
	ID string
}

// Zones are all domains that a server answers for. They are immutable.
type Zones struct {
	zones  []Zone
	labels [][]string // of each, lower case
}

// New returns the zones of a server. An error names the one that is no domain, or
// is there twice.
func New(zones []Zone) (*Zones, error) {
	z := &Zones{}
	seen := map[string]bool{}
	for _, zone := range zones {
		text := strings.ToLower(strings.TrimSuffix(zone.Name, "."))
		labels := strings.Split(text, ".")
		size := 1
		for _, l := range labels {
			if size += len(l) + 1; !plain(l) || size > mostZone {
				return nil, rollcall.Invalid("dns_zone", fmt.Sprintf("%.80q is no domain: labels of letters, digits, - and _, with dots between, at most %d bytes", zone.Name, mostZone))
			}
		}
		if seen[text] {
			return nil, rollcall.Invalid("dns_zone", fmt.Sprintf("%.80q is there twice", zone.Name))
		}
		if zone.Datacenter != "" && !plain(zone.Datacenter) {
			return nil, rollcall.Invalid("dns_datacenter", fmt.Sprintf("%.80q is no label: 1 to 63 letters, digits, - and _", zone.Datacenter))
		}
		seen[text] = true
		zone.Name, zone.Datacenter = text+".", strings.ToLower(zone.Datacenter)
		z.zones = append(z.zones, zone)
		z.labels = append(z.labels, labels)
	}
	return z, nil
}

// mostZone is how long the wire form of a zone may be, so that there is room for
// names below it.
const mostZone = 100

// All returns the zones, their names in lower case and with the last dot.
func (z *Zones) All() []Zone { return z.zones }

// plain reports whether a label has only what host names have, and '_'.
func plain(l string) bool {
	for i := range len(l) {
		if c := l[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return 0 < len(l) && len(l) <= mostLabel
}

const (
	mostLabel = 63
	mostWire  = 255
	// mostLabels is how many labels a name that means anything has: those of an
	// address of IPv6 below ip6.arpa, and then some.
	mostLabels = 40
)

// reader is a name that is being read.
type reader struct {
	labels []string // lower case
	exact  []string // as they were written
	at     []int    // where each begins in the wire form
	ns     string   // the namespace that all is about; "" if none is said
	zone   *Zone
	n      Name
}

// Parse says what a name in wire form asks for. What is not the wire form of a
// name is Outside.
func (z *Zones) Parse(wire []byte) Name {
	r, ok := split(wire)
	if !ok {
		return Name{}
	}
	best := -1
	for n, labels := range z.labels {
		if ends(r.labels, labels) && (best < 0 || len(labels) > len(z.labels[best])) {
			best = n
		}
	}
	if best < 0 {
		return reverse(r.labels)
	}
	r.zone = &z.zones[best]
	r.n = Name{Kind: Nothing, Zone: r.zone, Base: len(wire) - 1}
	r.cut(len(z.labels[best]))
	r.n.Origin = r.n.Base
	if len(r.at) > mostLabels {
		return r.n
	}
	if r.zone.Datacenter != "" {
		r.consul()
	} else {
		r.ours()
	}
	return r.n
}

func split(wire []byte) (r reader, ok bool) {
	if len(wire) > mostWire {
		return r, false
	}
	n := 0
	for at := 0; at < len(wire); at += 1 + int(wire[at]) {
		n++
	}
	exact := string(wire)
	lower := string(Lower(make([]byte, 0, mostWire), wire))
	texts := make([]string, 2*n)
	r.labels, r.exact, r.at = texts[:0:n], texts[n:n], make([]int, 0, n)
	for at := 0; at < len(wire); {
		size := int(wire[at])
		if size == 0 {
			return r, at == len(wire)-1
		}
		if size > mostLabel || at+1+size >= len(wire) {
			return r, false
		}
		r.at = append(r.at, at)
		r.labels = append(r.labels, lower[at+1:at+1+size])
		r.exact = append(r.exact, exact[at+1:at+1+size])
		at += 1 + size
	}
	return r, false
}

// Lower appends a name in wire form with its letters A to Z lower case. Lengths of
// labels are below them.
func Lower(b, wire []byte) []byte {
	for _, c := range wire {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// ends reports whether the last labels of a name are those of a zone.
func ends(labels, zone []string) bool {
	if len(labels) < len(zone) {
		return false
	}
	for n, l := range labels[len(labels)-len(zone):] {
		if l != zone[n] {
			return false
		}
	}
	return true
}

// cut leaves out the last labels.
func (r *reader) cut(n int) {
	keep := len(r.labels) - n
	if n > 0 {
		r.n.Base = r.at[keep]
	}
	r.labels, r.exact, r.at = r.labels[:keep], r.exact[:keep], r.at[:keep]
}

// last returns the label that stands so far from the end, "" if there is none.
func (r *reader) last(n int) string {
	if n >= len(r.labels) {
		return ""
	}
	return r.labels[len(r.labels)-1-n]
}

// space takes NAMESPACE.ns from the end, and reports whether the name goes on.
func (r *reader) space() bool {
	if r.last(0) != "ns" || len(r.labels) < 2 || r.ns != "" {
		return true
	}
	r.ns = r.last(1)
	if r.cut(2); rollcall.CheckName("namespace", r.ns) != nil {
		return false
	}
	if len(r.labels) == 0 {
		r.n.Kind = Empty
		return false
	}
	return true
}

// port takes _PORT._tcp from the beginning, unless nothing else is before the
// last label.
func (r *reader) port() {
	if len(r.labels) < 4 || !protocol(r.labels[1]) {
		return
	}
	if name, ok := underscored(r.labels[0]); ok && rollcall.CheckName("port", name) == nil {
		r.n.Port = name
		r.labels, r.exact, r.at = r.labels[2:], r.exact[2:], r.at[2:]
	}
}

func protocol(l string) bool { return l == "_tcp" || l == "_udp" }

// underscored returns what stands behind the '_' of a label.
func underscored(l string) (name string, ok bool) {
	name, ok = strings.CutPrefix(l, "_")
	return name, ok && name != ""
}

// mean adds what the name may mean, if that can be.
func (r *reader) mean(namespace, service, selection, id string) {
	switch {
	case rollcall.CheckName("service", service) != nil || namespace != "" && rollcall.CheckName("namespace", namespace) != nil:
		return
	case selection != "" && !printable(selection):
		return
	case id != "" && rollcall.CheckID("id", id) != nil:
		return
	}
	m := Meaning{Service: rollcall.NewServiceKey(namespace, service), Selection: selection, ID: id}
	for _, o := range r.n.Meanings {
		if o == m {
			return
		}
	}
	r.n.Meanings = append(r.n.Meanings, m)
}

// printable reports whether a version or the name of a capability can be like that.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// as gives the name a kind, if it means anything.
func (r *reader) as(k Kind) {
	if len(r.n.Meanings) > 0 {
		r.n.Kind = k
	}
}

func join(labels []string) string { return strings.Join(labels, ".") }
