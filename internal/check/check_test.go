package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/egress"
)

// serve gives every connection to a listener on loopback to handle, and closes
// it after that.
func serve(t testing.TB, handle func(net.Conn)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return at(l.Addr())
}

// at is a target that is vouched for.
func at(a net.Addr) Target {
	return Target{Address: "127.0.0.1", Ports: map[string]uint16{"default": a.(*net.TCPAddr).AddrPort().Port()}, Vouched: true}
}

// says answers whatever is asked.
func says(answer string) func(net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, answer)
	}
}

// silent takes a connection and says nothing until it is closed.
func silent(c net.Conn) { io.Copy(io.Discard, c) }

// drips says one byte at a time, for ever.
func drips(text string) func(net.Conn) {
	return func(c net.Conn) {
		gone := make(chan struct{})
		go func() { io.Copy(io.Discard, c); close(gone) }()
		for n := 0; ; n++ {
			select {
			case <-gone:
				return
			case <-time.After(5 * time.Millisecond):
				if _, err := io.WriteString(c, text[n%len(text):][:1]); err != nil {
					<-gone
					return
				}
			}
		}
	}
}

// probe makes one probe of t.
func probe(t testing.TB, to Target, c rollcall.Check, timeout time.Duration) Outcome {
	t.Helper()
	return probeBy(t, &prober{policy: egress.New(egress.Options{})}, to, c, timeout)
}

func probeBy(t testing.TB, p *prober, to Target, c rollcall.Check, timeout time.Duration) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begun := time.Now()
	o := p.probe(ctx, rollcall.NewKey("", "s", "i"), &to, &c)
	if took := time.Since(begun); took > timeout+2*time.Second {
		t.Errorf("with %v for it, the probe took %v", timeout, took)
	}
	if len(o.Output) > maxOutput || clean(o.Output) != o.Output || o.Output == "" {
		t.Errorf("output %q", o.Output)
	}
	return o
}

func check(typ rollcall.CheckType, target string) rollcall.Check {
	return rollcall.Check{Name: "c", Type: typ, Target: target}
}

// want compares an outcome, whose output need only contain the one that is
// wanted.
func want(t *testing.T, got, want Outcome) {
	t.Helper()
	output := got.Output
	if strings.Contains(output, want.Output) {
		got.Output = want.Output
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: %s", output, diff)
	}
}

func TestTCP(t *testing.T) {
	want(t, probe(t, serve(t, silent), check("tcp", ""), time.Second), Outcome{Status: rollcall.Healthy, Output: "connected"})
}

// refused is a target whose port is closed.
func refused(t testing.TB) Target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return at(l.Addr())
}

func TestRefused(t *testing.T) {
	for _, typ := range []rollcall.CheckType{"http", "https", "tcp", "grpc"} {
		want(t, probe(t, refused(t), check(typ, ""), time.Second),
			Outcome{Status: rollcall.Unhealthy, Output: "connection refused", Hard: true})
	}
}

func TestReset(t *testing.T) {
	to := serve(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		c.(*net.TCPConn).SetLinger(0)
	})
	for _, typ := range []rollcall.CheckType{"http", "https", "grpc"} {
		want(t, probe(t, to, check(typ, ""), time.Second),
			Outcome{Status: rollcall.Unhealthy, Output: "connection reset", Hard: true})
	}
}

