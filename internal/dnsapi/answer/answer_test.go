package answer

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// endpoints registers instances and returns them with the weights they have there, in
// the order given.
func endpoints(t testing.TB, instances ...rollcall.Instance) []resolve.Endpoint {
	t.Helper()
	c := catalog.New()
	e := rollcall.Entry{Log: "0123456789abcdef", Revision: 7, Reset: true}
	for n := range instances {
		i := &instances[n]
		i.Service = cmp.Or(i.Service, "web")
		i.ID = cmp.Or(i.ID, fmt.Sprintf("i-%d", n))
		i.Normalize()
		e.Changes = append(e.Changes, rollcall.Change{
			At: time.Unix(1, 0), Revision: 7, Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(i)},
		})
	}
	if err := c.Apply(e); err != nil {
		t.Fatal(err)
	}
	s, _ := c.Publish()
	es := make([]resolve.Endpoint, len(instances))
	for n := range instances {
		i := &instances[n]
		es[n] = resolve.Endpoint{Item: s.View(i.Key().ServiceKey).Get(i.ID), Weight: i.WeightOrDefault()}
		if es[n].Item == nil {
			t.Fatalf("no item %s", i.Key())
		}
	}
	return es
}

func weight(w uint16) *uint16 { return &w }

// query returns a query and where its question ends.
func query(t testing.TB, name string, qtype uint16) ([]byte, int) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = 0x1234
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b, len(b)
}

func request(t testing.TB, name string, qtype uint16) *Request {
	q, end := query(t, name, qtype)
	return &Request{Query: q, Question: end, Type: qtype, Limit: 1232, TTL: 1}
}

func parse(t testing.TB, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%v of %x", err, b)
	}
	return m
}

