package figures

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/bench/dns"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// few is a kind of query about a small fleet.
func few(qtype uint16, records int) dnsWork {
	f := fleet{services: 5, instances: 5 * records}
	return dnsWork{fleet: f, next: f.random(), qtype: qtype, size: 4096, records: records}
}

// TestEcho: both echoes send back answers as long as they are to be, and can be loaded.
func TestEcho(t *testing.T) {
	b := testBench(t)
	w := few(dns.A, 3)
	for _, many := range []bool{false, true} {
		for _, bytes := range []int{0, 200} {
			s, err := b.Echo(bytes, many)
			if err != nil {
				t.Fatal(err)
			}
			want := max(bytes, len(w.query().Append(nil, 1, 2)))
			if a, err := w.query().Until(s.Addr, 2, 0, dnsPatience); err != nil || len(a) != want {
				t.Errorf("%s: %d bytes, %v; want %d", s.Name, len(a), err, want)
			}
			s.DNS = s.Addr
			sample, err := s.dnsSide(s.Name, dnsOther{s, true}.load(w, 0)).Run(load.Window{Length: 200 * time.Millisecond})
			if err != nil || sample.PerSecond < 1000 || sample.ServerCPU == 0 || sample.GeneratorCPU == 0 || sample.Failed > 0 {
				t.Errorf("%s: %+v, %v", s.Name, sample, err)
			}
		}
	}
}

// TestDNS: Rollcall takes the registrations, and answers what it is asked with all of them.
func TestDNS(t *testing.T) {
	b := testBench(t)
	addrs := rollcalltest.Run(t, server.Config{DataDir: t.TempDir(), DNS: "127.0.0.1:0"})
	s := Server{Name: "rollcall", Addr: addrs.Addr, DNS: addrs.DNS}
	w := few(dns.A, 40)
	w.fleet = fleet{services: 25, instances: fillBatch} // 40 each
	if err := b.fillWith(s, w.fleet, driver.RollcallRegisterAddressed(s.Addr, fillBatch)); err != nil {
		t.Fatal(err)
	}
	for _, qtype := range []uint16{dns.A, dns.SRV} {
		w.qtype = qtype
		sample, err := s.dnsSide(s.Name, w.load()).Run(load.Window{Length: 200 * time.Millisecond})
		if err != nil || sample.PerSecond < 100 || sample.Failed+sample.Unanswered > 0 {
			t.Errorf("type %d: %+v, %v", qtype, sample, err)
		}
	}
}

// TestCoreDNS: CoreDNS answers what it is asked, if it was built before.
func TestCoreDNS(t *testing.T) {
	if path, err := corePath(); err != nil {
		t.Skip(err)
	} else if _, err := os.Stat(path); err != nil {
		t.Skip("CoreDNS is not built: ", err)
	}
	b := testBench(t)
	for _, k := range []struct {
		plugin string
		qtype  uint16
	}{{"file", dns.A}, {"hosts", dns.A}, {"file", dns.SRV}} {
		w := few(k.qtype, 10)
		w.plugins = []string{k.plugin}
		others, err := b.dnsOthers(w, 100)
		if err != nil || len(others) != 3 {
			t.Fatalf("%+v, %v", others, err)
		}
		o := others[2]
		sample, err := o.dnsSide(o.Name, o.load(w, 0)).Run(load.Window{Length: 200 * time.Millisecond})
		if err != nil || sample.PerSecond < 1000 || sample.Failed+sample.Unanswered > 0 {
			t.Errorf("%s: %+v, %v", o.Name, sample, err)
		}
		answer, err := w.query().Until(o.DNS, 0, 10, dnsPatience)
		if err != nil || k.qtype == dns.SRV && answer[11] != 11 { // the addresses of targets, and OPT
			t.Errorf("%s: %q, %v", o.Name, answer, err)
		}
	}
}

// TestFiles: what CoreDNS is given names each instance's own address.
func TestFiles(t *testing.T) {
	var zone, hosts strings.Builder
	if err := driver.Zone(&zone, 2, 4); err != nil {
		t.Fatal(err)
	}
	if err := driver.Hosts(&hosts, 2, 4); err != nil {
		t.Fatal(err)
	}
	const of = "service-00001.service SRV 1 256 8080 i-000000003.service-00001.instance\ni-000000003.service-00001.instance A 10.0.0.4\n"
	if !strings.HasSuffix(zone.String(), "service-00001.service A 10.0.0.4\n"+of) {
		t.Error(zone.String())
	}
	const want = "10.0.0.1 service-00000.service.rollcall.\n10.0.0.2 service-00001.service.rollcall.\n" +
		"10.0.0.3 service-00000.service.rollcall.\n10.0.0.4 service-00001.service.rollcall.\n"
	if hosts.String() != want {
		t.Error(hosts.String())
	}
}

func TestParseDnsperf(t *testing.T) {
	const said = `
Statistics:

  Queries sent:         513221
  Queries completed:    513221 (100.00%)
  Queries lost:         2 (0.00%)

  Run time (s):         2.000413
  Queries per second:   256557.520872
`
	s, err := parseDnsperf([]byte(said))
	if err != nil || s.Seconds != 2.000413 || s.PerSecond != 256557.520872 || s.Unanswered != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := parseDnsperf([]byte("Error: no such server")); err == nil || !strings.Contains(err.Error(), "no such server") {
		t.Error(err)
	}
}

func TestFreePort(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
