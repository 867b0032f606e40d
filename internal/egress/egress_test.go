package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// names is a resolver: each look-up of a name takes its next answer, the last
// one for ever.
type names map[string][][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (addrs []netip.Addr, err error) {
	answers := n[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		n[host] = answers[1:]
	}
	for _, a := range answers[0] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

// policy returns a policy that notes whom it dials instead of doing so, on a
// machine whose address is 10.0.0.5.
func policy(o Options) (p *Policy, dialled *[]string) {
	p, dialled = New(o), new([]string)
	p.local = func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fe80::5%eth0")}, nil
	}
	p.dial = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		*dialled = append(*dialled, to.String())
		return nil, nil
	}
	return p, dialled
}

func listeners(s ...string) func() []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range s {
		own = append(own, netip.MustParseAddrPort(l))
	}
	return func() []netip.AddrPort { return own }
}

func TestDial(t *testing.T) {
	const port = 8080
	allow := func(prefixes ...string) (o Options) {
		for _, p := range prefixes {
			o.Allow = append(o.Allow, netip.MustParsePrefix(p))
		}
		return o
	}
	own := func(s ...string) Options { return Options{Own: listeners(s...)} }
	with := func(o Options, s ...string) Options { o.Own = listeners(s...); return o }
	for _, tt := range []struct {
		name    string
		options Options
		host    string
		vouched bool
		why     string // of the denial; empty if it is dialled
	}{
		{"private", Options{}, "10.0.0.1", false, ""},
		{"public", Options{}, "2001:db8::1", false, ""},
		{"unique local", Options{}, "fd00::1", false, ""},
		{"6to4 of a private one", Options{}, "2002:a00:1::", false, ""},

		{"loopback", Options{}, "127.0.0.1", false, "a loopback"},
		{"all of loopback", Options{}, "127.255.3.4", false, "a loopback"},
		{"loopback v6", Options{}, "::1", false, "a loopback"},
		{"loopback mapped", Options{}, "::ffff:127.0.0.1", false, "a loopback"},
		{"loopback mapped in hex", Options{}, "::ffff:7f00:1", false, "a loopback"},
		{"loopback with a zone", Options{}, "::1%lo", false, "a loopback"},
		{"loopback mapped with a zone", Options{}, "::ffff:127.0.0.1%lo", false, "a loopback"},
		{"loopback compatible", Options{}, "::127.0.0.1", false, "a loopback"},
		{"loopback translated", Options{}, "::ffff:0:127.0.0.1", false, "a loopback"},
		{"loopback NAT64", Options{}, "64:ff9b::127.0.0.1", false, "a loopback"},
		{"loopback 6to4", Options{}, "2002:7f00:1::1", false, "a loopback"},
		{"loopback Teredo", Options{}, "2001:0:808:808::80ff:fffe", false, "a loopback"},
		{"loopback ISATAP", Options{}, "2001:db8::200:5efe:7f00:1", false, "a loopback"},
		{"NAT64 in NAT64's own space", Options{}, "64:ff9b:1:7f00:0:100:808:808", false, "a local translator"},
		{"link-local", Options{}, "169.254.1.1", false, "a link-local"},
		{"link-local v6", Options{}, "fe80::1", false, "a link-local"},
		{"link-local with a zone", Options{}, "fe80::1%eth0", false, "a link-local"},
		{"link-local mapped", Options{}, "::ffff:169.254.1.1", false, "a link-local"},
		{"metadata", Options{}, "169.254.169.254", false, "a metadata service"},
		{"metadata v6", Options{}, "fd00:ec2::254", false, "a metadata service"},
		{"metadata of Google v6", Options{}, "fd20:ce::254", false, "a metadata service"},
		{"metadata of Alibaba", Options{}, "100.100.100.200", false, "a metadata service"},
		{"metadata NAT64", Options{}, "64:ff9b::a9fe:a9fe", false, "a metadata service"},
		{"metadata 6to4", Options{}, "2002:a9fe:a9fe::", false, "a metadata service"},
		{"unspecified", Options{}, "0.0.0.0", false, "an unspecified"},
		{"this network", Options{}, "0.1.2.3", false, "an unspecified"},
		{"unspecified v6", Options{}, "::", false, "an unspecified"},
		{"unspecified mapped", Options{}, "::ffff:0.0.0.0", false, "an unspecified"},
		{"multicast", Options{}, "224.0.0.1", false, "a multicast"},
		{"multicast v6", Options{}, "ff02::1", false, "a multicast"},
		{"broadcast", Options{}, "255.255.255.255", false, "a broadcast"},
		{"broadcast NAT64", Options{}, "64:ff9b::255.255.255.255", false, "a broadcast"},

		{"vouched loopback", Options{}, "127.0.0.1", true, ""},
		{"vouched loopback v6", Options{}, "::1", true, ""},
		{"vouched link-local", Options{}, "fe80::1%eth0", true, ""},
		{"vouched metadata", Options{}, "169.254.169.254", true, "a metadata service"},
		{"vouched unspecified", Options{}, "0.0.0.0", true, "an unspecified"},
		{"vouched multicast", Options{}, "ff02::1", true, "a multicast"},

		{"allowed loopback", allow("127.0.0.0/8"), "127.0.0.1", false, ""},
		{"allowed, asked as mapped", allow("127.0.0.0/8"), "::ffff:127.0.0.1", false, ""},
		{"allowed as mapped", allow("::ffff:127.0.0.0/104"), "127.0.0.1", false, ""},
		{"allowed with a zone", allow("fe80::/10"), "fe80::1%eth0", false, ""},
		{"allowed metadata", allow("169.254.169.254/32"), "169.254.169.254", false, ""},
		{"allowed another", allow("127.0.0.2/32"), "127.0.0.1", false, "a loopback"},
		{"allowed v4, asked 6to4", allow("127.0.0.0/8"), "2002:7f00:1::", false, "a loopback"},
		{"allowed everything of v6", allow("::/0"), "127.0.0.1", false, "a loopback"},

		{"own port on loopback", own("127.0.0.1:8080"), "127.0.0.1", true, "the registry itself"},
		{"own port, allowed", with(allow("0.0.0.0/0"), "127.0.0.1:8080"), "127.0.0.1", true, "the registry itself"},
		{"own port, another loopback", own("0.0.0.0:8080"), "127.9.9.9", true, "the registry itself"},
		{"own port, other family", own("0.0.0.0:8080"), "::1", true, "the registry itself"},
		{"own port, mapped", own("127.0.0.1:8080"), "::ffff:127.0.0.1", true, "the registry itself"},
		{"own port, compatible", with(allow("::/0"), "127.0.0.1:8080"), "::127.0.0.1", true, "the registry itself"},
		{"own port, unspecified", with(allow("0.0.0.0/0"), "127.0.0.1:8080"), "0.0.0.0", true, "the registry itself"},
		{"own port, unspecified v6", with(allow("::/0"), "127.0.0.1:8080"), "::", true, "the registry itself"},
		{"own port, this machine's address", own("[::]:8080"), "10.0.0.5", true, "the registry itself"},
		{"own port, this machine's address mapped", own("[::]:8080"), "::ffff:10.0.0.5", true, "the registry itself"},
		{"own port, this machine's with a zone", own("[::]:8080"), "fe80::5%eth1", true, "the registry itself"},
		{"own port, 6to4", own("[::]:8080"), "2002:a00:5::", true, "the registry itself"},
		{"own port at an address that is not an interface's", own("192.0.2.1:8080"), "192.0.2.1", false, "the registry itself"},
		{"other port", own("127.0.0.1:8081"), "127.0.0.1", true, ""},
		{"own port elsewhere", own("0.0.0.0:8080"), "10.0.0.6", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, dialled := policy(tt.options)
			_, err := p.Dial(t.Context(), tt.host, port, tt.vouched)
			if tt.why == "" {
				want := netip.AddrPortFrom(netip.MustParseAddr(tt.host).Unmap(), port).String()
				if err != nil || len(*dialled) != 1 || (*dialled)[0] != want {
					t.Errorf("dialled %v, %v, want %s", *dialled, err, want)
				}
				return
			}
			wantDenied(t, err, tt.why)
			if len(*dialled) > 0 {
				t.Errorf("denied, it dialled %v", *dialled)
			}
		})
	}
}

