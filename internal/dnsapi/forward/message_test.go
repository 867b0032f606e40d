package forward

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

var (
	nsid      = dnsmessage.Option{Code: 3, Data: []byte{}}
	subnet    = dnsmessage.Option{Code: 8, Data: []byte{0, 1, 24, 0, 192, 0, 2}}
	cookie    = dnsmessage.Option{Code: 10, Data: []byte("cookiecookiecookie")}
	keepalive = dnsmessage.Option{Code: 11, Data: []byte{}}
	padding   = dnsmessage.Option{Code: 12, Data: make([]byte, 20)}
)

// sent is what the OPT record of a message says: its size, whether signatures are
// wanted, and its options.
type sent struct {
	Size    int
	DO      bool
	Options []dnsmessage.Option
}

func optOf(t *testing.T, d dnsmessage.Message) (all []sent) {
	t.Helper()
	for _, r := range d.Additionals {
		if o, ok := r.Body.(*dnsmessage.OPTResource); ok {
			all = append(all, sent{int(r.Header.Class), r.Header.DNSSECAllowed(), o.Options})
		}
	}
	return all
}

func TestNeighboursOptionsStayBetweenThem(t *testing.T) {
	onward := make(chan dnsmessage.Message, 1)
	s := serve(t, func(q []byte, _ netip.AddrPort) [][]byte {
		onward <- parse(t, q)
		return [][]byte{reply(q, 0, 1, func(b *dnsmessage.Builder) { opt(b, 4096, subnet, cookie, padding, nsid) })}
	}, nil)
	f := forwarder(t, Options{}, s.addr)
	for size, want := range map[int]int{100: 512, 512: 512, 1000: 1000, 1232: 1232, 4096: 1232, 65535: 1232} {
		d := forwarded(t, f, ask(1, "a.example.", size, keepalive, nsid, cookie, subnet, padding), false)
		if diff := cmp.Diff([]sent{{want, true, []dnsmessage.Option{nsid, subnet}}}, optOf(t, <-onward)); diff != "" {
			t.Errorf("onward, of a client of %d: %s", size, diff)
		}
		if diff := cmp.Diff([]sent{{largest, true, []dnsmessage.Option{subnet, nsid}}}, optOf(t, d)); diff != "" {
			t.Errorf("to a client of %d: %s", size, diff)
		}
	}
}

func TestAnswersForClient(t *testing.T) {
	glue := func(b *dnsmessage.Builder) {
		b.AResource(dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("ns.b.example."), Class: dnsmessage.ClassINET}, dnsmessage.AResource{})
	}
	with := func(options ...dnsmessage.Option) func(b *dnsmessage.Builder) {
		return func(b *dnsmessage.Builder) { opt(b, 4096, options...) }
	}
	type additional = []func(b *dnsmessage.Builder)
	tests := []struct {
		name    string
		edns    int
		more    additional
		records int // of the additional section that are left, with the OPT
		options []dnsmessage.Option
	}{
		{name: "nothing", more: nil},
		{name: "asked without OPT", more: additional{glue, with(subnet)}, records: 1},
		{name: "asked without OPT, which is not last", more: additional{with(subnet), glue, glue}, records: 0},
		{name: "asked with OPT, none there", edns: 1232, more: additional{glue}, records: 1},
		{name: "nothing to take out", edns: 1232, more: additional{with(subnet), glue, glue}, records: 3, options: []dnsmessage.Option{subnet}},
		{name: "a cookie", edns: 1232, more: additional{glue, with(cookie, subnet)}, records: 2, options: []dnsmessage.Option{subnet}},
		{name: "a cookie that is not last", edns: 1232, more: additional{glue, with(cookie), glue}, records: 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			query := ask(7, "a.example.", test.edns)
			q, err := readQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			answer := reply(query, 0, 2, test.more...)
			if !q.answers(answer, [2]byte(query)) {
				t.Fatal("not taken for an answer")
			}
			d := parse(t, q.forClient(answer))
			if len(d.Answers) != 2 || len(d.Additionals) != test.records {
				t.Errorf("got %v", d.GoString())
			}
			for _, o := range optOf(t, d) {
				if diff := cmp.Diff(append([]dnsmessage.Option{}, test.options...), append([]dnsmessage.Option{}, o.Options...)); diff != "" || o.Size != largest {
					t.Errorf("size %d, options %s", o.Size, diff)
				}
			}
		})
	}
}

