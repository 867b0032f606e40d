//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/test/process"
)

// beTarget is the role of something to be checked: an http, tcp or grpc server,
// listening at an address.
func beTarget(t *testing.T, args []string) {
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		t.Fatal(err)
	}
	switch args[0] { // what serves ends with the process
	case "http":
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "fine") }))
	case "grpc":
		s := grpc.NewServer()
		healthpb.RegisterHealthServer(s, health.NewServer())
		go s.Serve(l)
	}
	say("%s", l.Addr())
}

// putInstance is the role of a process that registers an instance from where it
// is: at a registry, in a service, at an address and port, with a tcp check.
func putInstance(t *testing.T, args []string) {
	c, err := client.Dial(args[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), checked(t, args[1], args[2], tcpCheck)); err != nil {
		t.Fatal(err)
	}
	say("registered")
}

var tcpCheck = rollcall.Check{Type: rollcall.CheckTCP}

// checked returns an instance at an address that only a check judges, every
// second.
func checked(t *testing.T, service, at string, c rollcall.Check) rollcall.Instance {
	t.Helper()
	host, text, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	c.Name, c.Interval, c.Fall = "probe", rollcall.Duration(time.Second), 2
	return rollcall.Instance{
		Service: service, ID: "i-1", Address: host, Ports: map[string]uint16{"default": uint16(port)},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone}, Checks: []rollcall.Check{c},
	}
}

// put registers an instance.
func put(t *testing.T, p *process.Process, i rollcall.Instance) {
	t.Helper()
	if _, err := p.Client.Put(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

// becomes waits until the instance of a service is so, for a reason that says
// why. The next ones wait as long again.
func becomes(t *testing.T, p *process.Process, service string, want rollcall.Status, why string) {
	t.Helper()
	process.Eventually(t, 10*time.Second, func() error {
		i, err := p.Client.Instance(t.Context(), rollcall.NewKey("", service, "i-1"))
		if err != nil {
			return err
		}
		if h := i.Health; h.Status != want || !strings.Contains(h.Reason, why) {
			return fmt.Errorf("%s is %v: %q; want %v: %q", service, h.Status, h.Reason, want, why)
		}
		return nil
	})
}

// answered returns how many instances the answer about a service has.
func answered(t *testing.T, p *process.Process, service string) int {
	t.Helper()
	ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return len(ans.Instances)
}

// TestChecks has a server check real servers of each kind: they are starting
// until they were asked, out of answers when they are killed, and back once they
// are.
func TestChecks(t *testing.T) {
	p := process.Serve(t, t.TempDir())
	for _, kind := range []rollcall.CheckType{rollcall.CheckHTTP, rollcall.CheckTCP, rollcall.CheckGRPC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			service := string(kind)
			target := play(t, nil, "target", service, "127.0.0.1:0")
			put(t, p, checked(t, service, target.Said, rollcall.Check{Type: kind}))
			becomes(t, p, service, rollcall.Healthy, "")
			target.kill()
			killed := time.Now()
			becomes(t, p, service, rollcall.Unhealthy, "connection refused")
			t.Logf("out %v after the kill, checked every second, two failures in a row", time.Since(killed).Round(10*time.Millisecond))
			if n := answered(t, p, service); n != 0 {
				t.Errorf("killed, the answer has %d", n)
			}
			play(t, nil, "target", service, target.Said)
			becomes(t, p, service, rollcall.Healthy, "")
			if n := answered(t, p, service); n != 1 {
				t.Errorf("back, the answer has %d", n)
			}
			var first rollcall.Event
			for ev, err := range p.Client.Events(t.Context(), rollcall.EventFilter{Service: service}) {
				if err != nil {
					t.Fatal(err)
				}
				first = ev // they come newest first
			}
			if first.Type != "registered" || first.After != rollcall.Starting {
				t.Errorf("it began as %+v; want starting, until the first probe", first)
			}
		})
	}
}

// TestChecksThatLeadAstray has a server check targets that would lead it to where
// it may not go: none of them is followed.
func TestChecksThatLeadAstray(t *testing.T) {
	var followed atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			followed.Add(1)
			return
		}
		http.Redirect(w, r, "/secret", http.StatusFound)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-served })
	p := process.Serve(t, t.TempDir())
	put(t, p, checked(t, "redirecting", l.Addr().String(), rollcall.Check{Type: rollcall.CheckHTTP}))
	put(t, p, checked(t, "own", p.Addr, rollcall.Check{Type: rollcall.CheckHTTP, Target: "/readyz"}))
	elsewhere := checked(t, "elsewhere", l.Addr().String(), rollcall.Check{Type: rollcall.CheckHTTP, Target: "http://" + l.Addr().String() + "/secret"})
	elsewhere.Address = "10.0.0.1"
	put(t, p, elsewhere)
	becomes(t, p, "redirecting", rollcall.Unhealthy, "redirects are not followed")
	becomes(t, p, "own", rollcall.Unhealthy, "is a port of the registry itself")
	becomes(t, p, "elsewhere", rollcall.Unhealthy, "is a loopback address")
	if n := followed.Load(); n > 0 {
		t.Errorf("a redirect was followed, or another's address asked, %d times", n)
	}
}

