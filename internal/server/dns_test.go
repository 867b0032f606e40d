package server_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// ask asks by UDP for records of a name.
func ask(t *testing.T, addr, name string, kind uint16) *dns.Msg {
	t.Helper()
	a, err := dns.Exchange(new(dns.Msg).SetQuestion(name, kind), addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDNS(t *testing.T) {
	zone := func(zone string) rollcall.Instance {
		return rollcall.Instance{
			Service: "payments", ID: zone, Address: "10.0.0." + zone, Ports: map[string]uint16{"http": 80}, Locality: rollcall.Locality{Region: "eu", Zone: zone},
		}
	}
	s := rollcalltest.Run(t, server.Config{
		DataDir: t.TempDir(), Static: []rollcall.Instance{zone("1"), zone("2")}, DNSZone: "svc.example.com", DNSConsulZone: "consul", DNSTTL: 7 * time.Second,
		Subnets: []place.Subnet{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Near: "zone:eu/2"}},
	})
	for _, name := range []string{"payments.service.svc.example.com.", "payments.service.dc1.consul."} {
		a := ask(t, s.DNS, name, dns.TypeA)
		if len(a.Answer) != 1 || a.Answer[0].Header().Ttl != 7 || a.Answer[0].(*dns.A).A.String() != "10.0.0.2" {
			t.Errorf("%s: %v; want the one that is near, for 7 s", name, a)
		}
	}
	if a := ask(t, s.DNS, "payments.service.rollcall.", dns.TypeA); a.Rcode != dns.RcodeRefused {
		t.Errorf("%v in a zone of somebody else", a)
	}

	// A drain waits for those who were told.
	c := dial(t, s)
	key := rollcall.NewKey("", "payments", "2")
	if ws, err := c.Watchers(t.Context(), key.ServiceKey); err != nil || len(ws) != 1 || ws[0].Door != "dns" {
		t.Errorf("%+v, %v", ws, err)
	}
	if b, err := c.Drain(t.Context(), key, 10*time.Millisecond); err != nil || b.Pending != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

// One port is for UDP and TCP; and it is nobody else's.
func TestDNSAddress(t *testing.T) {
	if s := rollcalltest.Run(t, server.Config{DataDir: t.TempDir(), DNS: "off"}); s.DNS != "off" {
		t.Errorf("at %s, and it is off", s.DNS)
	}
	s := rollcalltest.Start(t)
	fails := func(c server.Config, want string) {
		t.Helper()
		c.DataDir = t.TempDir()
		s, err := server.New(c)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	fails(server.Config{DNS: s.DNS}, "choose another address with --dns, or none with --dns off")
	fails(server.Config{DNS: "0.0.0.0:0"}, "anybody there could learn what is in the registry")
	fails(server.Config{DNS: "nowhere"}, "write it as host:port")
	fails(server.Config{DNSTTL: time.Millisecond}, "1s to 1h are allowed")
	fails(server.Config{DNSZone: "."}, "is no domain")
	fails(server.Config{Subnets: []place.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Near: "there"}}}, "there")

	// Nobody asks himself.
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(free.LocalAddr().String())
	free.Close()
	self := func(addr, upstream string) {
		t.Helper()
		fails(server.Config{DNS: addr, DNSUpstreams: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(upstream), at.Port())}, Insecure: true}, "this is where this server itself answers")
	}
	self(at.String(), "127.0.0.1")
	self(at.String(), "::ffff:127.0.0.1")
	self(netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port()).String(), "127.0.0.53")
	c := server.Config{DataDir: t.TempDir(), DNS: at.String(), DNSUpstreams: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.53"), at.Port())}}
	if s, err := server.New(c); err != nil {
		t.Errorf("another resolver of this machine: %v", err)
	} else {
		s.Close()
	}
}
