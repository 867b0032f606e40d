package dnsapi_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
)

// both listens on one port for UDP and TCP; one that is free for UDP may not be for TCP.
func both(t testing.TB) (c net.PacketConn, l net.Listener) {
	t.Helper()
	for range 20 {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if c, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			return c, l
		}
		l.Close()
	}
	t.Fatal("no port is free for both")
	return nil, nil
}

// upstream serves what a resolver knows, for the length of the test.
func upstream(t testing.TB, handler dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	c, l := both(t)
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, s := range []*dns.Server{{PacketConn: c, Handler: handler}, {Listener: l, Handler: handler}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() {
			s.Shutdown()
			<-done
		})
	}
	return at
}

// knows answers every query with records for its name.
func knows(lines ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		for _, l := range lines {
			rr, err := dns.NewRR(strings.ReplaceAll(l, "@", q.Question[0].Name))
			if err == nil && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if o := q.IsEdns0(); o != nil {
			m.SetEdns0(1232, o.Do())
			if len(o.Option) > 0 {
				m.Rcode = dns.RcodeFormatError // options are not for everybody
			}
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			size := dns.MinMsgSize
			if o := q.IsEdns0(); o != nil {
				size = int(o.UDPSize())
			}
			m.Truncate(size)
		}
		w.WriteMsg(m)
	}
}

func TestForward(t *testing.T) {
	at := upstream(t, knows("@ 60 IN A 198.51.100.7", "@ 60 IN PTR host.example.com."))
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{at}})
	fleet(w)
	w.register(rollcall.Instance{Service: "ours", ID: "o", Address: "web.service.rollcall", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}})
	cookie := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}
	for _, c := range []struct {
		query *dns.Msg
		want  string
	}{
		{question("Example.com.", dns.TypeA), "NOERROR ra\nExample.com. 60 IN A 198.51.100.7\n"},
		{with(question("example.com.", dns.TypeA), 4096, cookie), "NOERROR ra\nexample.com. 60 IN A 198.51.100.7\n"},
		{question("example.com.", dns.TypeAAAA), "NOERROR ra\n"},
		{question("9.9.9.9.in-addr.arpa.", dns.TypePTR), "NOERROR ra\n9.9.9.9.in-addr.arpa. 60 IN PTR host.example.com.\n"},
		{question("1.0.0.10.in-addr.arpa.", dns.TypePTR), "NOERROR aa ra\n1.0.0.10.in-addr.arpa. 1 IN PTR a.web.instance.rollcall.\n"},
		{question("my.web.service.rollcall.", dns.TypeA), "NOERROR aa ra\nmy.web.service.rollcall. 1 IN A 10.0.1.1\n"},
		{question("nobody.service.rollcall.", dns.TypeA), "NXDOMAIN aa ra\n" + soa},
		{question("named.service.rollcall.", dns.TypeA), "NOERROR aa ra\nnamed.service.rollcall. 1 IN CNAME www.example.com.\nwww.example.com. 60 IN A 198.51.100.7\n"},
		{question("named.service.rollcall.", dns.TypeAAAA), "NOERROR aa ra\nnamed.service.rollcall. 1 IN CNAME www.example.com.\n"},
		{question("n.named.instance.rollcall.", dns.TypeA), "NOERROR aa ra\nn.named.instance.rollcall. 1 IN CNAME www.example.com.\nwww.example.com. 60 IN A 198.51.100.7\n"},
		{question("named.service.rollcall.", dns.TypeCNAME), "NOERROR aa ra\nnamed.service.rollcall. 1 IN CNAME www.example.com.\n"},
		{question("ours.service.rollcall.", dns.TypeA), "NOERROR aa ra\nours.service.rollcall. 1 IN CNAME web.service.rollcall.\n"},
		{question("rollcall.", dns.TypeAXFR), "NOTIMP ra\n"},
	} {
		if got := show(w.ask(c.query)); got != c.want {
			t.Errorf("%v\n got %swant %s", c.query.Question, got, c.want)
		}
	}
	q := question("example.com.", dns.TypeA)
	q.RecursionDesired = false
	if got := show(w.ask(q)); got != "REFUSED ra\n" {
		t.Errorf("recursion was not desired: %s", got)
	}
}

// TestForwardLarge: whoever takes more by UDP than passes all networks is not sent to TCP
// for it.
func TestForwardLarge(t *testing.T) {
	at := upstream(t, knows(slices.Repeat([]string{"@ 60 IN TXT " + strings.Repeat("x", 100)}, 20)...))
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{at}})
	if m := w.ask(with(question("example.com.", dns.TypeTXT), 4096)); m.Truncated || len(m.Answer) != 20 {
		t.Errorf("cut: %v, %d records", m.Truncated, len(m.Answer))
	}
	if m := w.ask(question("example.com.", dns.TypeTXT)); !m.Truncated || len(m.Answer) == 0 {
		t.Errorf("cut: %v, %d records", m.Truncated, len(m.Answer))
	}
}

// TestForwardCookie: who sent a cookie gets ours with what others say, cut or not, and may
// have more the next time.
func TestForwardCookie(t *testing.T) {
	at := upstream(t, knows(slices.Repeat([]string{"@ 60 IN TXT " + strings.Repeat("x", 100)}, 10)...))
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{at}})
	w.from = exposed
	cookie := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}
	for _, records := range []int{3, 10} {
		m, n := w.wire(with(question("example.com.", dns.TypeTXT), 4096, cookie))
		o := m.IsEdns0()
		if n > 1232 || records == 3 && n > 512 || m.Truncated != (records < 10) || len(m.Answer) != records || o == nil || len(o.Option) != 1 {
			t.Fatalf("%d bytes of %v", n, m)
		}
		cookie = o.Option[0].(*dns.EDNS0_COOKIE)
		if len(cookie.Cookie) != 48 || !strings.HasPrefix(cookie.Cookie, "0123456789abcdef") {
			t.Errorf("cookie %s", cookie.Cookie)
		}
	}
}

