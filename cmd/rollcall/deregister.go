package main

import (
	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
)

func newDeregister(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use:   "deregister SERVICE ID...",
		Short: "Remove instances now",
		Long: `Deregister removes instances from the registry at once. An instance that is not
there is no failure. One whose process still keeps its lease registers again:
stop that, or drain the instance instead.`,
		Example: `  rollcall deregister payments payments-7f9c
  rollcall deregister payments $(rollcall resolve payments --health unhealthy -o json | jq -r '.instances[].id')`,
		Args: takes(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				for _, id := range args[1:] {
					key := conn.key(args[0], id)
					if err := c.Deregister(cmd.Context(), key); err != nil {
						return err
					}
					doc := map[string]string{"namespace": key.Namespace, "service": key.Service, "id": key.ID}
					if err := e.tell(cmd, doc, "%s is deregistered", key); err != nil {
						return err
					}
				}
				return nil
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	return cmd
}
