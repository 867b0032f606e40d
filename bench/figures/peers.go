package figures

import (
	"encoding/json"
	"os"
	"sync/atomic"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/driver/etcd"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Peers are compared with if somebody has started them, or lets us. They may have it
// easier than Rollcall, never harder: they hold fewer services, and nothing changes while
// they are read.

// peerServices is how many services a peer holds for the figures that read.
const peerServices = 100

// consul returns Consul and its driver; ok is false if there is none.
func (b *Bench) consul(mode string) (s Server, d driver.HTTP, ok bool) {
	return Server{Name: "consul", Addr: b.Consul.Addr, PID: b.Consul.PID}, driver.Consul(b.Consul.Addr, mode), b.Consul.Addr != ""
}

// consulRegister returns a side that registers with Consul's catalog; none if there is no
// Consul.
func (b *Bench) consulRegister(conns int, ids func() (int, int)) []Side {
	s, d, ok := b.consul("")
	if !ok {
		return nil
	}
	return []Side{s.Side(d.Name, 1, wire.Load{Conns: conns, Source: one(d.Register, ids)})}
}

// consulResolve fills Consul and returns a side that reads its agent's cache.
func (b *Bench) consulResolve(conns, each int) ([]Side, error) {
	s, d, ok := b.consul("cached")
	if !ok {
		return nil, nil
	}
	f := fleet{services: peerServices, instances: peerServices * each}
	if err := b.fillEach(s, f, d.Register); err != nil {
		return nil, err
	}
	return []Side{s.Side(d.Name, 1, wire.Load{Conns: conns, Source: one(d.Resolve, f.zipf())})}, nil
}

// consulRenew registers some instances with Consul's agent and returns a side that renews
// their checks. They are few because registering takes the agent long; it renews the
// faster.
func (b *Bench) consulRenew(conns int) ([]Side, error) {
	s, d, ok := b.consul("")
	if !ok {
		return nil, nil
	}
	f := fleet{services: 10, instances: 1000}
	if err := b.fillEach(s, f, driver.ConsulAgentRegister(s.Addr)); err != nil {
		return nil, err
	}
	return []Side{s.Side(d.Name, 1, wire.Load{Conns: conns, Source: one(d.Heartbeat, f.turn())})}, nil
}

// fillEach registers a fleet one by one.
func (b *Bench) fillEach(s Server, f fleet, t wire.Template) error {
	b.progress("registering %d instances with %s", f.instances, s.Name)
	if f.instances == 0 {
		return nil
	}
	r, err := wire.Load{Addr: s.Addr, Conns: 16, Total: f.instances, Source: one(t, f.turn())}.Run()
	if err == nil {
		err = r.Err
	}
	return err
}

// etcdServer is the role of an etcd.
type etcdServer struct{ Dir string }

func serveEtcd(config []byte) (any, error) {
	var c etcdServer
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	return nil, etcd.Serve(c.Dir, child.Ready)
}

// etcd connects to etcd; ok is false if there is none.
func (b *Bench) etcd() (s Server, c *etcd.Client, ok bool, err error) {
	switch {
	case b.Etcd.Addr != "":
		s = Server{Name: "etcd", Addr: b.Etcd.Addr, PID: b.Etcd.PID}
	case b.Embed:
		dir, err := os.MkdirTemp(b.dir, "etcd-")
		if err != nil {
			return s, nil, false, err
		}
		if s, err = b.Child("etcd", "etcd", etcdServer{dir}); err != nil {
			return s, nil, false, err
		}
	default:
		return s, nil, false, nil
	}
	c, err = etcd.Dial(s.Addr, 8, 1000)
	if err == nil {
		b.later(c.Close)
	}
	return s, c, err == nil, err
}

// calls returns a side of so many workers that call a function in a closed loop.
func (s Server) calls(name string, workers int, call func(worker, n int) error) Side {
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			return report.Of(load.Workers(workers, w, call), 1), nil
		})
	}}
}

// etcdRegister returns sides that put instances, with one lease for all and with one each.
func (b *Bench) etcdRegister(conns, services int) ([]Side, error) {
	s, c, ok, err := b.etcd()
	if !ok {
		return nil, err
	}
	var last atomic.Int64
	put := func(register func(worker, service, id int) error) func(worker, n int) error {
		return func(worker, _ int) error {
			id := int(last.Add(1))
			return register(worker, id%services, id)
		}
	}
	return []Side{s.calls("etcd", conns, put(c.Register)), s.calls("etcd-leased", conns, put(c.RegisterLeased))}, nil
}

// etcdResolve fills etcd and returns a side that reads it.
func (b *Bench) etcdResolve(conns, each int) ([]Side, error) {
	s, c, ok, err := b.etcd()
	if !ok {
		return nil, err
	}
	b.progress("registering %d instances with etcd", peerServices*each)
	for id := range peerServices * each {
		if err := c.Register(id, id%peerServices, id); err != nil {
			return nil, err
		}
	}
	return []Side{s.calls("etcd", conns, func(worker, n int) error { return c.Resolve(worker, (worker+n)%peerServices) })}, nil
}

// etcdRenew returns a side that renews leases.
func (b *Bench) etcdRenew(conns int) ([]Side, error) {
	s, c, ok, err := b.etcd()
	if !ok {
		return nil, err
	}
	return []Side{s.calls("etcd", conns, func(worker, n int) error { return c.Heartbeat(worker, worker*16+n) })}, nil
}
