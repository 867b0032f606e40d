// Package simulation measures how often liveness is wrong, and how late it is
// right. In virtual time it has a thousand instances live through a day of lost
// heartbeats, starved hosts, pauses, cuts and crashes, before three registries
// that see the same accidents: one with a plain TTL; Rollcall's leases and guard
// ([lease.Table], [lease.Guard]) with heartbeats; and the same with sessions. What
// is between these in a server (package judge) and what clients do is repeated
// here in short.
//
// A removal is false if the instance runs, and is not paused, at the moment at
// which it leaves answers. One that is paused answers nobody: to leave then is
// right, and to be still out when the pause is over is no second removal. Whoever
// is suspect stays in answers, behind the others: that is counted by its duration.
// A cut is of the way from an instance to the registry alone; its callers reach it,
// so that its removal is false, though nobody at the registry can know. The rule
// on panic, which would serve some of those anyway, is not simulated.
//
// What is sent arrives at once. All that a run finds follows from its seed.
package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// instance is what is true of one.
type instance struct {
	key              rollcall.Key
	host, rack, zone int
	lossy            bool
	run              uint32 // which of its processes
	down, paused     bool
	hostDown         bool
	until            [causes]time.Duration // up to when the last accident of each kind lasts
}

// actor is told of the events that it asked for, and of what becomes of
// instances.
type actor interface {
	act(e event)
	// start says that an instance runs (again).
	start(i int32)
	// stop says that it does not any more; if its host does not either, nobody
	// closes its connections.
	stop(i int32)
	figures() *side
}

// sim is one run. It is used by one goroutine.
type sim struct {
	World
	now       time.Duration
	queue     queue
	instances []instance
	hosts     [][]int32         // which instances each has
	places    [causes][][]int32 // which instances each place that can be cut off has
	frozen    time.Duration     // until when the registry is paused
	actors    []actor
}

// Run has a world happen.
func Run(w World, seed uint64) Result {
	s := &sim{World: w}
	s.settle(rand.New(rand.NewPCG(seed, 0)))
	accidents := &accidents{sim: s, id: 3, rng: rand.New(rand.NewPCG(seed, 1))}
	sides := []actor{newPlain(s, 0, seed), newBeats(s, 1, seed), newSessions(s, 2, seed)}
	s.actors = sides
	for i := range s.instances {
		for _, a := range sides {
			a.start(int32(i))
		}
	}
	accidents.begin()
	for {
		e := s.queue.pop()
		if e.at() >= w.Length {
			break
		}
		if e.at() < s.frozen && e.kind >= ofRegistry {
			e.order = order(s.frozen, e.class())
			s.queue.push(e)
			continue
		}
		s.now = e.at()
		if e.to == accidents.id {
			accidents.act(e)
		} else {
			sides[e.to].act(e)
		}
	}
	s.now = w.Length
	r := Result{World: w, Seed: seed, Accidents: accidents.counts}
	for _, a := range sides {
		r.Sides = append(r.Sides, a.figures().finish())
	}
	return r
}

// settle puts the instances on hosts, these into racks, and these into zones.
func (s *sim) settle(rng *rand.Rand) {
	s.instances = make([]instance, s.Instances)
	s.hosts = make([][]int32, (s.Instances+perHost-1)/perHost)
	bad := int(s.LossyHosts*float64(len(s.hosts)) + 0.5)
	lossy := map[int]bool{}
	for _, h := range rng.Perm(len(s.hosts))[:bad] {
		lossy[h] = true
	}
	s.places[CutOne] = make([][]int32, s.Instances)
	s.places[CutRack] = make([][]int32, len(racks))
	s.places[CutZone] = make([][]int32, len(zones))
	s.places[CutAll] = make([][]int32, 1)
	for i := range s.instances {
		in := &s.instances[i]
		in.key = rollcall.NewKey("", fmt.Sprintf("service-%d", i%services), fmt.Sprintf("i-%04d", i))
		in.host = i / perHost
		in.lossy = lossy[in.host]
		in.rack, in.zone = place(float64(in.host) / float64(len(s.hosts)))
		for c := range in.until {
			in.until[c] = -1
		}
		id := int32(i)
		s.hosts[in.host] = append(s.hosts[in.host], id)
		s.places[CutOne][i] = []int32{id}
		s.places[CutRack][in.rack] = append(s.places[CutRack][in.rack], id)
		s.places[CutZone][in.zone] = append(s.places[CutZone][in.zone], id)
		s.places[CutAll][0] = append(s.places[CutAll][0], id)
	}
}

// place returns the rack and the zone of the host that stands behind a share of
// all hosts.
func place(behind float64) (rack, zone int) {
	for end := racks[0]; rack < len(racks)-1 && behind >= end-1e-9; end += racks[rack] {
		rack++
	}
	for end := zones[0]; rack >= end; end += zones[zone] {
		zone++
	}
	return rack, zone
}

// well reports whether an instance runs and answers.
func (s *sim) well(i int32) bool { return !s.instances[i].down && !s.instances[i].paused }

// cut reports whether nothing gets from an instance to the registry.
func (s *sim) cut(i int32) bool {
	u := &s.instances[i].until
	return max(u[CutOne], u[CutRack], u[CutZone], u[CutAll]) > s.now
}

// cause returns why the registry may not have heard an instance since then: the
// greatest accident that lasted at the time or came later.
func (s *sim) cause(i int32, heard time.Duration) Cause {
	for c := causes - 1; c > Loss; c-- {
		if s.instances[i].until[c] >= heard {
			return c
		}
	}
	return Loss
}
