// Package bench measures a running server as a Go program sees it: what
// "rollcall bench" does.
package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// Service is the service that instances are registered of.
const Service = "rollcall-bench"

// Bench says how to measure a server.
type Bench struct {
	Client      *client.Client
	Each        time.Duration // how long each kind of work is measured
	Connections int           // requests under way
	Instances   int
	Progress    func(line string) // is told how far it is, "" at the end of each kind of work

	all []rollcall.Instance
}

// Figure is what was measured of one kind of work.
type Figure struct {
	Work   string  `json:"work"`
	Count  int     `json:"count"`
	Second float64 `json:"per_second"` // 0: one at a time, so that only latency counts
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Worst  float64 `json:"max_ms"`
}

// Run measures, and removes what it registered.
func (b *Bench) Run(ctx context.Context) (rows []Figure, err error) {
	run := strings.ToLower(rand.Text()[:6])
	for n := range b.Instances {
		b.all = append(b.all, rollcall.Instance{
			Service: Service, ID: fmt.Sprintf("%s-%d", run, n), Address: "192.0.2.1", Ports: map[string]uint16{"http": 8080},
			Metadata: map[string]string{"made-by": "rollcall bench", "round": "0"},
			Lease:    rollcall.Lease{TTL: rollcall.Duration(2 * time.Minute), RemoveAfter: rollcall.Duration(10 * time.Second)},
		})
	}
	defer func() { err = b.cleanUp(ctx, err) }()
	if _, err := b.Client.RegisterMany(ctx, b.all); err != nil {
		return nil, err
	}
	for _, work := range []struct {
		name string
		do   func(ctx context.Context, n int) (count int, err error)
	}{
		{"change", b.change},
		{"renew", func(ctx context.Context, n int) (int, error) {
			_, err := b.Client.Heartbeat(ctx, b.all[n%len(b.all)].Key(), rollcall.Report{})
			return 1, err
		}},
		{"renew many", b.renewMany},
		{"find ten", func(ctx context.Context, n int) (int, error) {
			_, err := b.Client.Resolve(ctx, rollcall.Query{Service: Service, Limit: 10})
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
func (b *Bench) change(ctx context.Context, n int) (int, error) {
	i := b.all[n%len(b.all)]
	i.Metadata = map[string]string{"made-by": "rollcall bench", "round": fmt.Sprint(n + 1)}
	_, err := b.Client.Put(ctx, i)
	return 1, err
}

func (b *Bench) renewMany(ctx context.Context, n int) (int, error) {
	rs := make([]rollcall.Renew, min(1000, len(b.all)))
	for i := range rs {
		rs[i].Key = b.all[(n+i)%len(b.all)].Key()
	}
	_, err := b.Client.RenewMany(ctx, rs)
	return len(rs), err
}

// measure has as many callers as there are connections do work for a while.
func (b *Bench) measure(ctx context.Context, name string, do func(ctx context.Context, n int) (int, error)) (Figure, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	took := make([][]time.Duration, b.Connections)
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(b.Each)
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
		return Figure{}, err
	}
	f := summary(name, slices.Concat(took...))
	f.Count = int(done.Load())
	f.Second = float64(f.Count) / time.Since(start).Seconds()
	return f, nil
}

// progress shows on a terminal how far a kind of work is, until it is done.
func (b *Bench) progress(name string, start time.Time, done *atomic.Int64, finished <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.Progress(fmt.Sprintf("%s: %d in %v of %v", name, done.Load(), time.Since(start).Round(100*time.Millisecond), b.Each))
		case <-finished:
			b.Progress("")
			return
		}
	}
}

// seen measures from sending a change until a watcher has it.
func (b *Bench) seen(ctx context.Context) (Figure, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rounds := make(chan string, 1024)
	failed := make(chan error, 1)
	go func() {
		for ev, err := range b.Client.Watch(ctx, rollcall.Query{Service: Service}) {
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
		return Figure{}, err
	}
	var took []time.Duration
	i := b.all[0]
	for start := time.Now(); time.Since(start) < b.Each; {
		round := fmt.Sprint("seen-", len(took))
		i.Metadata = map[string]string{"made-by": "rollcall bench", "round": round}
		sent := time.Now()
		if _, err := b.Client.Put(ctx, i); err != nil {
			return Figure{}, err
		}
		if err := wait(round); err != nil {
			return Figure{}, err
		}
		took = append(took, time.Since(sent))
		b.Progress(fmt.Sprintf("seen: %d in %v of %v", len(took), time.Since(start).Round(100*time.Millisecond), b.Each))
	}
	b.Progress("")
	return summary("seen", took), nil
}

// cleanUp removes what bench registered, also after an interrupt.
func (b *Bench) cleanUp(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for n := range b.all {
		if e := b.Client.Deregister(ctx, b.all[n].Key()); e != nil {
			if err == nil {
				err = fmt.Errorf("the instances of %s could not all be removed, and will be when their leases end: %w", Service, e)
			}
			break
		}
	}
	return err
}

// summary computes percentiles.
func summary(work string, took []time.Duration) Figure {
	f := Figure{Work: work, Count: len(took)}
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
