package main

import (
	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newQuery(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "query list|get|put|delete",
		Short: "Keep named queries: splits and failovers that callers need not know",
		Long: `Query keeps queries that are stored under a name. Callers resolve and watch that
name as they would a service's, and what it means is an operator's to say: which
instances, in which shares, and which service to fall back on. Where a service has
the name too, the name means the query, so that it can be put over a service whose
callers do not change; the query itself asks services, never queries.

Send a tenth of the traffic to a new version, and all of it elsewhere if payments
is down:

  rollcall query put payments --split '90:version == "1.4.0"' \
      --split '10:version == "1.5.0"' --failover payments-dr
  rollcall resolve payments
  rollcall query delete payments`,
		Example: `  rollcall query list
  rollcall query get payments
  rollcall query put payments --failover payments-dr --failover eu/payments
  rollcall query put payments --filter 'cap.tls == true' --min-routable 3
  rollcall query get payments -o json | jq '.limit = 10' | rollcall query put payments --file -
  rollcall query delete payments`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return usagef("usage: %s; see \"%s --help\"", cmd.UseLine(), cmd.CommandPath())
		},
	}
	for _, verb := range []*cobra.Command{newQueryList(e), newQueryGet(e), newQueryPut(e), newQueryDelete(e)} {
		verb.DisableFlagsInUseLine = true
		verb.ValidArgsFunction = cobra.NoFileCompletions
		cmd.AddCommand(verb)
	}
	return cmd
}

func newQueryList(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use: "list", Short: "List named queries; with --output json one document a line", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				asJSON, _ := format(cmd)
				var t *table.Table
				if !asJSON {
					t = e.table("NAMESPACE", "NAME", "ASKS", "SPLIT", "FAILOVER", "CHANGED", "BY")
					defer t.Flush()
				}
				for q, err := range c.Queries(cmd.Context(), conn.namespace) {
					switch {
					case err != nil:
						return err
					case asJSON:
						err = e.line(q)
					default:
						split, failover := table.Shares(&q)
						t.Row(q.Namespace, q.Name, q.Service, split, failover, table.Ago(q.UpdatedAt), q.By)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "all")
	return cmd
}

func newQueryGet(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Show whom a named query asks, in which order", Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				q, err := c.Query(cmd.Context(), rollcall.NewServiceKey(conn.namespace, args[0]))
				if err != nil {
					return err
				}
				if asJSON, _ := format(cmd); asJSON {
					return e.document(q)
				}
				return table.Targets(e.out, &q)
			})
		},
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	return cmd
}

func newQueryPut(e *env) *cobra.Command {
	conn := connection{e: e}
	var desc flags.NamedQuery
	var revision uint64
	cmd := &cobra.Command{
		Use: "put NAME", Short: "Store a query under a name, or replace it whole", Args: takes(1, 1),
		Example: `  rollcall query put payments --split '90:version == "1.4.0"' --split '10:version == "1.5.0"'
  rollcall query put payments --failover payments-dr --min-routable 2
  rollcall query put payments --file payments.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := desc.Read(e.in, cmd.Flags())
			if err != nil {
				return err
			}
			if q.Name = args[0]; conn.namespace != "" {
				q.Namespace = conn.namespace
			}
			return conn.with(func(c *client.Client) error {
				is, err := c.PutQuery(cmd.Context(), q, rollcall.Revision(revision))
				if err != nil {
					return err
				}
				return e.tell(cmd, is, "query %v is stored at revision %d", is.Key(), is.Revision)
			})
		},
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "that of the file, or the default one")
	desc.Add(cmd.Flags())
	cmd.Flags().Uint64Var(&revision, "revision", 0, "only if it replaces the revision `N`")
	return cmd
}

func newQueryDelete(e *env) *cobra.Command {
	conn := connection{e: e}
	var revision uint64
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Remove a named query, so that its name means a service again", Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := rollcall.NewServiceKey(conn.namespace, args[0])
			return conn.with(func(c *client.Client) error {
				if err := c.DeleteQuery(cmd.Context(), key, rollcall.Revision(revision)); err != nil {
					return err
				}
				return e.tell(cmd, map[string]string{"namespace": key.Namespace, "name": key.Service}, "query %v is removed", key)
			})
		},
	}
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	cmd.Flags().Uint64Var(&revision, "revision", 0, "only if it is at the revision `N`")
	return cmd
}
