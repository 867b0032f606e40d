package driver

import (
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall/bench/wire"
)

// What Rollcall is told of an instance: something of everything that services usually say
// of themselves. The lease outlasts any run.
const (
	about = `"address":"10.0.3.17","ports":{"http":8080},"version":"2.4.1","node":"host-17",` +
		`"locality":{"region":"eu-west","zone":"eu-west-1a"},` +
		`"capabilities":{"gpu":2,"canary":true,"codecs":["h264","av1"]},` +
		`"metadata":{"team":"checkout","tier":"gold","build":"4711","commit":"c0ffee"},` + longLease
	longLease = `"lease":{"ttl":"1h","remove_after":"1h"}`
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

// RollcallMove says that an instance is at a latitude of so many degrees, and at a
// longitude of its own.
func RollcallMove(host string, lat int) wire.Template {
	return wire.Request("PATCH", services+rcService+"/instances/"+rcID, host, `{"position":{"lat":`+strconv.Itoa(lat)+`,"lon":13.{id}}}`,
		"Content-Type: application/merge-patch+json")
}

// Watched is the service that figures watch, of instances i-000000000 and so on: its
// templates take the number of an instance for that of a service, so that the other number
// is free to tell one change from another.
const Watched = "watched"

// Mark is what stands before the number of a change, in nine digits, in whatever a
// registry says of an instance.
const Mark = `"build":"`

// RollcallNews registers an instance of the watched service anew, with another build each
// time.
func RollcallNews(host string) wire.Template {
	return wire.Request("PUT", services+Watched+"/instances/i-0000{service}", host, "{"+news+"}")
}

// RollcallNewsOf is [RollcallNews] of one instance of each of many services.
func RollcallNewsOf(host string) wire.Template {
	return wire.Request("PUT", services+rcService+"/instances/i-0000{service}", host, "{"+news+"}")
}

var news = strings.Replace(about, Mark+"4711", Mark+"{id}", 1)

// RollcallWatch watches a service, or with a query in its name, some of it.
func RollcallWatch(host, service string) wire.Template {
	name, query, ok := strings.Cut(service, "?")
	if ok {
		query = "?" + query
	}
	return wire.Request("GET", services+name+"/watch"+query, host, "")
}

// RollcallDeregister removes an instance.
func RollcallDeregister(host string) wire.Template {
	return wire.Request("DELETE", services+rcService+"/instances/"+rcID, host, "")
}

// RollcallOf reads a service.
func RollcallOf(host, service string) wire.Template {
	return wire.Request("GET", services+service, host, "")
}

// RollcallRegisterBatch returns registrations of n at a time.
func RollcallRegisterBatch(host string, n int) wire.Batch {
	return RollcallRegisterBatchWith(host, n, longLease)
}

// RollcallRegisterBatchWith does so with another lease, given as a member of JSON.
func RollcallRegisterBatchWith(host string, n int, lease string) wire.Batch {
	item := `{"service":"` + rcService + `","id":"` + rcID + `",` + strings.Replace(about, longLease, lease, 1) + `}`
	return wire.NewBatch("POST", "/api/v1/instances", host, n, "[", item, "]")
}

// RollcallHeartbeatBatch returns renewals of n leases at a time.
func RollcallHeartbeatBatch(host string, n int) wire.Batch {
	return wire.NewBatch("POST", "/api/v1/heartbeats", host, n, `{"renew":[`, `{"service":"`+rcService+`","id":"`+rcID+`"}`, `]}`)
}
