package rollcall

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits bound what one registration may hold.
type Limits struct {
	Capabilities int // pairs, default 64
	Metadata     int // pairs, default 64
	ValueBytes   int // of one capability, metadata value or other text, default 512
	Ports        int // default 32
	Checks       int // default 16
}

// DefaultLimits returns the limits that hold unless configured.
func DefaultLimits() Limits {
	return Limits{Capabilities: 64, Metadata: 64, ValueBytes: 512, Ports: 32, Checks: 16}
}

// MaxName is how many bytes the name of a service, a namespace, a port, a check, a
// capability or a metadata pair has at most.
const MaxName = 128

const (
	maxID      = 256
	maxAddress = 253 // a DNS name
)

// CheckName reports what is wrong with a service's, namespace's, port's or
// check's name, given in a field.
func CheckName(field, name string) error {
	switch {
	case name == "":
		return Invalid(field, "is required")
	case len(name) > MaxName:
		return Invalid(field, fmt.Sprintf("is %d bytes long; at most %d are allowed", len(name), MaxName))
	case !alphanumeric(name[0]):
		return Invalid(field, fmt.Sprintf("%.140q must begin with a letter or digit", name))
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return Invalid(field, fmt.Sprintf("%.140q may hold only letters, digits, '-', '_' and '.'", name))
		}
	}
	return nil
}

