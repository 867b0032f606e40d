package balance

import "time"

// Everything that the figures depend on, apart from the policies themselves, is
// in this file. Where the testbed of "Load is not what you should balance" (NSDI
// 2024, section 5) says how it was, it is like that here: 100 servers and 100
// callers, a tenth of a machine allocated to each server, load beyond it served
// from what the machine's other tenants leave, a deadline of 5 s.
const (
	servers = 100
	callers = 100

	// allocation is how many cores each server is sure of, machine how many there
	// are. A request keeps one core busy at most.
	allocation = 4.0
	machine    = 40.0

	// A request takes so much of a core on average. It is log-normal, with a standard
	// deviation as large as its mean, cut at twenty times it: one in a hundred takes
	// five times the mean.
	meanCost  = 0.060 // seconds
	costSigma = 0.8326
	costMost  = 20.0

	// deadline is when a caller gives a request up and its server drops it.
	deadline = 5 * time.Second

	// One way through the network: log-normal, 0.15 ms in the median, 1 ms once in a
	// hundred, at most 5 ms.
	wayMedian = 150 * time.Microsecond
	waySigma  = 0.8
	wayMost   = 5 * time.Millisecond
)

// Machines are of three generations: how fast a core is, and how many of them
// there are.
var generations = []struct{ speed, share float64 }{{0.85, 0.25}, {1, 0.5}, {1.15, 0.25}}

// What the other tenants of a machine want, as a share of it: a level for each
// machine, drawn evenly between two bounds, and above or below it a deviation that
// is drawn anew, normally, again and again. Beyond 0.9 the server is held to its
// allocation: so are a sixth of the machines at a time, some for good.
const (
	tenantsLeast, tenantsMost = 0.40, 1.00
	tenantsDeviation          = 0.10
	tenantsHold               = 2 * time.Second // on average, exponential
)

// A run begins cold: nobody has a weight, a probe or an average. What is measured
// are the requests that are sent, and the work that is done, within window after
// settle.
const (
	settle = 30 * time.Second
	window = 60 * time.Second
)

// idle is the utilisation of a server that has nothing to do.
const idle = 0.01

// askDelay is how long it takes to ask the registry whom to send a request to.
const askDelay = 500 * time.Microsecond

// Loads are the shares of all allocations that the policies are compared at.
var Loads = []float64{0.7, 0.8, 0.9, 1.03, 1.15, 1.3, 1.5}

// The registry takes reports and publishes weights so often. They come to callers
// on their streams at once.
const publish = time.Second

// A server that is new takes coldCost times as much for a request at first (empty
// caches, code that is not compiled yet), less and less for coldFor. The registry
// gives it less weight for warmup.
const (
	coldCost = 3.0
	coldFor  = 20 * time.Second
	warmup   = 30 * time.Second
)
