package figures

import (
	"time"

	"github.com/rollcall-registry/rollcall/bench/dns"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// T4: 100,000 names are answered as fast as one.
var dnsNames = Figure{
	Name: "dns-names",
	What: "A records of one service of 3 out of 100,000, each as likely as any other, next to one of them alone",
	Rows: []report.Row{{Name: "dns-names", Unit: "answers", Goals: []report.Goal{
		report.Share("one-name", 0.95), report.PerCPU("one-name", 0.95), report.PerCPU("coredns-file", 2), report.PerCPU("coredns-hosts", 1.2),
		report.Compare("echo"), report.Compare("coredns-file"), report.Compare("coredns-hosts"),
	}}},
	Run: func(b *Bench) error {
		f := fleet{services: 100_000, instances: 300_000}
		if b.Short {
			f = fleet{services: 10_000, instances: 30_000}
		}
		w := dnsWork{row: "dns-names", fleet: f, next: f.random(), qtype: dns.A, records: 3, plugins: []string{"file", "hosts"}}
		one := w
		one.next = func() (int, int) { return 4711, 0 }
		_, err := b.dns(w, func(s Server) ([]Side, error) {
			one := s.dnsSide("one-name", one.load())
			b.progress("dns-names: asking for all of them")
			_, err := s.dnsSide("", w.load()).Run(load.Window{Length: b.first()})
			return []Side{one}, err
		})
		return err
	},
}

// first is how long 100,000 names are asked for until each socket has had each of them.
func (b *Bench) first() time.Duration {
	if b.Short {
		return 2 * time.Second
	}
	return 20 * time.Second
}