// CheckID reports what is wrong with an instance's id.
func CheckID(field, id string) error {
	switch {
	case id == "":
		return Invalid(field, "is required")
	case len(id) > maxID:
		return Invalid(field, fmt.Sprintf("is %d bytes long; at most %d are allowed", len(id), maxID))
	}
	for i := range len(id) {
		if id[i] < 0x20 || id[i] > 0x7e {
			return Invalid(field, fmt.Sprintf("%.260q may hold only printable ASCII", id))
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Normalize fills in the defaults: namespace, lease mode and times, weight.
func (i *Instance) Normalize() {
	if i.Namespace == "" {
		i.Namespace = DefaultNamespace
	}
	if i.Lease.Mode == "" {
		i.Lease.Mode = LeaseTTL
	}
	if i.Lease.Mode != LeaseNone {
		if i.Lease.TTL == 0 {
			i.Lease.TTL = Duration(DefaultTTL)
		}
		if i.Lease.RemoveAfter == 0 {
			i.Lease.RemoveAfter = Duration(DefaultRemoveAfter)
		}
	}
	if i.Weight == nil {
		i.Weight = new(uint16(DefaultWeight))
	}
}

// Validate reports the first thing that is wrong with a normalized instance,
// as an [*Error] that names the field.
func (i *Instance) Validate(l Limits) error {
	v := validator{limits: l}
	v.add(CheckName("namespace", i.Namespace))
	v.add(CheckName("service", i.Service))
	v.add(CheckID("id", i.ID))
	v.address(i.Address)
	v.count("ports", len(i.Ports), l.Ports)
	for name, port := range i.Ports {
		if port == 0 || CheckName("", name) != nil {
			field := fmt.Sprintf("ports.%.140s", name)
			v.add(CheckName(field, name))
			v.fail(field, "is 0; a port is 1 to 65535")
		}
	}
	v.text("version", i.Version)
	v.text("node", i.Node)
	v.text("locality.region", i.Locality.Region)
	v.text("locality.zone", i.Locality.Zone)
	v.text("locality.sub_zone", i.Locality.SubZone)
	v.position(i.Position)
	v.count("capabilities", len(i.Capabilities), l.Capabilities)
	for name, c := range i.Capabilities {
		v.capability(name, c)
	}
	v.count("metadata", len(i.Metadata), l.Metadata)
	for name, m := range i.Metadata {
		v.label("metadata", name)
		v.entry("metadata", name, m)
	}
	v.within("warmup", i.Warmup, 0, Duration(MaxTTL))
	v.lease(i.Lease)
	v.count("checks", len(i.Checks), l.Checks)
	for n, c := range i.Checks[:min(len(i.Checks), l.Checks)] {
		field := fmt.Sprintf("checks[%d]", n)
		v.check(field, c)
		if slices.ContainsFunc(i.Checks[:n], func(o Check) bool { return o.Name == c.Name }) {
			v.fail(field+".name", fmt.Sprintf("%q is already the name of another check", c.Name))
		}
	}
	return v.err
}

// validator keeps the first error.
type validator struct {
	limits Limits
	err    error
}

func (v *validator) add(err error) {
	if v.err == nil && err != nil {
		v.err = err
	}
}

func (v *validator) fail(field, detail string) {
	if v.err == nil {
		v.err = Invalid(field, detail)
	}
}

func (v *validator) count(field string, n, limit int) {
	if n > limit {
		v.fail(field, fmt.Sprintf("has %d entries; at most %d are allowed", n, limit))
	}
}

func (v *validator) text(field, s string) {
	switch {
	case len(s) > v.limits.ValueBytes:
		v.fail(field, fmt.Sprintf("is %d bytes long; at most %d are allowed", len(s), v.limits.ValueBytes))
	case !utf8.ValidString(s):
		v.fail(field, "is not valid UTF-8")
	}
}

// entry checks a text in a map, whose full name costs something to make up.
func (v *validator) entry(field, name, s string) {
	if len(s) > v.limits.ValueBytes || !utf8.ValidString(s) {
		v.text(field+"."+name, s)
	}
}

// label checks the name of a capability or metadata pair.
func (v *validator) label(field, name string) {
	switch {
	case name == "":
		v.fail(field, "has an entry without a name")
	case len(name) > MaxName:
		v.fail(field, fmt.Sprintf("has a name of %d bytes; at most %d are allowed", len(name), MaxName))
	case !utf8.ValidString(name):
		v.fail(field, "has a name that is not valid UTF-8")
	}
}

func (v *validator) address(a string) {
	ip, err := netip.ParseAddr(a)
	isIP := err == nil && (ip.Zone() == "" || hostName(ip.Zone())) // a zone may be any bytes to netip
	switch {
	case a == "":
	case len(a) > maxAddress:
		v.fail("address", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(a), maxAddress))
	case !isIP && !hostName(a):
		v.fail("address", fmt.Sprintf("%.260q is neither an IP address nor a host name; ports go into \"ports\"", a))
	}
}

func hostName(s string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func (v *validator) position(p *Position) {
	if p == nil {
		return
	}
	if !(math.Abs(p.Lat) <= 90) {
		v.fail("position.lat", fmt.Sprintf("is %v; a latitude is -90 to 90", p.Lat))
	}
	if !(math.Abs(p.Lon) <= 180) {
		v.fail("position.lon", fmt.Sprintf("is %v; a longitude is -180 to 180", p.Lon))
	}
}

func (v *validator) capability(name string, c Value) {
	v.label("capabilities", name)
	if c.Kind() != KindList {
		v.scalar(name, &c)
		return
	}
	size := len(c.List())
	for i := range c.List() {
		e := &c.List()[i]
		v.scalar(name, e)
		size += len(e.Text())
	}
	if size > v.limits.ValueBytes {
		v.fail("capabilities."+name, fmt.Sprintf("is longer than %d bytes in all", v.limits.ValueBytes))
	}
}

// scalar checks a capability's value, or one element of it.
func (v *validator) scalar(name string, e *Value) {
	switch n := e.Number(); {
	case e.Kind() == KindNone, e.Kind() == KindList:
		v.fail("capabilities."+name, "is neither a boolean, a number, a string nor a list of these")
	case math.IsNaN(n) || math.IsInf(n, 0):
		v.fail("capabilities."+name, fmt.Sprintf("is %v; a number must be finite", n))
	}
	v.entry("capabilities", name, e.Text())
}

func (v *validator) lease(l Lease) {
	switch l.Mode {
	case LeaseTTL, LeaseSession:
		v.within("lease.ttl", l.TTL, Duration(MinTTL), Duration(MaxTTL))
		v.within("lease.remove_after", l.RemoveAfter, 1, Duration(MaxRemoveAfter))
	case LeaseNone:
		if l.TTL != 0 || l.RemoveAfter != 0 {
			v.fail("lease", "of mode none takes neither ttl nor remove_after")
		}
	default:
		v.fail("lease.mode", fmt.Sprintf("%.40q is not a lease mode: use ttl, session or none", l.Mode))
	}
}

func (v *validator) within(field string, d, least, most Duration) {
	if d < least || d > most {
		v.fail(field, fmt.Sprintf("is %v; %v to %v are allowed", d, least, most))
	}
}

func (v *validator) check(field string, c Check) {
	v.add(CheckName(field+".name", c.Name))
	switch c.Type {
	case CheckTTL:
		v.within(field+".ttl", c.TTL, Duration(MinCheckTTL), Duration(MaxTTL))
		if c.Target != "" || c.Interval != 0 || c.Timeout != 0 || c.Rise != 0 || c.Fall != 0 {
			v.fail(field, "is of type ttl, which takes only name, ttl and deregister_after")
		}
	case CheckHTTP, CheckHTTPS, CheckTCP, CheckGRPC, CheckExec:
		if c.TTL != 0 {
			v.fail(field+".ttl", "belongs to checks of type ttl")
		}
		v.text(field+".target", c.Target)
		if _, err := c.ParseTarget(); err != nil {
			v.fail(field+".target", err.(*Error).Detail)
		}
		full := c.WithDefaults()
		v.within(field+".interval", full.Interval, Duration(MinCheckInterval), Duration(MaxTTL))
		v.within(field+".timeout", full.Timeout, 1, Duration(MaxCheckTimeout))
		if full.Timeout >= full.Interval {
			v.fail(field+".timeout", fmt.Sprintf("is %v; it must be less than the interval of %v", full.Timeout, full.Interval))
		}
		for name, n := range map[string]int{".rise": c.Rise, ".fall": c.Fall} {
			if n < 0 || n > 100 {
				v.fail(field+name, fmt.Sprintf("is %d; 0 to 100 are allowed", n))
			}
		}
	default:
		v.fail(field+".type", fmt.Sprintf("%.40q is not a check type: use ttl, http, https, tcp, grpc or exec", c.Type))
	}
	v.within(field+".deregister_after", c.DeregisterAfter, 0, Duration(MaxRemoveAfter))
}

// Validate reports what is wrong with s, as an [*Error] that names the field.
func (s *Settings) Validate() error {
	var v validator
	if s.DNSTTL != nil {
		v.within("dns_ttl", *s.DNSTTL, 0, Duration(3600e9))
	}
	share := func(field string, f *float64, most float64) {
		if f != nil && !(*f >= 0 && *f <= most) {
			v.fail(field, fmt.Sprintf("is %v; 0 to %v are allowed", *f, most))
		}
	}
	share("guard_share", s.GuardShare, 1)
	share("panic", s.Panic, 1)
	share("position_rate", s.PositionRate, 1e6)
	return v.err
}

// Validate reports what is wrong with o at a time, as an [*Error] that names the
// field.
func (o *Override) Validate(l Limits, now time.Time) error {
	switch {
	case len(o.Reason) > l.ValueBytes:
		return Invalid("reason", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(o.Reason), l.ValueBytes))
	case o.Status == 0:
		return Invalid("status", "is required: one of healthy, degraded, suspect, starting, unhealthy, draining")
	case o.Expires != nil && o.Expires.Before(now):
		return Invalid("expires", "is in the past")
	}
	return nil
}

// Validate reports what is wrong with r, as an [*Error] that names the field.
// Which checks the instance has it does not know.
func (r *Report) Validate(l Limits) error {
	v := validator{limits: l}
	v.text("note", r.Note)
	for name, c := range r.Checks {
		if c.Status != Healthy && c.Status != Degraded && c.Status != Unhealthy {
			v.fail("checks."+name+".status", "must be healthy, degraded or unhealthy")
		}
		v.text("checks."+name+".note", c.Note)
	}
	if r.Status == Suspect {
		v.fail("status", "suspect is the registry's to say; use starting, healthy, degraded, unhealthy or draining")
	}
	v.soft("", r.Load, r.Position)
	return v.err
}

// Validate reports what is wrong with what n says beside being alive, as an
// [*Error] that names the field, which begins with a prefix.
func (n *Renew) Validate(prefix string) error {
	var v validator
	v.soft(prefix, n.Load, n.Position)
	return v.err
}

func (v *validator) soft(prefix string, l *Load, p *Position) {
	if p != nil && !(math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180) {
		v.fail(prefix+"position", fmt.Sprintf("%v, %v is not a latitude (-90 to 90) and longitude (-180 to 180)", p.Lat, p.Lon))
	}
	if l == nil {
		return
	}
	for _, n := range [...]struct {
		name string
		is   float64
	}{
		{"utilization", l.Utilization}, {"in_flight", float64(l.InFlight)}, {"rps", l.RPS}, {"errors", l.Errors},
		{"latency_p50_ms", l.LatencyP50}, {"latency_p99_ms", l.LatencyP99},
	} {
		if !(n.is >= 0 && n.is <= 1e12) {
			v.fail(prefix+"load."+n.name, fmt.Sprintf("is %v; 0 and up are allowed", n.is))
		}
	}
}

const (
	maxReportWindow = Duration(60e9)
	maxOutcomes     = 1000
	maxRequests     = 1_000_000_000 // of one kind to one instance
)

// Validate reports what is wrong with r, as an [*Error] that names the field.
func (r *CallerReport) Validate() error {
	var v validator
	v.add(CheckID("caller", r.Caller))
	v.within("window", r.Window, 1, maxReportWindow)
	v.count("instances", len(r.Instances), maxOutcomes)
	for n := 0; n < len(r.Instances) && v.err == nil; n++ {
		v.outcome(n, &r.Instances[n])
	}
	return v.err
}

func (v *validator) outcome(n int, o *Outcome) {
	// Names are made up for what is wrong alone: there are many outcomes.
	field := func(name string) string { return fmt.Sprintf("instances[%d].%s", n, name) }
	if CheckID("", o.ID) != nil {
		v.add(CheckID(field("id"), o.ID))
	}
	count := func(name string, x int) {
		if x < 0 || x > maxRequests {
			v.fail(field(name), fmt.Sprintf("is %d; 0 to %d are allowed", x, maxRequests))
		}
	}
	latency := func(name string, ms float64) {
		if !(ms >= 0 && ms <= math.MaxFloat64) {
			v.fail(field(name), fmt.Sprintf("is %v; a latency is 0 or more milliseconds", ms))
		}
	}
	count("ok", o.OK)
	count("errors", o.Errors)
	count("in_flight", o.InFlight)
	latency("latency_p50_ms", o.LatencyP50)
	latency("latency_p99_ms", o.LatencyP99)
}
