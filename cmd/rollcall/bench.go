package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/bench"
)

func newBench(e *env) *cobra.Command {
	conn := connection{e: e}
	b := bench.Bench{Progress: e.progress}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running server from here",
		Long: `Bench registers instances of the service ` + bench.Service + `, changes, renews, finds and
watches them, and removes them again. Each kind of work runs for --for with as
many requests under way as --connections says; every change is durable.

What it prints is what a Go program sees from where it runs, which shares the
machine with the server if they are on one: this client works harder for a
request than the server does. Latency is that of one request; that of "seen" is
from sending a change until a watcher has it, one change at a time.`,
		Example: `  rollcall bench
  rollcall bench --for 10s --connections 16
  rollcall bench --addr 10.0.0.5:7070 --output json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if b.Connections < 1 || b.Instances < 1 || b.Each <= 0 {
				return usagef("--connections, --instances and --for must be more than 0")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			c, err := conn.dial(client.WithTransport(&http.Transport{MaxIdleConnsPerHost: b.Connections, IdleConnTimeout: time.Minute}))
			if err != nil {
				return err
			}
			defer c.Close()
			b.Client = c
			rows, err := b.Run(ctx)
			if err != nil {
				return err
			}
			if asJSON, _ := format(cmd); asJSON {
				return e.document(rows)
			}
			return e.figures(rows)
		},
	}
	conn.flags(cmd)
	f := cmd.Flags()
	f.DurationVar(&b.Each, "for", 3*time.Second, "measure each kind of work for a `DURATION`")
	f.IntVar(&b.Connections, "connections", 64, "have `N` requests under way")
	f.IntVar(&b.Instances, "instances", 1000, "work with `N` instances")
	return cmd
}

// progress replaces the line that a terminal shows; anything else shows none.
func (e *env) progress(line string) {
	if onTerminal(e.err) {
		fmt.Fprint(e.err, "\r\x1b[K", line)
	}
}

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (e *env) figures(rows []bench.Figure) error {
	t := e.table("WORK", "PER SECOND", "P50 MS", "P99 MS", "MAX MS", "COUNT")
	for _, f := range rows {
		rate := ""
		if f.Second > 0 {
			rate = fmt.Sprintf("%.0f", f.Second)
		}
		t.Row(f.Work, rate, fmt.Sprintf("%.2f", f.P50), fmt.Sprintf("%.2f", f.P99), fmt.Sprintf("%.2f", f.Worst), fmt.Sprint(f.Count))
	}
	return t.Flush()
}
