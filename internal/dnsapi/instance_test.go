package dnsapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
)

// TestReverseOfMany: an address has no more names than an answer should have.
func TestReverseOfMany(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	for n := range 40 {
		i := web(n)
		i.Address = "10.1.1.1"
		w.register(i)
	}
	w.from.TCP = true
	if m := w.get("1.1.1.10.in-addr.arpa.", dns.TypePTR); len(m.Answer) != 32 {
		t.Errorf("%d names", len(m.Answer))
	}
}

// TestIDs: an id is what was written in lower case, else what was written, else one that
// differs in case alone, if there are not too many to look at.
func TestIDs(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.fill("many", 4095)
	for n, id := range []string{"Aa", "aa", "AA", "Bb", "bB"} {
		i := web(n)
		i.Service, i.ID, i.Address = "web", id, fmt.Sprintf("10.1.0.%d", n)
		w.register(i)
	}
	odd := web(0)
	odd.Service, odd.ID = "many", "Odd"
	w.register(odd)
	for name, want := range map[string]string{
		"Aa.web.instance.rollcall.": "10.1.0.1", "aa.web.instance.rollcall.": "10.1.0.1", "AA.web.instance.rollcall.": "10.1.0.1",
		"Bb.web.instance.rollcall.": "10.1.0.3", "bB.web.instance.rollcall.": "10.1.0.4",
		"oDD.many.instance.rollcall.": "10.0.0.1",
	} {
		if got := strings.Join(addresses(w.get(name, dns.TypeA)), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	w.register(rollcall.Instance{Service: "many", ID: "one more", Address: "10.0.0.1"})
	if m := w.get("oDD.many.instance.rollcall.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("of 4,097: %v", m)
	}
	if got := addresses(w.get("Odd.many.instance.rollcall.", dns.TypeA)); len(got) != 1 {
		t.Errorf("of 4,097, as it is written: %v", got)
	}
}

// TestText: what an instance says of itself, as far as it can be said.
func TestText(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	i := web(1)
	i.Metadata = map[string]string{
		"plain": "x", "empty": "", "utf8": "grün", "quoted": `a "b" \\c`, "line": "a\nb", "long": strings.Repeat("x", 251), "just": strings.Repeat("x", 250), "a=b": "c", "id": "another",
	}
	w.register(i)
	common := []string{"empty=", "just=" + strings.Repeat("x", 250), "line=a\nb", "plain=x", `quoted=a "b" \\c`, "utf8=grün"}
	for name, want := range map[string][]string{
		"web-1.web.instance.rollcall.": append([]string{"id=web-1", "a=b=c"}, common...),
		"web-1._web._tcp.rollcall.":    append([]string{"txtvers=1", "id=web-1"}, common...),
	} {
		raw := w.raw(pack(t, with(question(name, dns.TypeTXT), 4096)))
		var all []byte
		for _, s := range want {
			all = append(append(all, byte(len(s))), s...)
		}
		if !strings.Contains(string(raw), string(all)) {
			t.Errorf("%s: %q, want %q", name, raw, all)
		}
	}
}

// TestNoText: a TXT record has a string at least, which may be empty.
func TestNoText(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	i := web(1)
	i.ID = strings.Repeat("x", 256)
	w.register(i)
	if got, want := show(w.get("web.service.rollcall.", dns.TypeTXT)), "NOERROR aa\n"+`web.service.rollcall. 1 IN TXT ""`+"\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
}
