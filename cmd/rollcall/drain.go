package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newDrain(e *env) *cobra.Command {
	conn := connection{e: e}
	var end bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain SERVICE ID",
		Short: "Take new traffic away from an instance, or give it back",
		Long: `Drain marks an instance as draining: it serves what it is serving, and resolvers
no longer return it. It stays registered, and its lease has to be kept. --end
gives it its traffic back. --wait returns once all who watch the service know.`,
		Example: `  rollcall drain payments payments-7f9c
  rollcall drain payments payments-7f9c --wait 30s
  rollcall drain payments payments-7f9c --end`,
		Args: takes(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := conn.key(args[0], args[1])
			return conn.with(func(c *client.Client) error {
				if end {
					if err := c.EndDrain(cmd.Context(), key); err != nil {
						return err
					}
					return e.tell(cmd, map[string]any{"drained": false}, "%s takes traffic again", key)
				}
				d, err := c.Drain(cmd.Context(), key, wait)
				if err != nil {
					return err
				}
				who := map[bool]string{true: "; rollcall watchers says who, and dns is resolvers that may still answer as before"}[wait > 0 && d.Pending > 0]
				return e.tell(cmd, d, "%s is draining: %d watchers know, %d do not yet%s", key, d.Acknowledged, d.Pending, who)
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	cmd.Flags().BoolVar(&end, "end", false, "end the drain")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so `LONG` at most, up to 10m, until all watchers know and resolvers may not keep what DNS told them (its time to live)")
	return cmd
}

// tell prints what was done: as a document, or as a line.
func (e *env) tell(cmd *cobra.Command, doc any, format_ string, args ...any) error {
	if asJSON, _ := format(cmd); asJSON {
		return e.document(doc)
	}
	_, err := fmt.Fprintln(e.out, table.Clean(fmt.Sprintf(format_, args...)))
	return err
}
