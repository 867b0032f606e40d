package name

import "github.com/rollcall-registry/rollcall"

// ours reads a name of a zone of our own.
func (r *reader) ours() {
	if !r.space() {
		return
	}
	switch last := r.last(0); {
	case len(r.labels) == 0:
		r.n.Kind = Apex
	case last == "ns" && len(r.labels) == 1 && r.ns == "":
		r.n.Kind = Host
	case last == "service":
		r.port()
		r.service(r.labels[:len(r.labels)-1])
	case last == "instance":
		r.port()
		r.instance(len(r.labels) - 1)
	case last == "node":
		r.node(r.labels[:len(r.labels)-1])
	case last == "addr":
		r.addr()
	case last == "_tcp":
		r.tcp()
	case last == "_udp":
		r.udp()
	}
}

// service reads what stands before "service".
func (r *reader) service(l []string) {
	n := len(l)
	if n == 0 || n == 1 && protocol(l[0]) {
		r.n.Kind = Empty
		return
	}
	if n == 2 && protocol(l[1]) { // RFC 2782
		if name, ok := underscored(l[0]); ok {
			r.mean(r.ns, name, "", "")
			r.as(Service)
		}
		return
	}
	r.mean(r.ns, join(l), "", "")
	if n >= 2 && r.ns == "" {
		r.mean(l[n-1], join(l[:n-1]), "", "")
	}
	if n >= 3 && r.ns == "" {
		r.mean(l[n-1], l[n-2], join(l[:n-2]), "")
	}
	if n >= 2 {
		r.mean(r.ns, l[n-1], join(l[:n-1]), "")
	}
	r.as(Service)
}

// instance reads the n labels before "instance". A service or an id with dots may
// be written as one label or as several.
func (r *reader) instance(n int) {
	l, id := r.labels[:n], r.exact[:n]
	if n == 0 || n > 2 && protocol(l[0]) || n == 1 && rollcall.CheckName("service", l[0]) == nil {
		r.n.Kind = Empty
		return
	}
	if n == 1 {
		return
	}
	if n >= 3 && r.ns == "" {
		r.mean(l[n-1], l[n-2], "", join(id[:n-2]))
		r.mean(l[n-1], join(l[1:n-1]), "", id[0])
	}
	r.mean(r.ns, l[n-1], "", join(id[:n-1]))
	r.mean(r.ns, join(l[1:]), "", id[0])
	r.as(Instance)
}

// tcp reads what stands before "_tcp": DNS-SD's names of services.
func (r *reader) tcp() {
	l := r.labels[:len(r.labels)-1]
	n := len(l)
	if n == 0 {
		r.n.Kind = Empty
		return
	}
	service, ok := underscored(l[n-1])
	if !ok {
		return
	}
	switch {
	case n == 1:
		r.mean(r.ns, service, "", "")
		r.as(Type)
	case n == 2 && l[0] == "_sub":
		r.n.Kind = Empty
	case n == 2:
		r.mean(r.ns, service, "", r.exact[0])
		r.as(Entry)
	case n == 3 && l[1] == "_sub":
		if selection, ok := underscored(l[0]); ok {
			r.mean(r.ns, service, selection, "")
			r.as(Type)
		}
	}
}

// udp reads what stands before "_udp": where DNS-SD begins.
func (r *reader) udp() {
	l := r.labels[:len(r.labels)-1]
	switch {
	case len(l) == 0 || len(l) == 1 && l[0] == "_dns-sd":
		r.n.Kind = Empty
	case len(l) != 2 || l[1] != "_dns-sd":
	case l[0] == "_services":
		r.n.Kind, r.n.Namespace = Types, r.ns
	case l[0] == "b" || l[0] == "db" || l[0] == "r" || l[0] == "dr" || l[0] == "lb":
		r.n.Kind = Domains
	}
}
