package dnsapi_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

// FuzzAnswer: whatever comes, no answer is given to an answer, and what is given to a
// query is a message of bounded size with its id and question.
func FuzzAnswer(f *testing.F) {
	w := newWorld(f, dnsapi.Options{Rate: 1000, Places: subnets(f, place.Subnet{Prefix: prefix("10.0.0.0/8"), Near: "zone:eu/eu-1"})})
	fleet(w)
	w.fill("many", 300)
	for _, name := range []string{
		"web.service.rollcall.", "many.service.rollcall.", "canary.web.service.consul.", "_http._tcp.web.service.rollcall.", "a.web.instance.rollcall.", "_web._tcp.rollcall.",
		"_services._dns-sd._udp.rollcall.", "1.0.0.10.in-addr.arpa.", "rollcall.", "ns.rollcall.", "0a000001.addr.rollcall.", "host-1.node.consul.", "named.service.rollcall.", ".",
	} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeTXT, dns.TypePTR, dns.TypeANY} {
			f.Add(pack(f, question(name, typ)), uint8(typ))
		}
	}
	f.Add(pack(f, with(question("many.service.rollcall.", dns.TypeSRV), 4096, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{10, 0, 0, 0}})), uint8(0))
	f.Add(bytes.Repeat([]byte{0xc0}, 600), uint8(1))
	room := make([]byte, 0, 65535)
	f.Fuzz(func(t *testing.T, b []byte, where uint8) {
		from := [...]socket.Source{
			loopback, exposed, {From: exposed.From, TCP: true}, {From: netip.MustParseAddrPort("[2001:db8::1]:1"), To: netip.MustParseAddr("::1")},
		}[where%4]
		before := bytes.Clone(b)
		a, later := w.handler.Answer(room[:0], b, from)
		if later != nil || !bytes.Equal(b, before) {
			t.Fatal("there are no upstreams to ask, or the query was changed")
		}
		if len(b) < 12 || b[2]&0x80 != 0 {
			if len(a) > 0 {
				t.Fatalf("%x is answered with %x", b, a)
			}
			return
		}
		most := 65535
		if !from.TCP {
			if most = 512; from == loopback {
				most = 8192
			}
		}
		m := new(dns.Msg)
		if err := m.Unpack(a); err != nil || len(a) > most {
			t.Fatalf("%x is answered with %d bytes: %v\n%x", b, len(a), err, a)
		}
		if !m.Response || m.Id != binary.BigEndian.Uint16(b) || m.Opcode != int(b[2]>>3&0xf) {
			t.Fatalf("%x is answered with %v", b, m)
		}
		if n := len(m.Question); n > 1 || n == 1 && !bytes.HasPrefix(b[12:], a[12:12+questionSize(a)]) {
			t.Fatalf("%x is answered with another question: %x", b, a)
		}
		if m.Rcode == 0 && len(m.Question) != 1 {
			t.Fatalf("%x is a query for nothing: %v", b, m)
		}
	})
}

// questionSize returns how long the question of a message is.
func questionSize(b []byte) int {
	at := 12
	for b[at] != 0 {
		at += 1 + int(b[at])
	}
	return at + 5 - 12
}
