package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
)

// mostTTL is how long DNS answers may be kept at most, as in a service's settings.
const mostTTL = time.Hour

// zones are what names DNS answers for.
func (c *Config) zones() []name.Zone {
	zones := []name.Zone{{Name: cmp.Or(c.DNSZone, "rollcall")}}
	if c.DNSConsulZone != "" {
		zones = append(zones, name.Zone{Name: c.DNSConsulZone, Datacenter: cmp.Or(c.DNSDatacenter, "dc1")})
	}
	return zones
}

// CheckDNS reports what is wrong with what is said of DNS beside its address, as a
// [rollcall.ErrInvalid] of the field that it is about: dns_zone, dns_consul_zone,
// dns_datacenter, dns_ttl, dns_rate, dns_upstreams or subnets.
func (c *Config) CheckDNS() error {
	switch {
	case c.DNSTTL != 0 && (c.DNSTTL < time.Second || c.DNSTTL > mostTTL):
		return rollcall.Invalid("dns_ttl", fmt.Sprintf("is %v; 1s to 1h are allowed. A service whose answers nobody may keep has a dns_ttl of 0 in its settings", c.DNSTTL))
	case c.DNSRate < 0:
		return rollcall.Invalid("dns_rate", fmt.Sprintf("is %d; it must be 0, which is no limit, or more", c.DNSRate))
	}
	for _, u := range c.DNSUpstreams {
		if u.Port() == 0 || nobodys(u.Addr().Unmap()) {
			return rollcall.Invalid("dns_upstreams", fmt.Sprintf("%v is nobody's address: write that of a resolver, like 10.0.0.2 or 10.0.0.2:53", u))
		}
	}
	zones := c.zones()
	if _, err := name.New(zones[1:]); err != nil {
		if e, ok := errors.AsType[*rollcall.Error](err); ok && e.Field == "dns_zone" {
			return rollcall.Invalid("dns_consul_zone", e.Detail)
		}
		return err
	}
	if _, err := name.New(zones[:1]); err != nil {
		return err
	}
	if _, err := name.New(zones); err != nil {
		return rollcall.Invalid("dns_zone", fmt.Sprintf("%q is there twice: it is what names as in Consul's DNS are in, too; name another domain for either, or leave those out with --dns-consul-zone \"\"", c.DNSZone))
	}
	_, err := place.New(c.Subnets)
	return err
}

// nobodys reports whether an address cannot be that of one other machine.
func nobodys(a netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// listenDNS opens the ports of the DNS door, which are the same for UDP and TCP. Who
// asks there hears from now on that there is no answer yet: of a server that is silent,
// resolvers remember that for minutes.
func (s *Server) listenDNS(metrics prometheus.Registerer) error {
	c := &s.config
	if c.DNS == off {
		return nil
	}
	places, err := place.New(c.Subnets)
	if err != nil {
		return err
	}
	d, err := dnsapi.New(nil, dnsapi.Options{
		Addr: c.DNS, Zones: c.zones(), TTL: c.DNSTTL, Places: places, Upstreams: c.DNSUpstreams, Rate: c.DNSRate,
		Logger: c.Logger, Registerer: metrics,
	})
	if err != nil {
		return fmt.Errorf("%w; choose another address with --dns, or none with --dns off", err)
	}
	if err := notSelf(d.Addr(), c.DNSUpstreams); err != nil {
		d.Shutdown(context.Background()) // of nothing: it serves nobody yet
		return err
	}
	s.dns, s.answered = d, make(chan error, 1)
	go func() { s.answered <- d.Serve() }()
	return nil
}

// notSelf refuses upstreams that are the server itself, which would ask itself without
// end.
func notSelf(addr string, upstreams []netip.AddrPort) error {
	own, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	for _, u := range upstreams {
		at := u.Addr().Unmap()
		if u.Port() == own.Port() && (at == own.Addr().Unmap() || own.Addr().IsUnspecified() && here(at)) {
			return rollcall.Invalid("dns_upstreams", fmt.Sprintf("%v: this is where this server itself answers; name the resolver that it is to ask, such as one in /etc/resolv.conf", u))
		}
	}
	return nil
}

// here reports whether an address is one of this machine's.
func here(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || a.IsLoopback() || slices.ContainsFunc(all, func(l net.Addr) bool {
		n, ok := l.(*net.IPNet)
		return ok && n.IP.Equal(a.WithZone("").AsSlice())
	})
}
