package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
)

func newWatchers(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use:     "watchers SERVICE",
		Short:   "List who is told of a service, and how far they are",
		Long:    "Watchers lists whom a drain that waits has to wait for. The one with the door dns\nis all resolvers together, while they may keep what DNS told them of the service.",
		Example: `  rollcall watchers payments`,
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				ws, err := c.Watchers(cmd.Context(), conn.key(args[0], "").ServiceKey)
				if err != nil {
					return err
				}
				if asJSON, _ := format(cmd); asJSON {
					return e.document(ws)
				}
				t := e.table("CALLER", "DOOR", "FROM", "REVISION", "LAG")
				for _, w := range ws {
					t.Row(w.Caller, w.Door, w.From, strconv.FormatUint(uint64(w.Revision), 10), strconv.FormatUint(uint64(w.Lag), 10))
				}
				return t.Flush()
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	return cmd
}