// show returns the records of a section as text, without their name, TTL and class,
// sorted.
func show(rrs []dns.RR) (lines []string) {
	for _, rr := range rrs {
		lines = append(lines, dns.TypeToString[rr.Header().Rrtype]+" "+rr.String()[len(rr.Header().String()):])
	}
	slices.Sort(lines)
	return lines
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestAddresses(t *testing.T) {
	s := Pack(nil, endpoints(t,
		rollcall.Instance{Address: "10.0.0.1"},
		rollcall.Instance{Address: "10.0.0.2", Weight: weight(0)},
		rollcall.Instance{Address: "::ffff:10.0.0.3"},
		rollcall.Instance{Address: "10.0.0.1", Weight: weight(7)},
		rollcall.Instance{Address: "2001:db8::1"},
		rollcall.Instance{Address: "fe80::1%eth0"},
		rollcall.Instance{Address: ""},
		rollcall.Instance{Address: "db.example.com."},
	), Terms{Zone: "rollcall."})
	if a, aaaa, txt := s.Count(dns.TypeA), s.Count(dns.TypeAAAA), s.Count(dns.TypeTXT); a != 2 || aaaa != 1 || txt != 0 {
		t.Errorf("Count = %d A, %d AAAA, %d TXT", a, aaaa, txt)
	}
	m := parse(t, s.Write(nil, request(t, "WeB.service.rollcall.", dns.TypeA), seeded()))
	if got := show(m.Answer); !slices.Equal(got, []string{"A 10.0.0.1", "A 10.0.0.3"}) {
		t.Errorf("answers %q", got)
	}
	if m.Id != 0x1234 || !m.Response || !m.Authoritative || !m.RecursionDesired || m.RecursionAvailable || m.Truncated || m.Question[0].Name != "WeB.service.rollcall." {
		t.Errorf("answered %v", m)
	}
	m = parse(t, s.Write(nil, request(t, "web.service.rollcall.", dns.TypeAAAA), seeded()))
	if got := show(m.Answer); !slices.Equal(got, []string{"AAAA 2001:db8::1"}) {
		t.Errorf("answers %q", got)
	}
	if name, ok := s.Name(seeded()); !ok || string(name) != "\x02db\x07example\x03com\x00" {
		t.Errorf("Name = %q, %v", name, ok)
	}

}

func TestService(t *testing.T) {
	long := strings.Repeat("x", 63)
	es := endpoints(t,
		rollcall.Instance{ID: "a", Address: "10.0.0.1", Ports: map[string]uint16{"http": 80, "Admin": 81}}, // either
		rollcall.Instance{ID: "b", Address: "10.0.0.2", Ports: map[string]uint16{"http": 8080, rollcall.DefaultPort: 9}, Weight: weight(1)},
		rollcall.Instance{ID: "Upper", Address: "10.0.0.3", Ports: map[string]uint16{"http": 83}},
		rollcall.Instance{ID: "do.t", Address: "2001:db8::4", Ports: map[string]uint16{"http": 84}},
		rollcall.Instance{ID: "other", Namespace: "blue", Address: "10.0.0.5", Ports: map[string]uint16{"http": 85}},
		rollcall.Instance{ID: "dotted", Service: "web.api", Address: "10.0.0.6", Ports: map[string]uint16{"http": 86}},
		rollcall.Instance{ID: long, Service: long + "s", Address: "10.0.0.7", Ports: map[string]uint16{"http": 87}},
		rollcall.Instance{ID: "host", Address: "DB.example.com", Ports: map[string]uint16{"http": 88}},
		rollcall.Instance{ID: "none", Address: "10.0.0.9"},
		rollcall.Instance{ID: "idle", Address: "10.0.0.10", Ports: map[string]uint16{"http": 90}, Weight: weight(0)},
		rollcall.Instance{ID: "nowhere", Ports: map[string]uint16{"http": 91}},
		rollcall.Instance{ID: "linked", Address: "fe80::1%eth0", Ports: map[string]uint16{"http": 92}},
	)
	for _, tt := range []struct {
		terms         Terms
		answer, extra []string
	}{
		{Terms{Zone: "rollcall."}, []string{
			"SRV 1 256 9 b.web.instance.rollcall.",
			"SRV 1 25600 83 0a000003.addr.rollcall.",
			"SRV 1 25600 84 20010db8000000000000000000000004.addr.rollcall.",
			"SRV 1 25600 85 other.web.blue.instance.rollcall.",
			"SRV 1 25600 86 0a000006.addr.rollcall.",
			"SRV 1 25600 87 0a000007.addr.rollcall.",
			"SRV 1 25600 88 DB.example.com.",
		}, []string{
			"0a000003.addr.rollcall. A 10.0.0.3", "0a000006.addr.rollcall. A 10.0.0.6", "0a000007.addr.rollcall. A 10.0.0.7",
			"20010db8000000000000000000000004.addr.rollcall. AAAA 2001:db8::4",
			"b.web.instance.rollcall. A 10.0.0.2", "other.web.blue.instance.rollcall. A 10.0.0.5",
		}},
		{Terms{Zone: "consul.", Port: "admin", Datacenter: "dc1"}, []string{"SRV 1 25600 81 0a000001.addr.dc1.consul."}, []string{"0a000001.addr.dc1.consul. A 10.0.0.1"}},
		{Terms{Zone: "eu.example.", Port: rollcall.DefaultPort}, []string{"SRV 1 256 9 b.web.instance.eu.example."}, []string{"b.web.instance.eu.example. A 10.0.0.2"}},
		{Terms{Zone: strings.Repeat("very-long-zone-name.", 12) + "x.", Port: rollcall.DefaultPort}, nil, nil},
	} {
		s := Pack([]byte("before"), es, tt.terms)
		if got := s.Count(dns.TypeSRV); got != len(tt.answer) {
			t.Errorf("%v: Count = %d, want %d", tt.terms, got, len(tt.answer))
		}
		if len(tt.answer) == 0 {
			continue
		}
		if got := s.Count(dns.TypeA); tt.terms.Port != "" && got != 1 {
			t.Errorf("%v: addresses of %d instances, want of the one that has the port", tt.terms, got)
		}
		q := request(t, "web.service.rollcall.", dns.TypeSRV)
		m := parse(t, s.Write([]byte("before"), q, seeded())[len("before"):])
		if got := show(m.Answer); !slices.Equal(got, tt.answer) || m.Truncated {
			t.Errorf("%v: answers\n%s\nwant\n%s", tt.terms, strings.Join(got, "\n"), strings.Join(tt.answer, "\n"))
		}
		var extra []string
		for _, rr := range m.Extra {
			extra = append(extra, rr.Header().Name+" "+show([]dns.RR{rr})[0])
		}
		if slices.Sort(extra); !slices.Equal(extra, tt.extra) {
			t.Errorf("%v: additional\n%s\nwant\n%s", tt.terms, strings.Join(extra, "\n"), strings.Join(tt.extra, "\n"))
		}
		for n := range es {
			b := Target([]byte("b"), es[n].Item, tt.terms)
			name, _, err := dns.UnpackDomainName(b, 1)
			if id := es[n].Item.ID(); id == "nowhere" || id == "linked" {
				if string(b) != "b" {
					t.Errorf("target %q of %s", b, id)
				}
			} else if err != nil {
				t.Errorf("target %q of %s: %v", b, id, err)
			} else if has := slices.ContainsFunc(tt.answer, func(a string) bool { return strings.HasSuffix(a, " "+name) }); !has && tt.terms.Port == "" && !slices.Contains([]string{"a", "none", "idle"}, id) {
				t.Errorf("target %s of %s is no record's", name, id)
			}
		}
	}
}

// TestSharedTarget: instances that differ in their ports alone have one target.
func TestSharedTarget(t *testing.T) {
	s := Pack(nil, endpoints(t,
		rollcall.Instance{Address: "10.0.0.1", Ports: map[string]uint16{"p": 1}},
		rollcall.Instance{Address: "10.0.0.1", Ports: map[string]uint16{"p": 2}},
		rollcall.Instance{Address: "10.0.0.2", Ports: map[string]uint16{"p": 3}},
		rollcall.Instance{Address: "10.0.0.1", Ports: map[string]uint16{"p": 4}},
	), Terms{Zone: "consul.", Datacenter: "dc1"})
	r := seeded()
	for range 100 {
		m := parse(t, s.Write(nil, request(t, "web.service.consul.", dns.TypeSRV), r))
		if got := show(m.Extra); len(m.Answer) != 4 || !slices.Equal(got, []string{"A 10.0.0.1", "A 10.0.0.2"}) {
			t.Fatalf("%d answers, additional %q", len(m.Answer), got)
		}
	}
	if n := s.Count(dns.TypeA); n != 2 {
		t.Errorf("%d addresses", n)
	}
}

func TestWeights(t *testing.T) {
	for _, tt := range []struct{ weights, want []uint16 }{
		{[]uint16{1, 100, 255}, []uint16{256, 25600, 65280}},
		{[]uint16{1, 256}, []uint16{255, 65280}},
		{[]uint16{1, 65535, 32768}, []uint16{1, 65280, 32640}},
		{[]uint16{0, 3}, []uint16{768}},
	} {
		var is []rollcall.Instance
		for n, w := range tt.weights {
			is = append(is, rollcall.Instance{Address: "10.0.0.1", Ports: map[string]uint16{"p": uint16(n + 1)}, Weight: weight(w)})
		}
		m := parse(t, Pack(nil, endpoints(t, is...), Terms{Zone: "r."}).Write(nil, request(t, "w.r.", dns.TypeSRV), seeded()))
		got := make([]uint16, len(m.Answer))
		slices.SortFunc(m.Answer, func(a, b dns.RR) int { return cmp.Compare(a.(*dns.SRV).Port, b.(*dns.SRV).Port) })
		for n, rr := range m.Answer {
			got[n] = rr.(*dns.SRV).Weight
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("weights %d are %d, want %d", tt.weights, got, tt.want)
		}
	}
}

func TestName(t *testing.T) {
	s := Pack(nil, endpoints(t,
		rollcall.Instance{Address: "a.example", Weight: weight(30)}, rollcall.Instance{Address: "b.example", Weight: weight(10)},
		rollcall.Instance{Address: "never.example", Weight: weight(0)},
	), Terms{Zone: "r."})
	counts, r := map[string]int{}, seeded()
	for range rounds {
		name, _ := s.Name(r)
		counts[string(name)]++
	}
	chiSquare(t, "names", []int{counts["\x01a\x07example\x00"], counts["\x01b\x07example\x00"]}, []float64{.75 * rounds, .25 * rounds})
	if len(counts) != 2 || s.Count(dns.TypeA)+s.Count(dns.TypeAAAA)+s.Count(dns.TypeSRV) != 0 {
		t.Errorf("names %v", counts)
	}
	for _, s := range []Set{nil, Pack(nil, nil, Terms{Zone: "r."})} {
		if name, ok := s.Name(r); ok || s.Count(dns.TypeA) != 0 {
			t.Errorf("an empty set has %q", name)
		}
	}
}

// TestHeader: of the flags of a query, RD and CD come back, and whatever counts it has do
// not.
func TestHeader(t *testing.T) {
	s := Pack(nil, endpoints(t, fleet(100, true)...), Terms{Zone: "r."})
	opt := []byte{0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0}
	for _, tt := range []struct {
		flags [2]byte
		q     Request
		want  [2]byte
	}{
		{[2]byte{0x01, 0x00}, Request{Limit: 4096}, [2]byte{0x85, 0x00}},
		{[2]byte{0x00, 0x10}, Request{Limit: 4096, RA: true, OPT: opt}, [2]byte{0x84, 0x90}},
		{[2]byte{0x03, 0x7f}, Request{Limit: 512, OPT: opt}, [2]byte{0x87, 0x10}},
		{[2]byte{0x01, 0x20}, Request{Limit: 512, TCP: true}, [2]byte{0x85, 0x00}},
		{[2]byte{0x01, 0x20}, Request{Limit: 512, NoTrunc: true}, [2]byte{0x85, 0x00}},
	} {
		q := tt.q
		query, end := query(t, "A.r.", dns.TypeA)
		copy(query[2:], tt.flags[:])
		q.Query, q.Question, q.Type = append(query, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0), end, dns.TypeA
		q.Query[11] = 1
		b := s.Write(nil, &q, seeded())
		if [2]byte(b[2:4]) != tt.want || !bytes.Equal(b[:2], query[:2]) || !bytes.Equal(b[12:end], query[12:end]) {
			t.Errorf("flags %x of %+v: %x, want %x", tt.flags, tt.q, b[2:4], tt.want)
		}
		m := parse(t, b)
		if q.OPT != nil && (len(m.Extra) != 1 || m.Extra[0].Header().Rrtype != dns.TypeOPT || !bytes.HasSuffix(b, opt)) {
			t.Errorf("additional %v", m.Extra)
		}
	}
}

// TestTruncation: answers fill what there is, and an address of a target never takes the
// place of an answer.
func TestTruncation(t *testing.T) {
	is := fleet(60, false)
	is = append(is, rollcall.Instance{ID: strings.Repeat("y", 60), Address: "10.1.0.1", Ports: map[string]uint16{"p": 1}, Weight: weight(2)})
	es := endpoints(t, is...)
	s := Pack(nil, es, Terms{Zone: "rollcall."})
	r := seeded()
	for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV} {
		longest := rrHead + srvFixed + len(Target(nil, es[60].Item, Terms{Zone: "rollcall."}))
		q := request(t, "web.service.rollcall.", qtype)
		q.OPT = []byte{0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0}
		for q.Limit = 150; q.Limit < 5000; q.Limit += 7 {
			b := s.Write(nil, q, r)
			m := parse(t, b)
			answers, extra := len(m.Answer), len(m.Extra)-1
			if full := answers == 61; len(b) > q.Limit || answers == 0 || m.Truncated == full || !full && len(b)-16*extra+longest <= q.Limit || m.IsEdns0() == nil {
				t.Fatalf("limit %d, type %d: %d bytes, %d answers, %d additional, truncated %v", q.Limit, qtype, len(b), answers, extra, m.Truncated)
			}
			if qtype == dns.TypeA && m.Truncated && len(b)+16 <= q.Limit {
				t.Fatalf("limit %d: %d bytes, and one more would fit", q.Limit, len(b))
			}
			for _, rr := range m.Extra[:extra] {
				if !slices.ContainsFunc(m.Answer, func(a dns.RR) bool { return a.(*dns.SRV).Target == rr.Header().Name }) {
					t.Fatalf("limit %d: %v is of no target", q.Limit, rr)
				}
			}
		}
	}
}

