package figures

import (
	"math/rand/v2"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// one returns a source of requests of one template, for the instances that next names.
func one(t wire.Template, next func() (service, id int)) func(int) wire.Source {
	return func(int) wire.Source {
		return wire.Source{Next: func(dst []byte) ([]byte, int) {
			service, id := next()
			return t.Append(dst, service, id), service
		}}
	}
}

// batch makes requests that name many instances each.
type batch interface {
	Append(dst []byte, next func() (service, id int)) []byte
}

// many is [one] for batches.
func many(t batch, next func() (service, id int)) func(int) wire.Source {
	return func(int) wire.Source {
		return wire.Source{Next: func(dst []byte) ([]byte, int) { return t.Append(dst, next), 0 }}
	}
}

// fleet is the instances that a server holds: instance n belongs to service n modulo the
// number of services.
type fleet struct {
	services, instances int
}

// random names any of them, all alike.
func (f fleet) random() func() (service, id int) {
	rng := rand.New(rand.NewPCG(1, 2))
	return func() (int, int) {
		id := rng.IntN(f.instances)
		return id % f.services, id
	}
}

// turn names one after the other, again and again.
func (f fleet) turn() func() (service, id int) {
	id := 0
	return func() (int, int) {
		id = (id + 1) % f.instances
		return id % f.services, id
	}
}

// zipf names services as they are asked for where few of them are what most want.
func (f fleet) zipf() func() (service, id int) {
	z := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, uint64(f.services-1))
	return func() (int, int) { return int(z.Uint64()), 0 }
}

// fillBatch is how many instances are registered at once; fleets are multiples of it.
const fillBatch = 1000

// fill registers a fleet, in batches.
func (b *Bench) fill(s Server, f fleet) error {
	return b.fillWith(s, f, driver.RollcallRegisterBatch(s.Addr, fillBatch))
}

func (b *Bench) fillWith(s Server, f fleet, batch batch) error {
	if f.instances == 0 {
		return nil
	}
	b.progress("registering %d services with %d instances", f.services, f.instances)
	r, err := wire.Load{Addr: s.Addr, Conns: 2, Total: f.instances / fillBatch, Source: many(batch, f.turn())}.Run()
	if err == nil {
		err = r.Err
	}
	return err
}
