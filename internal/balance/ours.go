package balance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
)

// ours is package balancer, fed by the simulation.
type ours struct {
	*sim
	b         *balancer.Balancer
	endpoints []balancer.Endpoint
	index     map[string]int32
	asked     []balancer.Probe // the last probe of each server
}

var errFailed = errors.New("failed")

func newOurs(s *sim, r *rand.Rand, zone string, probes float64) policy {
	o := &ours{sim: s, index: map[string]int32{}, asked: make([]balancer.Probe, len(s.servers))}
	for i := range s.servers {
		o.index[fmt.Sprint(i)] = int32(i)
	}
	o.b = balancer.New(balancer.Options{
		Locality: locality(zone), Probes: probes,
		Now:  func() time.Duration { return s.now },
		Rand: r.Uint64,
	})
	return o
}

func locality(zone string) rollcall.Locality {
	if zone == "" {
		return rollcall.Locality{}
	}
	return rollcall.Locality{Region: "here", Zone: zone}
}

func (o *ours) update(weights []uint16) {
	o.endpoints = o.endpoints[:0]
	for i := range o.servers {
		if sv := &o.servers[i]; sv.listed {
			o.endpoints = append(o.endpoints, balancer.Endpoint{ID: fmt.Sprint(i), Weight: weights[i], Registered: rollcall.DefaultWeight, Locality: locality(sv.zone), Down: sv.dead})
		}
	}
	o.b.Update(o.endpoints)
}

func (o *ours) pick() (int32, balancer.Pick) {
	p, ok := o.b.Pick()
	if !ok {
		panic("nobody to pick")
	}
	return o.index[p.ID()], p
}

func (o *ours) done(_ int32, p balancer.Pick, _ time.Duration, failed bool) {
	if failed {
		p.Done(errFailed)
		return
	}
	p.Done(nil)
}

func (o *ours) probes(to []int32) []int32 {
	for {
		p, ok := o.b.Probe()
		if !ok {
			return to
		}
		i := o.index[p.ID()]
		o.asked[i] = p
		to = append(to, i)
	}
}

func (o *ours) answer(server, inFlight int32, latency time.Duration) {
	o.asked[server].Answer(int(inFlight), latency)
}