// TestOneFits: where the first that is drawn does not fit, another does.
func TestOneFits(t *testing.T) {
	s := Pack(nil, endpoints(t,
		rollcall.Instance{ID: strings.Repeat("y", 60), Address: "10.0.0.1", Ports: map[string]uint16{"p": 1}},
		rollcall.Instance{ID: "z", Address: "10.0.0.2", Ports: map[string]uint16{"p": 2}},
	), Terms{Zone: "r."})
	q, r := request(t, "web.service.r.", dns.TypeSRV), seeded()
	q.Limit = q.Question + rrHead + 40
	for range 20 {
		if m := parse(t, s.Write(nil, q, r)); len(m.Answer) != 1 || !m.Truncated || m.Answer[0].(*dns.SRV).Port != 2 {
			t.Fatalf("answered %v", m)
		}
	}
	q.Limit = q.Question + rrHead
	if m := parse(t, s.Write(nil, q, r)); len(m.Answer) != 0 || !m.Truncated {
		t.Errorf("answered %v, and none fits", m)
	}
}

// TestStream fills what TCP has room for, with names beyond the reach of pointers.
func TestStream(t *testing.T) {
	for _, tt := range []struct {
		n      int
		qtype  uint16
		consul bool
	}{{5000, dns.TypeA, false}, {500, dns.TypeSRV, false}, {5000, dns.TypeSRV, false}, {700, dns.TypeSRV, true}} {
		for _, even := range []bool{true, false} {
			terms := Terms{Zone: "rollcall."}
			if tt.consul {
				terms = Terms{Zone: "consul.", Datacenter: "dc1"}
			}
			s := Pack(nil, endpoints(t, fleet(tt.n, even)...), terms)
			q := request(t, "web.service.rollcall.", tt.qtype)
			q.Limit, q.NoTrunc = 1<<20, true
			b := s.Write(nil, q, seeded())
			m := parse(t, b)
			if len(b) > 65535 || m.Truncated || len(m.Answer) < min(tt.n, 1100) {
				t.Errorf("%d of type %d: %d bytes, %d answers, truncated %v", tt.n, tt.qtype, len(b), len(m.Answer), m.Truncated)
			}
			if tt.qtype == dns.TypeSRV && tt.n < 1000 && len(m.Extra) != tt.n {
				t.Errorf("%d targets, %d addresses", tt.n, len(m.Extra))
			}
			for n, rr := range m.Extra {
				if srv := m.Answer[n].(*dns.SRV); srv.Target != rr.Header().Name {
					t.Fatalf("%d: target %s, address of %s", n, srv.Target, rr.Header().Name)
				}
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has pools drop what they are given")
	}
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		for _, even := range []bool{true, false} {
			s := Pack(nil, endpoints(t, fleet(n, even)...), Terms{Zone: "rollcall."})
			for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV} {
				q, r, b := request(t, "web.service.rollcall.", qtype), seeded(), make([]byte, 0, 65535)
				for _, q.Limit = range []int{512, 1232, 65535} {
					s.Write(b, q, r)
					if got := testing.AllocsPerRun(100, func() { s.Write(b, q, r) }); got > 0 {
						t.Errorf("%d of type %d in %d bytes: %v allocations", n, qtype, q.Limit, got)
					}
				}
			}
		}
	}
}

