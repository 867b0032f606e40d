//go:build e2e

package compat

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// subnets are of the configuration of a server of names.
const subnets = `
subnets:
  - {cidr: 192.0.2.0/24, near: zone:eu-west/eu-west-1a}
  - {cidr: 127.0.5.0/24, near: zone:us-east/us-east-1b}
`

// serveNames starts a server with services to ask for: web, whose three instances
// differ in all that a name can select by; big, of 200; down, of one that drains; and
// the named query front, which is web.
func serveNames(t *testing.T, args ...string) *process.Process {
	t.Helper()
	p := process.Serve(t, t.TempDir(), append([]string{"--config", write(t, "rollcall.yaml", subnets)}, args...)...)
	put(t, p, rollcall.Instance{
		Service: "web", ID: "web-1", Address: "10.0.0.1", Ports: map[string]uint16{"default": 8080, "admin": 9090}, Version: "2.1.0", Node: "rack-1",
		Metadata: map[string]string{"team": "core"}, Locality: rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a"},
	})
	put(t, p, rollcall.Instance{
		Service: "web", ID: "web-2", Address: "10.0.0.2", Ports: map[string]uint16{"default": 8080}, Version: "2.2.0", Node: "rack-2", Weight: new(uint16(50)),
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Bool(true)}, Locality: rollcall.Locality{Region: "us-east", Zone: "us-east-1b"},
	})
	put(t, p, rollcall.Instance{Service: "web", ID: "web-3", Address: "fd00::3", Ports: map[string]uint16{"default": 8080}, Version: "2.2.0"})
	var many []rollcall.Instance
	for n := range 200 {
		many = append(many, rollcall.Instance{
			Service: "big", ID: fmt.Sprintf("big-%d", n), Address: netip.AddrFrom4([4]byte{10, 1, 0, byte(n + 1)}).String(), Ports: map[string]uint16{"default": 80},
			Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
		})
	}
	rs, err := p.Client.RegisterMany(t.Context(), many)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	put(t, p, rollcall.Instance{Service: "down", ID: "down-1", Address: "10.0.0.9", Ports: map[string]uint16{"default": 80}})
	if _, err := p.Client.Drain(t.Context(), rollcall.NewKey("", "down", "down-1"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client.PutQuery(t.Context(), rollcall.NamedQuery{Name: "front", Service: "web"}, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// shown is what a program was asked, and how what it shows has to look: lines that
// match each of want, and none that matches not.
type shown struct {
	ask  string
	want []string
	not  string
}

// server is who is asked: at a host and port, by a program that is run behind a prefix.
type server struct {
	at     string
	prefix []string
}

// showsAll asks a program of dig's family.
func showsAll(t *testing.T, dig *tool, s server, all []shown) {
	t.Helper()
	for _, tt := range all {
		t.Run(tt.ask, func(t *testing.T) {
			out := ask(t, dig, s, strings.Fields(tt.ask)...)
			for _, want := range tt.want {
				if !regexp.MustCompile("(?m)" + want).MatchString(out) {
					t.Errorf("nothing looks like %s in\n%s", want, out)
				}
			}
			if tt.not != "" && regexp.MustCompile("(?m)"+tt.not).MatchString(out) {
				t.Errorf("%s is in\n%s", tt.not, out)
			}
		})
	}
}

// ask runs a program of dig's family, whatever it exits with.
func ask(t *testing.T, dig *tool, s server, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(s.at)
	if err != nil {
		t.Fatal(err)
	}
	out, err := dig.command(t.Context(), s.prefix, append([]string{"@" + host, "-p", port, "+retry=0", "+time=3"}, args...)...).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}

// answers counts the records of the answer that a program shows.
func answers(out, kind string) int {
	return len(regexp.MustCompile(`(?m)^big\.service\S*\s+\d+\s+IN\s+`+kind+`\s`).FindAllString(out, -1))
}

// TestDig asks for whatever there is with BIND's dig.
func TestDig(t *testing.T) {
	t.Parallel()
	dig := debian(t, "dig")
	dig.version(t, "-v")
	s := server{at: serveNames(t).DNS}
	const (
		noError = `status: NOERROR`
		soa     = `^rollcall\.\s+1\s+IN\s+SOA\s+ns\.rollcall\. hostmaster\.rollcall\. \d+ 3600 600 86400 1$`
	)
	showsAll(t, dig, s, []shown{
		{ask: "web.service.rollcall A", want: []string{noError, `flags: qr aa rd;`, `ANSWER: 2,`, `^web\.service\.rollcall\.\s+1\s+IN\s+A\s+10\.0\.0\.1$`, `IN\s+A\s+10\.0\.0\.2$`}},
		{ask: "web.service.rollcall AAAA", want: []string{noError, `ANSWER: 1,`, `IN\s+AAAA\s+fd00::3$`}},
		{ask: "web.service.rollcall SRV", want: []string{
			`ANSWER: 3,`, `IN\s+SRV\s+1 25600 8080 web-1\.web\.instance\.rollcall\.$`, `SRV\s+1 12800 8080 web-2\.web\.instance\.rollcall\.$`,
			`^web-1\.web\.instance\.rollcall\.\s+1\s+IN\s+A\s+10\.0\.0\.1$`, `^web-3\.web\.instance\.rollcall\.\s+1\s+IN\s+AAAA\s+fd00::3$`,
		}},
		{ask: "_web._tcp.service.rollcall SRV", want: []string{`ANSWER: 3,`}},
		{ask: "_admin._tcp.web.service.rollcall SRV", want: []string{`ANSWER: 1,`, `SRV\s+1 \d+ 9090 web-1\.`}},
		{ask: "web.service.rollcall TXT", want: []string{`ANSWER: 3,`, `TXT\s+"id=web-1" "version=2\.1\.0" "team=core"$`}},
		{ask: "web.service.rollcall HTTPS", want: []string{noError, `ANSWER: 0, AUTHORITY: 1`, soa}},
		{ask: "web.service.rollcall ANY", want: []string{noError, `ANSWER: 1,`, `^web\.service\.rollcall\.\s+3600\s+IN\s+HINFO\s+"RFC8482" ""$`}},
		{ask: "gpu.web.service.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.2$`}},
		{ask: "2.1.0.web.service.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.1$`}},
		{ask: "web.default.service.rollcall A", want: []string{`ANSWER: 2,`}},
		{ask: "front.service.rollcall A", want: []string{`ANSWER: 2,`, `10\.0\.0\.1$`}},
		{ask: "web-1.web.instance.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.1$`}},
		{ask: "down-1.down.instance.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.9$`}},
		{ask: "0a000001.addr.rollcall A", want: []string{`ANSWER: 1,`, `10\.0\.0\.1$`}},
		{ask: "-x 10.0.0.1", want: []string{noError, `^1\.0\.0\.10\.in-addr\.arpa\.\s+1\s+IN\s+PTR\s+web-1\.web\.instance\.rollcall\.$`}},
		{ask: "-x fd00::3", want: []string{`PTR\s+web-3\.web\.instance\.rollcall\.$`}},
		{ask: "-x 192.0.2.1", want: []string{`status: REFUSED`}},

		{ask: "WeB.SerVice.RoLLcall A", want: []string{`^;WeB\.SerVice\.RoLLcall\.\s+IN\s+A$`, `ANSWER: 2,`}},
		{ask: "nobody.service.rollcall A", want: []string{`status: NXDOMAIN`, `AUTHORITY: 1`, soa}},
		{ask: "nobody.web.instance.rollcall A", want: []string{`status: NXDOMAIN`, soa}},
		{ask: "down.service.rollcall A", want: []string{noError, `ANSWER: 0, AUTHORITY: 1`, soa, `EDE: 0.*1 instance`}},
		{ask: "big.service.rollcall AAAA", want: []string{noError, `ANSWER: 0, AUTHORITY: 1`, soa}},
		{ask: "service.rollcall A", want: []string{noError, `ANSWER: 0, AUTHORITY: 1`, soa}},
		{ask: "rollcall SOA", want: []string{`ANSWER: 1`, soa}},
		{ask: "rollcall NS", want: []string{`NS\s+ns\.rollcall\.$`}},
		{ask: "ns.rollcall A", want: []string{`A\s+127\.0\.0\.1$`}},
		{ask: "example.com A", want: []string{`status: REFUSED`, `EDE: 20`}},
		{ask: ". NS", want: []string{`status: REFUSED`}},
		{ask: "-c CH version.bind TXT", want: []string{`status: REFUSED`}},
		{ask: "+opcode=status web.service.rollcall A", want: []string{`status: NOTIMP`}},
		{ask: "+edns=1 +noednsnegotiation web.service.rollcall A", want: []string{`status: BADVERS`}},
		{ask: "rollcall AXFR", want: []string{`Transfer failed`}},
		{ask: "+cookie=0123456789abcdef web.service.rollcall A", want: []string{`COOKIE: 0123456789abcdef[0-9a-f]{32} \(good\)`}},
		{ask: "+subnet=192.0.2.7/32 web.service.rollcall A", want: []string{`CLIENT-SUBNET: 192\.0\.2\.7/32/24`, `ANSWER: 1,`, `10\.0\.0\.1$`}},
		{ask: "+subnet=198.51.100.0/24 web.service.rollcall A", want: []string{`CLIENT-SUBNET: 198\.51\.100\.0/24/[1-9]`, `ANSWER: 2,`}},
		{ask: "+cdflag +adflag +dnssec web.service.rollcall A", want: []string{noError, `flags: qr aa rd cd;`, `ANSWER: 2,`}},

		{ask: "_services._dns-sd._udp.rollcall PTR", want: []string{`PTR\s+_web\._tcp\.rollcall\.$`, `PTR\s+_big\._tcp\.rollcall\.$`}},
		{ask: "_web._tcp.rollcall PTR", want: []string{`ANSWER: 3,`, `PTR\s+web-1\._web\._tcp\.rollcall\.$`, `^web-1\._web\._tcp\.rollcall\.\s+1\s+IN\s+SRV\s`}},
		{ask: "_gpu._sub._web._tcp.rollcall PTR", want: []string{`ANSWER: 1,`, `PTR\s+web-2\._web\._tcp\.rollcall\.$`}},
		{ask: "web-1._web._tcp.rollcall SRV", want: []string{`ANSWER: 1,`, `SRV\s+1 \d+ 8080 web-1\.web\.instance\.rollcall\.$`}},
		{ask: "web-1._web._tcp.rollcall TXT", want: []string{`TXT\s+"txtvers=1" `, `"team=core"`}},
		{ask: "b._dns-sd._udp.rollcall PTR", want: []string{`PTR\s+rollcall\.$`}},

		{ask: "web.service.consul A", want: []string{noError, `ANSWER: 2,`}},
		{ask: "web.service.dc1.consul SRV", want: []string{`ANSWER: 3,`, `SRV\s+1 25600 8080 0a000001\.addr\.dc1\.consul\.$`, `^0a000001\.addr\.dc1\.consul\.\s+1\s+IN\s+A\s+10\.0\.0\.1$`}},
		{ask: "gpu.web.service.consul A", want: []string{`ANSWER: 1,`, `10\.0\.0\.2$`}},
		{ask: "_web._gpu.service.consul SRV", want: []string{`ANSWER: 1,`}},
		{ask: "_web._tcp.service.consul SRV", want: []string{`ANSWER: 3,`}},
		{ask: "front.query.consul A", want: []string{`ANSWER: 2,`}},
		{ask: "rack-1.node.consul A", want: []string{`ANSWER: 1,`, `10\.0\.0\.1$`}},
		{ask: "0a000001.addr.dc1.consul A", want: []string{`10\.0\.0\.1$`}},
		{ask: "down.service.consul A", want: []string{noError, `ANSWER: 0, AUTHORITY: 1`}},
		{ask: "web.service.dc9.consul A", want: []string{`status: NXDOMAIN`}},
		{ask: "web.connect.consul A", want: []string{`status: NXDOMAIN`}},
	})
	t.Run("what does not fit", func(t *testing.T) {
		out := ask(t, dig, s, "+noedns", "+ignore", "big.service.rollcall", "A")
		if n := answers(out, "A"); !strings.Contains(out, "flags: qr aa tc rd;") || n == 0 || n >= 200 {
			t.Errorf("without EDNS %d records are in\n%s", n, out)
		}
		for _, args := range [][]string{{"+noedns"}, {}, {"+tcp"}} {
			out := ask(t, dig, s, append(args, "big.service.rollcall", "A")...)
			if n := answers(out, "A"); n != 200 || !strings.Contains(out, "(TCP)") {
				t.Errorf("%q: %d records are in\n%s", args, n, out)
			}
		}
		out = ask(t, dig, s, "+bufsize=8192", "+ignore", "big.service.rollcall", "A")
		if n := answers(out, "A"); n != 200 || strings.Contains(out, " tc ") {
			t.Errorf("with room for 8192 bytes, on loopback, %d records are in\n%s", n, out)
		}
	})
}

// TestKdig asks with Knot's kdig, which shares no code with BIND.
func TestKdig(t *testing.T) {
	t.Parallel()
	kdig := debian(t, "kdig")
	kdig.version(t, "--version")
	s := server{at: serveNames(t).DNS}
	const noError = `status: NOERROR`
	showsAll(t, kdig, s, []shown{
		{ask: "web.service.rollcall A", want: []string{noError, `Flags: qr aa rd;`, `ANSWER: 2;`, `10\.0\.0\.1$`}},
		{ask: "web.service.rollcall AAAA", want: []string{noError, `fd00::3$`}},
		{ask: "web.service.rollcall SRV", want: []string{`ANSWER: 3;`, `SRV\s+1 25600 8080 web-1\.web\.instance\.rollcall\.$`}},
		{ask: "+tcp web.service.rollcall SRV", want: []string{`ANSWER: 3;`, `\(TCP\)`}},
		{ask: "web.service.rollcall TXT", want: []string{`TXT\s+"id=web-1"`}},
		{ask: "web.service.rollcall ANY", want: []string{`HINFO\s+"RFC8482" ""`}},
		{ask: "web.service.rollcall SVCB", want: []string{noError, `ANSWER: 0; AUTHORITY: 1`}},
		{ask: "nobody.service.rollcall A", want: []string{`status: NXDOMAIN`, `SOA`}},
		{ask: "WEB.sErvice.Rollcall A", want: []string{`ANSWER: 2;`}}, // which it asks in small letters
		{ask: "-x 10.0.0.2", want: []string{`PTR\s+web-2\.web\.instance\.rollcall\.$`}},
		{ask: "_services._dns-sd._udp.rollcall PTR", want: []string{`PTR\s+_web\._tcp\.rollcall\.$`}},
		{ask: "+cookie web.service.rollcall A", want: []string{`(?i)cookie`, noError}, not: `(?i)warning`},
		{ask: "+subnet=192.0.2.7/32 web.service.rollcall A", want: []string{`(?i)client.subnet: 192\.0\.2\.7/32/24`, `10\.0\.0\.1$`}},
		{ask: "+edns=1 web.service.rollcall A", want: []string{`ext-rcode: BADVERS`}},
		{ask: "rollcall AXFR", want: []string{`NOTIMP|not implemented|failed`}},
	})
	for _, args := range [][]string{{}, {"+bufsize=1232"}, {"+tcp"}} {
		out := ask(t, kdig, s, append(args, "big.service.rollcall", "A")...)
		if n := answers(out, "A"); n != 200 || !strings.Contains(out, "(TCP)") {
			t.Errorf("%q: %d records are in\n%s", args, n, out)
		}
	}
}
