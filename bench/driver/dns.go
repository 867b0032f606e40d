package driver

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"

	"github.com/rollcall-registry/rollcall/bench/dns"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// How Rollcall is asked over DNS, and how others are told to answer the same.

// zone is the zone that all is in, and dnsName a service's name there.
const (
	zone    = "rollcall."
	dnsName = "service-" + wire.FilledService + ".service." + zone
)

// DNSQuery returns a query about services, of a type of record.
func DNSQuery(qtype, size uint16) dns.Query { return dns.NewQuery(dnsName, qtype, size) }

// DNSName returns the name of a service.
func DNSName(service int) string { return fmt.Sprintf("service-%05d.service.%s", service, zone) }

// address is that of an instance: each has one of its own, in 10.0.0.0/8.
func address(id int) netip.Addr {
	n := id + 1
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// Addressed makes registrations of instances that differ in their addresses.
type Addressed struct {
	host string
	n    int
}

// RollcallRegisterAddressed returns registrations of n at a time.
func RollcallRegisterAddressed(host string, n int) Addressed { return Addressed{host, n} }

// Append appends a request with the instances that next names.
func (a Addressed) Append(dst []byte, next func() (service, id int)) []byte {
	var body []byte
	for range a.n {
		service, id := next()
		body = fmt.Appendf(append(body, ','), `{"service":"service-%05d","id":"i-%09d","address":"%v","ports":{"http":8080},%s}`, service, id, address(id), longLease)
	}
	body = append(body, ']')
	body[0] = '['
	dst = fmt.Appendf(dst, "POST /api/v1/instances HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", a.host, len(body))
	return append(dst, body...)
}

// Zone writes a zone file with what Rollcall says of so many services, of which the instances
// are those whose numbers are the same modulo that of services. Its TTL is Rollcall's, and the
// targets of SRV records are as long.
func Zone(w io.Writer, services, instances int) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "$ORIGIN %s\n$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n", zone)
	for id := range instances {
		service := fmt.Sprintf("service-%05d", id%services)
		host := fmt.Sprintf("i-%09d.%s.instance", id, service)
		fmt.Fprintf(&b, "%s.service A %v\n%s.service SRV 1 256 8080 %s\n%s A %v\n", service, address(id), service, host, host, address(id))
	}
	_, err := b.WriteTo(w)
	return err
}

// Hosts writes the addresses of the same as a hosts file.
func Hosts(w io.Writer, services, instances int) error {
	var b bytes.Buffer
	for id := range instances {
		fmt.Fprintf(&b, "%v %s\n", address(id), DNSName(id%services))
	}
	_, err := b.WriteTo(w)
	return err
}

// Corefile returns the configuration of a CoreDNS that listens at a port and does nothing
// but answer from a file, as its plugins file and hosts do. Neither logs, caches, nor looks
// for changes; it has as many sockets as there are processors.
func Corefile(plugin, file string, port, sockets int) string {
	reload := map[string]string{"file": "reload 0", "hosts": "ttl 1\n reload 0\n no_reverse"}[plugin]
	return fmt.Sprintf("%s:%d {\n bind 127.0.0.1\n multisocket %d\n %s %s %s {\n %s\n }\n}\n", zone, port, sockets, plugin, file, zone, reload)
}
