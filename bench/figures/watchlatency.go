package figures

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T5: a watcher has a change with a median of at most 1 ms and a p99 of at most 5 ms from
// when it was to be sent, however many other instances there are.
var watchLatency = Figure{
	Name: "watch-latency",
	What: "100 registrations a second, each from when it is due until a watcher has it",
	Rows: watchLatencyRows(),
	Run: func(b *Bench) error {
		for _, n := range watchLatencySizes {
			if err := b.watchLatency(watchLatencyRow(n), n); err != nil {
				return err
			}
			b.end()
		}
		return nil
	},
}

var watchLatencySizes = []int{0, 10_000, 100_000}

const watchLatencyRate = 100

func watchLatencyRow(instances int) string { return fmt.Sprintf("watch-latency-%d", instances) }

func watchLatencyRows() (rows []report.Row) {
	for _, n := range watchLatencySizes {
		rows = append(rows, report.Row{Name: watchLatencyRow(n), Unit: "changes", Goals: []report.Goal{
			report.P50(1), report.P99(5), report.Show("ack_p99_ms"), report.CompareP99("etcd"), report.CompareP99("consul"),
		}})
	}
	return rows
}

// watchLatency measures with so many instances of other services.
func (b *Bench) watchLatency(row string, instances int) error {
	f := fleet{services: 1000, instances: instances}
	s, err := b.Start()
	if err != nil {
		return err
	}
	if err := b.fill(s, f); err != nil {
		return err
	}
	n := newNews(watchedInstances)
	if err := b.fillWatched(s, n); err != nil {
		return err
	}
	a := newArrived()
	streams := wire.Streams{
		Addr: s.Addr, Conns: 1,
		Request: func(int) []byte { return driver.RollcallWatch(s.Addr, driver.Watched).Append(nil, 0, 0) },
		Line: func(_ int, line []byte, at time.Time) {
			if n, ok := markOf(line); ok && recordType(line) == "put" {
				a.add(n, at)
			}
		},
		Ended: func(_ int, err error) { b.progress("the watch ended: %v", err) },
	}
	if err := streams.Open(); err != nil {
		return err
	}
	go streams.Run()
	b.later(streams.Stop)
	l := wire.Load{Addr: s.Addr, Conns: 8, Rate: watchLatencyRate, Source: n.source(driver.RollcallNews(s.Addr))}
	run := func(l wire.Load) func(w load.Window) (*load.Result, error) {
		return func(w load.Window) (*load.Result, error) { l.Window = w; return l.Run() }
	}
	sides := []Side{latencySide("rollcall", s, n, a, run(l))}
	peer, err := b.etcdLatency(f)
	if err != nil {
		return err
	}
	sides = append(sides, peer...)
	if peer, err = b.consulLatency(f, run); err != nil {
		return err
	}
	p := Params{"instances_beside": instances, "instances": watchedInstances, "watchers": 1, "rate": watchLatencyRate, "arrivals": "poisson"}
	return b.Interleave(row, p, append(sides, peer...)...)
}

// arrived notes when a watcher in this process has had a change.
type arrived struct {
	mu sync.Mutex
	at map[int]time.Time
}

func newArrived() *arrived { return &arrived{at: map[int]time.Time{}} }

func (a *arrived) add(change int, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.at[change]; !ok {
		a.at[change] = at
	}
}

// latencySide returns a side that makes changes and counts, instead of how long each took,
// how long it was until a watcher had it. One that never came has the age it has at the
// end.
func latencySide(name string, s Server, n *news, a *arrived, change func(load.Window) (*load.Result, error)) Side {
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			begin := time.Now().Add(w.Ramp)
			r, err := change(w)
			if err != nil {
				return report.Sample{}, err
			}
			due := n.take(begin, begin.Add(w.Length))
			ack := r.Latency
			r.Latency = load.Histogram{}
			for left := 100; left > 0 && a.missing(due) > 0; left-- {
				time.Sleep(20 * time.Millisecond)
			}
			a.mu.Lock()
			for n, was := range due {
				at, ok := a.at[n]
				if !ok {
					r.Unanswered, at = r.Unanswered+1, time.Now()
				}
				r.Latency.Record(at.Sub(was))
			}
			clear(a.at)
			a.mu.Unlock()
			sample := report.Of(r, 1)
			sample.More = map[string]float64{"ack_p50_ms": float64(ack.Quantile(0.5)) / 1e6, "ack_p99_ms": float64(ack.Quantile(0.99)) / 1e6}
			return sample, nil
		})
	}}
}

func (a *arrived) missing(due map[int]time.Time) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for change := range due {
		if _, ok := a.at[change]; !ok {
			n++
		}
	}
	return n
}

// etcdLatency returns a side of a watcher of etcd.
func (b *Bench) etcdLatency(f fleet) ([]Side, error) {
	s, c, ok, err := b.etcd()
	if !ok {
		return nil, err
	}
	b.progress("registering %d instances with etcd", f.instances)
	if err := c.Fill(f.services, f.instances); err != nil {
		return nil, err
	}
	n, a := newNews(watchedInstances), newArrived()
	ctx, cancel := context.WithCancel(context.Background())
	b.later(cancel)
	c.Watch(ctx, 1, func(value []byte) {
		now := time.Now()
		if n, ok := markOf(value); ok {
			a.add(n, now)
		}
	})
	return []Side{latencySide("etcd", s, n, a, func(w load.Window) (*load.Result, error) { return n.etcd(c, w, watchLatencyRate) })}, nil
}

// consulLatency returns a side of a watcher of Consul, which asks again and again for an
// answer that is newer than the one before.
func (b *Bench) consulLatency(f fleet, run func(wire.Load) func(load.Window) (*load.Result, error)) ([]Side, error) {
	s, d, ok := b.consul("")
	if !ok {
		return nil, nil
	}
	if err := b.fillEach(s, f, d.Register); err != nil {
		return nil, err
	}
	n, a := newNews(watchedInstances), newArrived()
	ctx, cancel := context.WithCancel(context.Background())
	b.later(cancel)
	go func() {
		for index := ""; ctx.Err() == nil; {
			body, at, next, err := consulBlock(ctx, s.Addr, index)
			if err != nil {
				b.progress("the watch of Consul failed: %v", err)
				return
			}
			for _, n := range marksOf(body) {
				a.add(n, at)
			}
			index = next
		}
	}()
	l := wire.Load{Addr: s.Addr, Conns: 8, Rate: watchLatencyRate, Source: n.source(driver.ConsulNews(s.Addr))}
	return []Side{latencySide("consul", s, n, a, run(l))}, nil
}

// consulBlock asks for the watched service once it is newer than an index. The time is
// that at which the whole answer was there.
func consulBlock(ctx context.Context, host, index string) (body []byte, at time.Time, next string, err error) {
	url := "http://" + host + "/v1/health/service/" + driver.Watched + "?passing&wait=60s&index=" + index
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, at, "", err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, at, "", err
	}
	defer reply.Body.Close()
	if body, err = io.ReadAll(reply.Body); err == nil && !json.Valid(body) {
		err = fmt.Errorf("%s: %.100s", reply.Status, body)
	}
	return body, time.Now(), reply.Header.Get("X-Consul-Index"), err
}
