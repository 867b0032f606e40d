package rollcall

import "time"

// Instance is one running copy of a service: what it says of itself, followed
// by what the registry adds.
type Instance struct {
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service"`
	ID        string `json:"id"`
	// Address is an IP address or host name; empty means "where this
	// registration came from".
	Address string `json:"address,omitempty"`
	// Ports maps a port's name to its number, 1 to 65535.
	Ports    map[string]uint16 `json:"ports,omitempty"`
	Version  string            `json:"version,omitempty"`
	Node     string            `json:"node,omitempty"`
	Locality Locality          `json:"locality,omitzero"`
	Position *Position         `json:"position,omitempty"`
	// Capabilities are typed facts that callers select on.
	Capabilities map[string]Value `json:"capabilities,omitempty"`
	// Metadata is carried along for whoever can read it.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Weight is the share of traffic relative to the service's other
	// instances, 0 to 65535; nil means [DefaultWeight], 0 "no new traffic".
	Weight *uint16 `json:"weight,omitempty"`
	// Capacity is the number of requests it can serve at once; 0 is unknown.
	Capacity uint32 `json:"capacity,omitempty"`
	// Warmup is how long it takes to reach its full weight after it became
	// healthy; 0 means at once.
	Warmup Duration `json:"warmup,omitempty"`
	Lease  Lease    `json:"lease,omitzero"`
	Checks []Check  `json:"checks,omitempty"`

	// What follows is the registry's and ignored in a registration.

	Health *Health `json:"health,omitempty"`
	// Origin is the door through which it was registered.
	Origin string `json:"origin,omitempty"`
	// Vouched: it was registered from the very address it names, so that a probe
	// of that address reaches nothing but who asked for it.
	Vouched bool `json:"-"`
	// Revision is that of the last change to what was registered. Health has
	// times of its own.
	Revision Revision `json:"revision,omitempty"`
	// Incarnation is the revision at which it was last registered.
	Incarnation     Revision  `json:"incarnation,omitempty"`
	RegisteredAt    time.Time `json:"registered_at,omitzero"`
	EffectiveWeight *uint16   `json:"effective_weight,omitempty"` // its share of the traffic, relative to the others of the answer
	// Distance is how far it is from where an answer was asked to be near to, in
	// kilometres; nil where that is not known or not asked.
	Distance    *float64 `json:"distance_km,omitempty"`
	Load        *Load    `json:"load,omitempty"`
	Provisional bool     `json:"provisional,omitempty"`
}

// DefaultWeight is the weight of an instance that names none.
const DefaultWeight = 100

// DefaultPort is the name of a port that was given without one.
const DefaultPort = "default"

// Key returns the instance's key.
func (i *Instance) Key() Key { return NewKey(i.Namespace, i.Service, i.ID) }

// WeightOrDefault returns the weight, [DefaultWeight] if none was given.
func (i *Instance) WeightOrDefault() uint16 {
	if i.Weight == nil {
		return DefaultWeight
	}
	return *i.Weight
}

// Load is what an instance last said of its work: soft state, never logged.
type Load struct {
	// Utilization is the share of its capacity in use, 0 and up; 1 is full.
	Utilization float64 `json:"utilization,omitempty"`
	// InFlight is the number of requests being served.
	InFlight int `json:"in_flight,omitempty"`
	// RPS and Errors are requests and failed requests a second.
	RPS    float64 `json:"rps,omitempty"`
	Errors float64 `json:"errors,omitempty"`
	// LatencyP50 and LatencyP99 are in milliseconds.
	LatencyP50 float64 `json:"latency_p50_ms,omitempty"`
	LatencyP99 float64 `json:"latency_p99_ms,omitempty"`
}
