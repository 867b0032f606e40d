package place

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// subnets reads pairs of a prefix and a place.
func subnets(pairs ...string) (s []Subnet) {
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, Subnet{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return s
}

func TestFind(t *testing.T) {
	table, err := New(subnets(
		"10.0.0.0/8", "zone:eu", "10.1.0.0/16", "zone:eu/a", "10.1.2.0/24", "zone:eu/a/r1", "10.1.2.3/32", "instance:payments/p-1", "10.1.3.0/24", "zone:eu/a/r2",
		"10.200.7.9/16", "zone:eu/b", "::ffff:192.0.2.0/120", "52.52,13.40", "2001:db8::/32", "zone:us", "2001:db8:1::/48", "zone:us/a", "fe80::/10", "zone:here", "::ffff:1.2.3.4/80", "zone:wide",
	))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		addr, near string
		bits       int
	}{
		{"10.0.0.0", "zone:eu", 8}, {"10.255.255.255", "zone:eu", 8}, {"11.0.0.0", "", 0}, {"9.255.255.255", "", 0}, {"0.0.0.0", "", 0},
		{"10.1.0.0", "zone:eu/a", 16}, {"10.1.255.255", "zone:eu/a", 16}, {"10.2.0.0", "zone:eu", 8},
		{"10.1.2.2", "zone:eu/a/r1", 24}, {"10.1.2.3", "instance:payments/p-1", 32}, {"10.1.2.4", "zone:eu/a/r1", 24},
		{"10.1.3.9", "zone:eu/a/r2", 24}, {"10.1.4.0", "zone:eu/a", 16}, {"10.200.1.1", "zone:eu/b", 16},
		{"::ffff:10.1.2.3", "instance:payments/p-1", 32}, {"192.0.2.77", "52.52,13.40", 24}, {"::ffff:192.0.2.77", "52.52,13.40", 24},
		{"2001:db8::1", "zone:us", 32}, {"2001:db8:1::", "zone:us/a", 48}, {"2001:db8:1:ffff::", "zone:us/a", 48}, {"2001:db8:2::", "zone:us", 32},
		{"2001:db9::", "", 0}, {"::", "zone:wide", 80}, {"::1:a01:203", "zone:wide", 80}, {"::1:0:0:0", "", 0}, {"192.0.3.1", "", 0}, {"fe80::1%eth0", "zone:here", 10}, {"ffff::", "", 0},
	} {
		if near, bits := table.Find(netip.MustParseAddr(test.addr)); near != test.near || bits != test.bits {
			t.Errorf("%s is at %q/%d, want %q/%d", test.addr, near, bits, test.near, test.bits)
		}
	}
	if near, bits := table.Find(netip.Addr{}); near != "" || bits != 0 {
		t.Errorf("no address is at %q/%d", near, bits)
	}
}

