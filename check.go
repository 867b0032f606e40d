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

// Bounds and defaults of probed checks.
const (
	DefaultCheckInterval = 10 * time.Second
	MinCheckInterval     = time.Second
	DefaultCheckTimeout  = time.Second
	MaxCheckTimeout      = time.Minute
	DefaultRise          = 2
	DefaultFall          = 3
)

// Check is one rule by which an instance's health is judged.
type Check struct {
	// Name is unique within the instance, written like a service name.
	Name string    `json:"name"`
	Type CheckType `json:"type"`
	// TTL is within what time a ttl check must be reported again.
	TTL Duration `json:"ttl,omitempty"`
	// What follows belongs to probed checks. Target is where the probe goes, see
	// [Check.ParseTarget].
	Target string `json:"target,omitempty"`
	// Interval is from one probe to the next: [MinCheckInterval] to [MaxTTL],
	// default [DefaultCheckInterval].
	Interval Duration `json:"interval,omitempty"`
	// Timeout is how long a probe waits for its answer, less than Interval and at
	// most [MaxCheckTimeout]; the default is [DefaultCheckTimeout] or half of
	// Interval, whichever is less.
	Timeout Duration `json:"timeout,omitempty"`
	// Rise and Fall are how many probes in a row must find the instance better or
	// worse than it stands before that counts, 1 to 100, default [DefaultRise] and
	// [DefaultFall]. The first probe counts at once.
	Rise int `json:"rise,omitempty"`
	Fall int `json:"fall,omitempty"`
	// DeregisterAfter removes an instance whose check has failed for so long;
	// 0 means never.
	DeregisterAfter Duration `json:"deregister_after,omitempty"`
}

// Probed reports whether the registry carries the check out, rather than wait
// for the instance's own reports.
func (c *Check) Probed() bool { return c.Type != CheckTTL }

// WithDefaults returns the check with what was left out of a probed one filled
// in.
func (c Check) WithDefaults() Check {
	if !c.Probed() {
		return c
	}
	if c.Interval == 0 {
		c.Interval = Duration(DefaultCheckInterval)
	}
	if c.Timeout == 0 {
		c.Timeout = min(Duration(DefaultCheckTimeout), c.Interval/2)
	}
	if c.Rise == 0 {
		c.Rise = DefaultRise
	}
	if c.Fall == 0 {
		c.Fall = DefaultFall
	}
	return c
}

// Same reports whether c and o are carried out alike, so that what one has found
// holds for the other: they are equal with defaults filled in, whatever
// DeregisterAfter. A probed check is another one all the same once the address or
// the ports of its instance have changed.
func (c Check) Same(o Check) bool {
	c, o = c.WithDefaults(), o.WithDefaults()
	c.DeregisterAfter, o.DeregisterAfter = 0, 0
	return c == o
}
