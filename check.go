package rollcall

import "time"

// CheckType says how a check is carried out.
type CheckType string

// Checks of type ttl are reported by the instance itself; the others are
// probes that the registry makes.
const (
	CheckTTL   CheckType = "ttl"
	CheckHTTP  CheckType = "http"
	CheckHTTPS CheckType = "https"
	CheckTCP   CheckType = "tcp"
	CheckGRPC  CheckType = "grpc"
	CheckExec  CheckType = "exec"
)

// MinCheckTTL is the shortest time within which a reported check may be asked
// to report.
const MinCheckTTL = time.Second

// Check is one rule by which an instance's health is judged.
type Check struct {
	// Name is unique within the instance, written like a service name.
	Name string    `json:"name"`
	Type CheckType `json:"type"`
	// TTL is within what time a ttl check must be reported again.
	TTL Duration `json:"ttl,omitempty"`
	// Target, Interval, Timeout, Rise and Fall belong to probed checks.
	Target   string   `json:"target,omitempty"`
	Interval Duration `json:"interval,omitempty"`
	Timeout  Duration `json:"timeout,omitempty"`
	Rise     int      `json:"rise,omitempty"`
	Fall     int      `json:"fall,omitempty"`
	// DeregisterAfter removes an instance whose check has failed for so long;
	// 0 means never.
	DeregisterAfter Duration `json:"deregister_after,omitempty"`
}
