package figures

import "github.com/rollcall-registry/rollcall/bench/report"

// T4: the 99th percentile is at most 1 ms at half of the load that there can be.
var dnsLatency = Figure{
	Name: "dns-latency",
	What: "A records of one service of 3 out of 1,000, at half of the rate that each side has reached before",
	Rows: []report.Row{
		{Name: "dns-latency-most", Unit: "answers", Goals: []report.Goal{report.Compare("echo")}},
		{Name: "dns-latency", Unit: "answers", Goals: []report.Goal{report.P99(1), report.CompareP99("echo"), report.CompareP99("coredns-file"), report.CompareP99("coredns-hosts")}},
	},
	Run: func(b *Bench) error {
		w := b.addresses(3)
		w.row = "dns-latency"
		s, bytes, err := b.startDNS(w)
		if err != nil {
			return err
		}
		others, err := b.dnsOthers(w, bytes)
		if err != nil {
			return err
		}
		sides := func(row string) (all []Side) {
			for _, o := range append([]dnsOther{{Server: s}}, others...) {
				all = append(all, o.dnsSide(o.Name, o.load(w, b.Rate(row, o.Name)/2)))
			}
			return all
		}
		if err := b.Longer("dns-latency-most", w.params(), 2, b.Length, sides("")...); err != nil {
			return err
		}
		p := w.params()
		p["arrivals"], p["rate"] = "poisson", b.Rate("dns-latency-most", "rollcall")/2
		return b.Interleave(w.row, p, sides("dns-latency-most")...)
	},
}
