package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newServices(e *env) *cobra.Command {
	conn := connection{e: e}
	var at flags.Time
	cmd := &cobra.Command{
		Use:   "services",
		Short: "List services with counts of their instances",
		Long: `Services lists the services of a namespace, or of all namespaces, and how many
instances each has by health. With --output json it prints one document a line.`,
		Example: `  rollcall services
  rollcall services --namespace staging --output json
  rollcall services --at 1h`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				asJSON, _ := format(cmd)
				var t *table.Table
				if !asJSON {
					t = e.table("NAMESPACE", "SERVICE", "INSTANCES", "ROUTABLE", "HEALTH")
					defer t.Flush()
				}
				for s, err := range c.ServicesAt(cmd.Context(), conn.namespace, at.Time) {
					if err != nil {
						return err
					}
					if asJSON {
						if err := e.line(s); err != nil {
							return err
						}
						continue
					}
					t.Row(s.Namespace, s.Service, strconv.Itoa(s.Instances), strconv.Itoa(s.Routable), table.Health(s.Health))
				}
				return nil
			})
		},
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "all")
	cmd.Flags().Var(&at, "at", "as they were at a `TIME`: RFC 3339, or a duration ago")
	return cmd
}
