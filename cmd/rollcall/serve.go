package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/config"
	"github.com/rollcall-registry/rollcall/internal/heap"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// defaultGRPC is where serve speaks gRPC.
const defaultGRPC = "127.0.0.1:7071"

// defaultDataDir is where serve keeps its data and restore puts it.
const defaultDataDir = "./rollcall-data"

func newServe(e *env) *cobra.Command {
	var c server.Config
	var file, store, dns, allow, level, logFormat string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a registry",
		Long: `Serve runs a registry on this machine and keeps its data in --data-dir. Once it
serves it says so in a line on standard error: "rollcall ready http=ADDRESS
grpc=ADDRESS ...". An interrupt stops it in order; a second one ends it at once.

Each flag can also be set by an environment variable (--data-dir by
ROLLCALL_DATA_DIR) or in the YAML file that --config names (data-dir: ...). A
flag goes before the environment, and that before the file. The file can hold
static services as well, which nobody has to renew, and webhooks, which are told
of changes of health:

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

There is no authentication yet, so serve refuses to listen where other machines
could reach it, unless --insecure says that this is meant.`,
		Example: `  rollcall serve
  rollcall serve --data-dir /var/lib/rollcall --config /etc/rollcall.yaml
  ROLLCALL_HTTP=127.0.0.1:0 rollcall serve --log-level debug`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := cmd.LocalNonPersistentFlags()
			if err := fromEnv(flags, e.getenv); err != nil {
				return err
			}
			if file != "" {
				f, err := config.Read(file, flags)
				if wrong, ok := errors.AsType[config.Error](err); ok {
					return usagef("%v", wrong)
				}
				if err != nil {
					return err
				}
				c.Static, c.Webhooks = f.Static, f.Webhooks
			}
			if dns != "off" {
				return usagef("--dns %s: this version serves HTTP and gRPC only; leave --dns off", dns)
			}
			if store != "local" {
				return usagef("--store %s: this version keeps its log on the local disk only; use --store local", store)
			}
			var err error
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
	f.StringVar(&dns, "dns", "off", "`ADDRESS` to serve DNS at; not there yet, so only off")
	f.StringVar(&store, "store", "local", "`WHERE` the log is kept: local")
	f.StringVar(&file, "config", "", "read settings, static services and webhooks from a YAML `FILE`")
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

// serve runs a server until it is interrupted.
func (e *env) serve(ctx context.Context, c server.Config) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	s, err := server.New(c)
	if err != nil {
		return err
	}
	var pacing sync.WaitGroup
	defer pacing.Wait()
	defer stop()
	return s.Run(ctx, func() {
		pacing.Go(func() { heap.Pace(ctx) }) // not before: what is read at the start is there to stay
		fmt.Fprintf(e.err, `rollcall ready http=%[1]s grpc=%[2]s dns=off
Register a first instance and find it (its lease lasts 15 s unless it is renewed):
  curl -X PUT http://%[1]s/api/v1/services/hello/instances/hello-1 -d '{"port": 8080}'
  curl http://%[1]s/api/v1/services/hello
`, s.Addr(), s.GRPCAddr())
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
