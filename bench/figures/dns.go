package figures

import (
	"fmt"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall/bench/dns"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// T4: at least 70 % of a raw UDP echo on as many sockets, whose answers are as long; per
// CPU-second of the server at least twice as many answers as the file plugin of CoreDNS
// gives, and 1.2 times as many as its hosts plugin.
var dnsGoals = []report.Goal{
	report.Share("echo", 0.7), report.Share("echo-many", 0.7), report.PerCPU("coredns-file", 2), report.PerCPU("coredns-hosts", 1.2),
	report.Compare("coredns-file"), report.Compare("coredns-hosts"),
}

var dnsA = Figure{
	Name: "dns-a",
	What: "A records of one service out of 1,000, by a Zipf distribution: of 3, 10 and 100 addresses",
	Rows: []report.Row{
		{Name: "dns-a-3", Unit: "answers", Goals: dnsGoals},
		{Name: "dns-a-10", Unit: "answers", Goals: dnsGoals},
		{Name: "dns-a-10-changes", Unit: "answers", Goals: []report.Goal{report.Compare("quiet")}},
		{Name: "dns-a-100", Unit: "answers", Goals: dnsGoals},
	},
	Run: func(b *Bench) error {
		for _, each := range []int{3, 10, 100} {
			w := b.addresses(each)
			s, err := b.dns(w, nil)
			if err != nil {
				return err
			}
			if each == 10 {
				quiet := s.dnsSide("quiet", w.load())
				busy := s.dnsSide("rollcall", w.load()).beside(s.changes(w.fleet, changesASecond))
				w.row += "-changes"
				if err := b.Interleave(w.row, w.params(), busy, quiet); err != nil {
					return err
				}
			}
			b.end() // to make room
		}
		return nil
	},
}

var dnsSRV = Figure{
	Name: "dns-srv",
	What: "SRV records of one service of 10 out of 1,000, with their addresses in the additional section",
	Rows: []report.Row{{Name: "dns-srv-10", Unit: "answers", Goals: dnsGoals}},
	Run: func(b *Bench) error {
		f := fleet{services: 1000, instances: 10_000}
		_, err := b.dns(dnsWork{row: "dns-srv-10", fleet: f, next: f.zipf(), qtype: dns.SRV, size: 4096, records: 10, plugins: []string{"file"}}, nil)
		return err
	},
}

// addresses is what is asked for A records.
func (b *Bench) addresses(each int) dnsWork {
	f := fleet{services: 1000, instances: 1000 * each}
	w := dnsWork{row: "dns-a-" + strconv.Itoa(each), fleet: f, next: f.zipf(), qtype: dns.A, records: each, plugins: []string{"file", "hosts"}}
	if each > 10 { // more than goes without saying
		w.size = 4096
	}
	return w
}

// dnsWork is one kind of query about a fleet.
type dnsWork struct {
	row     string
	fleet   fleet
	next    func() (service, id int)
	qtype   uint16
	size    uint16 // of answers, as queries say that it is welcome; 0: they do not say
	records int    // in the answers
	plugins []string
}

const dnsSockets, dnsFlight = 16, 8

func (w dnsWork) query() dns.Query { return driver.DNSQuery(w.qtype, w.size) }

func (w dnsWork) load() dns.Load {
	return dns.Load{Sockets: dnsSockets, Flight: dnsFlight, Query: w.query(), Records: w.records, Next: func() int {
		service, _ := w.next()
		return service
	}}
}

func (w dnsWork) params() Params {
	return Params{
		"services": w.fleet.services, "instances": w.fleet.instances, "sockets": dnsSockets, "queries_under_way": dnsSockets * dnsFlight,
		"query_type": w.qtype, "edns_size": w.size,
	}
}

// dnsSide returns a side that loads the server with queries.
func (s Server) dnsSide(name string, l dns.Load) Side {
	l.Addr = s.DNS
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			l.Window = w
			r, err := l.Run()
			if err != nil {
				return report.Sample{}, err
			}
			return report.Of(r, 1), nil
		})
	}}
}

// dns measures one kind of query in a closed loop, beside more sides of Rollcall if there are
// any, and returns Rollcall.
func (b *Bench) dns(w dnsWork, more func(s Server) ([]Side, error)) (Server, error) {
	s, bytes, err := b.startDNS(w)
	if err != nil {
		return s, err
	}
	others, err := b.dnsOthers(w, bytes)
	if err != nil {
		return s, err
	}
	sides := []Side{s.dnsSide(s.Name, w.load())}
	if more != nil {
		own, err := more(s)
		if err != nil {
			return s, err
		}
		sides = append(sides, own...)
	}
	for _, o := range others {
		sides = append(sides, o.dnsSide(o.Name, o.load(w, 0)))
		defer b.Stop(o.Server)
	}
	p := w.params()
	p["answer_bytes"] = bytes
	return s, b.Interleave(w.row, p, sides...)
}

// startDNS starts a Rollcall that holds a fleet, and returns how long its answers are.
func (b *Bench) startDNS(w dnsWork) (s Server, bytes int, err error) {
	if s, err = b.fresh("--dns", "127.0.0.1:0"); err != nil {
		return s, 0, err
	}
	if s.DNS == "" {
		return s, 0, fmt.Errorf("%s does not say where it answers over DNS", b.Binary)
	}
	if err = b.fillWith(s, w.fleet, driver.RollcallRegisterAddressed(s.Addr, fillBatch)); err != nil {
		return s, 0, err
	}
	answer, err := w.query().Until(s.DNS, w.fleet.services-1, w.records, dnsPatience)
	return s, len(answer), err
}

// dnsPatience is how long a server may take until it answers.
const dnsPatience = time.Minute

// dnsOther is what ours is compared with.
type dnsOther struct {
	Server
	echo bool
}

// load is what it is loaded with: so much a second, or as much as it takes.
func (o dnsOther) load(w dnsWork, rate float64) dns.Load {
	l := w.load()
	l.Rate = rate
	if o.echo {
		l.Records = 0
	}
	return l
}

// dnsOthers starts echoes whose answers have so many bytes, and each CoreDNS that can answer.
func (b *Bench) dnsOthers(w dnsWork, bytes int) (others []dnsOther, err error) {
	for _, many := range []bool{false, true} {
		s, err := b.Echo(bytes, many)
		if err != nil {
			return nil, err
		}
		others = append(others, dnsOther{s, true})
	}
	for _, plugin := range w.plugins {
		s, ok, err := b.startCore(plugin, w.fleet)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		others = append(others, dnsOther{s, false})
	}
	for i := range others {
		o := &others[i]
		o.DNS = o.Addr
		if _, err := w.query().Until(o.DNS, w.fleet.services-1, o.load(w, 0).Records, dnsPatience); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	return others, nil
}
