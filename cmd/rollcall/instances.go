package main

import (
	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newInstances(e *env) *cobra.Command {
	conn := connection{e: e}
	var where rollcall.InstanceFilter
	cmd := &cobra.Command{
		Use:   "instances [SERVICE]",
		Short: "List all instances of a service, or of a node or address, with their health and why",
		Long: `Instances lists every instance of a service, whatever its health, with the
reason for the verdict and for how long it has stood. Without a service it lists
instances across services, all or those of one node or address.

With --output json it prints the answer about a service as one document, and
instances across services one a line.`,
		Example: `  rollcall instances payments
  rollcall instances --node host-17
  rollcall instances --address 10.0.3.17 --output json`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where.Namespace = conn.namespace
			if len(args) == 1 && (where.Node != "" || where.Address != "") {
				return usagef("--node and --address list across services; leave out the service %q", args[0])
			}
			return conn.with(func(c *client.Client) error {
				if len(args) == 1 {
					return e.listService(cmd, c, rollcall.Query{
						Namespace: conn.namespace, Service: args[0], Health: rollcall.HealthAny,
					})
				}
				return e.listInstances(cmd, c, where)
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one of a service, or all")
	cmd.Flags().StringVar(&where.Node, "node", "", "only instances on the `NODE`")
	cmd.Flags().StringVar(&where.Address, "address", "", "only instances at the `ADDRESS`")
	return cmd
}

func (e *env) listService(cmd *cobra.Command, c *client.Client, q rollcall.Query) error {
	ans, err := c.Resolve(cmd.Context(), q)
	if err != nil {
		return err
	}
	if asJSON, _ := format(cmd); asJSON {
		return e.document(ans)
	}
	t := e.table("ID", "ADDRESS", "PORTS", "HEALTH", "SINCE", "REASON", "ZONE", "WEIGHT", "VERSION")
	for n := range ans.Instances {
		i := &ans.Instances[n]
		h := table.HealthOf(i)
		t.Row(i.ID, i.Address, table.Ports(i.Ports), table.Status(i.Health), table.Ago(h.Since), h.Reason,
			table.Zone(i.Locality), table.Weight(i), i.Version)
	}
	return t.Flush()
}

func (e *env) listInstances(cmd *cobra.Command, c *client.Client, where rollcall.InstanceFilter) error {
	asJSON, _ := format(cmd)
	var t *table.Table
	if !asJSON {
		t = e.table("NAMESPACE", "SERVICE", "ID", "ADDRESS", "PORTS", "NODE", "HEALTH", "SINCE", "REASON")
		defer t.Flush()
	}
	for i, err := range c.Instances(cmd.Context(), where) {
		if err != nil {
			return err
		}
		if asJSON {
			if err := e.line(&i); err != nil {
				return err
			}
			continue
		}
		h := table.HealthOf(&i)
		t.Row(i.Namespace, i.Service, i.ID, i.Address, table.Ports(i.Ports), i.Node, table.Status(i.Health), table.Ago(h.Since), h.Reason)
	}
	return nil
}
