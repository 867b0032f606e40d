package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

// Config is what a server is told. The zero value, with a DataDir, is a server
// on a free port of the loopback interface.
type Config struct {
	// DataDir is where the log is kept; it is made if it does not exist.
	DataDir string
	// HTTP is the address to listen on, "host:port"; port 0 is a free one.
	// Empty is 127.0.0.1:0.
	HTTP string
	// GRPC is the address to serve gRPC at, and HTTP as well, "host:port"; port 0 is
	// a free one. Empty is 127.0.0.1:0, and "off" is none.
	GRPC string
	// DNS is the address to serve DNS at by UDP and TCP, "host:port"; port 0 is one
	// that is free for both. Empty is 127.0.0.1:0, and "off" is none.
	DNS string
	// DNSZone is the domain that names are in; empty is "rollcall". DNSConsulZone is one
	// in which names are as in Consul's DNS, of the datacenter DNSDatacenter; empty are
	// none, and "dc1".
	DNSZone, DNSConsulZone, DNSDatacenter string
	// DNSTTL is how long answers may be kept about services whose settings say
	// nothing, 1 s to 1 h; 0 is 1 s.
	DNSTTL time.Duration
	// DNSUpstreams are the resolvers that are asked for names outside of the zones, in
	// turn; without any, such names are refused.
	DNSUpstreams []netip.AddrPort
	// DNSRate is how many answers a second the addresses of a network (a /24, or a
	// /56 of IPv6) get in full; 0 is no limit.
	DNSRate int
	// Subnets say where those are who ask by DNS.
	Subnets []place.Subnet
	// Insecure allows addresses that other machines can reach, though there
	// are no credentials yet to tell who does.
	Insecure bool
	// ProbeAllow lists networks whose addresses may be probed, and called by
	// webhooks, whatever they are: loopback and link-local ones may not be
	// otherwise, unless the registration came from there.
	ProbeAllow []netip.Prefix
	// ExecChecks lets static instances have checks that run commands.
	ExecChecks bool
	// Pprof serves profiles under /debug/pprof/.
	Pprof bool
	// Static are services that stand in the configuration: they are registered
	// with lease mode none, and removed once they no longer stand there.
	Static []rollcall.Instance
	// Webhooks are told of changes of health.
	Webhooks []webhook.Hook
	// Logger hears what an operator should know; nil is nobody.
	Logger *slog.Logger
	// Version is shown in the status.
	Version string
}

// check fills in defaults and refuses what would be unsafe or cannot work, with a
// [rollcall.ErrInvalid] whose field is the name of a flag, but for '_'.
func (c *Config) check() error {
	if c.HTTP == "" {
		c.HTTP = "127.0.0.1:0"
	}
	if c.GRPC == "" {
		c.GRPC = "127.0.0.1:0"
	}
	if c.DNS == "" {
		c.DNS = "127.0.0.1:0"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DataDir == "" {
		return rollcall.Invalid("data_dir", "is empty: say where the log is to be kept")
	}
	for _, a := range []struct{ flag, addr, could string }{
		{"http", c.HTTP, "change the registry"}, {"grpc", c.GRPC, "change the registry"}, {"dns", c.DNS, "learn what is in the registry"},
	} {
		if a.addr == off && a.flag != "http" {
			continue
		}
		if err := c.checkAddress(a.flag, a.addr, a.could); err != nil {
			return err
		}
	}
	return c.CheckDNS()
}

// checkAddress refuses an address that cannot be listened on, or should not be, and
// says what anybody could do there.
func (c *Config) checkAddress(flag, addr, could string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return rollcall.Invalid(flag, fmt.Sprintf("%v; write it as host:port", err))
	}
	if !c.Insecure && !loopback(host) {
		return rollcall.Invalid(flag, fmt.Sprintf("%s can be reached from other machines, and anybody there could %s: "+
			"listen on 127.0.0.1, or accept that with --insecure", addr, could))
	}
	return nil
}

// off is the address of a door that is closed.
const off = "off"

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
