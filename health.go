package rollcall

import (
	"fmt"
	"strings"
	"time"
)

// Status is a verdict on an instance. Statuses are ordered from best to worst,
// except for Draining, which is a wish and not a fault.
type Status uint8

// The statuses. The zero Status is "not judged" and is never shown.
const (
	_ Status = iota
	Healthy
	Degraded
	Suspect
	Starting
	Unhealthy
	Draining
)

var statusNames = [...]string{"", "healthy", "degraded", "suspect", "starting", "unhealthy", "draining"}

// Statuses lists all statuses, best first.
func Statuses() []Status {
	return []Status{Healthy, Degraded, Suspect, Starting, Unhealthy, Draining}
}

// ParseStatus reads a status's name.
func ParseStatus(s string) (Status, error) {
	for i, n := range statusNames {
		if i > 0 && n == s {
			return Status(i), nil
		}
	}
	return 0, fmt.Errorf("%.40q is not a status: use one of %s", s, strings.Join(statusNames[1:], ", "))
}

// String returns the status's name.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Routable reports whether a resolver returns instances of this status while it
// has others: healthy and degraded ones.
func (s Status) Routable() bool { return s == Healthy || s == Degraded }

// Usable reports whether a resolver returns instances of this status at all:
// suspect ones too, behind all that are routable.
func (s Status) Usable() bool { return s.Routable() || s == Suspect }

// MarshalText implements [encoding.TextMarshaler].
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Status) UnmarshalText(b []byte) (err error) {
	*s, err = ParseStatus(string(b))
	return err
}

// Health is the verdict on an instance and the checks behind it.
type Health struct {
	Status Status        `json:"status"`
	Reason string        `json:"reason,omitempty"`
	Since  time.Time     `json:"since"`
	Checks []CheckResult `json:"checks,omitempty"`
}

// CheckResult is the standing of one check.
type CheckResult struct {
	Name   string    `json:"name"`
	Status Status    `json:"status"`
	Output string    `json:"output,omitempty"`
	Since  time.Time `json:"since"`
}

// Slot names one source of evidence about an instance.
type Slot string

// The slots. A check's slot is [CheckSlot] of its name.
const (
	SlotLease   Slot = "lease"   // whether its lease or session is kept
	SlotStatus  Slot = "status"  // what it says of itself with its renewals
	SlotDrain   Slot = "drain"   // it was asked to finish
	SlotCallers Slot = "callers" // what its callers report
	SlotFlap    Slot = "flap"    // its verdict changed too often to be followed
)

// CheckSlot returns the slot of the check called name.
func CheckSlot(name string) Slot { return Slot("check/" + name) }

// Check returns the name of the check whose slot s is.
func (s Slot) Check() (name string, ok bool) { return strings.CutPrefix(string(s), "check/") }

// Finding is what one source says of an instance. A source that finds it
// healthy need not be listed.
type Finding struct {
	Slot   Slot
	Status Status
	Reason string
	// Hard says that the source has seen the instance fail: its session broke,
	// its port refused a connection, it said goodbye. Silence and time-outs, which
	// may as well be the network's, are not hard.
	Hard  bool
	Since time.Time
}

// Override is an operator's verdict; it stands above all findings until it is
// taken back or expires, and survives re-registration.
type Override struct {
	Status  Status     `json:"status"`
	Reason  string     `json:"reason,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	// By and Since are the registry's.
	By    string    `json:"by,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Judge weighs findings into one verdict; it is the only place that does.
//
// An override decides alone. A lapsed lease or broken session comes next, since
// nothing else that is known of the instance is current. Then drain, which is
// kept apart from faults. Otherwise the worst finding decides, and without any
// the instance is healthy. The reason names the slot it comes from.
func Judge(findings []Finding, o *Override) (Status, string) {
	if o != nil {
		return o.Status, reason("override", o.Reason)
	}
	worst, drain := Finding{Status: Healthy}, Finding{}
	for _, f := range findings {
		switch {
		case f.Slot == SlotLease && f.Status == Unhealthy:
			return Unhealthy, reason(string(f.Slot), f.Reason)
		case f.Status == Draining:
			drain = f
		case f.Status > worst.Status:
			worst = f
		}
	}
	if drain.Status == Draining {
		return Draining, reason(string(drain.Slot), drain.Reason)
	}
	if worst.Status == Healthy {
		return Healthy, ""
	}
	return worst.Status, reason(string(worst.Slot), worst.Reason)
}

func reason(source, text string) string {
	if text == "" {
		return source
	}
	return source + ": " + text
}
