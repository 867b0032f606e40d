package name

import "strings"

// consul reads a name of a zone whose names are those of Consul's DNS.
func (r *reader) consul() {
	if len(r.labels) == 0 {
		r.n.Kind = Apex
		return
	}
	if len(r.labels) == 1 && r.labels[0] == "ns" {
		r.n.Kind = Host
		return
	}
	for !r.ends() {
		switch {
		case r.last(0) == "ns" && r.ns == "" && len(r.labels) > 1:
			if !r.space() {
				return
			}
		case r.last(0) == "dc" && r.last(1) == r.zone.Datacenter:
			r.cut(2)
		case r.last(0) == r.zone.Datacenter:
			r.cut(1)
		case len(r.labels) == 1 && (r.last(0) == "dc" || strings.HasPrefix(r.last(0), "_")):
			r.n.Kind = Empty // dc1.dc, _web._tcp
			return
		default:
			return
		}
		if len(r.labels) == 0 {
			r.n.Kind = Empty
			return
		}
	}
	switch r.last(0) {
	case "service", "query":
		r.port()
		r.tagged(r.labels[:len(r.labels)-1])
	case "node":
		r.node(r.labels[:len(r.labels)-1])
	case "addr":
		r.addr()
	default:
		r.tagged(r.labels)
	}
}

// ends reports whether the last label says what the name is about.
func (r *reader) ends() bool {
	switch r.last(0) {
	case "service", "query", "node", "addr":
		return true
	}
	_, one := underscored(r.last(0))
	_, two := underscored(r.last(1))
	return one && two && len(r.labels) == 2
}

// tagged reads TAG.SERVICE, or _SERVICE._TAG, of which _tcp is no tag.
func (r *reader) tagged(l []string) {
	n := len(l)
	if n == 0 || n == 1 && strings.HasPrefix(l[0], "_") {
		r.n.Kind = Empty
		return
	}
	if n == 2 {
		service, one := underscored(l[0])
		tag, two := underscored(l[1])
		if one && two {
			if tag == "tcp" {
				tag = ""
			}
			r.mean(r.ns, service, tag, "")
			r.as(Service)
			return
		}
	}
	r.mean(r.ns, l[n-1], join(l[:n-1]), "")
	r.as(Service)
}

// node reads what stands before "node"; a node may have dots in its name.
func (r *reader) node(l []string) {
	switch {
	case len(l) == 0:
		r.n.Kind = Empty
	case printable(join(l)):
		r.n.Kind, r.n.Node = Node, join(l)
	}
}