func TestReadQueryRefuses(t *testing.T) {
	plain, edns := ask(1, "a.example.", 0), ask(1, "a.example.", 1232, subnet)
	change := func(b []byte, at int, to byte) []byte { b = bytes.Clone(b); b[at] = to; return b }
	opt := len(plain) // where it begins
	long := append(bytes.Clone(plain[:12]), bytes.Repeat([]byte("\x3f"+strings.Repeat("a", 63)), 4)...)
	queries := map[string][]byte{
		"nothing":              nil,
		"header":               plain[:12],
		"cut question":         plain[:len(plain)-1],
		"more behind it":       append(bytes.Clone(plain), 0),
		"an answer":            change(plain, 2, 0x81),
		"another opcode":       change(plain, 2, 0x28),
		"cut":                  change(plain, 2, 0x03),
		"no question":          change(plain, 5, 0),
		"two questions":        change(plain, 5, 2),
		"an answer section":    change(edns, 7, 1),
		"an authority section": change(edns, 9, 1),
		"more records":         change(edns, 11, 2),
		"fewer records":        change(edns, 11, 0),
		"a compressed name":    append(append(bytes.Clone(plain[:12]), 0xc0, 0), plain[len(plain)-4:]...),
		"a long name":          append(append(long, 0), plain[len(plain)-4:]...),
		"no label":             change(plain, 12, 0x40),
		"another record":       change(edns, opt+2, 250), // TSIG
		"an OPT with a name":   append(append(bytes.Clone(edns[:opt]), 1, 'a'), edns[opt:]...),
		"options too long":     change(edns, opt+14, 200),
		"an option cut":        change(edns[:len(edns)-8], opt+10, 3),
		"cut options":          edns[:len(edns)-1],
		"more behind options":  append(bytes.Clone(edns), 0),
	}
	for name, b := range queries {
		if _, err := readQuery(b); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v for %x", name, err, b)
		}
	}
	for _, b := range [][]byte{plain, edns, ask(1, ".", 0)} {
		if _, err := readQuery(b); err != nil {
			t.Errorf("%v for %x", err, b)
		}
	}
}

func TestAnswersRefusesOPTs(t *testing.T) {
	query := ask(1, "a.example.", 1232)
	q, _ := readQuery(query)
	two := reply(query, 0, 1, func(b *dnsmessage.Builder) { opt(b, 512) }, func(b *dnsmessage.Builder) { opt(b, 512) })
	if q.answers(two, [2]byte(query)) {
		t.Error("taken for an answer")
	}
	cut := reply(query, 0, 1, func(b *dnsmessage.Builder) { opt(b, 512, subnet) })
	cut[len(cut)-len(subnet.Data)-1]++ // the option is longer than the record
	if q.answers(cut, [2]byte(query)) {
		t.Error("taken for an answer with an option that is cut")
	}
	astray := reply(query, 0, 1, func(b *dnsmessage.Builder) { opt(b, 512) })
	astray[7], astray[11] = 2, 0 // the OPT is in the answer section
	if q.answers(astray, [2]byte(query)) {
		t.Error("taken for an answer with the OPT in the answer section")
	}
}

// What belongs to answers alone does not go onward from a query.
func TestFlagsOfAQuery(t *testing.T) {
	b := ask(1, "a.example.", 0)
	b[2], b[3] = 0x05, 0xff
	q, err := readQuery(b)
	if err != nil || q.onward[3] != 0x30 || q.onward[2]&0x01 == 0 {
		t.Errorf("%v, flags %x", err, q.onward[2:4])
	}
}

// FuzzForward reads bytes as a query and others as the answer to it.
func FuzzForward(f *testing.F) {
	q := ask(1, "a.example.", 1232, cookie, subnet)
	f.Add(q, reply(q, 0, 3, func(b *dnsmessage.Builder) { opt(b, 4096, cookie, subnet) }))
	f.Add(ask(1, "a.example.", 0), reply(q, 3, 0))
	f.Add(ask(1, ".", 0), reply(q, 2, 100))
	f.Fuzz(func(t *testing.T, query, answer []byte) {
		q, err := readQuery(query)
		if err != nil {
			return
		}
		again, err := readQuery(q.onward)
		if err != nil || !bytes.Equal(again.onward, q.onward) || !bytes.Equal(again.question, q.question) || len(q.onward) > len(query) {
			t.Fatalf("%x goes onward as %x: %v", query, q.onward, err)
		}
		if len(answer) > header+len(q.question) { // else hardly any is one
			copy(answer, query[:2])
			copy(answer[4:6], query[4:6])
			copy(answer[header:], q.question)
			answer[2] = answer[2]&0x07 | 0x80
		}
		if !q.answers(answer, [2]byte(query)) {
			return
		}
		got := q.forClient(bytes.Clone(answer))
		if !q.answers(got, q.id) || len(got) > len(answer)+optFixed {
			t.Fatalf("%x became %x", answer, got)
		}
		if l, _ := q.walk(got); l.opt != 0 && !q.edns {
			t.Fatalf("an OPT for a client without: %x", got)
		}
		if fit := q.fit(got); len(fit) > q.size || !q.answers(fit, q.id) {
			t.Fatalf("%d bytes for %d: %x", len(fit), q.size, fit)
		}
	})
}
