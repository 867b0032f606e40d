package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newWatch(e *env) *cobra.Command {
	conn := connection{e: e}
	var sel flags.Selection
	var bookmarks bool
	cmd := &cobra.Command{
		Use:   "watch [SERVICE]",
		Short: "Print what changes as it changes, until interrupted",
		Long: `Watch prints the instances of a service that match, then every change of them:
one line for each, or with --output json the records of the stream. Without a
service it watches a whole namespace, or everything. Of a named query it prints
what that selects, of which service ever. --near, --limit and --subset are worked
out anew when something changes that matters to them, about once a second at most
unless it is in the answer. It outlives restarts of the server; where it cannot tell
what happened in between it says "reset" and starts over.`,
		Example: `  rollcall watch payments
  rollcall watch payments --health any --output json
  rollcall watch payments --filter 'cap.gpu >= 2'
  rollcall watch drivers --near 52.52,13.40 --limit 3
  rollcall watch --namespace staging`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.Read(conn.namespace, strings.Join(args, ""))
			if err != nil {
				return err
			}
			asJSON, _ := format(cmd)
			return conn.with(func(c *client.Client) error {
				ctx, stop := interruptible(cmd.Context())
				defer stop()
				// A watch would wait for a server that is not there; who types
				// a command wants to know.
				if _, err := c.Status(ctx); err != nil {
					return err
				}
				show := table.Changes{Out: e.out, Bookmarks: bookmarks}
				for ev, err := range c.Watch(ctx, q) {
					switch {
					case errors.Is(err, context.Canceled):
						return nil
					case err != nil:
						return err
					case asJSON:
						err = e.line(ev)
					default:
						err = show.Event(&ev, q.Service)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one of a service, or all")
	sel.Add(cmd.Flags())
	cmd.Flags().BoolVar(&bookmarks, "bookmarks", false, "in a table, show bookmarks and weights as well")
	return cmd
}
