package driver

import "github.com/rollcall-registry/rollcall/bench/wire"

// Consul returns the driver of a Consul agent's HTTP API at host:port. Registrations go
// through the catalog, its fastest way, one node for each service; heartbeats are those of
// a check that [ConsulAgentRegister] has registered. mode is how it may read: "", "stale"
// or "cached".
func Consul(host, mode string) HTTP {
	name, query := "consul", "?passing"
	if mode != "" {
		name, query = name+"-"+mode, query+"&"+mode
	}
	body := `{"Node":"node-{service}","Address":"10.0.3.17","SkipNodeUpdate":false,` +
		`"Service":{"ID":"i-{id}","Service":"service-{service}","Address":"10.0.3.17","Port":8080,` +
		`"Tags":["canary","h264","av1"],"Meta":{"team":"checkout","tier":"gold","build":"4711","commit":"c0ffee","version":"2.4.1"}},` +
		`"Check":{"CheckID":"service:i-{id}","ServiceID":"i-{id}","Name":"ttl","Status":"passing"}}`
	return HTTP{
		Name:      name,
		Register:  wire.Request("PUT", "/v1/catalog/register", host, body),
		Heartbeat: wire.Request("PUT", "/v1/agent/check/pass/service:i-{id}", host, ""),
		Resolve:   wire.Request("GET", "/v1/health/service/service-{service}"+query, host, ""),
	}
}

// ConsulNews returns [RollcallNews] for Consul.
func ConsulNews(host string) wire.Template {
	return wire.Request("PUT", "/v1/catalog/register", host, `{"Node":"node-`+Watched+`","Address":"10.0.3.17",`+
		`"Service":{"ID":"i-0000{service}","Service":"`+Watched+`","Address":"10.0.3.17","Port":8080,`+
		`"Tags":["canary","h264","av1"],"Meta":{"team":"checkout","tier":"gold","commit":"c0ffee","version":"2.4.1",`+Mark+`{id}"}}}`)
}

// ConsulAgentRegister returns a registration with the agent, which gives the instance a
// check that heartbeats renew.
func ConsulAgentRegister(host string) wire.Template {
	return wire.Request("PUT", "/v1/agent/service/register", host,
		`{"ID":"i-{id}","Name":"service-{service}","Address":"10.0.3.17","Port":8080,"Check":{"TTL":"1h","Status":"passing"}}`)
}
