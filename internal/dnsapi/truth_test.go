package dnsapi_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
)

// fleet fills a world with what the tables below ask for.
func fleet(w *world) {
	weight := func(n uint16) *uint16 { return &n }
	none := rollcall.Lease{Mode: rollcall.LeaseNone}
	w.register(
		rollcall.Instance{
			Service: "web", ID: "a", Address: "10.0.0.1", Ports: map[string]uint16{"http": 8080, "default": 9090}, Version: "2.4.1", Node: "Host-1", Lease: none,
			Capabilities: map[string]rollcall.Value{"Canary": rollcall.Bool(true), "gpu": rollcall.Bool(false)}, Metadata: map[string]string{"team": `"checkout" \o/`},
		},
		rollcall.Instance{Service: "web", ID: "B 2", Address: "10.0.0.2", Ports: map[string]uint16{"http": 8081}, Version: "2.5.0", Lease: none, Node: "host-1"},
		rollcall.Instance{Service: "web", ID: "off", Address: "10.0.0.3", Ports: map[string]uint16{"http": 8082}, Weight: weight(0), Lease: none},
		rollcall.Instance{Service: "six", ID: "s", Address: "2001:db8::1", Ports: map[string]uint16{"default": 1, "a": 2}, Lease: none},
		rollcall.Instance{Service: "named", ID: "n", Address: "www.example.com", Ports: map[string]uint16{"http": 443}, Lease: none},
		rollcall.Instance{Service: "mixed", ID: "n", Address: "www.example.com", Ports: map[string]uint16{"http": 443}, Lease: none},
		rollcall.Instance{Service: "mixed", ID: "a", Address: "10.0.5.1", Ports: map[string]uint16{"http": 444}, Lease: none},
		rollcall.Instance{Service: "my.web", ID: "m", Address: "10.0.1.1", Ports: map[string]uint16{"http": 1}, Lease: none},
		rollcall.Instance{Service: "Down", ID: "d", Address: "10.0.2.1", Ports: map[string]uint16{"http": 1}, Lease: none},
		rollcall.Instance{Namespace: "team", Service: "web", ID: "t", Address: "10.0.3.1", Ports: map[string]uint16{"http": 1}, Lease: none},
		rollcall.Instance{Namespace: "team", Service: "only", ID: "t", Address: "10.0.3.2", Ports: map[string]uint16{"http": 1}, Lease: none},
		rollcall.Instance{Service: "portless", ID: "p", Address: "10.0.4.1", Lease: none},
	)
	w.down("down", "d")
	q := &rollcall.NamedQuery{Name: "either", Service: "down", Failover: []rollcall.QueryTarget{{Service: "my.web"}}}
	if _, _, err := w.reg.PutQuery(w.t.Context(), q, 0); err != nil {
		w.t.Fatal(err)
	}
}

const (
	soa       = "authority rollcall. 1 IN SOA ns.rollcall. hostmaster.rollcall. 0 3600 600 86400 1\n"
	soaConsul = "authority consul. 1 IN SOA ns.consul. hostmaster.consul. 0 3600 600 86400 1\n"
	nodata    = "NOERROR aa\n" + soa
	nxdomain  = "NXDOMAIN aa\n" + soa
	hinfo     = ` 3600 IN HINFO "RFC8482" ""` + "\n"
)

