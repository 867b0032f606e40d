package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

func newStatus(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a server is and what it holds",
		Example: `  rollcall status
  rollcall status --addr registry.example:7070 --output json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.with(func(c *client.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON, _ := format(cmd); asJSON {
					return e.document(s)
				}
				return e.status(&s)
			})
		},
	}
	conn.flags(cmd)
	return cmd
}

func (e *env) status(s *rollcall.ServerStatus) error {
	state := "serving"
	switch {
	case !s.Synced:
		state = "reading its log; it does not answer yet"
	case s.Settling:
		state = "settling: the log is new, instances may not be back yet"
	}
	writes := "taken"
	if !s.Writable {
		writes = table.Join("refused", s.Reason)
	}
	t := e.table("STATE", state)
	t.Row("WRITES", writes)
	t.Row("SERVICES", strconv.Itoa(s.Services))
	t.Row("INSTANCES", table.Join(strconv.Itoa(s.Instances), table.Health(s.Health)))
	t.Row("WATCHERS", strconv.Itoa(s.Watchers))
	t.Row("SESSIONS", strconv.Itoa(s.Sessions))
	if s.Guards > 0 || s.Panics > 0 {
		t.Row("TROUBLE", fmt.Sprintf("%d guards (rollcall guards), %d services in panic", s.Guards, s.Panics))
	}
	if s.PausedMS > 0 {
		t.Row("STOPPED", "for "+table.Humane(time.Duration(s.PausedMS)*time.Millisecond)+" in all; leases were prolonged by as much")
	}
	t.Row("REVISION", fmt.Sprintf("%d of log %s (%s)", s.Revision, s.LogID, s.Store))
	t.Row("AGE", table.Humane(time.Duration(s.AgeMS)*time.Millisecond))
	t.Row("LOG SINCE", s.LogCreated.Local().Format(time.DateTime))
	t.Row("UP", table.Ago(s.Started))
	t.Row("MEMORY", fmt.Sprintf("%.1f MiB", float64(s.MemoryBytes)/(1<<20)))
	t.Row("VERSION", s.Version)
	return t.Flush()
}
