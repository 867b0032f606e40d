package answer

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
)

// fleet returns n instances, whose weights are all alike or all different.
func fleet(n int, even bool) []rollcall.Instance {
	is := make([]rollcall.Instance, n)
	for i := range is {
		is[i] = rollcall.Instance{
			ID: fmt.Sprintf("web-7f9c%04x", i), Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), Ports: map[string]uint16{"http": uint16(8000 + i%1000)},
		}
		if !even {
			is[i].Weight = weight(uint16(1 + (i*7919)%200))
		}
	}
	return is
}

func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		n     int
		qtype uint16
	}{{3, dns.TypeA}, {10, dns.TypeA}, {100, dns.TypeA}, {1000, dns.TypeA}, {3, dns.TypeSRV}, {10, dns.TypeSRV}, {100, dns.TypeSRV}} {
		for _, even := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/%d/even=%v", dns.TypeToString[bb.qtype], bb.n, even), func(b *testing.B) {
				s := Pack(nil, endpoints(b, fleet(bb.n, even)...), Terms{Zone: "rollcall."})
				q := request(b, "web.service.rollcall.", bb.qtype)
				q.OPT = []byte{0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0}
				buf, r := make([]byte, 0, 1232), seeded()
				b.ReportAllocs()
				for b.Loop() {
					s.Write(buf, q, r)
				}
				b.ReportMetric(float64(len(s))/float64(bb.n), "B/instance")
			})
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, n := range []int{3, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			es := endpoints(b, fleet(n, false)...)
			b.ReportAllocs()
			for b.Loop() {
				Pack(nil, es, Terms{Zone: "rollcall."})
			}
		})
	}
}
