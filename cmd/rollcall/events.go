package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
)

func newEvents(e *env) *cobra.Command {
	conn := connection{e: e}
	var since, until flags.Time
	var limit int
	cmd := &cobra.Command{
		Use:   "events [SERVICE [ID]]",
		Short: "Print what happened: who, what, when, through which door and why",
		Long: `Events prints the history of a service, an instance or everything, in the order
in which it happened: the newest 100 events, or as many as --limit says. With
--output json it prints one document a line.`,
		Example: `  rollcall events
  rollcall events payments --since 1h
  rollcall events payments payments-7f9c --limit 0
  rollcall events --since 2026-01-31T09:00:00Z --until 30m`,
		Args: takes(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := rollcall.EventFilter{Namespace: conn.namespace, Since: since.Time, Until: until.Time}
			if len(args) > 0 {
				f.Service = args[0]
			}
			if len(args) > 1 {
				f.ID = args[1]
			}
			if limit < 0 {
				return usagef("--limit %d is below 0", limit)
			}
			return conn.with(func(c *client.Client) error {
				var events []rollcall.Event
				for ev, err := range c.Events(cmd.Context(), f) {
					if err != nil {
						return err
					}
					if events = append(events, ev); len(events) == limit {
						break
					}
				}
				slices.Reverse(events)
				return e.history(cmd, events)
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "all")
	cmd.Flags().Var(&since, "since", "only from a `TIME` on: RFC 3339, or a duration ago")
	cmd.Flags().Var(&until, "until", "only up to a `TIME`: RFC 3339, or a duration ago")
	cmd.Flags().IntVar(&limit, "limit", 100, "the newest `N`; 0 is all")
	return cmd
}

func (e *env) history(cmd *cobra.Command, events []rollcall.Event) error {
	if asJSON, _ := format(cmd); asJSON {
		for _, ev := range events {
			if err := e.line(ev); err != nil {
				return err
			}
		}
		return nil
	}
	t := e.table("TIME", "TYPE", "SERVICE", "ID", "HEALTH", "BY", "VIA", "WHY")
	for _, ev := range events {
		t.Row(ev.At.Local().Format(time.DateTime), ev.Type, ev.Service, ev.ID, verdicts(ev.Before, ev.After), ev.By, ev.Via, ev.Why)
	}
	return t.Flush()
}

// verdicts shows how a verdict changed.
func verdicts(before, after rollcall.Status) string {
	if before == after || before == 0 {
		return after.String()
	}
	if after == 0 {
		return before.String() + " → gone"
	}
	return before.String() + " → " + after.String()
}