func wantDenied(t *testing.T, err error, why string) {
	t.Helper()
	var denied *Denied
	if !errors.Is(err, ErrDenied) || !errors.As(err, &denied) || !strings.Contains(err.Error(), why) {
		t.Errorf("%v, want a denial: %s", err, why)
	}
}

// Whatever spelling of an address a resolver takes for one, what it makes of it
// is judged.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		answers    [][]string
		dialled    []string
		why        string
	}{
		{"name", "db", [][]string{{"10.0.0.1"}}, []string{"10.0.0.1:80"}, ""},
		{"name of loopback", "localhost", [][]string{{"::1", "127.0.0.1"}}, nil, "localhost at [::1]:80 is a loopback"},
		{"name of metadata", "metadata.google.internal", [][]string{{"169.254.169.254"}}, nil, "a metadata service"},
		{"decimal", "2130706433", [][]string{{"127.0.0.1"}}, nil, "a loopback"},
		{"hexadecimal", "0x7f.0.0.1", [][]string{{"127.0.0.1"}}, nil, "a loopback"},
		{"octal", "0177.0.0.1", [][]string{{"127.0.0.1"}}, nil, "a loopback"},
		{"short", "127.1", [][]string{{"127.0.0.1"}}, nil, "a loopback"},
		{"mapped", "m", [][]string{{"::ffff:127.0.0.1"}}, nil, "a loopback"},
		{"some denied", "mixed", [][]string{{"127.0.0.1", "10.0.0.1", "169.254.0.1", "10.0.0.2"}}, []string{"10.0.0.1:80"}, ""},
		{"rebinding", "rebind", [][]string{{"10.0.0.1"}, {"127.0.0.1"}}, []string{"10.0.0.1:80"}, ""},
		{"unknown", "unknown", nil, nil, "no such host"},
		{"no addresses", "none", [][]string{{}}, nil, "no addresses"},
		{"nothing", "", nil, nil, "no such host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, dialled := policy(Options{Resolver: names{tt.host: tt.answers}})
			_, err := p.Dial(t.Context(), tt.host, 80, false)
			if (err == nil) != (tt.why == "") || err != nil && !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%v, want %q", err, tt.why)
			}
			if diff := cmp.Diff(tt.dialled, *dialled); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A name whose answer changes is judged anew each time, and never between
// judgement and call.
func TestRebinding(t *testing.T) {
	p, dialled := policy(Options{Resolver: names{"rebind": {{"10.0.0.1"}, {"127.0.0.1"}, {"10.0.0.2"}}}})
	for _, why := range []string{"", "a loopback", ""} {
		_, err := p.Dial(t.Context(), "rebind", 80, false)
		if why == "" && err != nil {
			t.Error(err)
		} else if why != "" {
			wantDenied(t, err, why)
		}
	}
	if diff := cmp.Diff([]string{"10.0.0.1:80", "10.0.0.2:80"}, *dialled); diff != "" {
		t.Error(diff)
	}
}

func TestDialListed(t *testing.T) {
	o := Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("127.0.0.0/8")},
		Own:   listeners("127.0.0.1:7070"), Resolver: names{"db": {{"10.0.1.1", "10.0.0.1"}}}, Setting: "checks.allow",
	}
	for host, why := range map[string]string{
		"10.0.0.1": "", "db": "", "127.0.0.1": "the registry itself",
		"10.0.1.1": "not an address of the instance itself", "169.254.0.1": "a link-local",
	} {
		p, dialled := policy(o)
		_, err := p.DialListed(t.Context(), host, 7070)
		if why != "" {
			wantDenied(t, err, why)
		} else if diff := cmp.Diff([]string{"10.0.0.1:7070"}, *dialled); err != nil || diff != "" {
			t.Error(host, err, diff)
		}
	}
	p, _ := policy(o)
	_, err := p.DialListed(t.Context(), "10.0.1.1", 80)
	want := "10.0.1.1:80 is not an address of the instance itself and is not dialled on behalf of others; to permit it, list it under checks.allow"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A machine that cannot tell its addresses has its ports closed everywhere.
