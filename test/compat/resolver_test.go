//go:build e2e

package compat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// TestGoResolver asks with the resolver of Go's standard library.
func TestGoResolver(t *testing.T) {
	t.Parallel()
	p := serveNames(t)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, p.DNS)
	}}
	is := func(what string, got any, err error, want any) {
		t.Helper()
		if d := gocmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, d)
		}
	}
	hosts, err := r.LookupHost(t.Context(), "web.service.rollcall.")
	slices.Sort(hosts)
	is("LookupHost", hosts, err, []string{"10.0.0.1", "10.0.0.2", "fd00::3"})
	ips, err := r.LookupNetIP(t.Context(), "ip6", "web.service.rollcall.")
	is("LookupNetIP", fmt.Sprint(ips), err, fmt.Sprint([]netip.Addr{netip.MustParseAddr("fd00::3")}))
	_, srvs, err := r.LookupSRV(t.Context(), "web", "tcp", "service.rollcall.")
	slices.SortFunc(srvs, func(a, b *net.SRV) int { return cmp.Compare(a.Target, b.Target) })
	is("LookupSRV", srvs, err, []*net.SRV{
		{Target: "web-1.web.instance.rollcall.", Port: 8080, Priority: 1, Weight: 25600},
		{Target: "web-2.web.instance.rollcall.", Port: 8080, Priority: 1, Weight: 12800},
		{Target: "web-3.web.instance.rollcall.", Port: 8080, Priority: 1, Weight: 25600},
	})
	_, srvs, err = r.LookupSRV(t.Context(), "", "", "_admin._tcp.web.service.rollcall.")
	is("LookupSRV of a port", srvs, err, []*net.SRV{{Target: "web-1.web.instance.rollcall.", Port: 9090, Priority: 1, Weight: 25600}})
	texts, err := r.LookupTXT(t.Context(), "web.service.rollcall.")
	slices.Sort(texts)
	is("LookupTXT", texts, err, []string{"id=web-1version=2.1.0team=core", "id=web-2version=2.2.0", "id=web-3version=2.2.0"})
	names, err := r.LookupAddr(t.Context(), "10.0.0.1")
	is("LookupAddr", names, err, []string{"web-1.web.instance.rollcall."})
	many, err := r.LookupHost(t.Context(), "big.service.rollcall.")
	is("LookupHost of many", len(many), err, 200)
	for _, name := range []string{"nobody.service.rollcall.", "down.service.rollcall."} {
		_, err := r.LookupHost(t.Context(), name)
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			t.Errorf("%s: %v; want that there is no such host", name, err)
		}
	}
}

// TestNodeResolver asks with Node's.
func TestNodeResolver(t *testing.T) {
	t.Parallel()
	need(t, "node", "Debian's nodejs")
	p := serveNames(t)
	t.Log(strings.TrimSpace(script(t, t.TempDir(), nil, "node", "dns.mjs", p.DNS)))
}

// serve53 starts a server of names at the near end of a wire and at port 53, which is
// all that /etc/resolv.conf can name; what runs at the far end asks it.
func serve53(t *testing.T, n int) (*process.Network, *process.Process) {
	t.Helper()
	wire := process.NewNetwork(t, n)
	at := net.JoinHostPort(wire.Here, "53")
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Skipf("SKIP: port 53 cannot be had here: %v", err)
	}
	u.Close()
	wire.Etc(t, "resolv.conf", "nameserver "+wire.Here+"\n")
	return wire, serveNames(t, "--http", wire.Here+":0", "--grpc", wire.Here+":0", "--dns", at, "--insecure")
}

// TestGlibc asks as most programs do: with getaddrinfo, and /etc/resolv.conf.
func TestGlibc(t *testing.T) {
	t.Parallel()
	need(t, "getent", "Debian's libc-bin")
	wire, p := serve53(t, 7)
	wire.Etc(t, "nsswitch.conf", "hosts: files dns\n")
	getent := func(args ...string) (addrs []string) {
		t.Helper()
		args = append(append(wire.Inside()[1:], "getent"), args...)
		out, err := exec.CommandContext(t.Context(), wire.Inside()[0], args...).Output()
		if e, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || e.ExitCode() != 2) { // 2: there is no such thing
			t.Fatalf("%q: %v", args, err)
		}
		for line := range strings.Lines(string(out)) {
			addrs = append(addrs, strings.Fields(line)[0])
		}
		slices.Sort(addrs)
		return slices.Compact(addrs)
	}
	for _, options := range []string{"", "options edns0\n", "options use-vc\n", "search service.rollcall\noptions ndots:1\n"} {
		wire.Etc(t, "resolv.conf", "nameserver "+wire.Here+"\n"+options)
		name := "web.service.rollcall"
		if strings.HasPrefix(options, "search") {
			name = "web"
		}
		if got, want := getent("ahostsv4", name), []string{"10.0.0.1", "10.0.0.2"}; !slices.Equal(got, want) {
			t.Errorf("with %q %s is at %q, want %q", options, name, got, want)
		}
		if got := getent("ahostsv4", "big.service.rollcall"); len(got) != 200 {
			t.Errorf("with %q getaddrinfo knows %d of 200", options, len(got))
		}
		for _, name := range []string{"nobody.service.rollcall", "down.service.rollcall"} {
			if got := getent("ahosts", name); len(got) != 0 {
				t.Errorf("with %q %s is at %q", options, name, got)
			}
		}
	}
	if got := getent("ahostsv6", "web.service.rollcall"); !slices.Contains(got, "fd00::3") {
		t.Errorf("the addresses of version 6 are %q", got)
	}
	out, err := exec.CommandContext(t.Context(), wire.Inside()[0], append(wire.Inside()[1:], "getent", "hosts", "10.0.0.1")...).Output()
	if !strings.Contains(string(out), "web-1.web.instance.rollcall") {
		t.Errorf("who is at 10.0.0.1: %s, %v", out, err)
	}
	// glibc keeps nothing.
	if err := p.Client.Deregister(t.Context(), rollcall.NewKey("", "web", "web-2")); err != nil {
		t.Fatal(err)
	}
	if got := getent("ahostsv4", "web.service.rollcall"); !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("without web-2 there is %q", got)
	}
}
