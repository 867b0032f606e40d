package rollcall

import "time"

// Report is what an instance may say with a renewal. All of it is optional, and
// none of it is logged unless it changes a verdict.
type Report struct {
	// Status is what the instance says of itself: healthy, degraded, starting,
	// unhealthy or draining. It holds until it says otherwise or registers anew.
	Status Status `json:"status,omitzero"`
	// Note is the reason that is shown with Status.
	Note string `json:"note,omitempty"`
	// Checks are results of its checks of type ttl, by name.
	Checks map[string]CheckReport `json:"checks,omitempty"`
	Load   *Load                  `json:"load,omitempty"`
	// Position is where it is now; see [Instance].
	Position *Position `json:"position,omitempty"`
}

// CheckReport is the result of one check.
type CheckReport struct {
	Status Status `json:"status"`
	Note   string `json:"note,omitempty"`
}

// Renewal answers a renewal.
type Renewal struct {
	// TTL is within what time the instance must be heard from again.
	TTL Duration `json:"ttl"`
	// Revision is the instance's.
	Revision Revision `json:"revision"`
}

// CallerReport is what one caller saw of the instances it called within a
// window of time: the raw material of passive health. It is soft state.
type CallerReport struct {
	// Caller names who called, stable over its reports: "web-1".
	Caller string `json:"caller"`
	// Window is what time the report covers, 0 < Window ≤ 1 min.
	Window Duration `json:"window"`
	// Instances are at most 1,000.
	Instances []Outcome `json:"instances"`
}

// Outcome is what one caller saw of one instance.
type Outcome struct {
	ID string `json:"id"`
	// OK and Errors count the requests that were answered and those that failed,
	// up to 1e9 of each.
	OK     int `json:"ok"`
	Errors int `json:"errors"`
	// LatencyP50 and LatencyP99 are in milliseconds.
	LatencyP50 float64 `json:"latency_p50_ms,omitempty"`
	LatencyP99 float64 `json:"latency_p99_ms,omitempty"`
	InFlight   int     `json:"in_flight,omitempty"`
}

// ServerStatus is what a server says of itself.
type ServerStatus struct {
	Version  string   `json:"version"`
	Store    string   `json:"store"`
	LogID    LogID    `json:"log_id"`
	Revision Revision `json:"revision"`
	// Synced: the log has been read; Settling: see [ErrSettling].
	Synced   bool `json:"synced"`
	Settling bool `json:"settling"`
	// Writable is false, with a reason, while the log takes no writes.
	Writable   bool           `json:"writable"`
	Reason     string         `json:"reason,omitempty"`
	Started    time.Time      `json:"started"`
	LogCreated time.Time      `json:"log_created"`
	AgeMS      int64          `json:"age_ms"`
	Services   int            `json:"services"`
	Instances  int            `json:"instances"`
	Health     map[Status]int `json:"health"`
	Watchers   int            `json:"watchers"`
	Sessions   int            `json:"sessions"`
	// Guards are those that are on, Panics the services in panic.
	Guards int `json:"guards"`
	Panics int `json:"panics"`
	// PausedMS is for how long in all the server is known to have been stopped, by
	// which deadlines were moved.
	PausedMS    int64  `json:"paused_ms"`
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Renew is one renewal of many.
type Renew struct {
	Key      Key
	Load     *Load
	Position *Position
}

// Registration is the outcome of one registration of many.
type Registration struct {
	Key      Key
	Created  bool
	Revision Revision
	Err      error
}

// InstanceFilter selects instances across services; empty fields select all.
type InstanceFilter struct {
	Namespace string
	Node      string
	Address   string
	Origin    string // the door that registered it
}

// EventFilter selects events; empty fields select all.
type EventFilter struct {
	Namespace string
	Service   string
	ID        string
	Since     time.Time // at or after
	Until     time.Time // before
}
