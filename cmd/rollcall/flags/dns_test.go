package flags

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall/internal/server"
)

func readDNS(t *testing.T, args ...string) (c server.Config, err error) {
	t.Helper()
	var d DNS
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	d.Add(f, &c)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	err = d.Read(&c)
	return c, err
}

func TestDNS(t *testing.T) {
	c, err := readDNS(t)
	if err != nil || c.DNS != "127.0.0.1:7053" || c.DNSZone != "rollcall" || c.DNSConsulZone != "consul" || c.DNSDatacenter != "dc1" || c.DNSTTL != time.Second ||
		c.DNSRate != 1000 || len(c.DNSUpstreams) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = readDNS(t, "--dns-upstreams", "10.0.0.2, 10.0.0.3:5353,[2001:db8::1]:5353,2001:db8::2,[2001:db8::3]", "--dns-zone", "svc.example.com.",
		"--dns-consul-zone", "", "--dns-datacenter", "", "--dns-ttl", "1h", "--dns-rate", "0")
	want := []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.2:53"), netip.MustParseAddrPort("10.0.0.3:5353"),
		netip.MustParseAddrPort("[2001:db8::1]:5353"), netip.MustParseAddrPort("[2001:db8::2]:53"), netip.MustParseAddrPort("[2001:db8::3]:53"),
	}
	if err != nil || !slices.Equal(c.DNSUpstreams, want) || c.DNSZone != "svc.example.com." || c.DNSConsulZone != "" || c.DNSTTL != time.Hour || c.DNSRate != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	for flag, text := range map[string]string{
		"--dns-zone=":                         "is empty",
		"--dns-zone=a..b":                     `"a..b" is no domain`,
		"--dns-zone=consul":                   "twice",
		"--dns-consul-zone=a b":               `"a b" is no domain`,
		"--dns-datacenter=":                   "is empty",
		"--dns-datacenter=a.b":                "is no label",
		"--dns-ttl=0s":                        "dns_ttl of 0",
		"--dns-ttl=999ms":                     "1s to 1h",
		"--dns-ttl=1h1s":                      "1s to 1h",
		"--dns-rate=-1":                       "or more",
		"--dns-upstreams=localhost":           "is not an IP address",
		"--dns-upstreams=10.0.0.2:0":          "is nobody's address",
		"--dns-upstreams=0.0.0.0:53":          "is nobody's address",
		"--dns-upstreams=224.0.0.1:53":        "is nobody's address",
		"--dns-upstreams=255.255.255.255":     "is nobody's address",
		"--dns-upstreams=[::ffff:0.0.0.0]:53": "is nobody's address",
	} {
		name, _, _ := strings.Cut(flag, "=")
		_, err := readDNS(t, flag)
		if _, ok := errors.AsType[Error](err); !ok || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", flag, err, text)
		}
	}
}
