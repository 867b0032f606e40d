package driver

import (
	"strconv"

	"github.com/rollcall-registry/rollcall/bench/wire"
)

// What Rollcall is told of an instance: something of everything that services usually say
// of themselves. The lease outlasts any run.
const (
	about = `"address":"10.0.3.17","ports":{"http":8080},"version":"2.4.1","node":"host-17",` +
		`"locality":{"region":"eu-west","zone":"eu-west-1a"},` +
		`"capabilities":{"gpu":2,"canary":true,"codecs":["h264","av1"]},` +
		`"metadata":{"team":"checkout","tier":"gold","build":"4711","commit":"c0ffee"},` +
		`"lease":{"ttl":"1h","remove_after":"1h"}`
	services  = "/api/v1/services/"
	rcService = "service-{service}"
	rcID      = "i-{id}"
)

// Rollcall returns the driver of a Rollcall server at host:port.
func Rollcall(host string) HTTP {
	return HTTP{
		Name:      "rollcall",
		Register:  wire.Request("PUT", services+rcService+"/instances/"+rcID, host, "{"+about+"}"),
		Heartbeat: wire.Request("POST", services+rcService+"/instances/"+rcID+"/heartbeat", host, ""),
		Resolve:   RollcallResolve(host),
	}
}

// RollcallResolve returns a request for a service's instances with headers of its own.
func RollcallResolve(host string, headers ...string) wire.Template {
	return wire.Request("GET", services+rcService, host, "", headers...)
}

// RollcallChange returns a change that shows in the answers: of an instance's weight.
func RollcallChange(host string, weight int) wire.Template {
	return wire.Request("PATCH", services+rcService+"/instances/"+rcID, host, `{"weight":`+strconv.Itoa(weight)+`}`,
		"Content-Type: application/merge-patch+json")
}

// RollcallRegisterBatch returns registrations of n at a time.
func RollcallRegisterBatch(host string, n int) wire.Batch {
	return wire.NewBatch("POST", "/api/v1/instances", host, n, "[", `{"service":"`+rcService+`","id":"`+rcID+`",`+about+`}`, "]")
}

// RollcallHeartbeatBatch returns renewals of n leases at a time.
func RollcallHeartbeatBatch(host string, n int) wire.Batch {
	return wire.NewBatch("POST", "/api/v1/heartbeats", host, n, `{"renew":[`, `{"service":"`+rcService+`","id":"`+rcID+`"}`, `]}`)
}
