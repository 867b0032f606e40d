package rollcall

import "time"

// Explanation says, for each instance of a service, why it is in the answer to
// one query, or is not.
type Explanation struct {
	Namespace string    `json:"namespace"`
	Service   string    `json:"service"`
	Revision  Revision  `json:"revision"`
	At        time.Time `json:"at,omitzero"` // the past that was asked about
	Panic     bool      `json:"panic"`
	Guard     *Guard    `json:"guard,omitempty"` // on the service, or else on everything
	// Total is how many match; Instances are all there are, those of the answer
	// first and in its order.
	Total     int      `json:"total"`
	Instances []Reason `json:"instances"`
}

// Reason says why one instance is in an answer or is not.
type Reason struct {
	// Namespace and Service are set where instances of several services may answer:
	// that of a named query.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	ID        string `json:"id"`
	In        bool   `json:"in"`
	// EffectiveWeight is its share of the traffic, of one that is in.
	EffectiveWeight uint16 `json:"effective_weight,omitempty"`
	// Why is the deciding reason, in words.
	Why    string `json:"why"`
	Health Health `json:"health"`
	// Evidence is all that is known for and against it, newest first.
	Evidence []Evidence `json:"evidence,omitempty"`
	Override *Override  `json:"override,omitempty"`
}

// Evidence is one thing that is known of an instance.
type Evidence struct {
	// Source is the slot it comes from: lease, status, drain, callers, flap, or
	// check/NAME.
	Source Slot      `json:"source"`
	Status Status    `json:"status"`
	Reason string    `json:"reason,omitempty"`
	Hard   bool      `json:"hard,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}
