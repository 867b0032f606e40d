package flags

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// DefaultDNS is where serve answers DNS.
const DefaultDNS = "127.0.0.1:7053"

// DNS is what serve is told of DNS and has to be read before it means something. The
// rest is put into a [server.Config] at once.
type DNS struct{ zone, upstreams string }

// Add adds the flags.
func (d *DNS) Add(f *pflag.FlagSet, c *server.Config) {
	f.StringVar(&c.DNS, "dns", DefaultDNS, "`ADDRESS` to serve DNS at, by UDP and TCP; port 0 is any free one, off is none")
	f.StringVar(&d.zone, "dns-zone", "rollcall", "`DOMAIN` that names are in: payments.service.DOMAIN")
	f.StringVar(&c.DNSConsulZone, "dns-consul-zone", "consul", "`DOMAIN` in which names are as in Consul's DNS; \"\" is none")
	f.StringVar(&c.DNSDatacenter, "dns-datacenter", "dc1", "`NAME` of the datacenter that names in --dns-consul-zone may have")
	f.DurationVar(&c.DNSTTL, "dns-ttl", time.Second, "let DNS answers be kept for a `DURATION`, 1s to 1h, where a service's dns_ttl does not say")
	f.StringVar(&d.upstreams, "dns-upstreams", "", "`ADDRESSES` (by commas, port 53 unless they say) of resolvers to ask for names outside of the zones; without, such names are refused")
	f.IntVar(&c.DNSRate, "dns-rate", 1000, "answer a network (/24, IPv6 /56) in full `N` times a second; beyond that answers are short and say that TCP has the rest. 0 is no limit")
}

// Read checks the flags, and adds what they mean to c.
func (d *DNS) Read(c *server.Config) (err error) {
	if c.DNSZone = d.zone; d.zone == "" {
		return Errorf("--dns-zone is empty: name a domain, such as rollcall, or leave DNS out with --dns off")
	}
	if c.DNSTTL == 0 {
		return Errorf("--dns-ttl 0s: 1s to 1h are allowed; a service whose answers nobody may keep has a dns_ttl of 0 in its settings")
	}
	if c.DNSDatacenter == "" && c.DNSConsulZone != "" {
		return Errorf("--dns-datacenter is empty: name the one that names in --dns-consul-zone may have, such as dc1")
	}
	if c.DNSUpstreams, err = upstreams(d.upstreams); err != nil {
		return err
	}
	err = c.CheckDNS()
	if e, ok := errors.AsType[*rollcall.Error](err); ok {
		return Errorf("--%s: %s", strings.ReplaceAll(e.Field, "_", "-"), e.Detail)
	}
	return err
}

// upstreams reads addresses of resolvers, "10.0.0.2,[2001:db8::1]:5353".
func upstreams(text string) (all []netip.AddrPort, err error) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		u, err := netip.ParseAddrPort(part)
		if ip, bad := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(part, "["), "]")); bad == nil {
			u, err = netip.AddrPortFrom(ip, 53), nil
		}
		if err != nil {
			return nil, Errorf("--dns-upstreams %q is not an IP address: write it like 10.0.0.2 or 10.0.0.2:53", part)
		}
		all = append(all, u)
	}
	return all, nil
}
