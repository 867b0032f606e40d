package figures

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T3: at least 85 % of a bare server that answers as many bytes, while 1,000 changes a
// second run; 15 times Consul's cached reads at 100 instances, 6 times at 10.
var resolve = Figure{
	Name: "resolve",
	What: "reads of one service out of 10,000, by a Zipf distribution, while instances change",
	Rows: resolveRows(),
	Run: func(b *Bench) error {
		for _, each := range []int{10, 100} {
			if err := b.resolve(each); err != nil {
				return err
			}
			b.end() // to make room
		}
		return nil
	},
}

const (
	resolveConns   = 64
	changesASecond = 1000
	changeConns    = 8 // one waits for its fsync while others send
)

func resolveRows() (rows []report.Row) {
	for _, each := range []int{10, 100} {
		name := resolveRow(each)
		timesConsul := map[int]float64{10: 6, 100: 15}[each]
		goals := []report.Goal{report.Share("bare", 0.85), report.Compare("bare-same-headers")}
		peers := []report.Goal{report.Share("consul-cached", timesConsul), report.Compare("etcd")}
		rows = append(rows,
			report.Row{Name: name, Unit: "replies", Goals: slices.Concat(goals, peers)},
			report.Row{Name: name + "-quiet", Unit: "replies", Goals: goals},
			report.Row{Name: name + "-gzip", Unit: "replies", Goals: goals},
			report.Row{Name: name + "-304", Unit: "replies", Goals: goals},
		)
	}
	return rows
}

func resolveRow(each int) string { return "resolve-" + strconv.Itoa(each) }

// resolve measures services of a size, in each way to ask for them.
func (b *Bench) resolve(each int) error {
	s, err := b.Start()
	if err != nil {
		return err
	}
	f := b.services(each)
	if err := b.fill(s, f); err != nil {
		return err
	}
	peers, err := b.resolvePeers(each)
	if err != nil {
		return err
	}
	for _, v := range []struct {
		suffix  string
		headers []string
		changes float64
	}{
		{"", nil, changesASecond},
		{"-quiet", nil, 0},
		{"-gzip", []string{"Accept-Encoding: gzip"}, changesASecond},
	} {
		t := driver.RollcallResolve(s.Addr, v.headers...)
		if err := b.resolveWay(s, f, resolveRow(each)+v.suffix, t.Append(nil, 0, 0), one(t, f.zipf()), v.changes, peers...); err != nil {
			return err
		}
		peers = nil // once is enough
	}
	known, _, err := wire.Once(s.Addr, driver.RollcallResolve(s.Addr).Append(nil, 0, 0))
	if err != nil {
		return err
	}
	t := driver.RollcallResolve(s.Addr, "If-None-Match: "+known.Header.Get("ETag"))
	return b.resolveWay(s, f, resolveRow(each)+"-304", t.Append(nil, 0, 0), revalidate(s.Addr, f), changesASecond)
}

// resolvePeers fills the peers that are there with services of a size.
func (b *Bench) resolvePeers(each int) ([]Side, error) {
	consul, err := b.consulResolve(resolveConns, each)
	if err != nil {
		return nil, err
	}
	etcd, err := b.etcdResolve(resolveConns, each)
	return append(consul, etcd...), err
}

// services returns 10,000 services of so many instances each; fewer if it is to be short.
func (b *Bench) services(each int) fleet {
	f := fleet{services: 10_000}
	if b.Short {
		f.services = 1000
	}
	f.instances = f.services * each
	return f
}

// resolveWay measures one way to ask, an example of which is given.
func (b *Bench) resolveWay(s Server, f fleet, row string, example []byte, source func(int) wire.Source, changes float64, peers ...Side) error {
	least, err := b.Bare(s, example, false)
	if err != nil {
		return err
	}
	defer b.Stop(least)
	same, err := b.Bare(s, example, true)
	if err != nil {
		return err
	}
	defer b.Stop(same)
	l := wire.Load{Conns: resolveConns, Source: source}
	ours := s.Side("rollcall", 1, l)
	if changes > 0 {
		ours = ours.beside(s.changes(f, changes))
	}
	sides := []Side{ours, least.Side("bare", 1, l), same.Side("bare-same-headers", 1, l)}
	sides = append(sides, peers...)
	_, body, err := wire.Once(s.Addr, example)
	if err != nil {
		return err
	}
	return b.Interleave(row, Params{
		"services": f.services, "instances": f.instances, "connections": resolveConns, "changes_per_second": changes,
		"distribution": "zipf 1.1", "reply_bytes": len(body),
	}, sides...)
}

// revalidate asks as caches do: each time with the ETag of the last answer.
func revalidate(host string, f fleet) func(int) wire.Source {
	before := wire.Parse("GET /api/v1/services/service-{service} HTTP/1.1\r\nHost: " + host + "\r\nIf-None-Match: ")
	etags := make([][]byte, f.services)
	return func(int) wire.Source {
		next := f.zipf()
		return wire.Source{
			Next: func(dst []byte) ([]byte, int) {
				service, _ := next()
				dst = before.Append(dst, service, 0)
				if etags[service] == nil {
					dst = append(dst, `"unknown"`...)
				}
				return append(append(dst, etags[service]...), "\r\n\r\n"...), service
			},
			Seen: func(service int, r *wire.Reply) {
				if r.Status != http.StatusNotModified {
					etags[service] = append(etags[service][:0], r.ETag...)
				}
			},
		}
	}
}

// changes is a load of so many changes a second that show in the answers: each gives any
// instance another weight.
func (s Server) changes(f fleet, rate float64) wire.Load {
	var weights [2]wire.Template
	for i := range weights {
		weights[i] = driver.RollcallChange(s.Addr, 50+i)
	}
	next, n := f.random(), 0
	return wire.Load{Addr: s.Addr, Conns: changeConns, Rate: rate, Source: func(int) wire.Source {
		return wire.Source{Next: func(dst []byte) ([]byte, int) {
			service, id := next()
			n++
			return weights[n/f.instances%2].Append(dst, service, id), 0
		}}
	}}
}

// beside returns a side that is measured while another load runs. How much of that was
// done is kept with the sample.
func (s Side) beside(other wire.Load) Side {
	return Side{s.Name, func(w load.Window) (report.Sample, error) {
		other.Window = load.Window{Ramp: w.Ramp, Length: w.Length}
		type outcome struct {
			r   *load.Result
			err error
		}
		ended := make(chan outcome, 1)
		go func() {
			r, err := other.Run()
			ended <- outcome{r, err}
		}()
		sample, err := s.Run(w)
		o := <-ended
		if err != nil {
			return sample, err
		}
		if o.err != nil {
			return sample, o.err
		}
		if sample.Error == "" && o.r.Err != nil {
			sample.Error = "beside: " + o.r.Err.Error()
		}
		sample.Failed += o.r.Failed
		sample.More = map[string]float64{
			"beside_per_second": float64(o.r.Done) / o.r.Length.Seconds(),
			"beside_p99_ms":     float64(o.r.Latency.Quantile(0.99)) / 1e6,
		}
		return sample, nil
	}}
}
