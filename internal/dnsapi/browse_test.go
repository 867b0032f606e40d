package dnsapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
)

// pointers returns what the PTR records of an answer point to, sorted.
func pointers(m *dns.Msg) (all []string) {
	for _, rr := range m.Answer {
		all = append(all, rr.(*dns.PTR).Ptr)
	}
	slices.Sort(all)
	return all
}

// TestBrowse goes the way of a browser that knows the name of the server's zone alone
// (RFC 6763).
func TestBrowse(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	w.from.TCP = true
	for _, l := range []string{"b", "db", "r", "dr", "lb"} {
		if got := pointers(w.get(l+"._dns-sd._udp.rollcall.", dns.TypePTR)); !slices.Equal(got, []string{"rollcall."}) {
			t.Errorf("%s: %v", l, got)
		}
	}
	types := pointers(w.get("_services._dns-sd._udp.rollcall.", dns.TypePTR))
	if want := []string{`_down._tcp.rollcall.`, `_mixed._tcp.rollcall.`, `_my\.web._tcp.rollcall.`, `_named._tcp.rollcall.`, `_portless._tcp.rollcall.`, `_six._tcp.rollcall.`, `_web._tcp.rollcall.`}; !slices.Equal(types, want) {
		t.Errorf("types %q, want %q", types, want)
	}
	if got, want := pointers(w.get("_services._dns-sd._udp.team.ns.rollcall.", dns.TypePTR)), []string{"_only._tcp.team.ns.rollcall.", "_web._tcp.team.ns.rollcall."}; !slices.Equal(got, want) {
		t.Errorf("types of a namespace: %q", got)
	}
	var found []string
	for _, typ := range types {
		m := w.get(typ, dns.TypePTR)
		for _, entry := range pointers(m) {
			srv, txt := w.get(entry, dns.TypeSRV), w.get(entry, dns.TypeTXT)
			if len(txt.Answer) != 1 || txt.Answer[0].(*dns.TXT).Txt[0] != "txtvers=1" {
				t.Errorf("%s: %v", entry, txt)
			}
			line := entry
			if len(srv.Answer) > 0 {
				rr := srv.Answer[0].(*dns.SRV)
				line += fmt.Sprintf(" %s:%d", rr.Target, rr.Port)
				if strings.HasSuffix(rr.Target, ".rollcall.") && len(addresses(w.get(rr.Target, dns.TypeA)))+len(addresses(w.get(rr.Target, dns.TypeAAAA))) != 1 {
					t.Errorf("%s has no address", rr.Target)
				}
			}
			found = append(found, line)
			if a := w.get(entry, dns.TypeA); show(a) != nodata {
				t.Errorf("%s has an address: %v", entry, a)
			}
		}
	}
	if want := []string{
		"a._mixed._tcp.rollcall. a.mixed.instance.rollcall.:444", "n._mixed._tcp.rollcall. www.example.com.:443", `m._my\.web._tcp.rollcall. 0a000101.addr.rollcall.:1`, "n._named._tcp.rollcall. www.example.com.:443", "p._portless._tcp.rollcall.",
		"s._six._tcp.rollcall. s.six.instance.rollcall.:1", `B\ 2._web._tcp.rollcall. 0a000002.addr.rollcall.:8081`, "a._web._tcp.rollcall. a.web.instance.rollcall.:9090",
	}; !slices.Equal(found, want) {
		t.Errorf("found\n%q, want\n%q", found, want)
	}

	const want = "NOERROR aa\n" +
		"_canary._sub._web._tcp.rollcall. 1 IN PTR a._web._tcp.rollcall.\n" +
		"additional a._web._tcp.rollcall. 1 IN SRV 1 25600 9090 a.web.instance.rollcall.\n" +
		`additional a._web._tcp.rollcall. 1 IN TXT "txtvers=1" "id=a" "version=2.4.1" "team=\"checkout\" \\o/"` + "\n" +
		"additional a.web.instance.rollcall. 1 IN A 10.0.0.1\n"
	if got := show(w.get("_canary._sub._web._tcp.rollcall.", dns.TypePTR)); got != want {
		t.Errorf("got %swant %s", got, want)
	}
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"_x._sub._web._tcp.rollcall.", dns.TypePTR, nodata},
		{"_down._tcp.rollcall.", dns.TypePTR, nodata},
		{"_nobody._tcp.rollcall.", dns.TypePTR, nxdomain},
		{"x._web._tcp.rollcall.", dns.TypeSRV, nxdomain},
		{"_services._dns-sd._udp.nobody.ns.rollcall.", dns.TypePTR, nodata},
		{"_services._dns-sd._udp.rollcall.", dns.TypeA, nodata},
		{"_services._dns-sd._udp.rollcall.", dns.TypeANY, "NOERROR aa\n_services._dns-sd._udp.rollcall." + hinfo},
		{"_dns-sd._udp.rollcall.", dns.TypePTR, nodata},
		{"_web._tcp.team.ns.rollcall.", dns.TypeSRV, "NOERROR aa\n_web._tcp.team.ns.rollcall. 1 IN SRV 1 25600 1 t.web.team.instance.rollcall.\nadditional t.web.team.instance.rollcall. 1 IN A 10.0.3.1\n"},
	} {
		if got := show(w.get(c.name, c.typ)); got != c.want {
			t.Errorf("%s %s\n got %swant %s", c.name, dns.TypeToString[c.typ], got, c.want)
		}
	}
}