func TestNoAnswer(t *testing.T) {
	for name, handle := range map[string]func(net.Conn){
		"silent": silent, "slow head": drips("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 1e4)),
		"slow frames": drips("\x00\x10\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 4096)),
		"slow TLS":    drips("\x16\x03\x03\x40\x00\x02\x00\x3f\x00" + strings.Repeat("\x00", 1e4)),
	} {
		t.Run(name, func(t *testing.T) {
			to := serve(t, handle)
			for _, typ := range []rollcall.CheckType{"http", "https", "grpc"} {
				if name == "slow TLS" && typ != "https" || name == "slow frames" && typ != "grpc" || name == "slow head" && typ != "http" {
					continue
				}
				want(t, probe(t, to, check(typ, ""), 100*time.Millisecond),
					Outcome{Status: rollcall.Unhealthy, Output: "no answer in time", Timeout: true})
			}
		})
	}
}

func TestClosed(t *testing.T) {
	to := serve(t, says(""))
	for _, typ := range []rollcall.CheckType{"http", "https", "grpc"} {
		want(t, probe(t, to, check(typ, ""), time.Second),
			Outcome{Status: rollcall.Unhealthy, Output: "closed without a complete answer"})
	}
}

// A probe that is given up ends at once and says nothing.
func TestGivenUp(t *testing.T) {
	asked := make(chan struct{})
	to := serve(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		close(asked)
		silent(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	p := prober{policy: egress.New(egress.Options{})}
	c := check("http", "")
	p.probe(ctx, rollcall.Key{}, &to, &c) // ends
}

func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Outcome
	}{
		{syscall.ECONNREFUSED, Outcome{rollcall.Unhealthy, "connection refused", true, false}},
		{syscall.ECONNRESET, Outcome{rollcall.Unhealthy, "connection reset", true, false}},
		{syscall.EPIPE, Outcome{rollcall.Unhealthy, "connection reset", true, false}},
		{syscall.EHOSTUNREACH, Outcome{rollcall.Unhealthy, "no route to host", false, false}},
		{syscall.ENETUNREACH, Outcome{rollcall.Unhealthy, "network is unreachable", false, false}},
		{&net.DNSError{Err: "no such host", Name: "x"}, Outcome{rollcall.Unhealthy, "no such host", false, false}},
		{&net.DNSError{Err: "timed out", Name: "x", IsTimeout: true}, Outcome{rollcall.Unhealthy, "no answer in time", false, true}},
		{syscall.ETIMEDOUT, Outcome{rollcall.Unhealthy, "no answer in time", false, true}},
		{os.ErrDeadlineExceeded, Outcome{rollcall.Unhealthy, "no answer in time", false, true}},
		{context.DeadlineExceeded, Outcome{rollcall.Unhealthy, "no answer in time", false, true}},
		{context.Canceled, Outcome{0, "given up", false, false}},
		{syscall.EMFILE, Outcome{0, "could not probe", false, false}},
		{syscall.ENFILE, Outcome{0, "could not probe", false, false}},
		{syscall.EADDRNOTAVAIL, Outcome{0, "could not probe", false, false}},
		{syscall.ENOBUFS, Outcome{0, "could not probe", false, false}},
		{&egress.Denied{Why: "is a loopback address"}, Outcome{rollcall.Unhealthy, "is a loopback address", false, false}},
		{errors.New("no idea"), Outcome{rollcall.Unhealthy, "no idea", false, false}},
	} {
		want(t, failed(&net.OpError{Op: "dial", Err: tt.err}), tt.want)
		want(t, failed(fmt.Errorf("wrapped: %w", tt.err)), tt.want)
	}
}

// Nobody has the registry call where only the registry gets to.
func TestDenied(t *testing.T) {
	called := make(chan string, 100)
	to := serve(t, func(c net.Conn) { called <- c.LocalAddr().String(); says("HTTP/1.1 200 OK\r\n\r\n")(c) })
	port := to.Ports["default"]
	own := egress.New(egress.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Own:   func() []netip.AddrPort { return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port)} },
	})
	rebind := egress.New(egress.Options{Resolver: rebinding{}})
	none := egress.New(egress.Options{})
	full := fmt.Sprintf("http://127.0.0.1:%d/", port)
	for _, tt := range []struct {
		name    string
		policy  *egress.Policy
		address string
		vouched bool
		target  string
		why     string
	}{
		{"loopback", none, "127.0.0.1", false, "", "a loopback address"},
		{"loopback by name", none, "localhost", false, "", "a loopback address"},
		{"loopback in IPv6", none, "::ffff:127.0.0.1", false, "", "a loopback address"},
		{"link-local", none, "169.254.7.7", false, "", "a link-local address"},
		{"metadata", none, "169.254.169.254", true, ":80/latest/meta-data", "a metadata service"},
		{"own port", own, "127.0.0.1", true, "", "the registry itself"},
		{"own port by another address", own, "127.8.8.8", true, "/api/v1/services", "the registry itself"},
		{"rebinding", rebind, "rebind.example", false, "", "a loopback address"},
		{"another address", none, "10.0.0.1", false, "http://10.0.0.2:80/", "not an address of the instance itself"},
		{"loopback as another address", none, "10.0.0.1", true, full, "a loopback address"},
		{"another vouched address", none, "127.0.0.2", true, full, "a loopback address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to.Address, to.Vouched = tt.address, tt.vouched
			want(t, probeBy(t, &prober{policy: tt.policy}, to, check("http", tt.target), time.Second),
				Outcome{Status: rollcall.Unhealthy, Output: tt.why})
		})
	}
	select {
	case where := <-called:
		t.Errorf("%s was called", where)
	default:
	}
}

