package balancer

import "time"

// The order: golden is 2⁶⁴ divided by the golden ratio.
const golden = 0x9E3779B97F4A7C15

// Probes. Pool, age, quantile and the number for each pick are Prequal's.
const (
	probesPerPick = 3
	poolSize      = 16
	probeAge      = time.Second
	hotQuantile   = 0.84
	// recent is of how many answers the quantiles are.
	recent = 128
	// lookAhead is how many turns ahead an instance is probed: the picks that may
	// come while a probe is on its way.
	lookAhead = 4
	// mostDue bounds, in thousandths, what is due when nobody asks what to probe.
	mostDue = 64_000
	// Who is beyond the median in flight and so many times the median latency does
	// not get its turn. More would spare the tail less, less would take turns from
	// instances that are no worse than their hardware.
	turnQuantile = 0.5
	turnLatency  = 1.5
)

// What the caller's own requests show.
const (
	// decay is the time after which an old average has lost all but 1/e of its say;
	// a new value has at least a share of it, which is larger where there is little
	// to know. That a peak counted whole, as Finagle has it, made the tail no shorter.
	decay          = 10 * time.Second
	latencyLeast   = 0.1
	failedLeast    = 0.2
	failedLeastAll = 0.01
	// leaveFor is how many times as costly an instance must look as another before
	// the other takes its turn. What a caller sees alone is little, and latencies of
	// single requests differ as much: below it chance would decide.
	leaveFor = 1.5
	tries    = 4
	// An instance is shunned while the share of failures is beyond shunFloor and
	// shunTimes that of the whole service.
	shunFloor = 0.1
	shunTimes = 1.5
)

// Ejection, as the registry does it for all callers (Envoy's rule of failures in
// a row).
const (
	ejectAfter  = 5
	hardCount   = 3 // what one counts that shows that nobody is there
	ejectFor    = 30 * time.Second
	tryFor      = 10 * time.Second // how long nothing else is sent to one who is back
	ejectMost   = 300 * time.Second
	ejectShare  = 0.1 // of the service, at least one
	ejectJitter = 0.1
)

// overprovision is how many times its healthy share a ring takes (Envoy's 140 %).
const overprovision = 1.4
