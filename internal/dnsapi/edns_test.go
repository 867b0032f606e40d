package dnsapi_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func subnets(t testing.TB, s ...place.Subnet) *place.Table {
	t.Helper()
	p, err := place.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wire returns how long an answer is.
func (w *world) wire(q *dns.Msg) (*dns.Msg, int) {
	w.t.Helper()
	a := w.raw(pack(w.t, q))
	m := new(dns.Msg)
	if err := m.Unpack(a); err != nil {
		w.t.Fatal(err)
	}
	return m, len(a)
}

// cookie returns a query with the cookie of an answer to it.
func (w *world) cookie(q *dns.Msg) *dns.Msg {
	w.t.Helper()
	const client = "0123456789abcdef"
	a := w.ask(with(q.Copy(), 4096, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: client}))
	for _, o := range a.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok && len(c.Cookie) == 48 && strings.HasPrefix(c.Cookie, client) {
			return with(q.Copy(), 4096, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c.Cookie})
		}
	}
	w.t.Fatalf("no cookie in %v", a)
	return nil
}

// TestSizes: who may have how much of an answer that is larger.
func TestSizes(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.fill("web", 5000)
	q := question("web.service.rollcall.", dns.TypeA)
	known := func() *dns.Msg { return w.cookie(q) }
	forged := func() *dns.Msg {
		m := w.cookie(q)
		c := m.IsEdns0().Option[0].(*dns.EDNS0_COOKIE)
		b, _ := hex.DecodeString(c.Cookie)
		b[23] ^= 1
		c.Cookie = hex.EncodeToString(b)
		return m
	}
	edns := func(size uint16) func() *dns.Msg { return func() *dns.Msg { return with(q.Copy(), size) } }
	tcp := func(s socket.Source) socket.Source { s.TCP = true; return s }
	for _, c := range []struct {
		name  string
		from  socket.Source
		query func() *dns.Msg
		most  int
	}{
		{"loopback", loopback, q.Copy, 512},
		{"loopback 100", loopback, edns(100), 512},
		{"loopback 1232", loopback, edns(1232), 1232},
		{"loopback 4096", loopback, edns(4096), 4096},
		{"loopback 65535", loopback, edns(65535), 8192},
		{"exposed", exposed, q.Copy, 512},
		{"exposed 4096", exposed, edns(4096), 512},
		{"exposed with a cookie", exposed, known, 1232},
		{"exposed with a forged cookie", exposed, forged, 512},
		{"loopback by TCP", tcp(loopback), q.Copy, 65535},
		{"exposed by TCP", tcp(exposed), q.Copy, 65535},
	} {
		w.from = c.from
		m, n := w.wire(c.query())
		if n > c.most || n < c.most-16-11-28 || m.Truncated == c.from.TCP || len(m.Answer) == 0 {
			t.Errorf("%s: %d bytes of %d, truncated %v, %d records", c.name, n, c.most, m.Truncated, len(m.Answer))
		}
	}
}

// TestNeverEmptyWhenCut: of all that may be asked for, an answer that is cut has a
// record at least.
func TestNeverEmptyWhenCut(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	long := strings.Repeat("long-", 10)
	is := make([]rollcall.Instance, 600)
	for n := range is {
		i := web(n)
		i.ID, i.Service = fmt.Sprintf("%s-%03d", long, n), long
		i.Metadata = map[string]string{}
		for k := range 50 {
			i.Metadata[fmt.Sprintf("key-%d", k)] = strings.Repeat("v", 200)
		}
		i.Version = strings.Repeat("x", 255)
		is[n] = i
	}
	w.register(is...)
	w.from = exposed
	for _, c := range []struct {
		name string
		typ  uint16
	}{
		{long + ".service.rollcall.", dns.TypeA},
		{long + ".service.rollcall.", dns.TypeSRV},
		{long + ".service.rollcall.", dns.TypeTXT},
		{"_" + long + "._tcp.rollcall.", dns.TypePTR},
	} {
		for _, size := range []int{0, 512, 1232} {
			q := question(c.name, c.typ)
			if size > 0 {
				with(q, uint16(size))
			}
			m, n := w.wire(q)
			if n > 512 || !m.Truncated || len(m.Answer) == 0 {
				t.Errorf("%s %s: %d bytes, truncated %v, %d records", c.name, dns.TypeToString[c.typ], n, m.Truncated, len(m.Answer))
			}
		}
		w.from.TCP = true
		if m, n := w.wire(question(c.name, c.typ)); m.Truncated || len(m.Answer) == 0 || n > 65535 || c.typ != dns.TypeTXT && len(m.Answer) < 400 {
			t.Errorf("%s %s by TCP: %d bytes, truncated %v, %d records", c.name, dns.TypeToString[c.typ], n, m.Truncated, len(m.Answer))
		}
		w.from.TCP = false
	}
}

