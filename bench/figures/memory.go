package figures

import (
	"fmt"
	"os"
	"time"

	"github.com/rollcall-registry/rollcall/bench/dns"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T9: with 10,000 services of 100 instances an instance takes at most 1 KiB of resident
// memory, without any setting of the collector, after every view was read over HTTP and DNS and a
// minute of 1,000 changes a second; and an empty server takes 40 MB, its binary 60 MB.
var memory = Figure{
	Name: "memory",
	What: "resident memory of an empty server, and for each of 1 M instances",
	Rows: []report.Row{
		{Name: "memory-empty", Unit: "resident, empty", Value: "rss_mb", Goals: []report.Goal{
			report.AtMost("rss_mb", 40), report.AtMost("binary_mb", 60),
		}},
		{Name: "memory-1m", Unit: "an instance", Value: "instance_bytes", Goals: []report.Goal{
			report.AtMost("instance_bytes", 1024), report.Show("rss_mb"), report.Show("peak_mb"), report.CompareMore("etcd", "instance_bytes"),
		}},
	},
	Run: func(b *Bench) error {
		if err := b.memoryEmpty(); err != nil {
			return err
		}
		f, changing := fleet{services: 10_000, instances: 1_000_000}, time.Minute
		if b.Short {
			f, changing = fleet{services: 1000, instances: 100_000}, 5*time.Second
		}
		if err := b.memory("memory-1m", f, changing); err != nil {
			return err
		}
		b.end()
		return b.memoryEtcd("memory-1m", f)
	},
}

// settle is how long a server is left alone before its memory is read.
const settle = 3 * time.Second

const mb = 1 << 20

// memoryEmpty starts an empty server again and again.
func (b *Bench) memoryEmpty() error {
	binary, err := os.Stat(b.Binary)
	if err != nil {
		return err
	}
	for round := 1; round <= b.Rounds; round++ {
		s, err := b.fresh()
		if err != nil {
			return err
		}
		time.Sleep(settle)
		sample, err := s.resident()
		if err != nil {
			return err
		}
		sample.More["binary_mb"] = float64(binary.Size()) / mb
		b.end()
		if err := b.keep("memory-empty", "rollcall", round, nil, sample); err != nil {
			return err
		}
	}
	return nil
}

// memory fills a server, reads every service once, changes instances for a while, and then
// looks how much it has grown by.
func (b *Bench) memory(row string, f fleet, changing time.Duration) error {
	s, err := b.fresh("--dns", "127.0.0.1:0")
	if err != nil {
		return err
	}
	time.Sleep(settle)
	empty, err := proc.Read(s.PID)
	if err != nil {
		return err
	}
	if err := b.fill(s, f); err != nil {
		return err
	}
	filled, err := proc.Read(s.PID)
	if err != nil {
		return err
	}
	b.progress("reading %d services", f.services)
	r, err := wire.Load{Addr: s.Addr, Conns: 8, Total: f.services, Source: one(driver.RollcallResolve(s.Addr), f.turn())}.Run()
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return err
	}
	if err := readOverDNS(s, f); err != nil {
		return err
	}
	b.progress("changing %d instances a second for %v", changesASecond, changing)
	changes := s.changes(f, changesASecond)
	changes.Window = load.Window{Length: changing}
	if r, err = changes.Run(); err != nil {
		return err
	}
	sample, err := s.resident()
	if err != nil {
		return err
	}
	sample.Seconds, sample.PerSecond, sample.Failed = r.Length.Seconds(), float64(r.Done)/r.Length.Seconds(), r.Failed
	sample.More["instance_bytes"] = float64(sample.RSSBytes-empty.RSS) / float64(f.instances)
	sample.More["empty_mb"] = float64(empty.RSS) / mb
	sample.More["filled_mb"] = float64(filled.RSS) / mb // before anything was read
	if f.instances < 1_000_000 && row == "memory-1m" {
		sample.Note = fmt.Sprintf("of %d instances only", f.instances)
	}
	p := Params{"services": f.services, "instances": f.instances, "changes_per_second": changesASecond, "changing": changing.String()}
	return b.keep(row, "rollcall", 1, p, sample)
}

// readOverDNS asks for all services, one after the other, again and again, so that each of
// the server's sockets has been asked for nearly all.
func readOverDNS(s Server, f fleet) error {
	service := 0
	r, err := dns.Load{
		Addr: s.DNS, Sockets: dnsSockets, Flight: 1, Window: load.Window{Length: 5 * time.Second},
		Query: driver.DNSQuery(33, 8192), Records: f.instances / f.services, Next: func() int {
			service = (service + 1) % f.services
			return service
		},
	}.Run()
	switch {
	case err != nil:
		return err
	case r.Done < int64(f.services):
		return fmt.Errorf("only %d of %d services were read over DNS in %v: %w", r.Done, f.services, r.Length, r.Err)
	}
	return nil
}

// memoryEtcd does the same to etcd, with bare keys, but for the reads and the changes.
func (b *Bench) memoryEtcd(row string, f fleet) error {
	s, c, ok, err := b.etcd()
	if !ok || s.PID == 0 {
		return err
	}
	time.Sleep(settle)
	empty, err := proc.Read(s.PID)
	if err != nil {
		return err
	}
	b.progress("putting %d keys into etcd", f.instances)
	if err := c.Fill(f.services, f.instances); err != nil {
		return err
	}
	time.Sleep(settle)
	sample, err := s.resident()
	if err != nil {
		return err
	}
	sample.More["instance_bytes"] = float64(sample.RSSBytes-empty.RSS) / float64(f.instances)
	return b.keep(row, "etcd", 1, Params{"services": f.services, "instances": f.instances, "lease": "shared"}, sample)
}

// resident returns a sample of what memory a server has.
func (s Server) resident() (report.Sample, error) {
	u, err := proc.Read(s.PID)
	return report.Sample{Seconds: 1, RSSBytes: u.RSS, More: map[string]float64{
		"rss_mb": float64(u.RSS) / mb, "peak_mb": float64(u.Peak) / mb,
	}}, err
}