// rebinding is a resolver that has moved its name to loopback.
type rebinding struct{}

func (rebinding) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// A full target may name the instance's own address, in any spelling, or what
// the policy lists.
func TestFullTarget(t *testing.T) {
	to := serve(t, says("HTTP/1.1 200 OK\r\n\r\n"))
	ok := Outcome{Status: rollcall.Healthy, Output: "200 OK"}
	c := check("http", fmt.Sprintf("http://127.0.0.1:%d/", to.Ports["default"]))
	want(t, probe(t, to, c, time.Second), ok)
	to.Address = "::ffff:127.0.0.1"
	want(t, probe(t, to, c, time.Second), ok)
	to.Address, to.Vouched = "10.0.0.1", false
	listed := egress.New(egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	want(t, probeBy(t, &prober{policy: listed}, to, c, time.Second), ok)
}

func TestPortOf(t *testing.T) {
	ports := func(s ...any) map[string]uint16 {
		m := map[string]uint16{}
		for n := 0; n < len(s); n += 2 {
			m[s[n].(string)] = uint16(s[n+1].(int))
		}
		return m
	}
	for _, tt := range []struct {
		ports map[string]uint16
		named string
		want  uint16 // 0 is an error
	}{
		{ports("c", 1, "http", 2, "default", 3), "", 1},
		{ports("x", 1, "http", 2, "default", 3), "", 2},
		{ports("x", 1, "https", 2, "default", 3), "", 3},
		{ports("x", 1), "", 1},
		{ports("x", 1, "y", 2), "", 0},
		{nil, "", 0},
		{nil, "8080", 8080},
		{ports("c", 1), "8080", 8080},
		{ports("c", 1, "admin", 2), "admin", 2},
		{ports("c", 1, "8080", 2), "8080", 2},
		{ports("c", 1), "admin", 0},
	} {
		c := check("http", "")
		got, err := portOf(tt.ports, &c, tt.named)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("%v, %q: %d, %v, want %d", tt.ports, tt.named, got, err, tt.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for host, want := range map[string]string{"10.0.0.1": "10.0.0.1:80", "fe80::1%eth0": "[fe80::1]:80", "db.example": "db.example:80"} {
		if got := authorityOf(host, 80); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for give, want := range map[string]string{
		"": "", " a\r\n\tb ": "a b", "\x1b[31mred\x00": "[31mred", "\xff\xfeä": "ä", "a\u2028b\u200bc\u202ed": "a b c d",
		strings.Repeat("ä", 300): strings.Repeat("ä", 125) + "…",
	} {
		if got := clean(give); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOnce(t *testing.T) {
	r := New(Options{})
	to := serve(t, silent)
	want(t, r.ProbeOnce(t.Context(), to), Outcome{Status: rollcall.Healthy, Output: "connected"})
	to.Ports = map[string]uint16{"b": refused(t).Ports["default"], "a": to.Ports["default"]}
	want(t, r.ProbeOnce(t.Context(), to), Outcome{Status: rollcall.Healthy, Output: "connected"})
	want(t, r.ProbeOnce(t.Context(), refused(t)), Outcome{Status: rollcall.Unhealthy, Output: "refused", Hard: true})
	to.Vouched = false
	want(t, r.ProbeOnce(t.Context(), to), Outcome{Output: "a loopback address"})
	want(t, r.ProbeOnce(t.Context(), Target{Address: "127.0.0.1"}), Outcome{Output: "no port"})
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	to.Vouched = true
	want(t, r.ProbeOnce(ctx, to), Outcome{Output: "in time", Timeout: true})
}
