package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newWhy(e *env) *cobra.Command {
	conn := connection{e: e}
	var sel flags.Selection
	var at flags.Time
	cmd := &cobra.Command{
		Use:   "why SERVICE [ID]",
		Short: "Explain why instances are in an answer, or are not",
		Long: `Why explains the answer that "rollcall resolve" gives with the same flags: for
each instance of the service, those of the answer first and in its order, whether
it is in, and why: the condition that it does not meet, nearer ones that bear the
traffic, a limit or a subset without room for it. With --pick it shows all that the
registry chooses from. About one instance it prints all that is known for and
against it. With --at it explains an answer of the past.`,
		Example: `  rollcall why payments
  rollcall why payments payments-7f9c
  rollcall why payments --cap gpu=2 --limit 3
  rollcall why payments --filter 'cap.gpu >= 2 || "gpu" in meta'
  rollcall why payments payments-7f9c --near zone:eu-west/eu-west-1a --subset web-1
  rollcall why payments payments-7f9c --at 20m`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.Read(conn.namespace, args[0])
			if err != nil {
				return err
			}
			q.At = at.Time
			id := ""
			if len(args) > 1 {
				id = args[1]
			}
			return conn.with(func(c *client.Client) error {
				x, err := c.Why(cmd.Context(), q, id)
				if err != nil {
					return err
				}
				if asJSON, _ := format(cmd); asJSON {
					return e.document(x)
				}
				return e.explain(&x, id != "")
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	sel.Add(cmd.Flags())
	sel.AddPick(cmd.Flags())
	cmd.Flags().Var(&at, "at", "as it was at a `TIME`: RFC 3339, or a duration ago")
	return cmd
}

// explain prints an explanation, about a single instance with all evidence.
func (e *env) explain(x *rollcall.Explanation, single bool) error {
	if g := x.Guard; g != nil {
		of := "everything"
		if g.Service != "" {
			of = table.Clean(g.Service)
		}
		fmt.Fprintf(e.err, "rollcall: a guard on %s is on for %s and keeps %d silent instances in answers: %s; \"rollcall guards\" shows and ends it\n",
			of, table.Ago(g.Since), g.Held, table.Clean(g.Reason))
	}
	if x.Panic {
		fmt.Fprintf(e.err, "rollcall: %s is in panic: too few instances are routable, so all that may work are served\n", table.Clean(x.Service))
	}
	if err := table.Explanation(e.out, x).Flush(); err != nil || !single {
		return err
	}
	fmt.Fprintln(e.out)
	t := e.table("SOURCE", "SAYS", "SINCE", "REASON")
	for _, i := range x.Instances {
		for _, ev := range i.Evidence {
			t.Row(string(ev.Source), ev.Status.String(), table.Ago(ev.Since), ev.Reason)
		}
		if o := i.Override; o != nil {
			t.Row("override", o.Status.String(), table.Ago(o.Since), strings.TrimPrefix(o.Reason+", by "+o.By, ", "))
		}
	}
	return t.Flush()
}
