//go:build e2e

package compat

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// soon is how long a client may take to act on a change: it asks every second, and
// may keep an answer for one.
const soon = 10 * time.Second

// fleet is web servers, at addresses of their own and the same port, that answer
// with their address.
type fleet struct {
	addrs []netip.Addr
	port  uint16
}

// newFleet starts n servers, on loopback.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{addrs: loopback(n)}
	f.serve(t)
	return f
}

// loopback returns addresses of this machine, 255 at most.
func loopback(n int) (all []netip.Addr) {
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}))
	}
	return all
}

// serve has all of the fleet serve.
func (f *fleet) serve(t *testing.T) {
	t.Helper()
	var listeners []net.Listener
	for try := 0; len(listeners) < len(f.addrs); {
		l, err := net.Listen("tcp", netip.AddrPortFrom(f.addrs[len(listeners)], f.port).String())
		if err == nil {
			f.port = uint16(l.Addr().(*net.TCPAddr).Port)
			listeners = append(listeners, l)
			continue
		}
		if try++; try == 20 {
			t.Fatal(err)
		}
		for _, l := range listeners { // the port is taken at one of the addresses
			l.Close()
		}
		listeners, f.port = nil, 0
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
		io.WriteString(w, host)
	})}
	s.SetKeepAlivesEnabled(false)
	for _, l := range listeners {
		go s.Serve(l)
	}
	t.Cleanup(func() { s.Close() })
}

// instance is the nth server of a fleet as an instance of a service.
func (f *fleet) instance(service string, n int) rollcall.Instance {
	return rollcall.Instance{
		Service: service, ID: fmt.Sprintf("%s-%d", service, n), Address: f.addrs[n].String(), Ports: map[string]uint16{"default": f.port},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	}
}

// scale registers the servers from..to of a fleet, and nobody else.
func (f *fleet) scale(t *testing.T, p *process.Process, service string, from, to int) (addrs []string) {
	t.Helper()
	for n := range f.addrs {
		i := f.instance(service, n)
		var err error
		if from <= n && n < to {
			_, err = p.Client.Put(t.Context(), i)
			addrs = append(addrs, i.Address)
		} else {
			err = p.Client.Deregister(t.Context(), i.Key())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// put registers an instance that nobody has to renew.
func put(t *testing.T, p *process.Process, i rollcall.Instance) {
	t.Helper()
	i.Lease.Mode = rollcall.LeaseNone
	if _, err := p.Client.Put(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

// dnsPort is the port of a server's DNS.
func dnsPort(t *testing.T, p *process.Process) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.DNS)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// freePort returns a port that is free for UDP and TCP on loopback now.
func freePort(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			_, port, _ := net.SplitHostPort(u.LocalAddr().String())
			u.Close()
			return port
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return ""
}

// write makes a file of a test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// count sends n requests by way of a proxy at a Unix socket, and counts who answers.
func count(socket string, n int) (who map[string]int, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	who = map[string]int{}
	for range n {
		resp, err := c.Get("http://proxy/")
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s, %w: %s", resp.Status, err, text)
		}
		who[string(text)]++
	}
	return who, nil
}

// reaches waits until requests by way of a proxy are answered by all of a set of
// servers and nobody else.
func reaches(t *testing.T, socket string, want []string) {
	t.Helper()
	began := time.Now()
	process.Eventually(t, soon, func() error {
		who, err := count(socket, 8*len(want))
		if got := slices.Sorted(maps.Keys(who)); err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%d answer, %q; want %d", len(got), got, len(want))
		}
		return err
	})
	t.Logf("requests reach all of %d, and nobody else, after %v", len(want), time.Since(began).Round(10*time.Millisecond))
}
