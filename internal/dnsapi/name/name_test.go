package name_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
)

func zones(t testing.TB) *name.Zones {
	t.Helper()
	z, err := name.New([]name.Zone{{Name: "rollcall."}, {Name: "consul", Datacenter: "dc1"}, {Name: "SD.Example.com."}, {Name: "b.sd.example.com.", Datacenter: "East"}})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// wire returns the wire form of a name as it is written, in which \. is a dot within
// a label.
func wire(text string) (b []byte) {
	if text == "." {
		return []byte{0}
	}
	const dot = "\x00"
	for l := range strings.SplitSeq(strings.TrimSuffix(strings.ReplaceAll(text, `\.`, dot), "."), ".") {
		b = name.AppendLabels(b, strings.ReplaceAll(l, dot, "."))
	}
	return append(b, 0)
}

// show writes what a name means on one line.
func show(n name.Name) string {
	kinds := map[name.Kind]string{
		name.Outside: "outside", name.Nothing: "nothing", name.Empty: "empty", name.Apex: "apex", name.Host: "host", name.Service: "service", name.Instance: "instance",
		name.Entry: "entry", name.Type: "type", name.Types: "types", name.Domains: "domains", name.Address: "address", name.Node: "node", name.Reverse: "reverse",
	}
	s := kinds[n.Kind]
	if n.Port != "" {
		s += " port=" + n.Port
	}
	if n.Namespace != "" {
		s += " namespace=" + n.Namespace
	}
	if n.Node != "" {
		s += " node=" + n.Node
	}
	if n.Addr.IsValid() {
		s += " " + n.Addr.String()
	}
	for i, m := range n.Meanings {
		if i > 0 {
			s += " |"
		}
		s += " " + strings.TrimPrefix(m.Service.String(), "default/")
		if m.ID != "" {
			s += "#" + m.ID
		}
		if m.Selection != "" {
			s += "?" + m.Selection
		}
	}
	return s
}

func TestParse(t *testing.T) {
	z := zones(t)
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ name, want string }{
		// Services.
		{"web.service.rollcall.", "service web"},
		{"WEB.Service.RollCall.", "service web"},
		{"web.service.sd.example.com.", "service web"},
		{"web.team.service.rollcall.", "service web.team | team/web | team?web"},
		{"a.b.c.service.rollcall.", "service a.b.c | c/a.b | c/b?a | c?a.b"},
		{"2.4.1.web.service.rollcall.", "service 2.4.1.web | web/2.4.1 | web/1?2.4 | web?2.4.1"},
		{`my\.web.service.rollcall.`, "service my.web"},
		{`my\.web.team.service.rollcall.`, "service my.web.team | team/my.web | team?my.web"},
		{"web.service.team.ns.rollcall.", "service team/web"},
		{"canary.web.service.team.ns.rollcall.", "service team/canary.web | team/web?canary"},
		{"_http._tcp.web.service.rollcall.", "service port=http web"},
		{"_HTTP._UDP.web.service.rollcall.", "service port=http web"},
		{"_http._tcp.canary.web.service.team.ns.rollcall.", "service port=http team/canary.web | team/web?canary"},
		{"_web._tcp.service.rollcall.", "service web"},
		{"_web._tcp.service.team.ns.rollcall.", "service team/web"},
		{"_tcp.web.service.rollcall.", "service web?_tcp"},
		{"ns.service.rollcall.", "service ns"},
		{"service.service.rollcall.", "service service"},
		// One instance.
		{"i-1.web.instance.rollcall.", "instance web#i-1"},
		{"I-1.Web.instance.rollcall.", "instance web#I-1"},
		{"i.1.web.instance.rollcall.", "instance web/1#i | web#i.1 | 1.web#i"},
		{"i-1.web.team.instance.rollcall.", "instance team/web#i-1 | team#i-1.web | web.team#i-1"},
		{"i-1.web.instance.team.ns.rollcall.", "instance team/web#i-1"},
		{`i\.1.my\.web.instance.rollcall.`, "instance my.web#i.1"},
		{"_http._tcp.i-1.web.instance.rollcall.", "instance port=http web#i-1"},
		{"web.instance.rollcall.", "empty"},
		// Addresses.
		{"0a000001.addr.rollcall.", "address 10.0.0.1"},
		{"Host.1.node.rollcall.", "node node=host.1"},
		{"node.rollcall.", "empty"},
		{"0A000001.ADDR.rollcall.", "address 10.0.0.1"},
		{"20010db8000000000000000000000001.addr.rollcall.", "address 2001:db8::1"},
		{"0a00001.addr.rollcall.", "nothing"},
		{"0a0000zz.addr.rollcall.", "nothing"},
		{"x.0a000001.addr.rollcall.", "nothing"},
		// DNS-SD.
		{"_services._dns-sd._udp.rollcall.", "types"},
		{"_services._dns-sd._udp.team.ns.rollcall.", "types namespace=team"},
		{"_web._tcp.rollcall.", "type web"},
		{"_web._tcp.team.ns.rollcall.", "type team/web"},
		{`_my\.web._tcp.rollcall.`, "type my.web"},
		{"_canary._sub._web._tcp.rollcall.", "type web?canary"},
		{"_sub._web._tcp.rollcall.", "empty"},
		{"I-1._web._tcp.rollcall.", "entry web#I-1"},
		{`my\.id._web._tcp.rollcall.`, "entry web#my.id"},
		{"my id._web._tcp.rollcall.", "entry web#my id"},
		{"b._dns-sd._udp.rollcall.", "domains"},
		{"lb._dns-sd._udp.rollcall.", "domains"},
		{"xb._dns-sd._udp.rollcall.", "nothing"},
		{"web._tcp.rollcall.", "nothing"},
		{"a.b._web._tcp.rollcall.", "nothing"},
		{"canary._sub._web._tcp.rollcall.", "nothing"},
		{"_web._udp.rollcall.", "nothing"},
		// What holds others together.
		{"rollcall.", "apex"},
		{"ROLLCALL.", "apex"},
		{"ns.rollcall.", "host"},
		{"service.rollcall.", "empty"},
		{"instance.rollcall.", "empty"},
		{"addr.rollcall.", "empty"},
		{"_tcp.rollcall.", "empty"},
		{"_udp.rollcall.", "empty"},
		{"_dns-sd._udp.rollcall.", "empty"},
		{"team.ns.rollcall.", "empty"},
		{"_tcp.service.rollcall.", "empty"},
		{"_udp.service.team.ns.rollcall.", "empty"},
		{"_tcp.i.web.instance.rollcall.", "empty"},
		{"service.team.ns.rollcall.", "empty"},
		{"ns.team.ns.rollcall.", "nothing"},
		// Nothing.
		{"web.rollcall.", "nothing"},
		{"www.web.rollcall.", "nothing"},
		{"_x.service.rollcall.", "nothing"},
		{"_web.instance.rollcall.", "nothing"},
		{"-x.service.rollcall.", "nothing"},
		{"b\xffd.service.rollcall.", "nothing"},
		{"b d.service.rollcall.", "nothing"},
		{"x.b\x01d.service.rollcall.", "nothing"},
		{"b\x01d.web.service.rollcall.", "nothing"},
		{"i\x01.web.instance.rollcall.", "nothing"},
		{"web.service._x.ns.rollcall.", "nothing"},
		{long + "." + long + "." + long + "._x.service.rollcall.", "nothing"}, // too long for a service, and for nothing else
		// Others'.
		{".", "outside"},
		{"com.", "outside"},
		{"notrollcall.", "outside"},
		{`web.service\.rollcall.`, "outside"},
		{"example.com.", "outside"},
		{"web.service.rollcall.com.", "outside"},
		// Reverse.
		{"4.3.2.1.in-addr.arpa.", "reverse 1.2.3.4"},
		{"4.3.2.1.IN-ADDR.arpa.", "reverse 1.2.3.4"},
		{"1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.ip6.arpa.", "reverse 2001:db8::1"},
		{"3.2.1.in-addr.arpa.", "outside"},
		{"04.3.2.1.in-addr.arpa.", "outside"},
		{"256.3.2.1.in-addr.arpa.", "outside"},
		{"5.4.3.2.1.in-addr.arpa.", "outside"},
		{strings.Repeat("x.", 32) + "ip6.arpa.", "outside"},
		{strings.Repeat("00.", 32) + "ip6.arpa.", "outside"},
		// Consul's.
		{"web.service.consul.", "service web"},
		{"web.service.dc1.consul.", "service web"},
		{"web.service.DC1.dc.consul.", "service web"},
		{"web.service.dc2.consul.", "nothing"},
		{"web.service.dc2.dc.consul.", "nothing"},
		{"canary.web.service.consul.", "service web?canary"},
		{"v1.2.web.service.consul.", "service web?v1.2"},
		{"web.service.team.ns.consul.", "service team/web"},
		{"web.service.team.ns.dc1.dc.consul.", "service team/web"},
		{"web.service.dc1.team.ns.consul.", "service team/web"},
		{"_web._tcp.service.consul.", "service web"},
		{"_web._tcp.consul.", "service web"},
		{"_web._tcp.dc1.consul.", "service web"},
		{"_web._canary.service.consul.", "service web?canary"},
		{"_web._udp.consul.", "service web?udp"},
		{"_http._tcp.web.service.consul.", "service port=http web"},
		{"web.query.consul.", "service web"},
		{"_web._tcp.query.dc1.consul.", "service web"},
		{"host-1.node.consul.", "node node=host-1"},
		{"Host.1.node.dc1.consul.", "node node=host.1"},
		{"0a000001.addr.dc1.consul.", "address 10.0.0.1"},
		{"web.connect.consul.", "nothing"},
		{"web.ingress.consul.", "nothing"},
		{"web.virtual.consul.", "nothing"},
		{"consul.", "apex"},
		{"ns.consul.", "host"},
		{"service.consul.", "empty"},
		{"node.consul.", "empty"},
		{"query.consul.", "empty"},
		{"addr.consul.", "empty"},
		{"dc1.consul.", "empty"},
		{"dc.consul.", "empty"},
		{"_tcp.consul.", "empty"},
		{"_canary.dc1.consul.", "empty"},
		{"_tcp.service.consul.", "empty"},
		{"team.ns.consul.", "empty"},
		{"web.consul.", "nothing"},
		{"_services._dns-sd._udp.consul.", "nothing"},
		// The longer of two zones, whatever the letters.
		{"web.service.B.sd.EXAMPLE.com.", "service web"},
		{"x.web.service.b.sd.example.com.", "service web?x"},
		{"x.web.service.east.b.sd.example.com.", "service web?x"},
	} {
		if got := show(z.Parse(wire(c.name))); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestBase(t *testing.T) {
	z := zones(t)
	for _, c := range []struct{ name, base, origin string }{
		{"_services._dns-sd._udp.Rollcall.", "Rollcall.", "Rollcall."},
		{"_web._tcp.Team.ns.rollcall.", "Team.ns.rollcall.", "rollcall."},
		{"rollcall.", "rollcall.", "rollcall."},
		{"i._web._tcp.sd.example.com.", "sd.example.com.", "sd.example.com."},
		{"web.service.dc1.consul.", "dc1.consul.", "consul."},
	} {
		w := wire(c.name)
		n := z.Parse(w)
		if !bytes.Equal(w[n.Base:], wire(c.base)) || !bytes.Equal(w[n.Origin:], wire(c.origin)) {
			t.Errorf("%s: base %q, origin %q", c.name, w[n.Base:], w[n.Origin:])
		}
	}
}

func TestParseOfNoName(t *testing.T) {
	z := zones(t)
	for _, w := range [][]byte{
		nil, {1}, {1, 'a'}, {0, 0}, {64, 'a'}, {0xc0, 12}, append(wire("rollcall."), 0), bytes.TrimSuffix(wire("rollcall."), []byte{0}),
		append(bytes.Repeat([]byte{1, 'a'}, 128), wire("rollcall.")...),
	} {
		if n := z.Parse(w); n.Kind != name.Outside {
			t.Errorf("%q is %s", w, show(n))
		}
	}
	if n := z.Parse(append(bytes.Repeat([]byte{1, 'a'}, 60), wire("service.rollcall.")...)); n.Kind != name.Nothing {
		t.Errorf("60 labels are %s", show(n))
	}
}

func TestZones(t *testing.T) {
	for _, c := range []struct {
		zones []name.Zone
		want  string
	}{
		{[]name.Zone{{Name: ""}}, "dns_zone"},
		{[]name.Zone{{Name: "."}}, "dns_zone"},
		{[]name.Zone{{Name: "a..b"}}, "dns_zone"},
		{[]name.Zone{{Name: `a\.b`}}, "dns_zone"},
		{[]name.Zone{{Name: "a b"}}, "dns_zone"},
		{[]name.Zone{{Name: strings.Repeat("a", 64)}}, "dns_zone"},
		{[]name.Zone{{Name: strings.Repeat("aaa.", 30)}}, "dns_zone"},
		{[]name.Zone{{Name: "rollcall"}, {Name: "Rollcall."}}, "dns_zone"},
		{[]name.Zone{{Name: "consul", Datacenter: "a.b"}}, "dns_datacenter"},
	} {
		_, err := name.New(c.zones)
		var e *rollcall.Error
		if !errors.As(err, &e) || e.Field != c.want {
			t.Errorf("%v: %v", c.zones, err)
		}
	}
	want := []name.Zone{{Name: "rollcall."}, {Name: "consul.", Datacenter: "dc1"}, {Name: "sd.example.com."}, {Name: "b.sd.example.com.", Datacenter: "east"}}
	if diff := cmp.Diff(want, zones(t).All()); diff != "" {
		t.Error(diff)
	}
}

// TestNamesMeanTheirKeys: a name that is made of a key means that key.
func TestNamesMeanTheirKeys(t *testing.T) {
	z := zones(t)
	for _, key := range []rollcall.Key{
		rollcall.NewKey("", "web", "i-1"), rollcall.NewKey("team", "web", "i-1"), rollcall.NewKey("team.a", "my.web", "An id. With dots"),
		rollcall.NewKey("ns", "service", "_tcp"), rollcall.NewKey("", "ns", "ns"), rollcall.NewKey("service", "instance", "_x"),
	} {
		in := func(labels ...string) []byte {
			return name.AppendDomain(name.AppendLabels(nil, append(labels, key.Namespace, "ns")...), "rollcall.")
		}
		if n := z.Parse(in(key.Service, "service")); n.Kind != name.Service || n.Meanings[0] != (name.Meaning{Service: key.ServiceKey}) {
			t.Errorf("%s is %s", key.ServiceKey, show(n))
		}
		if n := z.Parse(in(key.ID, key.Service, "instance")); n.Kind != name.Instance || n.Meanings[0] != (name.Meaning{Service: key.ServiceKey, ID: key.ID}) {
			t.Errorf("%s is %s", key, show(n))
		}
	}
}

func FuzzParse(f *testing.F) {
	z := zones(f)
	for _, s := range []string{"web.service.rollcall.", "_http._tcp.i.web.team.instance.rollcall.", "_a._sub._web._tcp.t.ns.rollcall.", "x.web.service.dc1.consul.", "4.3.2.1.in-addr.arpa.", "h.node.consul."} {
		f.Add(wire(s))
	}
	f.Fuzz(func(t *testing.T, w []byte) {
		n := z.Parse(w)
		if len(n.Meanings) == 0 && (n.Kind == name.Service || n.Kind == name.Instance || n.Kind == name.Type || n.Kind == name.Entry) {
			t.Fatalf("%q is %s of nothing", w, show(n))
		}
		for _, m := range n.Meanings {
			if rollcall.CheckName("", m.Service.Service) != nil || rollcall.CheckName("", m.Service.Namespace) != nil || rollcall.NewServiceKey(m.Service.Namespace, m.Service.Service) != m.Service {
				t.Fatalf("%q means %q", w, m.Service)
			}
			if (n.Kind == name.Instance || n.Kind == name.Entry) != (m.ID != "") || m.ID != "" && rollcall.CheckID("", m.ID) != nil {
				t.Fatalf("%q means the instance %q", w, m.ID)
			}
		}
		if n.Zone != nil && (n.Base > n.Origin || n.Origin >= len(w)) {
			t.Fatalf("%q: base %d, origin %d", w, n.Base, n.Origin)
		}
		other := z.Parse(name.Lower(nil, w))
		for i := range n.Meanings {
			n.Meanings[i].ID = strings.ToLower(n.Meanings[i].ID)
		}
		if diff := cmp.Diff(n, other, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Fatalf("%q in lower case is another: %s", w, diff)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	z := zones(b)
	for _, s := range []string{"web.service.rollcall.", "canary.web.service.consul.", "_http._tcp.web.service.rollcall."} {
		b.Run(s, func(b *testing.B) {
			w := wire(s)
			b.ReportAllocs()
			for b.Loop() {
				z.Parse(w)
			}
		})
	}
}
