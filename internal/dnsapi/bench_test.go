package dnsapi_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

// fill registers n instances of a service.
func (w *world) fill(service string, n int) {
	w.t.Helper()
	is := make([]rollcall.Instance, n)
	for i := range is {
		is[i] = web(i)
		is[i].Service = service
	}
	for _, r := range w.reg.RegisterMany(w.t.Context(), is) {
		if r.Err != nil {
			w.t.Fatal(r.Err)
		}
	}
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkAnswer is what a query costs once it has been read from a socket.
func BenchmarkAnswer(b *testing.B) {
	w := newWorld(b, dnsapi.Options{})
	for _, n := range []int{3, 10, 100, 20_000} {
		w.fill(fmt.Sprintf("of-%d", n), n)
	}
	for _, c := range []struct {
		name string
		q    *dns.Msg
	}{
		{"A of 3", question("of-3.service.rollcall.", dns.TypeA)},
		{"A of 10", question("of-10.service.rollcall.", dns.TypeA)},
		{"A of 100", with(question("of-100.service.rollcall.", dns.TypeA), 4096)},
		{"A of 100 cut", question("of-100.service.rollcall.", dns.TypeA)},
		{"SRV of 10", with(question("of-10.service.rollcall.", dns.TypeSRV), 4096)},
		{"SRV of 3 of Consul", question("of-3.service.consul.", dns.TypeSRV)},
		{"NXDOMAIN", question("nobody.service.rollcall.", dns.TypeA)},
		{"NODATA", question("of-3.service.rollcall.", dns.TypeAAAA)},
		{"TXT of 3", question("of-3.service.rollcall.", dns.TypeTXT)},
		{"A of 20000", question("of-20000.service.rollcall.", dns.TypeA)},
		{"TXT of 20000", question("of-20000.service.rollcall.", dns.TypeTXT)},
		{"PTR of 20000", question("_of-20000._tcp.rollcall.", dns.TypePTR)},
		{"nobody of 20000", question("x.of-20000.instance.rollcall.", dns.TypeA)},
		{"refused", question("example.com.", dns.TypeA)},
	} {
		b.Run(c.name, func(b *testing.B) {
			raw, room := pack(b, c.q), make([]byte, 0, 65535)
			b.ReportAllocs()
			for b.Loop() {
				room, _ = w.handler.Answer(room[:0], raw, loopback)
			}
		})
	}
}

// BenchmarkAnswerMadeUp is of selections that nobody has thought of, of a big service.
func BenchmarkAnswerMadeUp(b *testing.B) {
	w := newWorld(b, dnsapi.Options{})
	w.fill("web", 20_000)
	raw, room := pack(b, question("aaaaaaaa.web.service.rollcall.", dns.TypeA)), make([]byte, 0, 65535)
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		for n := range 8 {
			raw[13+n] = 'a' + byte(r.IntN(26))
		}
		room, _ = w.handler.Answer(room[:0], raw, loopback)
	}
}

// BenchmarkAnswerNear is of an asker whose place is known.
func BenchmarkAnswerNear(b *testing.B) {
	w := newWorld(b, dnsapi.Options{Places: places(b)})
	w.fill("web", 100)
	raw, room := pack(b, with(question("web.service.rollcall.", dns.TypeA), 4096)), make([]byte, 0, 65535)
	b.ReportAllocs()
	for b.Loop() {
		room, _ = w.handler.Answer(room[:0], raw, loopback)
	}
}

// BenchmarkAnswerNames is of names of which each is seldom asked for.
func BenchmarkAnswerNames(b *testing.B) {
	const names = 100_000
	w := newWorld(b, dnsapi.Options{})
	is := make([]rollcall.Instance, names)
	for n := range is {
		is[n] = web(n)
		is[n].Service, is[n].Address = fmt.Sprintf("web-%d", n), fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)
	}
	for _, r := range w.reg.RegisterMany(b.Context(), is) {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	raw := make([][]byte, names)
	for n := range raw {
		raw[n] = pack(b, question(fmt.Sprintf("web-%d.service.rollcall.", n), dns.TypeA))
	}
	room := make([]byte, 0, 65535)
	r := rand.New(rand.NewPCG(1, 2))
	for _, q := range raw { // once each
		room, _ = w.handler.Answer(room[:0], q, loopback)
	}
	for _, many := range []int{1, 32} { // at a time
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			queries := make([][]byte, many)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%many == 0 {
					for n := range queries {
						queries[n] = append(queries[n][:0], raw[r.IntN(names)]...) // where no more is waited for it
					}
					w.handler.(socket.Expecter).Expect(queries)
				}
				room, _ = w.handler.Answer(room[:0], queries[i%many], loopback)
			}
		})
	}
}

func places(t testing.TB) *place.Table {
	t.Helper()
	return subnets(t, place.Subnet{Prefix: prefix("127.0.0.0/8"), Near: "zone:eu/eu-1"})
}
