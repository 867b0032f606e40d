// Package egress decides whom the registry may call on behalf of strangers.
// Whoever may register may name an address, and the registry, which stands
// where they may not, would call it: a health check or a webhook would become a
// way to the loopback interface, to the cloud's metadata service or to the
// registry itself.
//
// A [Policy] resolves a name once, judges every address that it gets by what the
// address really leads to, and dials exactly the one that passed. A name that
// resolves to something else a moment later gains nothing by it.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Options are what a policy is made of.
type Options struct {
	// Allow lists addresses that may be dialled whatever they are, apart from the
	// registry's own listeners.
	Allow []netip.Prefix
	// Own returns where the registry itself listens; nil is nowhere. It is called
	// for every judgement.
	Own func() []netip.AddrPort
	// Resolver looks names up; nil is [net.DefaultResolver].
	Resolver Resolver
	// Setting is what an operator knows Allow by; denials name it. Empty is
	// "egress.allow".
	Setting string
}

// Resolver looks up the addresses of a name; [net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// ErrDenied is what all denials are, to [errors.Is].
var ErrDenied = errors.New("not dialled on behalf of others")

// Denied says which address was not dialled, and why.
type Denied struct {
	Host string // as it was given
	Addr netip.AddrPort
	// Why is what is wrong with Addr: "is a loopback address".
	Why string
	// Remedy is what an operator can do about it; empty if nothing.
	Remedy string
}

// Error implements error.
func (d *Denied) Error() string {
	s := d.Addr.String()
	if d.Host != d.Addr.Addr().String() {
		s = d.Host + " at " + s
	}
	s += " " + d.Why + " and is " + ErrDenied.Error()
	if d.Remedy != "" {
		s += "; " + d.Remedy
	}
	return s
}

// Unwrap returns [ErrDenied].
func (d *Denied) Unwrap() error { return ErrDenied }

// Policy says who may be dialled. It does not change and may be used by any
// number of goroutines.
type Policy struct {
	options Options
	// Seams for tests.
	local func() ([]netip.Addr, error) // this machine's addresses
	dial  func(context.Context, netip.AddrPort) (net.Conn, error)
}

// New returns a policy.
func New(o Options) *Policy {
	o.Allow = slices.Clone(o.Allow)
	for i, p := range o.Allow {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			o.Allow[i] = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
	}
	if o.Own == nil {
		o.Own = func() []netip.AddrPort { return nil }
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Setting == "" {
		o.Setting = "egress.allow"
	}
	return &Policy{options: o, local: interfaceAddrs, dial: dialTCP}
}

func interfaceAddrs() (addrs []netip.Addr, err error) {
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, ip.Unmap())
			}
		}
	}
	return addrs, err
}

// dialTCP connects without TCP keep-alive: connections made for others are
// short, and have deadlines. DialTCP would bind a local address first, which
// takes a port from all destinations instead of from one.
func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, "tcp", to.String())
}

// Dial connects over TCP to host, a name or an IP address, if the policy lets
// it. The host is resolved once, and the first of its addresses that is
// permitted is dialled, no other. A vouched host is one that asked for it from
// the very address that it names: it may be of the loopback interface or
// link-local. A denial is a [*Denied].
func (p *Policy) Dial(ctx context.Context, host string, port uint16, vouched bool) (net.Conn, error) {
	return p.dialFirst(ctx, host, port, func(a netip.AddrPort) *Denied { return p.judge(a, vouched) })
}

// DialListed is [Policy.Dial] for a host whose owner nobody vouches for at all:
// only addresses that are listed in Options.Allow are dialled.
func (p *Policy) DialListed(ctx context.Context, host string, port uint16) (net.Conn, error) {
	return p.dialFirst(ctx, host, port, func(a netip.AddrPort) *Denied {
		if d := p.judge(a, false); d != nil || p.listed(a.Addr()) {
			return d
		}
		return &Denied{Why: "is not an address of the instance itself", Remedy: p.remedy()}
	})
}

func (p *Policy) dialFirst(ctx context.Context, host string, port uint16, judge func(netip.AddrPort) *Denied) (net.Conn, error) {
	if port == 0 {
		return nil, fmt.Errorf("%.260q: port 0 cannot be dialled", host)
	}
	addrs, err := p.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var first *Denied
	for _, a := range addrs {
		to := netip.AddrPortFrom(a.Unmap(), port)
		denied := judge(to)
		if denied == nil {
			return p.dial(ctx, to)
		}
		if first == nil {
			denied.Host, denied.Addr = host, to
			first = denied
		}
	}
	return nil, first
}

// resolve returns at least one address. Only what netip takes for an address is
// one: other spellings, such as 0x7f000001 or 0177.1, are names, about which the
// resolver may think what it likes.
func (p *Policy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := p.options.Resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return addrs, err
}

// judge returns why a may not be dialled, nil if it may.
func (p *Policy) judge(a netip.AddrPort, vouched bool) *Denied {
	ip := a.Addr().WithZone("").Unmap()
	if p.own(netip.AddrPortFrom(ip, a.Port())) {
		return &Denied{Why: "is a port of the registry itself"}
	}
	if p.listed(ip) {
		return nil
	}
	k := kindOf(ip)
	if k == public || vouched && (k == loopback || k == linkLocal) {
		return nil
	}
	d := &Denied{Why: "is " + k.String()}
	switch k {
	case unspecified, multicast, broadcast: // no address of anybody
	default:
		d.Remedy = p.remedy()
	}
	return d
}

func (p *Policy) remedy() string { return "to permit it, list it under " + p.options.Setting }

func (p *Policy) listed(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	return slices.ContainsFunc(p.options.Allow, func(a netip.Prefix) bool { return a.Contains(ip) })
}

// own reports whether a leads to a port on which the registry listens. A
// listener's port is closed on all of this machine's addresses, since a listener
// on 0.0.0.0 has them all and rules of the machine may lead from one to another.
func (p *Policy) own(a netip.AddrPort) bool {
	for _, l := range p.options.Own() {
		if l.Port() == a.Port() && (l.Addr().WithZone("").Unmap() == a.Addr() || p.here(a.Addr())) {
			return true
		}
	}
	return false
}

// here reports whether ip is this machine. If the machine's addresses cannot be
// told it may be.
func (p *Policy) here(ip netip.Addr) bool {
	inner, wrapped := embedded(ip)
	if wrapped && p.here(inner) {
		return true
	}
	if k := kindOf(ip); k == loopback || k == unspecified {
		return true
	}
	addrs, err := p.local()
	return err != nil || slices.ContainsFunc(addrs, func(l netip.Addr) bool { return l.WithZone("").Unmap() == ip })
}
