package rollcall

import "time"

// LeaseMode says what keeps an instance's lease.
type LeaseMode string

const (
	// LeaseTTL is renewed by heartbeats.
	LeaseTTL LeaseMode = "ttl"
	// LeaseSession is bound to an open stream.
	LeaseSession LeaseMode = "session"
	// LeaseNone never lapses: an operator's entry, which only checks judge.
	LeaseNone LeaseMode = "none"
)

// Bounds and defaults of leases.
const (
	DefaultTTL         = 15 * time.Second
	MinTTL             = 2 * time.Second
	MaxTTL             = 24 * time.Hour
	DefaultRemoveAfter = time.Minute
	MaxRemoveAfter     = 30 * 24 * time.Hour
)

// Lease is an instance's promise to be heard from.
type Lease struct {
	// Mode is [LeaseTTL] if empty.
	Mode LeaseMode `json:"mode,omitempty"`
	// TTL is how long the registry waits to hear from the instance before it is
	// marked unhealthy: [MinTTL] to [MaxTTL], default [DefaultTTL].
	TTL Duration `json:"ttl,omitempty"`
	// RemoveAfter is how long a lapsed instance stays listed, marked, before it
	// is removed: 0 < RemoveAfter ≤ [MaxRemoveAfter], default
	// [DefaultRemoveAfter].
	RemoveAfter Duration `json:"remove_after,omitempty"`
}
