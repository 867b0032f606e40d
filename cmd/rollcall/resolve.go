package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newResolve(e *env) *cobra.Command {
	conn := connection{e: e}
	var (
		sel         flags.Selection
		port        string
		quiet       bool
		at          flags.Time
		minRevision uint64
		maxAge      time.Duration
		consistent  bool
		wait        time.Duration
	)
	cmd := &cobra.Command{
		Use:   "resolve SERVICE",
		Short: "Answer which instances of a service to call now",
		Long: `Resolve prints the instances of a service that a caller should use now, or those
that a named query of that name asks for: the nearest first if a place was given,
with their distance. WEIGHT is the share of the traffic that each should get,
relative to the others, and after a slash what it was registered with. --pick lets
the registry choose one, by how busy they are. --quiet prints just HOST:PORT lines,
for scripts. A service without usable instances is an empty answer; one that nobody
knows is a failure.`,
		Example: `  rollcall resolve payments
  rollcall resolve payments --cap canary=true --meta team=checkout
  rollcall resolve payments --filter 'cap.gpu >= 2 && semver(version) >= semver("2.3.0")'
  rollcall resolve drivers --near 52.52,13.40 --limit 3
  rollcall resolve payments --near zone:eu-west/eu-west-1a --subset web-1
  rollcall resolve payments --health any --output json
  curl "http://$(rollcall resolve payments --pick --quiet --port http)/healthz"
  rollcall resolve payments --after "$TOKEN" --wait 30s`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.Read(conn.namespace, args[0])
			if err != nil {
				return err
			}
			q.At, q.MaxAge, q.Consistent, q.Wait = at.Time, maxAge, consistent, wait
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
	sel.Add(cmd.Flags())
	sel.AddPick(cmd.Flags())
	f := cmd.Flags()
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
	if err := table.Instances(e.out, ans).Flush(); err != nil {
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
