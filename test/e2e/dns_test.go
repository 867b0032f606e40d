//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// patience is how long an answer may take.
const patience = 2 * time.Second

// lookUp asks a server by UDP.
func lookUp(addr, name string, kind uint16) (*dns.Msg, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return lookUpBy(c, new(dns.Msg).SetQuestion(name, kind), patience)
}

// lookUpBy sends a query and waits for its answer.
func lookUpBy(c net.Conn, q *dns.Msg, within time.Duration) (*dns.Msg, error) {
	q.Id = dns.Id()
	conn := &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}
	if err := errors.Join(c.SetDeadline(time.Now().Add(within)), conn.WriteMsg(q)); err != nil {
		return nil, err
	}
	for {
		a, err := conn.ReadMsg()
		if err != nil || a.Id == q.Id {
			return a, err
		}
	}
}

// addresses are those of an answer's A records.
func addresses(a *dns.Msg) (all []string) {
	for _, rr := range a.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, a.A.String())
		}
	}
	slices.Sort(all)
	return all
}

// TestDNSKilled kills the process of one of three instances. Who asks by DNS is told
// within what it takes to notice, and what was told may be kept for a second.
func TestDNSKilled(t *testing.T) {
	t.Parallel()
	p := process.Serve(t, t.TempDir())
	const service = "killed"
	var fleets []*fleet
	for n := range 3 {
		o := orders{Registry: p.Addr, Service: service, Name: fmt.Sprintf("k-%d", n), Listen: fmt.Sprintf("127.78.0.%d:0", n+1), Clients: 1, Each: 1, Lease: sessionLease}
		fleets = append(fleets, launchAll(t, o)...)
	}
	sees := func(want int) func() error {
		return func() error {
			a, err := lookUp(p.DNS, service+".service.rollcall.", dns.TypeA)
			if err == nil && len(a.Answer) != want {
				err = fmt.Errorf("%d are in the answer, want %d: %v", len(a.Answer), want, a)
			}
			return err
		}
	}
	process.Eventually(t, 5*time.Second, sees(3))
	fleets[1].strike()
	began := time.Now()
	process.Eventually(t, 3*time.Second, sees(2))
	t.Logf("a process that was killed is out of the answers after %v", time.Since(began).Round(time.Millisecond))
	a, err := lookUp(p.DNS, service+".service.rollcall.", dns.TypeA)
	if err != nil || a.Answer[0].Header().Ttl > 1 {
		t.Errorf("%v, %v; it may be kept for a second at most", a, err)
	}
	fleets[0].strike()
	fleets[2].strike()
	process.Eventually(t, 3*time.Second, sees(0))
	a, err = lookUp(p.DNS, service+".service.rollcall.", dns.TypeA)
	if err != nil || a.Rcode != dns.RcodeSuccess || len(a.Ns) != 1 || a.Ns[0].Header().Ttl > 1 {
		t.Errorf("with all of them dead there is %v, %v; want no data, for a second at most", a, err)
	}
}

// TestDNSDrain: a drain waits for as long as somebody may go by what DNS said of the
// instance, and no longer.
func TestDNSDrain(t *testing.T) {
	t.Parallel()
	p := process.Serve(t, t.TempDir())
	const ttl = 4 * time.Second
	for n, tt := range []struct {
		name   string
		asked  bool
		lowest time.Duration
		most   time.Duration
	}{{"asked", true, 3 * time.Second, 5 * time.Second}, {"silent", false, 0, time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := instance("drained-"+tt.name, "d-1")
			if _, err := p.Client.Put(t.Context(), i); err != nil {
				t.Fatal(err)
			}
			if err := p.Client.PutSettings(t.Context(), i.Key().ServiceKey, rollcall.Settings{DNSTTL: new(rollcall.Duration(ttl))}); err != nil {
				t.Fatal(err)
			}
			name := i.Service + ".service.rollcall."
			if tt.asked {
				a, err := lookUp(p.DNS, name, []uint16{dns.TypeA, dns.TypeSRV}[n%2])
				if err != nil || len(a.Answer) != 1 || a.Answer[0].Header().Ttl != uint32(ttl.Seconds()) {
					t.Fatalf("%v, %v; want a TTL of %v", a, err, ttl)
				}
			}
			b, err := p.Client.Drain(t.Context(), i.Key(), 20*time.Second)
			if took := time.Duration(b.Elapsed); err != nil || took < tt.lowest || took > tt.most || b.Pending > 0 {
				t.Errorf("the drain was over after %v, %+v, %v; want %v to %v", took, b, err, tt.lowest, tt.most)
			}
			if a, err := lookUp(p.DNS, name, dns.TypeA); err != nil || len(a.Answer) > 0 || a.Rcode != dns.RcodeSuccess {
				t.Errorf("drained, %v, %v", a, err)
			}
		})
	}
}

