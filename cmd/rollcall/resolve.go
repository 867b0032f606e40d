package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newResolve(e *env) *cobra.Command {
	conn := connection{e: e}
	var (
		sel         selection
		pick        int
		port        string
		quiet       bool
		at          timeFlag
		minRevision uint64
		maxAge      time.Duration
		consistent  bool
		wait        time.Duration
	)
	cmd := &cobra.Command{
		Use:   "resolve SERVICE",
		Short: "Answer which instances of a service to call now",
		Long: `Resolve prints the instances of a service that a caller should use now, best
first where an order was asked for. --quiet prints just HOST:PORT lines, for
scripts. A service without usable instances is an empty answer; one that nobody
knows is a failure, and so is asking a server for what it cannot do yet, such as
--filter, --near, --pick and --subset.`,
		Example: `  rollcall resolve payments
  rollcall resolve payments --cap canary=true --meta team=checkout
  rollcall resolve payments --health any --output json
  curl "http://$(rollcall resolve payments --limit 1 --quiet --port http)/healthz"
  rollcall resolve payments --after "$TOKEN" --wait 30s`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.read(conn.namespace, args[0])
			if err != nil {
				return err
			}
			q.Pick, q.At, q.MaxAge, q.Consistent, q.Wait = pick, at.Time, maxAge, consistent, wait
			q.MinRevision = rollcall.Revision(minRevision)
			return conn.with(func(c *client.Client) error {
				ans, err := c.Resolve(cmd.Context(), q)
				if err != nil {
					return err
				}
				switch asJSON, _ := format(cmd); {
				case quiet:
					return e.endpoints(&ans, port)
				case asJSON:
					return e.document(ans)
				}
				return e.answer(&ans)
			})
		},
		ValidArgsFunction: conn.completeService,
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	sel.flags(cmd)
	f := cmd.Flags()
	f.IntVar(&pick, "pick", 0, "let the registry choose `N` by load; without a number, one")
	f.Lookup("pick").NoOptDefVal = "1"
	f.BoolVarP(&quiet, "quiet", "q", false, "print HOST:PORT lines and nothing else")
	f.StringVar(&port, "port", "", "with --quiet, the `NAME` of the port; without, the only or the default one")
	f.Var(&at, "at", "as it was at a `TIME`: RFC 3339, or a duration ago")
	f.Uint64Var(&minRevision, "min-revision", 0, "wait until the server has reached the revision `N`")
	f.DurationVar(&maxAge, "max-age", 0, "refuse an answer that is older than the `DURATION`")
	f.BoolVar(&consistent, "consistent", false, "answer with every change that was made before now")
	f.DurationVar(&wait, "wait", 0, "with --after, wait for a change for up to the `DURATION`")
	return cmd
}

func (e *env) answer(ans *rollcall.Answer) error {
	t := e.table("ID", "ADDRESS", "PORTS", "HEALTH", "ZONE", "WEIGHT", "VERSION")
	for n := range ans.Instances {
		i := &ans.Instances[n]
		t.Row(i.ID, i.Address, table.Ports(i.Ports), table.Status(i.Health), table.Zone(i.Locality), table.Weight(i), i.Version)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case ans.Panic:
		fmt.Fprintf(e.err, "rollcall: too few instances of %s are routable, so all that may work are listed; see \"rollcall instances %[1]s\"\n", table.Clean(ans.Service))
	case len(ans.Instances) == 0:
		fmt.Fprintf(e.err, "rollcall: no instance of %s is routable and matches; see \"rollcall instances %[1]s\"\n", table.Clean(ans.Service))
	}
	return nil
}

func (e *env) endpoints(ans *rollcall.Answer, port string) error {
	for n := range ans.Instances {
		ep, err := table.Endpoint(&ans.Instances[n], port)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(e.out, table.Clean(ep)); err != nil {
			return err
		}
	}
	return nil
}
