//go:build e2e

package compat

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall/test/process"
)

const haproxyConfig = `
global
  stats socket %[1]s/admin mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
resolvers rollcall
  nameserver rollcall %[2]s
  accepted_payload_size 8192
  resolve_retries 3
  timeout resolve 1s
  timeout retry 1s
  hold valid 1s
  hold obsolete 0s
frontend front
  bind unix@%[1]s/front
  default_backend web
backend web
  balance roundrobin
  server-template web 60 _web._tcp.service.%[3]s resolvers rollcall resolve-prefer ipv4 init-addr none %[4]s
`

// TestHAProxy scales a service from 1 to 50 to 3 instances under a server-template.
// Who is registered is up soon, with the weight that was registered, and as long as
// nothing changes HAProxy changes nothing. From another machine HAProxy, which knows no
// cookies, is told no more than 512 bytes by UDP, so there it asks over TCP.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	haproxy := debian(t, "haproxy")
	haproxy.version(t, "-v")
	for _, tt := range []struct {
		name, zone string
		away       bool
	}{{"here", "rollcall", false}, {"consul", "consul", false}, {"elsewhere", "rollcall", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			followed(t, haproxy, tt.zone, tt.away)
		})
	}
}

func followed(t *testing.T, haproxy *tool, zone string, away bool) {
	f := newFleet(t, 50)
	dir := t.TempDir()
	var p *process.Process
	var prefix []string
	var nameserver, check string
	if away {
		wire := process.NewNetwork(t, 11)
		p = wire.Serve(t, "--dns", wire.Here+":0")
		prefix, nameserver = wire.Inside(), "tcp@"+p.DNS
	} else {
		p = process.Serve(t, t.TempDir())
		nameserver, check = p.DNS, "check inter 1s"
	}
	f.scale(t, p, "web", 0, 1)
	logs := haproxy.run(t, prefix, "-db", "-f", write(t, "haproxy.cfg", fmt.Sprintf(haproxyConfig, dir, nameserver, zone, check)))

	becomes := func(weights map[string]string) {
		t.Helper()
		began := time.Now()
		process.Eventually(t, soon, func() error {
			got, err := up(dir + "/admin")
			if d := cmp.Diff(weights, got); err == nil && d != "" {
				err = fmt.Errorf("%d are up (- not, + too many):\n%s", len(got), d)
			}
			return err
		})
		t.Logf("%d are up after %v", len(weights), time.Since(began).Round(10*time.Millisecond))
	}
	weights := func(addrs []string) map[string]string {
		m := map[string]string{}
		for _, a := range addrs {
			m[a] = "100"
		}
		return m
	}
	becomes(weights(f.scale(t, p, "web", 0, 1)))
	all := weights(f.scale(t, p, "web", 0, 50))
	becomes(all)

	began := len(logs.output())
	<-time.After(30 * time.Second) // which is what is tested: more than any of its hold times
	if said := logs.output()[began:]; stateChange.MatchString(said) {
		t.Errorf("in steady state HAProxy says:\n%s", said)
	}
	becomes(all)
	if !away {
		reaches(t, dir+"/front", slices.Sorted(maps.Keys(all)))
	}

	small := f.instance("web", 7)
	small.Weight = new(uint16(10))
	put(t, p, small)
	all[small.Address] = "10"
	becomes(all)
	three := f.scale(t, p, "web", 5, 8)
	want := weights(three)
	becomes(want)
	if !away {
		reaches(t, dir+"/front", three)
	}
}

// stateChange is what HAProxy says when a server comes or goes.
var stateChange = regexp.MustCompile(`Server web/web\d+ .*(DOWN|UP|READY|MAINT|maintenance)|changed its (IP|FQDN)`)

// up returns the weights of the servers that HAProxy sends requests to, by address.
func up(socket string) (map[string]string, error) {
	c, err := net.DialTimeout("unix", filepath.Clean(socket), time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, "show servers state web"); err != nil {
		return nil, err
	}
	m := map[string]string{}
	for s := bufio.NewScanner(c); s.Scan(); {
		// be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight …
		w := strings.Fields(s.Text())
		if len(w) > 8 && w[1] == "web" && w[5] == "2" && (w[6] == "0" || w[6] == "64") { // 64: its name is of an SRV record
			if _, twice := m[w[4]]; twice {
				return nil, fmt.Errorf("%s is up twice", w[4])
			}
			m[w[4]] = w[7]
		}
	}
	return m, nil
}