// TestDNSRestart kills and restarts a registry under queries. Whatever it cannot know
// yet it does not deny: nobody is told that a service does not exist, or has nobody.
func TestDNSRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := process.Serve(t, dir)
	for n := range 50 { // a log to read
		var many []rollcall.Instance
		for m := range 1000 {
			many = append(many, instance(fmt.Sprintf("s-%d", n), fmt.Sprintf("i-%d", m)))
		}
		if _, err := p.Client.RegisterMany(t.Context(), many); err != nil {
			t.Fatal(err)
		}
	}
	at := p.DNS
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends := make(chan struct{})
	seen := map[string]int{}
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-ends:
				return
			default:
			}
			a, err := lookUpBy(c, new(dns.Msg).SetQuestion("s-7.service.rollcall.", dns.TypeA), 50*time.Millisecond)
			switch {
			case err != nil: // nobody listens, or it is on its way to nobody
				seen["none"]++
			case a.Rcode == dns.RcodeSuccess && len(a.Answer) == 0:
				seen["NODATA"]++
			default:
				seen[dns.RcodeToString[a.Rcode]]++
			}
		}
	})
	for range 3 {
		p.Kill()
		p = process.Serve(t, dir, "--dns", at)
	}
	close(ends)
	asking.Wait()
	t.Logf("answers: %v", seen)
	if seen["NXDOMAIN"]+seen["NODATA"] > 0 || seen["NOERROR"] == 0 {
		t.Errorf("under restarts a service that exists is answered with %v", seen)
	}

	// The log is lost, and an instance says so.
	p.Kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p = process.Serve(t, dir, "--dns", at)
	if _, err := p.Client.Heartbeat(t.Context(), rollcall.NewKey("", "other", "i-0"), rollcall.Report{}); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("a heartbeat: %v", err)
	}
	if a, err := lookUp(at, "s-7.service.rollcall.", dns.TypeA); err != nil || a.Rcode != dns.RcodeServerFailure {
		t.Errorf("while instances are about to come back: %v, %v; want that it is not known", a, err)
	}
}

// TestDNSOff: a server may have no DNS, and says who is in the way if it should have.
func TestDNSOff(t *testing.T) {
	t.Parallel()
	p := process.Serve(t, t.TempDir(), "--dns", "off")
	if p.DNS != "off" {
		t.Errorf("DNS is at %s", p.DNS)
	}
	if err := p.Stop(t); err != nil {
		t.Error(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		var at string
		if network == "udp" {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			at = c.LocalAddr().String()
		} else {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			at = l.Addr().String()
		}
		second, err := process.Start(filepath.Join(t.TempDir(), "data"), "--dns", at)
		if err == nil {
			second.Kill()
			t.Errorf("a server runs at %s, which is somebody else's", at)
		} else if !strings.Contains(err.Error(), "--dns") {
			t.Errorf("with its port taken (%s) the server says %v", network, err)
		}
	}
}

// TestDNSElsewhere asks from another machine. Answers come from the address that was
// asked, also where the server listens at all of them; and who may have forged its
// address gets no more than 512 bytes for a query, and not too many of those.
func TestDNSElsewhere(t *testing.T) {
	t.Parallel()
	for n, at := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			if l, err := net.Listen("tcp", at); err != nil {
				t.Skipf("SKIP: nobody can listen there here: %v", err)
			} else {
				l.Close()
			}
			askElsewhere(t, process.NewNetwork(t, 7+n), at)
		})
	}
}

