package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/rollcall-registry/rollcall"
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

// check fills in defaults and refuses what would be unsafe or cannot work.
func (c *Config) check() error {
	if c.HTTP == "" {
		c.HTTP = "127.0.0.1:0"
	}
	if c.GRPC == "" {
		c.GRPC = "127.0.0.1:0"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DataDir == "" {
		return fmt.Errorf("no data directory: say where with --data-dir")
	}
	if err := c.checkAddress("http", c.HTTP); err != nil {
		return err
	}
	if c.GRPC == off {
		return nil
	}
	return c.checkAddress("grpc", c.GRPC)
}

// checkAddress refuses an address that cannot be listened on, or should not be.
func (c *Config) checkAddress(flag, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--%s %s: %w; write it as host:port", flag, addr, err)
	}
	if !c.Insecure && !loopback(host) {
		return fmt.Errorf("--%s %s can be reached from other machines, and anybody there could change the registry: "+
			"listen on 127.0.0.1, or accept that with --insecure", flag, addr)
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
