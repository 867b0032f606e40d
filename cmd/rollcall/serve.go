package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/config"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/internal/heap"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// defaultGRPC is where serve speaks gRPC.
const defaultGRPC = "127.0.0.1:7071"

// defaultDataDir is where serve keeps its data and restore puts it.
const defaultDataDir = "./rollcall-data"

func newServe(e *env) *cobra.Command {
	var c server.Config
	var dns flags.DNS
	var file, store, allow, level, logFormat string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a registry",
		Long: `Serve runs a registry on this machine and keeps its data in --data-dir. Once it
serves it says so in a line on standard error: "rollcall ready http=ADDRESS
grpc=ADDRESS dns=ADDRESS". An interrupt stops it in order; a second one ends it at
once.

Each flag can also be set by an environment variable (--data-dir by
ROLLCALL_DATA_DIR) or in the YAML file that --config names (data-dir: ...). A
flag goes before the environment, and that before the file. The file can hold
static services as well, which nobody has to renew, webhooks, which are told of
changes of health, and subnets, which say where those are who ask by DNS:

  http: 127.0.0.1:8070
  services:
    - service: printer
      id: printer-1
      address: 10.0.3.17
      port: 631
  webhooks:
    - name: pager
      url: https://pager.example.com/rollcall
      secret-file: /etc/rollcall/pager.secret
  subnets:
    - {cidr: 10.1.0.0/16, near: zone:eu-west/eu-west-1a}

There is no authentication yet, so serve refuses to listen where other machines
could reach it, unless --insecure says that this is meant.`,
		Example: `  rollcall serve
  rollcall serve --data-dir /var/lib/rollcall --config /etc/rollcall.yaml
  ROLLCALL_HTTP=127.0.0.1:0 rollcall serve --log-level debug`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings := cmd.LocalNonPersistentFlags()
			if err := fromEnv(settings, e.getenv); err != nil {
				return err
			}
			if file != "" {
				f, err := config.Read(file, settings)
				if wrong, ok := errors.AsType[config.Error](err); ok {
					return usagef("%v", wrong)
				}
				if err != nil {
					return err
				}
				c.Static, c.Webhooks, c.Subnets = f.Static, f.Webhooks, f.Subnets
			}
			if store != "local" {
				return usagef("--store %s: this version keeps its log on the local disk only; use --store local", store)
			}
			err := dns.Read(&c)
			if err != nil {
				return err
			}
			if c.ProbeAllow, err = prefixes(allow); err != nil {
				return err
			}
			if c.Logger, err = e.logger(level, logFormat); err != nil {
				return err
			}
			c.Version = build().Version
			return e.serve(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.DataDir, "data-dir", defaultDataDir, "`DIRECTORY` of the log; made if it does not exist")
	f.StringVar(&c.HTTP, "http", client.DefaultAddress, "`ADDRESS` to serve HTTP at; port 0 is any free one")
	f.StringVar(&c.GRPC, "grpc", defaultGRPC, "`ADDRESS` to serve gRPC at, and HTTP as well; port 0 is any free one, off is none")
	dns.Add(f, &c)
	f.StringVar(&store, "store", "local", "`WHERE` the log is kept: local")
	f.StringVar(&file, "config", "", "read settings, static services, webhooks and subnets from a YAML `FILE`")
	f.BoolVar(&c.Insecure, "insecure", false, "serve addresses that other machines can reach, without authentication")
	f.StringVar(&allow, "probe-allow", "", "`NETWORKS` (CIDR, by commas) that may be probed and called by webhooks though loopback, link-local or the like")
	f.BoolVar(&c.ExecChecks, "exec-checks", false, "let static services have checks that run commands on this machine")
	f.BoolVar(&c.Pprof, "pprof", false, "serve profiles under /debug/pprof/")
	f.StringVar(&level, "log-level", "info", "log from a `LEVEL` on: debug, info, warn or error")
	f.StringVar(&logFormat, "log-format", "text", "log in a `FORM`: text or json")
	return cmd
}

// prefixes reads networks, "10.0.0.0/8,127.0.0.1".
func prefixes(text string) (all []netip.Prefix, err error) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if ip, bad := netip.ParseAddr(part); bad == nil {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return nil, usagef("--probe-allow %q is not a network: write it like 10.0.0.0/8", part)
		}
		all = append(all, p)
	}
	return all, nil
}

// newServer is [server.New], to which a mistake in the command line is one of a field.
func newServer(c server.Config) (*server.Server, error) {
	s, err := server.New(c)
	if wrong, ok := errors.AsType[*rollcall.Error](err); ok && wrong.Kind == rollcall.ErrInvalid {
		return nil, usagef("--%s: %s", strings.ReplaceAll(wrong.Field, "_", "-"), wrong.Detail)
	}
	return s, err
}

// serve runs a server until it is interrupted.
func (e *env) serve(ctx context.Context, c server.Config) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	s, err := newServer(c)
	if err != nil {
		return err
	}
	var pacing sync.WaitGroup
	defer pacing.Wait()
	defer stop()
	return s.Run(ctx, func() {
		pacing.Go(func() { heap.Pace(ctx) }) // not before: what is read at the start is there to stay
		fmt.Fprintf(e.err, `rollcall ready http=%[1]s grpc=%[2]s dns=%[3]s
Register a first instance and find it (its lease lasts 15 s unless it is renewed):
  curl -X PUT http://%[1]s/api/v1/services/hello/instances/hello-1 -d '{"port": 8080}'
  curl http://%[1]s/api/v1/services/hello
`, s.Addr(), s.GRPCAddr(), s.DNSAddr())
		if host, port, err := net.SplitHostPort(s.DNSAddr()); err == nil {
			fmt.Fprintf(e.err, "  dig @%s -p %s hello.service.%s SRV\n", host, port, strings.TrimSuffix(c.DNSZone, "."))
		}
	})
}

// logger returns a logger to standard error.
func (e *env) logger(level, form string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: use debug, info, warn or error", level)
	}
	o.Level = l
	switch form {
	case "text":
		return slog.New(slog.NewTextHandler(e.err, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(e.err, &o)), nil
	}
	return nil, usagef("--log-format %q: use text or json", form)
}