func TestScope(t *testing.T) {
	table, err := New(subnets("10.0.0.0/8", "zone:eu", "10.1.2.0/24", "zone:eu/a", "2001:db8::/32", "zone:us"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]int{
		"10.1.2.9": 24, "10.1.3.9": 24, "10.1.0.1": 23, "10.2.0.1": 15, "10.128.0.1": 9, "::ffff:10.1.2.9": 24,
		"11.0.0.1": 8, "192.0.2.1": 1, "2001:db8::1": 32, "2001:db9::1": 32, "8000::": 1,
	} {
		if got := table.Scope(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%d bits of %s tell its place, want %d", got, addr, want)
		}
	}
	four, err := New(subnets("10.0.0.0/8", "zone:eu"))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []*Table{nil, four} {
		if got := table.Scope(netip.MustParseAddr("2001:db8::1")); got != 0 {
			t.Errorf("%d bits tell the place of one that no subnet is like", got)
		}
	}
	if got := table.Scope(netip.Addr{}); got != 0 {
		t.Errorf("%d bits of no address tell its place", got)
	}
}

func TestFindInAll(t *testing.T) {
	table, err := New(subnets("0.0.0.0/0", "zone:four", "255.255.255.255/32", "zone:last", "0.0.0.0/32", "zone:first", "::/0", "zone:six"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"0.0.0.0": "zone:first", "0.0.0.1": "zone:four", "255.255.255.255": "zone:last", "::": "zone:six", "::ffff:1.2.3.4": "zone:four", "ffff::": "zone:six"} {
		if near, _ := table.Find(netip.MustParseAddr(addr)); near != want {
			t.Errorf("%s is at %q, want %q", addr, near, want)
		}
	}
}

func TestFindInNone(t *testing.T) {
	empty, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []*Table{nil, empty} {
		if near, bits := table.Find(netip.MustParseAddr("10.0.0.1")); near != "" || bits != 0 {
			t.Errorf("at %q/%d", near, bits)
		}
	}
}

func TestPlaces(t *testing.T) {
	for near, want := range map[string]bool{
		"zone:eu": true, "zone:eu/a": true, "zone:eu/a/r1": true, "zone:/a": true, "instance:payments/p/1": true, " -90 , 180 ": true,
		"": false, "eu": false, "zone:": false, "zone:a/b/c/d": false, "instance:": false, "instance:payments": false, "instance:/p": false, "instance:payments/": false,
		"instance:no service/p": false, "52.52": false, "91,0": false, "0,181": false, "NaN,0": false, "0,Inf": false, "1e400,0": false, ",": false, "1,2,3": false,
	} {
		_, err := New([]Subnet{{netip.MustParsePrefix("10.0.0.0/8"), near}})
		var e *rollcall.Error
		if (err == nil) != want || err != nil && (!errors.Is(err, rollcall.ErrInvalid) || !errors.As(err, &e) || e.Field != "subnets[0].near") {
			t.Errorf("%q: %v", near, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for want, s := range map[string][]Subnet{
		"10.0.0.0/8 stands there twice":    subnets("10.0.0.0/8", "zone:a", "11.0.0.0/8", "zone:b", "10.9.9.9/8", "zone:a"),
		"192.0.2.0/24 stands there twice":  subnets("192.0.2.0/24", "zone:a", "::ffff:192.0.2.0/120", "zone:b"),
		"2001:db8::/32 stands there twice": subnets("2001:db8::/32", "zone:a", "2001:db8::1/32", "zone:b"),
		"is not a network":                 {{Near: "zone:a"}},
	} {
		if _, err := New(s); !errors.Is(err, rollcall.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want one that %s", err, want)
		}
	}
}

// random returns subnets that lie in each other, and n addresses in and about them.
func random(r *rand.Rand, count, n int) (s []Subnet, addrs []netip.Addr) {
	addr := func() netip.Addr {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
		at := 4
		if r.IntN(2) == 0 {
			a, at = [16]byte{10: 0xff, 11: 0xff, 12: 10}, 13
		}
		for ; at < 16; at++ {
			a[at] = byte(r.IntN(3) * r.IntN(2) * 127) // often 0, often the same
		}
		return netip.AddrFrom16(a)
	}
	seen := map[netip.Prefix]bool{}
	for len(s) < count {
		a := addr().Unmap()
		p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
		if !seen[p] {
			seen[p] = true
			s = append(s, Subnet{p, fmt.Sprintf("zone:%d", len(s))})
		}
	}
	for range n {
		addrs = append(addrs, addr())
	}
	return s, addrs
}

// The table finds what going through all subnets finds.
func TestFindAsGoingThroughAll(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		s, addrs := random(r, 1+r.IntN(60), 50)
		table, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			want, wantBits := "", -1
			for _, s := range s {
				if s.Prefix.Contains(a.Unmap()) && s.Prefix.Bits() > wantBits {
					want, wantBits = s.Near, s.Prefix.Bits()
				}
			}
			if near, bits := table.Find(a); near != want || bits != max(wantBits, 0) {
				t.Fatalf("seed %d: %s is at %q/%d, want %q/%d of %v", seed, a, near, bits, want, wantBits, s)
			}
			scope := max(wantBits, 0)
			for _, s := range s {
				if a := a.Unmap(); !s.Prefix.Contains(a) && s.Prefix.Addr().Is4() == a.Is4() {
					same := 0
					for p, q := a, s.Prefix.Addr(); same < a.BitLen() && netip.PrefixFrom(p, same+1).Contains(q); same++ {
					}
					scope = max(scope, same+1)
				}
			}
			if got := table.Scope(a); got != scope {
				t.Fatalf("seed %d: %d bits of %s tell its place, want %d of %v", seed, got, a, scope, s)
			}
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	table, _ := New(subnets("10.0.0.0/8", "zone:eu", "fe80::/10", "zone:here"))
	a, b := netip.MustParseAddr("::ffff:10.1.2.3"), netip.MustParseAddr("fe80::1%eth0")
	if n := testing.AllocsPerRun(100, func() { table.Find(a); table.Find(b); table.Scope(a) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNew(f *testing.F) {
	f.Add("10.0.0.0/8", "zone:eu/a", "10.1.2.3")
	f.Add("::ffff:0:0/96", "52.52,13.40", "::ffff:10.1.2.3")
	f.Add("::/95", "instance:payments/p-1", "::1%eth0")
	f.Fuzz(func(t *testing.T, prefix, near, addr string) {
		p, err := netip.ParsePrefix(prefix)
		if err != nil {
			return
		}
		table, err := New([]Subnet{{p, near}, {netip.MustParsePrefix("0.0.0.0/0"), "zone:all"}})
		a, bad := netip.ParseAddr(addr)
		if err != nil || bad != nil {
			return
		}
		got, bits := table.Find(a)
		if in := p.Contains(a.WithZone("")) || p.Contains(a.Unmap().WithZone("")); got == near && near != "zone:all" && bits > 0 && !in && !p.Addr().Is4In6() {
			t.Errorf("%s is at %q/%d, and not in %s", a, got, bits, p)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var s []Subnet
			for i := range n {
				p, _ := netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), byte(i >> 16 << 4)}).Prefix(28)
				s = append(s, Subnet{p, "zone:eu/a"})
			}
			s = append(s, subnets("10.0.0.0/8", "zone:eu", "10.1.0.0/16", "zone:eu/a", "2001:db8::/32", "zone:us")...)
			table, err := New(s)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i += 0x9e3779b1
				table.Find(netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)}))
			}
		})
	}
}