func askElsewhere(t *testing.T, wire *process.Network, at string) {
	second := wire.AddAddress(t)
	p := wire.Serve(t, "--dns", at, "--dns-rate", "100")
	var many []rollcall.Instance
	for n := range 100 {
		i := instance("big", fmt.Sprintf("i-%d", n))
		i.Address = fmt.Sprintf("10.0.1.%d", n)
		many = append(many, i)
	}
	if _, err := p.Client.RegisterMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(p.DNS)
	if err != nil {
		t.Fatal(err)
	}
	query := func(size uint16, cookie string) *dns.Msg {
		q := new(dns.Msg).SetQuestion("big.service.rollcall.", dns.TypeA).SetEdns0(size, false)
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie})
		return q
	}
	const clientCookie = "0123456789abcdef"
	for _, host := range []string{wire.Here, second} {
		at := net.JoinHostPort(host, port)
		// The socket is connected: what comes from elsewhere does not reach it.
		c := wire.Dial(t, "udp", at)
		ns, err := lookUpBy(c, new(dns.Msg).SetQuestion("ns.rollcall.", dns.TypeA), patience)
		if err != nil || len(ns.Answer) != 1 || addresses(ns)[0] != host {
			t.Errorf("asked at %s, it is at %v, %v", host, ns, err)
		}
		a, err := lookUpBy(c, query(4096, clientCookie), patience)
		if err != nil {
			t.Fatal(err)
		}
		a.Compress = true // as it came
		if n := a.Len(); n > 512 || !a.Truncated || len(a.Answer) == 0 {
			t.Errorf("who could be anybody gets %d bytes, truncated %v", n, a.Truncated)
		}
		cookie := a.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
		if a, err = lookUpBy(c, query(4096, cookie), patience); err != nil || !a.Truncated || len(a.Answer) < 40 {
			t.Errorf("who has a cookie gets %v, %v", a, err)
		}
		if a, err = lookUpBy(wire.Dial(t, "tcp", at), new(dns.Msg).SetQuestion("big.service.rollcall.", dns.TypeA), patience); err != nil || len(a.Answer) != 100 {
			t.Errorf("over TCP, %v, %v", a, err)
		}
	}

	// More than the rate: each gets an answer, but some are to ask again over TCP.
	c := wire.Dial(t, "udp", net.JoinHostPort(wire.Here, port))
	truncated := 0
	for range 500 {
		a, err := lookUpBy(c, new(dns.Msg).SetQuestion("ns.rollcall.", dns.TypeA), patience)
		if err != nil {
			t.Fatal(err)
		}
		if a.Truncated {
			truncated++
		}
	}
	if truncated < 100 || truncated == 500 {
		t.Errorf("of 500 queries at once %d are to be asked over TCP", truncated)
	}
}

// TestDNSUpstreams: what is not the registry's it refuses, or asks others for.
func TestDNSUpstreams(t *testing.T) {
	t.Parallel()
	other := process.Serve(t, t.TempDir(), "--dns-zone", "elsewhere")
	if _, err := other.Client.Put(t.Context(), instance("far", "f-1")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		rcode int
	}{{nil, dns.RcodeRefused}, {[]string{"--dns-upstreams", other.DNS}, dns.RcodeSuccess}} {
		p := process.Serve(t, t.TempDir(), tt.args...)
		a, err := lookUp(p.DNS, "far.service.elsewhere.", dns.TypeA)
		if err != nil || a.Rcode != tt.rcode {
			t.Errorf("%q: %v, %v", tt.args, a, err)
		}
		if a, err = lookUp(p.DNS, "rollcall.", dns.TypeSOA); err != nil || a.RecursionAvailable != (tt.args != nil) {
			t.Errorf("%q: of its own zone it says %v, %v", tt.args, a, err)
		}
	}
}