// TestChecksFromElsewhere has another machine register loopback addresses, which
// are the registry's own then and are not called, unless whoever runs it permits
// that.
func TestChecksFromElsewhere(t *testing.T) {
	wire := process.NewNetwork(t, 4)
	target := play(t, nil, "target", "tcp", "127.0.0.1:0").Said
	for _, tt := range []struct {
		name, why string
		args      []string
		status    rollcall.Status
	}{
		{"denied", "is a loopback address and is not dialled on behalf of others", nil, rollcall.Unhealthy},
		{"permitted", "", []string{"--probe-allow", "127.0.0.0/8"}, rollcall.Healthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := process.Serve(t, t.TempDir(), append([]string{"--http", "0.0.0.0:0", "--insecure"}, tt.args...)...)
			_, port, err := net.SplitHostPort(p.Addr)
			if err != nil {
				t.Fatal(err)
			}
			registry := net.JoinHostPort(wire.Here, port)
			put(t, p, checked(t, "from-here", target, tcpCheck))
			play(t, wire.Inside(), "put", registry, "from-there", target)
			play(t, wire.Inside(), "put", registry, "own", registry)
			becomes(t, p, "from-here", rollcall.Healthy, "")
			becomes(t, p, "from-there", tt.status, tt.why)
			becomes(t, p, "own", rollcall.Unhealthy, "is a port of the registry itself")
		})
	}
}

// TestExecChecks: commands are run for services of the configuration file, where
// --exec-checks says so, and for nobody else.
func TestExecChecks(t *testing.T) {
	dir := t.TempDir()
	up, file := filepath.Join(dir, "up"), filepath.Join(dir, "rollcall.yaml")
	if err := os.WriteFile(up, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`services:
  - service: batch
    id: i-1
    address: 10.0.0.1
    checks: [{name: up, type: exec, target: /usr/bin/test -e %s, interval: 1s, fall: 1, rise: 1}]
`, up)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := process.Start(filepath.Join(dir, "off"), "--config", file); err == nil {
		p.Kill()
		t.Error("without --exec-checks a server starts with a check that it would not make")
	} else if !strings.Contains(err.Error(), "exec-checks") {
		t.Errorf("without --exec-checks: %v", err)
	}

	p := process.Serve(t, filepath.Join(dir, "on"), "--config", file, "--exec-checks")
	becomes(t, p, "batch", rollcall.Healthy, "")
	if err := os.Remove(up); err != nil {
		t.Fatal(err)
	}
	becomes(t, p, "batch", rollcall.Unhealthy, "exit status 1")
	_, err := p.Client.Put(t.Context(), checked(t, "stranger", "127.0.0.1:80", rollcall.Check{Type: rollcall.CheckExec, Target: "/usr/bin/true"}))
	if !errors.Is(err, rollcall.ErrForbidden) {
		t.Errorf("a command over the API: %v", err)
	}
}

// TestDeregisterAfter: an instance whose check has failed for so long as it says
// is removed, and nobody else is.
func TestDeregisterAfter(t *testing.T) {
	p := process.Serve(t, t.TempDir())
	target := play(t, nil, "target", "tcp", "127.0.0.1:0")
	gone := tcpCheck
	gone.DeregisterAfter = rollcall.Duration(2 * time.Second)
	put(t, p, checked(t, "gone", target.Said, gone))
	put(t, p, checked(t, "stays", target.Said, tcpCheck))
	becomes(t, p, "gone", rollcall.Healthy, "")
	becomes(t, p, "stays", rollcall.Healthy, "")
	target.kill()
	process.Eventually(t, 20*time.Second, func() error {
		if _, err := p.Client.Instance(t.Context(), rollcall.NewKey("", "gone", "i-1")); !errors.Is(err, rollcall.ErrNotFound) {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})
	var why string
	for ev, err := range p.Client.Events(t.Context(), rollcall.EventFilter{Service: "gone"}) {
		if err != nil {
			t.Fatal(err)
		}
		why = ev.Why // newest first
		break
	}
	if !strings.Contains(why, "check probe failed for 2s") {
		t.Errorf("it was removed because %q", why)
	}
	becomes(t, p, "stays", rollcall.Unhealthy, "connection refused")
}
