package simulation

import (
	"time"

	"github.com/rollcall-registry/rollcall"
)

// World is what happens to instances, their network and the registry. Rates are
// so many a day for each victim; lengths are drawn evenly between two bounds.
//
// Where rates of failures were published, they are those of J. Dean, "Designs,
// Lessons and Advice from Building Large Distributed Systems" (LADIS 2009), for a
// cluster of some 1,800 machines in its first year, thirty times as often: a day
// here has the accidents of a month. More accidents are to Rollcall's
// disadvantage, since heartbeats are lost all the time anyway.
type World struct {
	Instances int
	Length    time.Duration
	TTL       time.Duration // of every lease; beats come every third of it

	// Loss is the share of heartbeats that are lost, on LossyHosts of all hosts. With
	// Packets it is packets that are lost: TCP repeats them under a heartbeat
	// as it does under a session.
	Loss, LossyHosts float64
	Packets          bool

	Starvation    Accident // of a host: whatever its processes do comes late
	Lateness      Span     // by so much, each time
	ClientPause   Accident // of an instance
	RegistryPause Accident
	CutOne        Accident // from an instance to the registry
	CutRack       Accident
	CutZone       Accident
	CutAll        Accident
	ProcessCrash  Accident // for as long as it takes to be started again
	HostDeath     Accident
}

// Accident is how often something happens to each victim, and how long it lasts.
type Accident struct {
	PerDay float64
	Lasts  Span
}

// Span is what a length is drawn from.
type Span struct{ Least, Most time.Duration }

// Day returns the world that the two sides are compared in.
func Day(instances int, length time.Duration) World {
	return World{
		Instances: instances, Length: length,
		TTL: rollcall.DefaultTTL,

		// As the goal has it: much, such as on a wireless or an overbooked link.
		Loss: 0.05, LossyHosts: 1,

		// Quotas of containers and noisy neighbours: twice a day, for minutes.
		Starvation: Accident{2, Span{30 * time.Second, 5 * time.Minute}},
		// Callers give up after some seconds, and an answer takes at least two turns of
		// a process: to read and to write. One that is later is slow and not responsive;
		// that is what pauses are for.
		Lateness: Span{250 * time.Millisecond, 2500 * time.Millisecond},
		// A virtual machine that moves, a collector, a debugger: each instance every
		// fifth day.
		ClientPause: Accident{0.2, Span{20 * time.Second, 20 * time.Second}},
		// The registry's own machine moves or its disk hangs, twice a day.
		RegistryPause: Accident{2, Span{20 * time.Second, 20 * time.Second}},

		// A port, a cable, a table of connections that is full: as often as single
		// machines fail, of which there were 1,000 a year.
		CutOne: Accident{0.05, cuts},
		// 20 failures of racks and 5 that became unreliable a year, of 45 racks.
		CutRack: Accident{0.05, cuts},
		// 8 works on the network and 3 failures of routers a year, of 3 zones.
		CutZone: Accident{0.3, cuts},
		// 12 routers that were started anew and dozens of half-minute blips a year.
		CutAll: Accident{3, cuts},

		// Every fifth month each, were there no acceleration; deploys say goodbye.
		ProcessCrash: Accident{0.2, Span{time.Minute, 5 * time.Minute}},
		// 1,000 a year, as above.
		HostDeath: Accident{0.05, Span{5 * time.Minute, 20 * time.Minute}},
	}
}

// cuts last from below a TTL to eight times it: what routing takes to converge,
// and what somebody takes to notice.
var cuts = Span{10 * time.Second, 2 * time.Minute}

// Lossy returns a world of bad nodes and a starved registry, and nothing else: a
// fifth of packets, or of whole heartbeats, lost on a twentieth of the hosts, and
// every few seconds the registry hangs for a while, often for less than it takes
// for a pause.
func Lossy(instances int, length time.Duration, packets bool) World {
	return World{
		Instances: instances, Length: length, TTL: rollcall.DefaultTTL,
		Loss: 0.2, LossyHosts: 0.05, Packets: packets,
		RegistryPause: Accident{24 * 60 * 6, Span{100 * time.Millisecond, 3 * time.Second}},
	}
}

const (
	// services, over which instances are spread evenly; a host has no two
	// instances of a service.
	services = 10
	perHost  = 4

	jitter = 0.2 // of the time between beats, either way

	// How Rollcall's Go client tries again (package client): an attempt that hangs is
	// given up after attempt; the first pause, from its beginning, is drawn from the
	// upper half of retryLeast, the next from that of twice as long, up to a period. A
	// lost heartbeat is one that hangs: that is when it costs most.
	attempt    = time.Second
	retryLeast = 500 * time.Millisecond

	// How it keeps a session: a stream without a ping for pingsMissed of them is left,
	// one that lasted for steady is opened anew at once.
	pingsMissed   = 3
	steady        = time.Second
	reopenLeast   = 50 * time.Millisecond
	reopenMost    = 2 * time.Second
	dialTimeout   = 5 * time.Second
	answerTimeout = 10 * time.Second

	// Linux: what is not acknowledged is sent again after 200 ms, then twice as long
	// each time; the first packet of a connection after 1 s. What a process left
	// behind is given up after some minutes.
	retransmit     = 200 * time.Millisecond
	retransmitSYN  = time.Second
	retransmitMost = 10 // times

	// The registry's probes of those who fell silent (package judge): as many at once
	// as it makes, and waiting as it has room for.
	probers       = 64
	probesWaiting = 4096
	probeTimeout  = time.Second
)

// racks are the shares of hosts in racks, and how many of these each zone has:
// two racks are beyond a guard's share of a service, the others below.
var (
	racks = []float64{0.20, 0.16, 0.12, 0.10, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.02, 0.01}
	zones = []int{3, 3, 6}
)