// TestBrowseMany: answers are cut over UDP, and over TCP they are all there is.
func TestBrowseMany(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	is := make([]rollcall.Instance, 300)
	for n := range is {
		is[n] = web(n)
		is[n].Service = fmt.Sprintf("web-%d", n)
	}
	is[7].ID = strings.Repeat("x", 64) // no label
	is[8].Service = strings.Repeat("y", 63)
	w.register(is...)
	w.fill("many", 1000)
	for _, c := range []struct {
		name string
		n    int
	}{{"_services._dns-sd._udp.rollcall.", 300}, {"_many._tcp.rollcall.", 1000}} {
		w.from.TCP = false
		if m := w.get(c.name, dns.TypePTR); !m.Truncated || len(m.Answer) < 10 || len(m.Extra) != 0 {
			t.Errorf("%s: %v", c.name, m)
		} else if all := pointers(m); len(slices.Compact(all)) != len(m.Answer) {
			t.Errorf("%s: some are there twice: %v", c.name, all)
		}
		w.from.TCP = true
		all := pointers(w.get(c.name, dns.TypePTR))
		if slices.Sort(all); len(slices.Compact(all)) != c.n {
			t.Errorf("%s: %d of %d over TCP", c.name, len(all), c.n)
		}
	}
	if got := show(w.get("_web-7._tcp.rollcall.", dns.TypePTR)); got != nodata {
		t.Errorf("an id that is no label: %s", got)
	}
}

// TestRoomGrows: wherever the room for an answer ends and is made larger, names are where
// others refer to them.
func TestRoomGrows(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.from.TCP = true
	for n := range 40 {
		service := "s" + strings.Repeat("x", n)
		w.fill(service, 60)
		w.handler = dnsapi.Handler(w.server, 1)
		m := w.get("_"+service+"._tcp.rollcall.", dns.TypePTR)
		if len(m.Answer) != 60 || len(m.Extra) != 180 {
			t.Fatalf("%s: %d answers, %d more", service, len(m.Answer), len(m.Extra))
		}
		for i, rr := range m.Answer {
			is := rr.(*dns.PTR).Ptr
			id, _, _ := strings.Cut(is, ".")
			if is != id+"._"+service+"._tcp.rollcall." || m.Extra[3*i].Header().Name != is || m.Extra[3*i].(*dns.SRV).Target != id+"."+service+".instance.rollcall." {
				t.Fatalf("%v\n%v", rr, m.Extra[3*i])
			}
		}
	}
}
