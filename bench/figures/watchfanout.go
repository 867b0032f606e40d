package figures

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/driver/etcd"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T5: of 9,500 watchers of one service, with a connection each, the last one has a change
// at most 200 ms after it was sent.
var watchFanout = Figure{
	Name: "watch-fanout",
	What: "one change of a service of 100 instances, until the last of many watchers has it",
	Rows: fanoutRows(),
	Run: func(b *Bench) error {
		for _, n := range fanoutWatchers {
			if err := b.fanout(fanoutRow(n), n); err != nil {
				return err
			}
			b.end()
		}
		return nil
	},
}

var fanoutWatchers = []int{1000, 5000, 9500}

// fanoutRate is how many changes there are a second: far enough from each other for all to
// have each.
const fanoutRate = 4

func fanoutRow(watchers int) string { return fmt.Sprintf("watch-fanout-%d", watchers) }

func fanoutRows() (rows []report.Row) {
	for _, n := range fanoutWatchers {
		rows = append(rows, report.Row{Name: fanoutRow(n), Unit: "until the last has it", Value: "last_ms", Goals: []report.Goal{
			report.AtMost("last_ms", 200), report.AtMost("worst_ms", 200), report.CompareMore("etcd", "last_ms"),
		}})
	}
	return rows
}

// fanout measures one number of watchers.
func (b *Bench) fanout(row string, watchers int) error {
	s, err := b.Start()
	if err != nil {
		return err
	}
	n := newNews(watchedInstances)
	if err := b.fillWatched(s, n); err != nil {
		return err
	}
	g, err := b.watchers(s, watchers, driver.Watched)
	if err != nil {
		return err
	}
	l := wire.Load{Addr: s.Addr, Conns: 2, Even: true, Source: n.source(driver.RollcallNews(s.Addr))}
	sides := []Side{fanoutSide("rollcall", s, g, n, func(w load.Window) (*load.Result, error) {
		l.Window, l.Rate = w, fanoutRate
		return l.Run()
	})}
	peer, err := b.etcdFanout(watchers)
	if err != nil {
		return err
	}
	p := Params{"watchers": watchers, "connections": watchers, "instances": watchedInstances, "changes_per_second": fanoutRate}
	return b.Interleave(row, p, append(sides, peer...)...)
}

// fanoutSide returns a side that makes changes and looks when the last of a crowd has it.
func fanoutSide(name string, s Server, g gathered, n *news, change func(load.Window) (*load.Result, error)) Side {
	return Side{name, func(w load.Window) (report.Sample, error) {
		w = load.Window{Length: w.Ramp + w.Length} // they come from the begin
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			start := time.Now()
			r, err := change(w)
			if err != nil {
				return report.Sample{}, err
			}
			due := n.take(start, time.Now())
			all, err := g.seenAll(due, 5*time.Second)
			if err != nil {
				return report.Sample{}, err
			}
			each, missing := took(due, all, g.Conns)
			if missing > 0 || len(each) == 0 {
				return report.Sample{}, fmt.Errorf("%d of %d changes were not seen by all", missing, len(due))
			}
			ack := float64(r.Latency.Quantile(0.99)) / 1e6
			r.Latency = histogram(each)
			sample := report.Of(r, 1)
			sample.More = map[string]float64{
				"last_ms":  float64(each[len(each)/2]) / 1e6,
				"worst_ms": float64(each[len(each)-1]) / 1e6,
				"changes":  float64(len(each)), "ack_p99_ms": ack,
			}
			return sample, nil
		}, g.Server)
	}}
}

// etcdFanout returns a side of as many watchers of etcd.
func (b *Bench) etcdFanout(watchers int) ([]Side, error) {
	s, c, ok, err := b.etcd()
	if !ok {
		return nil, err
	}
	for i := range watchedInstances {
		if err := c.News(i, 0); err != nil {
			return nil, err
		}
	}
	g, err := b.gather(crowd{Addr: s.Addr, Conns: watchers, Etcd: true})
	if err != nil {
		return nil, err
	}
	n := newNews(watchedInstances)
	return []Side{fanoutSide("etcd", s, g, n, func(w load.Window) (*load.Result, error) {
		return n.etcd(c, w, fanoutRate)
	})}, nil
}

// etcd makes changes in etcd at even distances, one after the other.
func (n *news) etcd(c *etcd.Client, w load.Window, rate float64) (*load.Result, error) {
	start := time.Now()
	var ack load.Histogram
	r := load.Workers(1, w, func(_, i int) error {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		defer func() { ack.Record(time.Since(due)) }()
		n.mu.Lock()
		n.next++
		change := n.next
		n.mu.Unlock()
		n.sent(change, due)
		return c.News(change%n.instances, change)
	})
	r.Latency = ack
	return r, nil
}

// fillWatched registers the watched service.
func (b *Bench) fillWatched(s Server, n *news) error {
	b.progress("registering %d instances that are watched", n.instances)
	t := driver.RollcallNews(s.Addr)
	for i := range n.instances {
		if _, _, err := wire.Once(s.Addr, t.Append(nil, i, 0)); err != nil {
			return err
		}
	}
	return nil
}
