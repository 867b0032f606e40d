package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

// partingTime is for how long, beside the grace, a leaving instance tries to
// tell the registry.
const partingTime = 5 * time.Second

func newRegister(e *env) *cobra.Command {
	conn := connection{e: e}
	var desc flags.Instance
	var once bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "register SERVICE",
		Short: "Register an instance and keep its lease until interrupted",
		Long: `Register registers an instance of a service and keeps its lease, through
outages and restarts of the registry, until it is interrupted. Then it drains
the instance, waits for the grace period, and deregisters it. A second interrupt
ends it at once.

The lease is a session: that this process or its machine is gone shows at once
where its connection breaks. With --ttl or --lease ttl it is kept by heartbeats.

With --once it registers and returns. Nobody then keeps the lease, so there is
none unless --ttl asks for one.`,
		Example: `  rollcall register payments --port 8080
  rollcall register payments --port http=8080 --port grpc=9090 --version 2.4.1 \
      --zone eu-west-1a --cap gpu=2 --cap 'codecs=["h264","av1"]' --meta team=checkout
  rollcall register printer --address 10.0.3.17 --port 631 --once
  rollcall register payments --file instance.json`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inst, err := desc.Read(e.in, cmd.Flags())
			if err != nil {
				return err
			}
			if err := conn.name(cmd, &inst, args); err != nil {
				return err
			}
			if once {
				if inst.Lease.Mode == rollcall.LeaseSession {
					return usagef("a lease of mode session lasts as long as its stream, which --once does not hold; use --lease ttl or none")
				}
				if inst.Lease.Mode == "" && inst.Lease.TTL == 0 {
					inst.Lease.Mode = rollcall.LeaseNone
				}
				return conn.with(func(c *client.Client) error {
					got, err := c.Put(cmd.Context(), inst)
					if err != nil {
						return err
					}
					return e.registered(cmd, &got, "")
				})
			}
			return conn.with(func(c *client.Client) error {
				ctx, stop := interruptible(cmd.Context())
				defer stop()
				flags.Keep(&inst)
				reg, err := c.Register(ctx, inst, client.WithGrace(grace))
				if err != nil {
					return err
				}
				got := reg.Instance()
				if err := e.registered(cmd, &got, "; interrupt to drain and deregister it"); err != nil {
					return err
				}
				<-ctx.Done()
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace+partingTime)
				defer cancel()
				if err := reg.Close(ctx); err != nil {
					return fmt.Errorf("%s could not be deregistered, so its lease will lapse: %w", got.Key(), err)
				}
				return nil
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	desc.Add(cmd.Flags())
	cmd.Flags().BoolVar(&once, "once", false, "register and return, without keeping a lease")
	cmd.Flags().DurationVar(&grace, "grace", client.DefaultGrace, "`DURATION` between draining and deregistering; where callers use DNS, more than its time to live")
	return cmd
}

// name puts the service's name and the namespace of a command line into an
// instance.
func (c *connection) name(cmd *cobra.Command, inst *rollcall.Instance, args []string) error {
	if len(args) > 0 {
		inst.Service = args[0]
	}
	if c.namespace != "" {
		inst.Namespace = c.namespace
	}
	if inst.Service == "" {
		return usagef("which service? usage: %s", cmd.UseLine())
	}
	return nil
}

// registered prints what was registered.
func (e *env) registered(cmd *cobra.Command, i *rollcall.Instance, more string) error {
	if asJSON, _ := format(cmd); asJSON {
		return e.document(i)
	}
	text := fmt.Sprintf("registered %s/%s", i.Service, i.ID)
	if i.Address != "" {
		text += " at " + i.Address
	}
	if len(i.Ports) > 0 {
		text += " port " + table.Ports(i.Ports)
	}
	_, err := fmt.Fprintln(e.out, table.Clean(text+more))
	return err
}
