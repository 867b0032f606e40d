package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newGuards(e *env) *cobra.Command {
	conn := connection{e: e}
	var end bool
	cmd := &cobra.Command{
		Use:   "guards [SERVICE]",
		Short: "Show where silence is not believed, or end that",
		Long: `Guards lists the guards that are on. A guard begins when so many instances of a
service, or of everything, fall silent at once that the network or the registry is
likelier to be at fault: it keeps them in answers, behind the others, until they
are heard from or seen to be dead, and ends by itself.

If you know better, --end ends the guard on a service, or without one that on
everything: the instances that it holds are marked at once.`,
		Example: `  rollcall guards
  rollcall guards payments --end
  rollcall guards --end`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var of rollcall.ServiceKey
			if len(args) > 0 {
				if !end {
					return usagef("%s lists all guards; name a service with --end", cmd.CommandPath())
				}
				of = rollcall.NewServiceKey(conn.namespace, args[0])
			}
			return conn.with(func(c *client.Client) error {
				list := c.Guards
				if end {
					list = func(ctx context.Context) ([]rollcall.Guard, error) { return c.EndGuard(ctx, of) }
				}
				guards, err := list(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON, _ := format(cmd); asJSON {
					for _, g := range guards {
						if err := e.line(g); err != nil {
							return err
						}
					}
					return nil
				}
				t := e.table("NAMESPACE", "SERVICE", "SINCE", "HELD", "WHY")
				for _, g := range guards {
					service := g.Service
					if service == "" {
						service = "(everything)"
					}
					t.Row(g.Namespace, service, table.Ago(g.Since), strconv.Itoa(g.Held), g.Reason)
				}
				return t.Flush()
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	cmd.Flags().BoolVar(&end, "end", false, "end the guard on the service, or that on everything")
	return cmd
}
