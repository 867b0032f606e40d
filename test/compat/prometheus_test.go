//go:build e2e

package compat

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

const prometheusConfig = `
scrape_configs:
- job_name: metered
  scrape_interval: 1s
  scrape_timeout: 1s
  dns_sd_configs: [{names: [_metered._tcp.service.rollcall], refresh_interval: 1s}]
`

// TestPrometheus has Prometheus find what to scrape by SRV records. It asks the
// resolver of its machine for them, and for the addresses of what they name.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	prometheus := debian(t, "prometheus")
	prometheus.version(t, "--version")
	wire, p := serve53(t, 9)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, "metered 1\n")
	})}
	t.Cleanup(func() { web.Close() })
	var all []rollcall.Instance
	for n := range 3 {
		l, err := net.Listen("tcp", wire.Here+":0")
		if err != nil {
			t.Fatal(err)
		}
		go web.Serve(l)
		all = append(all, rollcall.Instance{
			Service: "metered", ID: fmt.Sprintf("metered-%d", n), Address: wire.Here, Ports: map[string]uint16{"default": uint16(l.Addr().(*net.TCPAddr).Port)},
		})
	}
	at := wire.Away + ":9090"
	prometheus.run(t, wire.Inside(), "--config.file="+write(t, "prometheus.yml", prometheusConfig), "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+at, "--log.level=warn")
	for _, n := range []int{1, 3, 2} {
		var want []string
		for i, inst := range all {
			if i >= n {
				if err := p.Client.Deregister(t.Context(), inst.Key()); err != nil {
					t.Fatal(err)
				}
				continue
			}
			put(t, p, inst)
			want = append(want, fmt.Sprintf("http://%s.metered.instance.rollcall:%d/metrics up", inst.ID, inst.Ports["default"]))
		}
		began := time.Now()
		process.Eventually(t, 3*soon, func() error { // it publishes targets every 5 s
			got, err := targets(at)
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("targets %q, want %q", got, want)
			}
			return err
		})
		t.Logf("%d are scraped after %v", n, time.Since(began).Round(10*time.Millisecond))
	}
}

// targets returns what Prometheus scrapes, and how that is.
func targets(at string) (all []string, err error) {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://" + at + "/api/v1/targets?state=active")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var body struct {
		Data struct {
			ActiveTargets []struct{ ScrapeURL, Health string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return nil, err
	}
	for _, t := range body.Data.ActiveTargets {
		all = append(all, t.ScrapeURL+" "+t.Health)
	}
	slices.Sort(all)
	return all, nil
}