func TestTruth(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		// Services.
		{"web.service.rollcall.", dns.TypeA, "NOERROR aa\nweb.service.rollcall. 1 IN A 10.0.0.1\nweb.service.rollcall. 1 IN A 10.0.0.2\n"},
		{"wEb.SERVICE.rollCall.", dns.TypeA, "NOERROR aa\nwEb.SERVICE.rollCall. 1 IN A 10.0.0.1\nwEb.SERVICE.rollCall. 1 IN A 10.0.0.2\n"},
		{"web.service.rollcall.", dns.TypeAAAA, nodata},
		{"web.service.rollcall.", dns.TypeSRV, "NOERROR aa\n" +
			"web.service.rollcall. 1 IN SRV 1 25600 8081 0a000002.addr.rollcall.\nweb.service.rollcall. 1 IN SRV 1 25600 9090 a.web.instance.rollcall.\n" +
			"additional 0a000002.addr.rollcall. 1 IN A 10.0.0.2\nadditional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"_http._tcp.web.service.rollcall.", dns.TypeSRV, "NOERROR aa\n" +
			"_http._tcp.web.service.rollcall. 1 IN SRV 1 25600 8080 a.web.instance.rollcall.\n_http._tcp.web.service.rollcall. 1 IN SRV 1 25600 8081 0a000002.addr.rollcall.\n" +
			"additional 0a000002.addr.rollcall. 1 IN A 10.0.0.2\nadditional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"_default._tcp.web.service.rollcall.", dns.TypeSRV, "NOERROR aa\n_default._tcp.web.service.rollcall. 1 IN SRV 1 25600 9090 a.web.instance.rollcall.\nadditional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"_default._tcp.web.service.rollcall.", dns.TypeA, "NOERROR aa\n_default._tcp.web.service.rollcall. 1 IN A 10.0.0.1\n"},
		{"_none._tcp.web.service.rollcall.", dns.TypeSRV, nodata},
		{"_none._tcp.web.service.rollcall.", dns.TypeA, nodata},
		{"_my\\.web._tcp.service.rollcall.", dns.TypeSRV, "NOERROR aa\n_my\\.web._tcp.service.rollcall. 1 IN SRV 1 25600 1 0a000101.addr.rollcall.\nadditional 0a000101.addr.rollcall. 1 IN A 10.0.1.1\n"},
		{"web.service.rollcall.", dns.TypeTXT, "NOERROR aa\n" +
			`web.service.rollcall. 1 IN TXT "id=B 2" "version=2.5.0"` + "\n" + `web.service.rollcall. 1 IN TXT "id=a" "version=2.4.1" "team=\"checkout\" \\o/"` + "\n"},
		{"web.service.rollcall.", dns.TypeHTTPS, nodata},
		{"web.service.rollcall.", dns.TypeSVCB, nodata},
		{"web.service.rollcall.", dns.TypeMX, nodata},
		{"web.service.rollcall.", dns.TypeCNAME, nodata},
		{"web.service.rollcall.", dns.TypePTR, nodata},
		{"web.service.rollcall.", dns.TypeANY, "NOERROR aa\nweb.service.rollcall." + hinfo},
		{"my.web.service.rollcall.", dns.TypeA, "NOERROR aa\nmy.web.service.rollcall. 1 IN A 10.0.1.1\n"},
		{"only.team.service.rollcall.", dns.TypeA, "NOERROR aa\nonly.team.service.rollcall. 1 IN A 10.0.3.2\n"},
		{"web.service.team.ns.rollcall.", dns.TypeA, "NOERROR aa\nweb.service.team.ns.rollcall. 1 IN A 10.0.3.1\n"},
		{"portless.service.rollcall.", dns.TypeSRV, nodata},
		{"portless.service.rollcall.", dns.TypeA, "NOERROR aa\nportless.service.rollcall. 1 IN A 10.0.4.1\n"},
		{"six.service.rollcall.", dns.TypeAAAA, "NOERROR aa\nsix.service.rollcall. 1 IN AAAA 2001:db8::1\n"},
		{"six.service.rollcall.", dns.TypeA, nodata},
		{"six.service.rollcall.", dns.TypeSRV, "NOERROR aa\nsix.service.rollcall. 1 IN SRV 1 25600 1 s.six.instance.rollcall.\nadditional s.six.instance.rollcall. 1 IN AAAA 2001:db8::1\n"},
		{"named.service.rollcall.", dns.TypeA, "NOERROR aa\nnamed.service.rollcall. 1 IN CNAME www.example.com.\n"},
		{"named.service.rollcall.", dns.TypeAAAA, "NOERROR aa\nnamed.service.rollcall. 1 IN CNAME www.example.com.\n"},
		{"named.service.rollcall.", dns.TypeCNAME, "NOERROR aa\nnamed.service.rollcall. 1 IN CNAME www.example.com.\n"},
		{"named.service.rollcall.", dns.TypeSRV, "NOERROR aa\nnamed.service.rollcall. 1 IN SRV 1 25600 443 www.example.com.\n"},
		{"mixed.service.rollcall.", dns.TypeA, "NOERROR aa\nmixed.service.rollcall. 1 IN A 10.0.5.1\n"},
		{"mixed.service.rollcall.", dns.TypeAAAA, nodata},
		{"mixed.service.rollcall.", dns.TypeSRV, "NOERROR aa\n" +
			"mixed.service.rollcall. 1 IN SRV 1 25600 443 www.example.com.\nmixed.service.rollcall. 1 IN SRV 1 25600 444 a.mixed.instance.rollcall.\n" +
			"additional a.mixed.instance.rollcall. 1 IN A 10.0.5.1\n"},
		// Who may be selected.
		{"2.4.1.web.service.rollcall.", dns.TypeA, "NOERROR aa\n2.4.1.web.service.rollcall. 1 IN A 10.0.0.1\n"},
		{"CANARY.web.service.rollcall.", dns.TypeA, "NOERROR aa\nCANARY.web.service.rollcall. 1 IN A 10.0.0.1\n"},
		{"gpu.web.service.rollcall.", dns.TypeA, nodata},
		{"\\\"x.web.service.rollcall.", dns.TypeA, nodata},
		{"x.nobody.service.rollcall.", dns.TypeA, nxdomain},
		// Nobody to call is not nobody there.
		{"down.service.rollcall.", dns.TypeA, nodata},
		{"down.service.rollcall.", dns.TypeSRV, nodata},
		{"down.service.rollcall.", dns.TypeTXT, nodata},
		{"down.service.consul.", dns.TypeA, "NOERROR aa\n" + soaConsul},
		{"nobody.service.rollcall.", dns.TypeA, nxdomain},
		{"nobody.service.rollcall.", dns.TypeANY, nxdomain},
		{"nobody.service.consul.", dns.TypeA, "NXDOMAIN aa\n" + soaConsul},
		{"team.service.rollcall.", dns.TypeA, nodata}, // only.team.service
		{"web.team.instance.rollcall.", dns.TypeA, nodata},
		{"only.web.instance.rollcall.", dns.TypeA, nxdomain},
		{"_tcp.service.rollcall.", dns.TypeA, nodata},
		{"_tcp.web.service.rollcall.", dns.TypeA, nodata},
		// A named query is a name as any other.
		{"either.service.rollcall.", dns.TypeA, "NOERROR aa\neither.service.rollcall. 1 IN A 10.0.1.1\n"},
		{"either.query.consul.", dns.TypeA, "NOERROR aa\neither.query.consul. 1 IN A 10.0.1.1\n"},
		{"_either._tcp.query.consul.", dns.TypeSRV, "NOERROR aa\n_either._tcp.query.consul. 1 IN SRV 1 25600 1 0a000101.addr.dc1.consul.\nadditional 0a000101.addr.dc1.consul. 1 IN A 10.0.1.1\n"},
		// One instance.
		{"a.web.instance.rollcall.", dns.TypeA, "NOERROR aa\na.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"a.web.instance.rollcall.", dns.TypeAAAA, nodata},
		{"A.web.instance.rollcall.", dns.TypeA, "NOERROR aa\nA.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{`b\ 2.web.instance.rollcall.`, dns.TypeA, `NOERROR aa` + "\n" + `b\ 2.web.instance.rollcall. 1 IN A 10.0.0.2` + "\n"},
		{"off.web.instance.rollcall.", dns.TypeA, "NOERROR aa\noff.web.instance.rollcall. 1 IN A 10.0.0.3\n"},
		{"d.down.instance.rollcall.", dns.TypeA, "NOERROR aa\nd.down.instance.rollcall. 1 IN A 10.0.2.1\n"},
		{"t.web.team.instance.rollcall.", dns.TypeA, "NOERROR aa\nt.web.team.instance.rollcall. 1 IN A 10.0.3.1\n"},
		{"t.web.instance.team.ns.rollcall.", dns.TypeA, "NOERROR aa\nt.web.instance.team.ns.rollcall. 1 IN A 10.0.3.1\n"},
		{"m.my.web.instance.rollcall.", dns.TypeA, "NOERROR aa\nm.my.web.instance.rollcall. 1 IN A 10.0.1.1\n"},
		{"n.named.instance.rollcall.", dns.TypeA, "NOERROR aa\nn.named.instance.rollcall. 1 IN CNAME www.example.com.\n"},
		{"a.web.instance.rollcall.", dns.TypeSRV, "NOERROR aa\na.web.instance.rollcall. 1 IN SRV 1 25600 9090 a.web.instance.rollcall.\nadditional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"_http._tcp.a.web.instance.rollcall.", dns.TypeSRV, "NOERROR aa\n_http._tcp.a.web.instance.rollcall. 1 IN SRV 1 25600 8080 a.web.instance.rollcall.\nadditional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"},
		{"a.web.instance.rollcall.", dns.TypeTXT, "NOERROR aa\n" + `a.web.instance.rollcall. 1 IN TXT "id=a" "version=2.4.1" "team=\"checkout\" \\o/"` + "\n"},
		{"a.web.instance.rollcall.", dns.TypeMX, nodata},
		{"a.web.instance.rollcall.", dns.TypeANY, "NOERROR aa\na.web.instance.rollcall." + hinfo},
		{"z.web.instance.rollcall.", dns.TypeA, nxdomain},
		{"z.nobody.instance.rollcall.", dns.TypeA, nxdomain},
		{"web.instance.rollcall.", dns.TypeA, nodata},
		// Addresses and nodes.
		{"0a000001.addr.rollcall.", dns.TypeA, "NOERROR aa\n0a000001.addr.rollcall. 3600 IN A 10.0.0.1\n"},
		{"0a000001.addr.rollcall.", dns.TypeAAAA, nodata},
		{"20010db8000000000000000000000001.addr.dc1.consul.", dns.TypeAAAA, "NOERROR aa\n20010db8000000000000000000000001.addr.dc1.consul. 3600 IN AAAA 2001:db8::1\n"},
		{"0a00001.addr.rollcall.", dns.TypeA, nxdomain},
		{"HOST-1.node.consul.", dns.TypeA, "NOERROR aa\nHOST-1.node.consul. 1 IN A 10.0.0.1\nHOST-1.node.consul. 1 IN A 10.0.0.2\n"},
		{"host-1.node.dc1.consul.", dns.TypeAAAA, "NOERROR aa\n" + soaConsul},
		{"host-1.node.consul.", dns.TypeANY, "NOERROR aa\nhost-1.node.consul." + hinfo},
		{"HOST-1.node.rollcall.", dns.TypeA, "NOERROR aa\nHOST-1.node.rollcall. 1 IN A 10.0.0.1\nHOST-1.node.rollcall. 1 IN A 10.0.0.2\n"},
		{"host-2.node.consul.", dns.TypeA, "NXDOMAIN aa\n" + soaConsul},
		{"1.0.0.10.in-addr.arpa.", dns.TypePTR, "NOERROR aa\n1.0.0.10.in-addr.arpa. 1 IN PTR a.web.instance.rollcall.\n"},
		{"1.0.0.10.in-addr.arpa.", dns.TypeA, "NOERROR aa\n"},
		{"1.0.0.10.in-addr.arpa.", dns.TypeANY, "NOERROR aa\n1.0.0.10.in-addr.arpa." + hinfo},
		{"1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "NOERROR aa\n1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.ip6.arpa. 1 IN PTR s.six.instance.rollcall.\n"},
		{"9.9.9.9.in-addr.arpa.", dns.TypePTR, "REFUSED\n"},
		// The zone.
		{"rollcall.", dns.TypeSOA, "NOERROR aa\n" + strings.TrimPrefix(soa, "authority ")},
		{"Rollcall.", dns.TypeNS, "NOERROR aa\nRollcall. 3600 IN NS ns.Rollcall.\nadditional ns.Rollcall. 3600 IN A 127.0.0.1\n"},
		{"rollcall.", dns.TypeA, nodata},
		{"rollcall.", dns.TypeANY, "NOERROR aa\nrollcall." + hinfo},
		{"ns.rollcall.", dns.TypeA, "NOERROR aa\nns.rollcall. 3600 IN A 127.0.0.1\n"},
		{"ns.rollcall.", dns.TypeAAAA, nodata},
		{"ns.consul.", dns.TypeA, "NOERROR aa\nns.consul. 3600 IN A 127.0.0.1\n"},
		{"service.rollcall.", dns.TypeA, nodata},
		{"_tcp.rollcall.", dns.TypePTR, nodata},
		{"web.rollcall.", dns.TypeA, nxdomain},
		// Consul's.
		{"web.service.consul.", dns.TypeSRV, "NOERROR aa\n" +
			"web.service.consul. 1 IN SRV 1 25600 8081 0a000002.addr.dc1.consul.\nweb.service.consul. 1 IN SRV 1 25600 9090 0a000001.addr.dc1.consul.\n" +
			"additional 0a000001.addr.dc1.consul. 1 IN A 10.0.0.1\nadditional 0a000002.addr.dc1.consul. 1 IN A 10.0.0.2\n"},
		{"canary.web.service.dc1.consul.", dns.TypeA, "NOERROR aa\ncanary.web.service.dc1.consul. 1 IN A 10.0.0.1\n"},
		{"_web._canary.service.consul.", dns.TypeA, "NOERROR aa\n_web._canary.service.consul. 1 IN A 10.0.0.1\n"},
		{"_web._tcp.consul.", dns.TypeA, "NOERROR aa\n_web._tcp.consul. 1 IN A 10.0.0.1\n_web._tcp.consul. 1 IN A 10.0.0.2\n"},
		{"web.service.dc2.consul.", dns.TypeA, "NXDOMAIN aa\n" + soaConsul},
		{"web.connect.consul.", dns.TypeA, "NXDOMAIN aa\n" + soaConsul},
		// Others'.
		{".", dns.TypeNS, "REFUSED\n"},
		{"example.com.", dns.TypeA, "REFUSED\n"},
		{"web.service.rollcall.example.com.", dns.TypeA, "REFUSED\n"},
		// What is not done.
		{"rollcall.", dns.TypeAXFR, "NOTIMP\n"},
		{"rollcall.", dns.TypeIXFR, "NOTIMP\n"},
	} {
		for range 2 { // and of what is remembered then
			if got := show(w.get(c.name, c.typ)); got != c.want {
				t.Errorf("%s %s\n got %swant %s", c.name, dns.TypeToString[c.typ], got, c.want)
				break
			}
		}
	}
}

// TestHeaders: what is not a plain query, and what of its header is repeated.
func TestHeaders(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	const a = "NOERROR aa\nmy.web.service.rollcall. 1 IN A 10.0.1.1\n"
	for name, c := range map[string]struct {
		edit func(*dns.Msg)
		want string
	}{
		"plain":     {func(m *dns.Msg) {}, a},
		"recursion": {func(m *dns.Msg) { m.RecursionDesired = false }, a},
		"checking":  {func(m *dns.Msg) { m.CheckingDisabled = true }, a},
		"z": {func(m *dns.Msg) {
			m.Zero, m.AuthenticatedData, m.Authoritative, m.RecursionAvailable, m.Truncated = true, true, true, true, true
		}, a},
		"code": {func(m *dns.Msg) { m.Rcode = 3 }, a},
		"chaos": {func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}, "REFUSED\n"},
		"class":        {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, "REFUSED\n"},
		"notify":       {func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "NOTIMP\n"},
		"update":       {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "NOTIMP\n"},
		"status":       {func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }, "NOTIMP\n"},
		"none":         {func(m *dns.Msg) { m.Question = nil }, "FORMERR\n"},
		"two":          {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]); m.Compress = false }, "FORMERR\n"},
		"edns":         {func(m *dns.Msg) { m.SetEdns0(1232, true) }, a},
		"edns 1":       {func(m *dns.Msg) { m.SetEdns0(1232, true); m.IsEdns0().SetVersion(1) }, "BADVERS\n"},
		"two opts":     {func(m *dns.Msg) { m.SetEdns0(1232, true); m.Extra = append(m.Extra, m.Extra[0]) }, "FORMERR\n"},
		"opt in front": {func(m *dns.Msg) { m.SetEdns0(1232, true); m.Ns, m.Extra = m.Extra, nil }, "FORMERR\n"},
		"others": {func(m *dns.Msg) {
			rr, _ := dns.NewRR("x.example.com. 1 IN MX 10 mx.example.com.")
			m.Answer, m.Ns, m.Extra, m.Compress = []dns.RR{rr}, []dns.RR{rr, rr}, []dns.RR{rr}, true
			m.SetEdns0(1232, false)
		}, a},
		"cookie": {func(m *dns.Msg) { with(m, 1232, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344"}) }, "FORMERR\n"},
		"subnet": {func(m *dns.Msg) {
			with(m, 1232, &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: []byte{0, 1, 24, 0, 10, 0, 0, 1}})
		}, "FORMERR\n"},
	} {
		m := question("my.web.service.rollcall.", dns.TypeA)
		c.edit(m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		a := new(dns.Msg)
		if err := a.Unpack(w.raw(b)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := show(a); got != c.want || a.RecursionDesired != m.RecursionDesired || a.CheckingDisabled != m.CheckingDisabled || a.Opcode != m.Opcode {
			t.Errorf("%s\n got %s%+v\nwant %s", name, got, a.MsgHdr, c.want)
		}
		in, out := m.IsEdns0(), a.IsEdns0()
		if (in != nil) != (out != nil) || in != nil && (in.Do() != out.Do() || out.Version() != 0 || out.UDPSize() != 1232) {
			t.Errorf("%s: asked with %v, answered with %v", name, in, out)
		}
	}
}

// TestSilence: some packets have no answer, because that might be answered.
func TestSilence(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	q, _ := question("web.service.rollcall.", dns.TypeA).Pack()
	response := append([]byte(nil), q...)
	response[2] |= 0x80
	for _, b := range [][]byte{nil, q[:11], response} {
		if a := w.raw(b); len(a) != 0 {
			t.Errorf("%x is answered with %x", b, a)
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"a name that does not end", q[:20]},
		{"a question without class", q[:len(q)-1]},
		{"a compressed name", append(append([]byte(nil), q[:12]...), 0xc0, 12, 0, 1, 0, 1)},
		{"a label of 64 bytes", append(append([]byte(nil), q[:12]...), append(append([]byte{64}, make([]byte, 64)...), 0, 0, 1, 0, 1)...)},
		{"a record that is not there", binary.BigEndian.AppendUint16(append([]byte(nil), q[:10]...), 1)},
	} {
		if c.name == "a record that is not there" {
			c.b = append(c.b, q[12:]...)
		}
		if a := w.raw(c.b); len(a) < 12 || a[3]&0xf != dns.RcodeFormatError || a[0] != q[0] || a[2]&0x80 == 0 {
			t.Errorf("%s: %x", c.name, a)
		}
	}
}