// FuzzWrite writes sets of any kind into messages of any size, and then the same sets
// with a byte of theirs changed, which no message needs to make sense of.
func FuzzWrite(f *testing.F) {
	f.Add(uint64(1), uint16(3), uint16(512), uint16(0), byte(0))
	f.Add(uint64(2), uint16(30), uint16(1232), uint16(9), byte(7))
	f.Add(uint64(3), uint16(200), uint16(40000), uint16(1), byte(255))
	f.Fuzz(func(t *testing.T, seed uint64, n, limit, at uint16, with byte) {
		r := rand.New(rand.NewPCG(seed, 0))
		is := make([]rollcall.Instance, 1+n%300)
		for i := range is {
			is[i] = rollcall.Instance{
				ID: fmt.Sprintf("%s%d", []string{"i", "I", "a.b", strings.Repeat("l", 58)}[r.IntN(4)], i), Service: []string{"web", "w.x", "api"}[r.IntN(3)],
				Address: []string{fmt.Sprintf("10.0.0.%d", r.IntN(99)), fmt.Sprintf("2001:db8::%x", r.IntN(99)), "h.example", ""}[r.IntN(4)],
				Ports:   map[string]uint16{"p": uint16(1 + i)}, Weight: weight(uint16(r.Uint32() >> (16 + r.IntN(16)))),
			}
		}
		terms := Terms{Zone: []string{"r.", strings.Repeat("long-zone.", 15)}[r.IntN(2)], Datacenter: []string{"", "dc1"}[r.IntN(2)]}
		s := Pack(nil, endpoints(t, is...), terms)
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
			q := request(t, strings.Repeat("q.", r.IntN(100))+"r.", qtype)
			q.Limit = max(512, int(limit))
			if r.IntN(2) == 0 {
				q.OPT = []byte{0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0}
			}
			count := s.Count(qtype)
			if count == 0 {
				continue
			}
			b := s.Write(nil, q, r)
			m := parse(t, b)
			long := 12 + len(q.OPT) + q.Question + rrHead + srvFixed + 255
			if len(b) > q.Limit || len(m.Answer) == 0 && long <= q.Limit || m.Truncated != (len(m.Answer) < count) || len(m.Answer) > count {
				t.Errorf("type %d: %d bytes of %d, %d answers of %d, truncated %v", qtype, len(b), q.Limit, len(m.Answer), count, m.Truncated)
			}
			seen := map[string]bool{}
			for _, rr := range append(m.Answer, m.Extra...) {
				if text := rr.String(); seen[text] {
					t.Errorf("type %d: twice %s", qtype, text)
				} else {
					seen[text] = true
				}
			}
			damaged := slices.Clone(s)
			damaged[int(at)%len(damaged)] = with
			if b := damaged.Write(nil, q, r); len(b) > q.Limit {
				t.Errorf("damaged: %d bytes", len(b))
			}
			damaged[:int(at)%len(damaged)].Write(nil, q, r)
			damaged.Name(r)
		}
	})
}
