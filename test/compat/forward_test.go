//go:build e2e

package compat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// forwards asks a server that forwards what it has of a server of names: whole answers,
// nothing made of none, and changes within the TTL.
func forwards(t *testing.T, dig *tool, p *process.Process, at server) {
	t.Helper()
	ready(t, dig, at)
	showsAll(t, dig, at, []shown{
		{ask: "web.service.rollcall A", want: []string{`ANSWER: 2,`, `^web\.service\.rollcall\.\s+[01]\s+IN\s+A\s+10\.0\.0\.1$`}},
		{ask: "WEB.service.Rollcall AAAA", want: []string{`ANSWER: 1,`, `fd00::3$`}},
		{ask: "_web._tcp.service.rollcall SRV", want: []string{`ANSWER: 3,`, `SRV\s+1 12800 8080 web-2\.web\.instance\.rollcall\.$`}},
		{ask: "web-2.web.instance.rollcall A", want: []string{`10\.0\.0\.2$`}},
		{ask: "web.service.rollcall TXT", want: []string{`ANSWER: 3,`, `"id=web-1"`}},
		{ask: "-x 10.0.0.1", want: []string{`PTR\s+web-1\.web\.instance\.rollcall\.$`}},
		{ask: "web.service.consul A", want: []string{`ANSWER: 2,`}},
		{ask: "nobody.service.rollcall A", want: []string{`status: NXDOMAIN`}},
		{ask: "down.service.rollcall A", want: []string{`status: NOERROR`, `ANSWER: 0,`}},
		{ask: "big.service.rollcall AAAA", want: []string{`status: NOERROR`, `ANSWER: 0,`}},
	})
	for _, args := range [][]string{{"+noedns"}, {}, {"+tcp"}} {
		if out := ask(t, dig, at, append(args, "big.service.rollcall", "A")...); answers(out, "A") != 200 || !strings.Contains(out, "(TCP)") {
			t.Errorf("%q: %d of 200 records are in\n%s", args, answers(out, "A"), out)
		}
	}

	changed := func(name string, want string, change func() error) {
		t.Helper()
		ask(t, dig, at, name, "A") // which is kept now
		if err := change(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		process.Eventually(t, soon, func() error {
			if out := ask(t, dig, at, name, "A"); !regexp.MustCompile(want).MatchString(out) {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		if took := time.Since(began); took > 3500*time.Millisecond {
			t.Errorf("a change of %s is told %v later; the TTL is 1 s", name, took) // and some count in whole seconds
		} else {
			t.Logf("a change of %s is told %v later", name, took.Round(10*time.Millisecond))
		}
	}
	i := rollcall.Instance{Service: "web", ID: "web-4", Address: "10.0.0.4", Ports: map[string]uint16{"default": 8080}}
	changed("web.service.rollcall", `ANSWER: 3,`, func() error { put(t, p, i); return nil })
	changed("web.service.rollcall", `ANSWER: 2,`, func() error { return p.Client.Deregister(t.Context(), i.Key()) })
	changed("down.service.rollcall", `ANSWER: 1,`, func() error { return p.Client.EndDrain(t.Context(), rollcall.NewKey("", "down", "down-1")) })
	i.Service = "nobody"
	changed("nobody.service.rollcall", `ANSWER: 1,`, func() error { put(t, p, i); return nil })
}

// ready waits until a server answers.
func ready(t *testing.T, dig *tool, at server) {
	t.Helper()
	process.Eventually(t, soon, func() error {
		if out := ask(t, dig, at, "+time=1", "web.service.rollcall", "A"); !strings.Contains(out, "status: NOERROR") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// near asks a server that forwards and says for whom: from two networks, one of which
// is near another instance.
func near(t *testing.T, dig *tool, at server) {
	t.Helper()
	ready(t, dig, at)
	showsAll(t, dig, at, []shown{
		{ask: "-b 127.0.5.1 web.service.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.2$`}},
		{ask: "-b 127.0.6.1 web.service.rollcall A", want: []string{`ANSWER: 2,`}},
	})
}

// TestDnsmasq forwards with dnsmasq.
func TestDnsmasq(t *testing.T) {
	t.Parallel()
	dnsmasq, dig := debian(t, "dnsmasq"), debian(t, "dig")
	dnsmasq.version(t, "--version")
	start := func(p *process.Process, args ...string) server {
		port, to := freePort(t), "127.0.0.1#"+dnsPort(t, p)
		dnsmasq.run(t, nil, append([]string{
			"--keep-in-foreground", "--log-facility=-", "--user=root", "--pid-file=", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
			"--listen-address=127.0.0.1", "--bind-interfaces", "--port=" + port,
			"--server=/rollcall/" + to, "--server=/consul/" + to, "--rev-server=10.0.0.0/8," + to,
			"--stop-dns-rebind", "--rebind-domain-ok=/rollcall/consul/",
		}, args...)...)
		return server{at: "127.0.0.1:" + port}
	}
	p := serveNames(t)
	forwards(t, dig, p, start(p))
	near(t, dig, start(p, "--add-subnet=24"))
}

const unboundConfig = `
server:
  interface: 127.0.0.1
  port: %[1]s
  username: ""
  chroot: ""
  directory: "%[2]s"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  do-not-query-localhost: no
  domain-insecure: "rollcall."
  domain-insecure: "consul."
  domain-insecure: "10.in-addr.arpa."
  local-zone: "10.in-addr.arpa." nodefault
  use-caps-for-id: yes
  qname-minimisation: yes
  harden-below-nxdomain: yes
  module-config: "subnetcache validator iterator"
  private-address: 10.0.0.0/8
  private-domain: "rollcall."
  private-domain: "consul."
%[3]s
`

// TestUnbound forwards with unbound, which asks as a resolver does (stub-zone: label by
// label, with letters of random case) or as its client did (forward-zone).
func TestUnbound(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"stub", "forward"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			unbound, dig := debian(t, "unbound"), debian(t, "dig")
			unbound.version(t, "-V")
			p, port := serveNames(t), freePort(t)
			var zones strings.Builder
			for _, zone := range []string{"rollcall.", "consul.", "10.in-addr.arpa."} {
				fmt.Fprintf(&zones, "%[1]s-zone:\n  name: %[2]q\n  %[1]s-addr: 127.0.0.1@%[3]s\n", kind, zone, dnsPort(t, p))
			}
			unbound.run(t, nil, "-d", "-c", write(t, "unbound.conf", fmt.Sprintf(unboundConfig, port, t.TempDir(), zones.String())))
			forwards(t, dig, p, server{at: "127.0.0.1:" + port})
			port = freePort(t)
			zones.WriteString("server:\n  access-control: 127.0.0.0/8 allow\n  send-client-subnet: 127.0.0.1\n")
			unbound.run(t, nil, "-d", "-c", write(t, "unbound.conf", fmt.Sprintf(unboundConfig, port, t.TempDir(), zones.String())))
			near(t, dig, server{at: "127.0.0.1:" + port})
		})
	}
}

// TestCoreDNS forwards with CoreDNS, where it was built:
//
//	go install github.com/coredns/coredns@latest
func TestCoreDNS(t *testing.T) {
	t.Parallel()
	coredns, dig := goTool(t, "coredns"), debian(t, "dig")
	coredns.version(t, "-version")
	p, port := serveNames(t), freePort(t)
	corefile := fmt.Sprintf("rollcall:%[1]s consul:%[1]s 10.in-addr.arpa:%[1]s {\n  bind 127.0.0.1\n  forward . 127.0.0.1:%[2]s\n  cache {\n    success 10000 30 1\n    denial 10000 5 1\n  }\n  errors\n}\n", port, dnsPort(t, p))
	coredns.run(t, nil, "-conf", write(t, "Corefile", corefile))
	forwards(t, dig, p, server{at: "127.0.0.1:" + port})
}

// goTool returns a program that go install has built.
func goTool(t *testing.T, program string) *tool {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return &tool{path: path}
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOPATH").Output()
	if err == nil {
		path := filepath.Join(strings.TrimSpace(string(out)), "bin", program)
		if _, err = os.Stat(path); err == nil {
			return &tool{path: path}
		}
	}
	t.Skipf("SKIP: %s is not installed here; go install builds it", program)
	return nil
}

const resolvedConfig = `
[Resolve]
DNS=%s
Domains=~rollcall ~consul ~10.in-addr.arpa
DNSSEC=no
LLMNR=no
MulticastDNS=no
`

// TestResolved forwards with systemd-resolved, in a namespace, where programs ask it
// with getaddrinfo.
func TestResolved(t *testing.T) {
	t.Parallel()
	resolved, dig := debian(t, "systemd-resolved"), debian(t, "dig")
	resolved.version(t, "--version")
	wire := process.NewNetwork(t, 8)
	p := serveNames(t, "--http", wire.Here+":0", "--grpc", wire.Here+":0", "--dns", wire.Here+":0", "--insecure")
	// It becomes a user that need not be here, and writes below /run.
	for file, line := range map[string]string{"passwd": "systemd-resolve:x:65533:65533::/:/bin/false\n", "group": "systemd-resolve:x:65533:\n"} {
		text, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		wire.Etc(t, file, string(text)+line)
	}
	wire.Etc(t, "systemd/resolved.conf", fmt.Sprintf(resolvedConfig, p.DNS))
	wire.Etc(t, "resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
	wire.Etc(t, "nsswitch.conf", "hosts: dns\n")
	resolved.run(t, append(wire.Inside(), "sh", "-c", `mount -t tmpfs tmpfs /run && mkdir /run/systemd && exec "$0"`))
	forwards(t, dig, p, server{"127.0.0.53:53", wire.Inside()})
	out, err := exec.CommandContext(t.Context(), "ip", append(wire.Inside()[1:], "getent", "ahostsv4", "big.service.rollcall")...).Output()
	if n := strings.Count(string(out), "STREAM"); n != 200 {
		t.Errorf("getaddrinfo knows %d of 200, %v", n, err)
	}
}
