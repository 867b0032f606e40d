package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// benchService is what bench registers its instances of.
const benchService = "rollcall-bench"

func newBench(e *env) *cobra.Command {
	conn := connection{e: e}
	b := bench{e: e}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running server from here",
		Long: `Bench registers instances of the service ` + benchService + `, changes, renews, finds and
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
			if b.connections < 1 || b.instances < 1 || b.each <= 0 {
				return usagef("--connections, --instances and --for must be more than 0")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			c, err := conn.dial(client.WithTransport(&http.Transport{MaxIdleConnsPerHost: b.connections, IdleConnTimeout: time.Minute}))
			if err != nil {
				return err
			}
			defer c.Close()
			b.client = c
			rows, err := b.run(ctx)
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
	f.DurationVar(&b.each, "for", 3*time.Second, "measure each kind of work for a `DURATION`")
	f.IntVar(&b.connections, "connections", 64, "have `N` requests under way")
	f.IntVar(&b.instances, "instances", 1000, "work with `N` instances")
	return cmd
}

// bench measures one server.
type bench struct {
	e           *env
	client      *client.Client
	each        time.Duration
	connections int
	instances   int
	all         []rollcall.Instance
}

// figure is what was measured of one kind of work.
type figure struct {
	Work   string  `json:"work"`
	Count  int     `json:"count"`
	Second float64 `json:"per_second"` // 0: one at a time, so that only latency counts
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Worst  float64 `json:"max_ms"`
}

func (b *bench) run(ctx context.Context) (rows []figure, err error) {
	run := strings.ToLower(rand.Text()[:6])
	for n := range b.instances {
		b.all = append(b.all, rollcall.Instance{
			Service: benchService, ID: fmt.Sprintf("%s-%d", run, n), Address: "192.0.2.1", Ports: map[string]uint16{"http": 8080},
			Metadata: map[string]string{"made-by": "rollcall bench", "round": "0"},
			Lease:    rollcall.Lease{TTL: rollcall.Duration(2 * time.Minute), RemoveAfter: rollcall.Duration(10 * time.Second)},
		})
	}
	defer func() { err = b.cleanUp(ctx, err) }()
	if _, err := b.client.RegisterMany(ctx, b.all); err != nil {
		return nil, err
	}
	for _, work := range []struct {
		name string
		do   func(ctx context.Context, n int) (count int, err error)
	}{
		{"change", b.change},
		{"renew", func(ctx context.Context, n int) (int, error) {
			_, err := b.client.Heartbeat(ctx, b.all[n%len(b.all)].Key(), rollcall.Report{})
			return 1, err
		}},
		{"renew many", b.renewMany},
		{"find ten", func(ctx context.Context, n int) (int, error) {
			_, err := b.client.Resolve(ctx, rollcall.Query{Service: benchService, Limit: 10})
			return 1, err
		}},
	} {
		f, err := b.measure(ctx, work.name, work.do)
		if err != nil {
			return nil, err
		}
		rows = append(rows, f)
	}
	f, err := b.seen(ctx)
	return append(rows, f), err
}

// change registers an instance with other metadata than before.
func (b *bench) change(ctx context.Context, n int) (int, error) {
	i := b.all[n%len(b.all)]
	i.Metadata = map[string]string{"made-by": "rollcall bench", "round": fmt.Sprint(n + 1)}
	_, err := b.client.Put(ctx, i)
	return 1, err
}

func (b *bench) renewMany(ctx context.Context, n int) (int, error) {
	rs := make([]rollcall.Renew, min(1000, len(b.all)))
	for i := range rs {
		rs[i].Key = b.all[(n+i)%len(b.all)].Key()
	}
	_, err := b.client.RenewMany(ctx, rs)
	return len(rs), err
}

// measure has as many callers as there are connections do work for a while.
func (b *bench) measure(ctx context.Context, name string, do func(ctx context.Context, n int) (int, error)) (figure, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	took := make([][]time.Duration, b.connections)
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(b.each)
	for c := range took {
		wg.Go(func() {
			for begun := time.Now(); ctx.Err() == nil && begun.Before(end); begun = time.Now() {
				count, err := do(ctx, int(next.Add(1)))
				if err != nil {
					cancel(err)
					return
				}
				done.Add(int64(count))
				took[c] = append(took[c], time.Since(begun))
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	b.progress(name, start, &done, finished)
	if err := context.Cause(ctx); err != nil {
		return figure{}, err
	}
	f := summary(name, slices.Concat(took...))
	f.Count = int(done.Load())
	f.Second = float64(f.Count) / time.Since(start).Seconds()
	return f, nil
}

// progress shows on a terminal how far a kind of work is, until it is done.
func (b *bench) progress(name string, start time.Time, done *atomic.Int64, finished <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.line("%s: %d in %v of %v", name, done.Load(), time.Since(start).Round(100*time.Millisecond), b.each)
		case <-finished:
			b.line("")
			return
		}
	}
}

// line replaces the line that a terminal shows; anything else shows none.
func (b *bench) line(format string, args ...any) {
	if onTerminal(b.e.err) {
		fmt.Fprintf(b.e.err, "\r\x1b[K"+format, args...)
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

// seen measures from sending a change until a watcher has it.
func (b *bench) seen(ctx context.Context) (figure, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rounds := make(chan string, 1024)
	failed := make(chan error, 1)
	go func() {
		for ev, err := range b.client.Watch(ctx, rollcall.Query{Service: benchService}) {
			if err != nil {
				failed <- err
				return
			}
			if ev.Type == client.EventSnapshot {
				rounds <- ""
			} else if ev.Instance != nil {
				rounds <- ev.Instance.Metadata["round"]
			}
		}
	}()
	wait := func(round string) error {
		for {
			select {
			case got := <-rounds:
				if got == round {
					return nil
				}
			case err := <-failed:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := wait(""); err != nil {
		return figure{}, err
	}
	var took []time.Duration
	i := b.all[0]
	for start := time.Now(); time.Since(start) < b.each; {
		round := fmt.Sprint("seen-", len(took))
		i.Metadata = map[string]string{"made-by": "rollcall bench", "round": round}
		sent := time.Now()
		if _, err := b.client.Put(ctx, i); err != nil {
			return figure{}, err
		}
		if err := wait(round); err != nil {
			return figure{}, err
		}
		took = append(took, time.Since(sent))
		b.line("seen: %d in %v of %v", len(took), time.Since(start).Round(100*time.Millisecond), b.each)
	}
	b.line("")
	return summary("seen", took), nil
}

// cleanUp removes what bench registered, also after an interrupt.
func (b *bench) cleanUp(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for n := range b.all {
		if e := b.client.Deregister(ctx, b.all[n].Key()); e != nil {
			if err == nil {
				err = fmt.Errorf("the instances of %s could not all be removed, and will be when their leases end: %w", benchService, e)
			}
			break
		}
	}
	return err
}

// summary computes percentiles.
func summary(work string, took []time.Duration) figure {
	f := figure{Work: work, Count: len(took)}
	if len(took) == 0 {
		return f
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[min(len(took)-1, int(share*float64(len(took))))].Microseconds()) / 1000
	}
	f.P50, f.P99, f.Worst = at(0.5), at(0.99), at(1)
	return f
}

func (e *env) figures(rows []figure) error {
	t := e.table("WORK", "PER SECOND", "P50 MS", "P99 MS", "MAX MS", "COUNT")
	for _, f := range rows {
		rate := ""
		if f.Second > 0 {
			rate = fmt.Sprintf("%.0f", f.Second)
		}
		t.row(f.Work, rate, fmt.Sprintf("%.2f", f.P50), fmt.Sprintf("%.2f", f.P99), fmt.Sprintf("%.2f", f.Worst), fmt.Sprint(f.Count))
	}
	return t.flush()
}
