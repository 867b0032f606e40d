package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newWatch(e *env) *cobra.Command {
	conn := connection{e: e}
	var sel selection
	var bookmarks bool
	cmd := &cobra.Command{
		Use:   "watch [SERVICE]",
		Short: "Print what changes as it changes, until interrupted",
		Long: `Watch prints the instances of a service that match, then every change of them:
one line for each, or with --output json the records of the stream. Without a
service it watches a whole namespace, or everything. It outlives restarts of the
server; where it cannot tell what happened in between it says "reset" and starts
over.`,
		Example: `  rollcall watch payments
  rollcall watch payments --health any --output json
  rollcall watch --namespace staging`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.read(conn.namespace, strings.Join(args, ""))
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
				show := &changes{w: e.out, bookmarks: bookmarks}
				for ev, err := range c.Watch(ctx, q) {
					switch {
					case errors.Is(err, context.Canceled):
						return nil
					case err != nil:
						return err
					case asJSON:
						err = e.line(ev)
					default:
						err = show.event(&ev, q.Service)
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
	sel.flags(cmd)
	cmd.Flags().BoolVar(&bookmarks, "bookmarks", false, "in a table, show bookmarks and weights as well")
	return cmd
}

// changes prints events as lines: time, what, which, how.
type changes struct {
	w         io.Writer
	bookmarks bool
}

func (c *changes) event(ev *client.Event, service string) error {
	if ev.Service != "" {
		service = ev.Service
	}
	switch ev.Type {
	case client.EventSnapshot, client.EventReset:
		err := c.line(string(ev.Type), service, "", fmt.Sprintf("%d instances at revision %d", len(ev.Instances), ev.Revision))
		for n := range ev.Instances {
			if err == nil {
				err = c.instance("  has", &ev.Instances[n])
			}
		}
		return err
	case client.EventPut:
		if ev.Instance == nil {
			return nil
		}
		return c.instance("put", ev.Instance)
	case client.EventHealth:
		for _, id := range ev.IDs {
			if err := c.line("health", service, id, join(ev.Status.String(), ev.Reason)); err != nil {
				return err
			}
		}
	case client.EventRemove:
		return c.line("remove", service, ev.ID, ev.Reason)
	default:
		if c.bookmarks {
			return c.line(string(ev.Type), service, "", fmt.Sprintf("revision %d", ev.Revision))
		}
	}
	return nil
}

func (c *changes) instance(what string, i *rollcall.Instance) error {
	h := healthOf(i)
	return c.line(what, i.Service, i.ID, join(i.Address, table.Ports(i.Ports), table.Status(i.Health), h.Reason))
}

func (c *changes) line(what, service, id, how string) error {
	which := service
	if id != "" {
		which += "/" + id
	}
	_, err := fmt.Fprintln(c.w, strings.TrimRight(fmt.Sprintf("%s  %-8s  %-32s  %s",
		time.Now().Format(time.TimeOnly), what, table.Clean(which), table.Clean(how)), " "))
	return err
}

// join joins what is not empty with spaces.
func join(parts ...string) string {
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}