// TestLimit: over the limit answers are as small as can be and say that there is more
// to be had by TCP; there is never none.
func TestLimit(t *testing.T) {
	w := newWorld(t, dnsapi.Options{Rate: 1})
	fleet(w)
	w.fill("many", 20)
	w.fill(strings.Repeat("long-", 12), 20)
	cookie := w.cookie(question("many.service.rollcall.", dns.TypeA))
	w.from = exposed
	w.get("web.service.rollcall.", dns.TypeA) // all there is
	for _, c := range []struct {
		name    string
		typ     uint16
		code    int
		answers int
	}{
		{"many.service.rollcall.", dns.TypeA, 0, 1},
		{"many.service.rollcall.", dns.TypeSRV, 0, 1},
		{strings.Repeat("long-", 12) + ".service.rollcall.", dns.TypeSRV, 0, 1},
		{"six.service.rollcall.", dns.TypeAAAA, 0, 1},
		{"six.service.rollcall.", dns.TypeSRV, 0, 1},
		{"many.service.rollcall.", dns.TypeTXT, 0, 1},
		{"_many._tcp.rollcall.", dns.TypePTR, 0, 1},
		{"_services._dns-sd._udp.rollcall.", dns.TypePTR, 0, 1},
		{"named.service.rollcall.", dns.TypeA, 0, 1},
		{"rollcall.", dns.TypeSOA, 0, 1},
		{"rollcall.", dns.TypeNS, 0, 1},
		{"nobody.service.rollcall.", dns.TypeA, dns.RcodeNameError, 0},
		{"down.service.rollcall.", dns.TypeA, 0, 0},
		{"example.com.", dns.TypeA, dns.RcodeRefused, 0},
	} {
		m, n := w.wire(with(question(c.name, c.typ), 4096))
		if m.Rcode != c.code || !m.Truncated || len(m.Answer) != c.answers || len(m.Ns) != 0 || len(m.Extra) > 2 || n > 240 {
			t.Errorf("%s %s: %d bytes\n%v", c.name, dns.TypeToString[c.typ], n, m)
		}
	}
	w.from.TCP = true
	if m := w.get("many.service.rollcall.", dns.TypeA); m.Truncated || len(m.Answer) != 20 {
		t.Errorf("by TCP: %v", m)
	}
	w.from.TCP = false
	w.from = loopback
	if m := w.get("many.service.rollcall.", dns.TypeA); m.Truncated || len(m.Answer) != 20 {
		t.Errorf("from the loopback interface: %v", m)
	}
	// A cookie is of one address, which it proves.
	w.from = exposed
	if m := w.ask(cookie); !m.Truncated {
		t.Errorf("with the cookie of another: %v", m)
	}
	if m := w.ask(w.cookie(question("many.service.rollcall.", dns.TypeA))); m.Truncated || len(m.Answer) != 20 {
		t.Errorf("with a cookie: %v", m)
	}
}

// zoned returns an instance in a zone.
func zoned(n int, zone string) rollcall.Instance {
	i := web(n)
	i.Locality = rollcall.Locality{Region: "eu", Zone: zone}
	return i
}