func TestAddressesUnknown(t *testing.T) {
	p, _ := policy(Options{Own: listeners("0.0.0.0:80")})
	p.local = func() ([]netip.Addr, error) { return nil, errors.New("no netlink") }
	_, err := p.Dial(t.Context(), "10.9.9.9", 80, false)
	wantDenied(t, err, "the registry itself")
}

func TestPortZero(t *testing.T) {
	p, dialled := policy(Options{})
	if _, err := p.Dial(t.Context(), "10.0.0.1", 0, false); err == nil || len(*dialled) > 0 {
		t.Error(err, *dialled)
	}
}

func TestDialForReal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.Addr().(*net.TCPAddr).AddrPort()
	p := New(Options{})
	c, err := p.Dial(t.Context(), "127.0.0.1", to.Port(), true)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	own := New(Options{Own: func() []netip.AddrPort { return []netip.AddrPort{to} }})
	addrs, err := interfaceAddrs()
	if err != nil || len(addrs) == 0 {
		t.Fatal(addrs, err)
	}
	for _, a := range append(addrs, netip.IPv4Unspecified(), netip.IPv6Unspecified()) {
		_, err := own.Dial(t.Context(), a.String(), to.Port(), true)
		wantDenied(t, err, "the registry itself")
	}
	l.Close()
	if c, err := p.Dial(t.Context(), "127.0.0.1", to.Port(), true); err == nil || c != nil {
		t.Errorf("refused, it returns %v, %v", c, err)
	}
}

// Whatever a host is spelled like, no address that is denied is dialled.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::1", "::ffff:7f00:1", "0x7f.1", "fe80::1%eth0", "2002:7f00:1::", "64:ff9b::1", "a.b", "%", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		p, dialled := policy(Options{Resolver: names{host: {{"127.0.0.1", "::ffff:169.254.169.254", "10.1.1.1"}}}})
		p.Dial(context.Background(), host, 80, false)
		for _, d := range *dialled {
			ip := netip.MustParseAddrPort(d).Addr()
			if ip.Is4In6() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
				t.Errorf("%q: dialled %s", host, d)
			}
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	p, _ := policy(Options{Own: listeners("127.0.0.1:7070", "127.0.0.1:7071"), Allow: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")}})
	for _, a := range []string{"10.0.0.1:80", "[2001:db8::1]:80"} {
		to := netip.MustParseAddrPort(a)
		b.Run(to.Addr().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.judge(to, false) != nil {
					b.Fatal("denied")
				}
			}
		})
	}
}
