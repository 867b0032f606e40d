//go:build e2e

package compat

import (
	"fmt"
	"testing"

	"github.com/rollcall-registry/rollcall/test/process"
)

const envoyConfig = `
admin: {address: {pipe: {path: %[1]s/admin}}}
static_resources:
  listeners:
  - address: {pipe: {path: %[1]s/front}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: web}}]}]}
  clusters:
  - name: web
    type: STRICT_DNS
    respect_dns_ttl: true
    dns_refresh_rate: 1s
    typed_dns_resolver_config:
      name: envoy.network.dns_resolver.cares
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
        resolvers: [{socket_address: {address: 127.0.0.1, port_value: %[2]s}}]
    load_assignment:
      cluster_name: web
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: web.service.rollcall, port_value: %[3]d}}}}]}]
`

// TestEnvoy has a STRICT_DNS cluster follow a service, by the TTLs that it is told.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	envoy := wheel(t, "envoy/_bin/envoy")
	envoy.version(t, "--version")
	p := process.Serve(t, t.TempDir())
	f := newFleet(t, 50)
	dir := t.TempDir()
	f.scale(t, p, "web", 0, 1)
	envoy.run(t, nil, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error", "--config-path",
		write(t, "envoy.yaml", fmt.Sprintf(envoyConfig, dir, dnsPort(t, p), f.port)))
	for _, n := range []int{1, 50, 3} {
		reaches(t, dir+"/front", f.scale(t, p, "web", 0, n))
	}
}