func TestNear(t *testing.T) {
	w := newWorld(t, dnsapi.Options{Places: subnets(t,
		place.Subnet{Prefix: prefix("192.0.2.0/24"), Near: "zone:eu/eu-1"},
		place.Subnet{Prefix: prefix("198.51.100.0/25"), Near: "zone:eu/eu-2"},
		place.Subnet{Prefix: prefix("2001:db8::/32"), Near: "zone:eu/eu-2"},
	)})
	w.register(zoned(1, "eu-1"), zoned(2, "eu-2"))
	one, two := "10.0.0.2", "10.0.0.3"
	ecs := func(s string, bits uint8) *dns.Msg {
		a := netip.MustParseAddr(s)
		family := uint16(1)
		if a.Is6() {
			family = 2
		}
		return with(question("web.service.rollcall.", dns.TypeA), 1232, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: bits, Address: a.AsSlice()})
	}
	for _, c := range []struct {
		name  string
		from  string
		query *dns.Msg
		want  string // the only one, "" for both
		scope int    // -1: no option
	}{
		{"by source", "192.0.2.1", question("web.service.rollcall.", dns.TypeA), one, -1},
		{"by source, in IPv6", "2001:db8::1", question("web.service.rollcall.", dns.TypeA), two, -1},
		{"from elsewhere", "203.0.113.1", question("web.service.rollcall.", dns.TypeA), "", -1},
		{"for others", "192.0.2.1", ecs("198.51.100.0", 24), two, 25},
		{"for others, in IPv6", "192.0.2.1", ecs("2001:db8::", 56), two, 32},
		{"for others elsewhere", "192.0.2.1", ecs("203.0.113.0", 24), "", 5}, // like 198.51.100.0, but for the fifth,
		{"for nobody", "192.0.2.1", ecs("0.0.0.0", 0), one, 0},
	} {
		w.from = socket.Source{From: netip.AddrPortFrom(netip.MustParseAddr(c.from), 1)}
		for range 10 {
			m := w.ask(c.query)
			if got := addresses(m); c.want == "" && len(got) != 2 || c.want != "" && (len(got) == 0 || got[0] != c.want) {
				t.Errorf("%s: %v", c.name, got)
			}
			if c.scope < 0 {
				continue
			}
			asked := c.query.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
			told, ok := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
			if !ok || int(told.SourceScope) != c.scope || told.SourceNetmask != asked.SourceNetmask || told.Family != asked.Family || !told.Address.Equal(asked.Address) {
				t.Errorf("%s: asked with %v, answered with %v", c.name, asked, m.IsEdns0())
			}
		}
	}
	w.from = exposed
	if m := w.ask(func() *dns.Msg {
		q := ecs("198.51.100.0", 24)
		q.Question[0].Name = "nobody.service.rollcall."
		return q
	}()); m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET).SourceScope != 0 {
		t.Errorf("that there is nobody is so for everybody: %v", m)
	}
}

// TestExplanations: who speaks EDNS is told why.
func TestExplanations(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	w.register(
		rollcall.Instance{Service: "double", ID: "e", Address: "10.0.0.9", Ports: map[string]uint16{"http": 1, "admin": 2}},
		rollcall.Instance{Service: "idle", ID: "i", Address: "10.0.0.9", Weight: new(uint16(0))},
	)
	if _, _, err := w.reg.PutQuery(t.Context(), &rollcall.NamedQuery{Name: "asked", Service: "web"}, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		typ  uint16
		code uint16
		text string
	}{
		{"down.service.rollcall.", dns.TypeA, dns.ExtendedErrorCodeOther, "1 instance, none routable"},
		{"web.service.rollcall.", dns.TypeAAAA, dns.ExtendedErrorCodeOther, "3 instances, none routable with an address of this family"},
		{"_x._tcp.web.service.rollcall.", dns.TypeSRV, dns.ExtendedErrorCodeOther, "3 instances, none routable with the port"},
		{"gpu.web.service.rollcall.", dns.TypeA, dns.ExtendedErrorCodeOther, "3 instances, none routable that is selected"},
		{"double.service.rollcall.", dns.TypeSRV, dns.ExtendedErrorCodeOther, "1 instance, none routable with one port or one called default; _PORT._tcp. before the name says which"},
		{"idle.service.rollcall.", dns.TypeA, dns.ExtendedErrorCodeOther, "1 instance, none routable with an address and a weight"},
		{"x.asked.service.rollcall.", dns.TypeA, dns.ExtendedErrorCodeOther, "none routable that is selected: a named query selects by itself"},
		{"example.com.", dns.TypeA, dns.ExtendedErrorCodeNotAuthoritative, "not a name of a zone of this server; see rollcall serve --dns-zone and --dns-upstreams"},
	} {
		o := w.ask(with(question(c.name, c.typ), 1232)).IsEdns0()
		if len(o.Option) != 1 {
			t.Errorf("%s: %v", c.name, o)
			continue
		}
		if e := o.Option[0].(*dns.EDNS0_EDE); e.InfoCode != c.code || e.ExtraText != c.text {
			t.Errorf("%s: %v", c.name, e)
		}
	}
	if o := w.ask(with(question("web.service.rollcall.", dns.TypeA), 1232)).IsEdns0(); len(o.Option) != 0 {
		t.Errorf("an answer explains itself: %v", o)
	}
}