// TestForwardCut: what others say is cut as what we say is.
func TestForwardCut(t *testing.T) {
	var lines []string
	for range 50 {
		lines = append(lines, "@ 60 IN TXT "+strings.Repeat("x", 100))
	}
	at := upstream(t, knows(lines...))
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{at}})
	w.from = exposed
	if m, n := w.wire(with(question("example.com.", dns.TypeTXT), 4096)); n > 512 || !m.Truncated {
		t.Errorf("%d bytes of %v", n, m)
	}
	w.from.TCP = true
	if m := w.ask(with(question("example.com.", dns.TypeTXT), 4096)); m.Truncated || len(m.Answer) != 50 {
		t.Errorf("over TCP: %v", m)
	}
}

// TestForwardLimited: who asks too often does not make us ask.
func TestForwardLimited(t *testing.T) {
	at := upstream(t, knows("@ 60 IN A 198.51.100.7"))
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{at}, Rate: 1})
	w.from = exposed
	for n, want := range []string{"NOERROR ra\nexample.com. 60 IN A 198.51.100.7\n", "NOERROR tc ra\n"} {
		if got := show(w.get("example.com.", dns.TypeA)); got != want {
			t.Errorf("query %d: got %swant %s", n, got, want)
		}
	}
}

// TestChase: an alias is completed with what others know, or says that it is not.
func TestChase(t *testing.T) {
	const alias = "named.service.rollcall. 1 IN CNAME www.example.com.\n"
	many := func() (lines []string) {
		for n := range 40 {
			lines = append(lines, fmt.Sprintf("@ 60 IN A 198.51.100.%d", n))
		}
		return lines
	}()
	for name, c := range map[string]struct {
		others dns.HandlerFunc
		want   string
	}{
		"nobody": {func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError)) }, "NXDOMAIN aa ra\n" + alias},
		"cut":    {knows(many...), "NOERROR aa tc ra\n" + alias},
		"too many": {func(w dns.ResponseWriter, q *dns.Msg) {
			knows(many[:29]...)(w, q) // with the alias it is too long
		}, "NOERROR aa tc ra\n" + alias},
	} {
		w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{upstream(t, c.others)}})
		fleet(w)
		m := w.get("named.service.rollcall.", dns.TypeA)
		m.Answer = m.Answer[:1]
		if got := show(m); got != c.want {
			t.Errorf("%s: got %swant %s", name, got, c.want)
		}
		if got := strings.Join(w.reg.of, ","); got != "default/named 3s" {
			t.Errorf("%s: told %q, and others had two seconds", name, got)
		}
	}
}

func TestForwardToNobody(t *testing.T) {
	w := newWorld(t, dnsapi.Options{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}})
	fleet(w)
	m := w.ask(with(question("example.com.", dns.TypeA), 1232))
	if show(m) != "SERVFAIL ra\n" || len(m.IsEdns0().Option) != 1 {
		t.Errorf("got %v", m)
	}
	// A host name alone would say that it has no address.
	if m := w.ask(with(question("named.service.rollcall.", dns.TypeA), 1232)); show(m) != "SERVFAIL ra\n" || len(m.IsEdns0().Option) != 1 {
		t.Errorf("got %v", m)
	}
}

// TestServer asks over sockets, with a client of others.
func TestServer(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.fill("web", 100)
	w.register(web(1))
	s, err := dnsapi.New(w.reg.Registry, dnsapi.Options{Addr: "127.0.0.1:0", Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		network string
		size    uint16
		n       int
		cut     bool
	}{{"udp", 0, 29, true}, {"udp", 4096, 100, false}, {"tcp", 0, 100, false}} {
		q := question("web.service.rollcall.", dns.TypeA)
		if c.size > 0 {
			with(q, c.size)
		}
		m, _, err := (&dns.Client{Net: c.network, Timeout: 10 * time.Second, UDPSize: c.size}).Exchange(q, s.Addr())
		if err != nil || m.Truncated != c.cut || len(m.Answer) != c.n {
			t.Errorf("%s %d: %v\n%v", c.network, c.size, m, err)
		}
	}
	// The resolver of the standard library, which knows of UDP, EDNS and TCP.
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
	hosts, err := r.LookupHost(t.Context(), "web.service.rollcall.")
	if slices.Sort(hosts); err != nil || len(slices.Compact(hosts)) != 100 {
		t.Errorf("%d hosts: %v", len(hosts), err)
	}
	_, srv, err := r.LookupSRV(t.Context(), "http", "tcp", "web.service.rollcall.")
	if err != nil || len(srv) != 100 || srv[0].Port != 8080 {
		t.Errorf("%d SRV records: %v", len(srv), err)
	}
	if _, err := dnsapi.New(w.reg, dnsapi.Options{Addr: s.Addr(), Zones: zones()}); err == nil {
		t.Error("two servers listen at one address")
	}
	if _, err := dnsapi.New(w.reg, dnsapi.Options{Addr: "127.0.0.1:0", Zones: []name.Zone{{Name: "a b"}}}); err == nil {
		t.Error("what is no domain is a zone")
	}
}
