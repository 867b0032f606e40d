package rollcall_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func long(n int) string { return strings.Repeat("x", n) }

func dur(d time.Duration) rollcall.Duration { return rollcall.Duration(d) }

// good is a registration that uses every limit up.
func good() rollcall.Instance {
	i := rollcall.Instance{
		Namespace: long(128), Service: "9" + long(127), ID: " ~" + long(254), Address: "payments.example.com.",
		Ports: map[string]uint16{}, Version: long(512), Node: long(512),
		Locality: rollcall.Locality{Region: long(512), Zone: long(512), SubZone: long(512)},
		Position: &rollcall.Position{Lat: -90, Lon: 180},
		Capabilities: map[string]rollcall.Value{
			"text": rollcall.String(long(512)), "list": rollcall.Strings(long(255), long(255)), "bool": rollcall.Bool(false),
			"number": rollcall.Number(math.MaxFloat64), "empty": rollcall.List(), "": {},
		},
		Metadata: map[string]string{},
		Warmup:   dur(24 * time.Hour),
		Lease:    rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: dur(24 * time.Hour), RemoveAfter: dur(30 * 24 * time.Hour)},
		Checks: []rollcall.Check{
			{Name: "report", Type: rollcall.CheckTTL, TTL: dur(24 * time.Hour), DeregisterAfter: dur(30 * 24 * time.Hour)},
			{Name: "ready", Type: rollcall.CheckHTTP, Target: "/" + long(511), Interval: dur(24 * time.Hour), Timeout: dur(time.Minute), Rise: 100, Fall: 100},
			{Name: "https", Type: rollcall.CheckHTTPS}, {Name: "tcp", Type: rollcall.CheckTCP},
			{Name: "grpc", Type: rollcall.CheckGRPC}, {Name: "exec", Type: rollcall.CheckExec, Target: "/bin/true"},
			{Name: "often", Type: rollcall.CheckTCP, Interval: dur(time.Second)}, {Name: "slow", Type: rollcall.CheckTCP, Timeout: dur(10*time.Second - 1)},
		},
	}
	delete(i.Capabilities, "")
	for n := range 32 {
		i.Ports[fmt.Sprintf("p%d", n)] = 65535
	}
	for n := range 64 {
		i.Metadata[fmt.Sprintf("m%d", n)] = long(512)
	}
	for n := range 64 - len(i.Capabilities) {
		i.Capabilities[fmt.Sprintf("c%d", n)] = rollcall.Bool(true)
	}
	for n := range 16 - len(i.Checks) {
		i.Checks = append(i.Checks, rollcall.Check{Name: fmt.Sprintf("c%d", n), Type: rollcall.CheckTTL, TTL: dur(time.Second)})
	}
	i.Normalize()
	return i
}

func TestValidateTakes(t *testing.T) {
	for name, change := range map[string]func(*rollcall.Instance){
		"all limits used up": func(i *rollcall.Instance) {},
		"the least":          func(i *rollcall.Instance) { *i = rollcall.Instance{Service: "s", ID: "i"}; i.Normalize() },
		"lease none":         func(i *rollcall.Instance) { i.Lease = rollcall.Lease{Mode: rollcall.LeaseNone} },
		"lease session":      func(i *rollcall.Instance) { i.Lease.Mode = rollcall.LeaseSession },
		"the shortest lease": func(i *rollcall.Instance) { i.Lease.TTL, i.Lease.RemoveAfter = dur(2*time.Second), 1 },
		"weight 0":           func(i *rollcall.Instance) { i.Weight = new(uint16(0)) },
		"IPv4":               func(i *rollcall.Instance) { i.Address = "10.0.0.1" },
		"IPv6":               func(i *rollcall.Instance) { i.Address = "2001:db8::1" },
		"IPv6 with a zone":   func(i *rollcall.Instance) { i.Address = "fe80::1%eth0.1" },
		"no address":         func(i *rollcall.Instance) { i.Address = "" },
		"one label":          func(i *rollcall.Instance) { i.Address = "web_1" },
		"the longest label":  func(i *rollcall.Instance) { i.Address = long(63) + ".a" },
		"the longest name":   func(i *rollcall.Instance) { i.Address = strings.Repeat("x.", 126) + "x" },
		"names of all kinds": func(i *rollcall.Instance) { i.Service = "a-B_c.9" },
		"the other corner":   func(i *rollcall.Instance) { i.Position = &rollcall.Position{Lat: 90, Lon: -180} },
	} {
		t.Run(name, func(t *testing.T) {
			i := good()
			change(&i)
			if err := i.Validate(rollcall.DefaultLimits()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestValidateRefuses has for every rule a registration that breaks it alone.
func TestValidateRefuses(t *testing.T) {
	type change = func(*rollcall.Instance)
	ports := func(name string, port uint16) change {
		return func(i *rollcall.Instance) { i.Ports = map[string]uint16{name: port} }
	}
	address := func(a string) change { return func(i *rollcall.Instance) { i.Address = a } }
	capability := func(name string, v rollcall.Value) change {
		return func(i *rollcall.Instance) { i.Capabilities = map[string]rollcall.Value{name: v} }
	}
	metadata := func(name, value string) change {
		return func(i *rollcall.Instance) { i.Metadata = map[string]string{name: value} }
	}
	position := func(lat, lon float64) change {
		return func(i *rollcall.Instance) { i.Position = &rollcall.Position{Lat: lat, Lon: lon} }
	}
	lease := func(l rollcall.Lease) change { return func(i *rollcall.Instance) { i.Lease = l } }
	ttl := rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: dur(time.Minute), RemoveAfter: dur(time.Minute)}
	leaseOf := func(f func(*rollcall.Lease)) change { l := ttl; f(&l); return lease(l) }
	report := rollcall.Check{Name: "c", Type: rollcall.CheckTTL, TTL: dur(time.Minute)}
	probe := rollcall.Check{Name: "c", Type: rollcall.CheckHTTP}
	check := func(c rollcall.Check, f func(*rollcall.Check)) change {
		f(&c)
		return func(i *rollcall.Instance) { i.Checks = []rollcall.Check{{Name: "first", Type: rollcall.CheckTCP}, c} }
	}
	utf8 := "not UTF-8: \xff"
	for _, tt := range []struct {
		name   string
		change change
		field  string
		detail string
	}{
		{"no namespace", func(i *rollcall.Instance) { i.Namespace = "" }, "namespace", "is required"},
		{"namespace", func(i *rollcall.Instance) { i.Namespace = "a b" }, "namespace", "may hold only"},
		{"no service", func(i *rollcall.Instance) { i.Service = "" }, "service", "is required"},
		{"long service", func(i *rollcall.Instance) { i.Service = long(129) }, "service", "129 bytes"},
		{"service begins with", func(i *rollcall.Instance) { i.Service = "-a" }, "service", "must begin"},
		{"service with a slash", func(i *rollcall.Instance) { i.Service = "a/b" }, "service", "may hold only"},
		{"service with ..", func(i *rollcall.Instance) { i.Service = ".." }, "service", "must begin"},
		{"service with an umlaut", func(i *rollcall.Instance) { i.Service = "aä" }, "service", "may hold only"},
		{"no id", func(i *rollcall.Instance) { i.ID = "" }, "id", "is required"},
		{"long id", func(i *rollcall.Instance) { i.ID = long(257) }, "id", "257 bytes"},
		{"id with a control character", func(i *rollcall.Instance) { i.ID = "a\x1f" }, "id", "printable ASCII"},
		{"id with DEL", func(i *rollcall.Instance) { i.ID = "a\x7f" }, "id", "printable ASCII"},
		{"id beyond ASCII", func(i *rollcall.Instance) { i.ID = "ä" }, "id", "printable ASCII"},

		{"address with a port", address("10.0.0.1:80"), "address", "neither"},
		{"address with a space", address("a b"), "address", "neither"},
		{"address with an empty label", address("a..b"), "address", "neither"},
		{"address that begins with -", address("-a.b"), "address", "neither"},
		{"address that ends with -", address("a-.b"), "address", "neither"},
		{"address with a long label", address(long(64) + ".b"), "address", "neither"},
		{"long address", address(strings.Repeat("x.", 126) + "xx"), "address", "254 bytes"},
		{"address of a dot", address("."), "address", "neither"},
		{"zone with markup", address("fe80::1%<script>"), "address", "neither"},
		{"zone with a control character", address("fe80::1%a\nb"), "address", "neither"},
		{"zone that is not UTF-8", address("fe80::1%\xff"), "address", "neither"},
		{"long zone", address("fe80::1%" + long(246)), "address", "254 bytes"},

		{"many ports", func(i *rollcall.Instance) { i.Ports["one-more"] = 1 }, "ports", "33 entries"},
		{"port 0", ports("http", 0), "ports.http", "is 0"},
		{"port's name", ports("a b", 1), "ports.a b", "may hold only"},
		{"port with a long name", ports(long(1<<15), 1), "ports." + long(140), "32768 bytes"},
		{"port without a name", ports("", 1), "ports.", "is required"},

		{"long version", func(i *rollcall.Instance) { i.Version = long(513) }, "version", "513 bytes"},
		{"version", func(i *rollcall.Instance) { i.Version = utf8 }, "version", "UTF-8"},
		{"long node", func(i *rollcall.Instance) { i.Node = long(513) }, "node", "513 bytes"},
		{"long region", func(i *rollcall.Instance) { i.Locality.Region = long(513) }, "locality.region", "513 bytes"},
		{"long zone name", func(i *rollcall.Instance) { i.Locality.Zone = long(513) }, "locality.zone", "513 bytes"},
		{"long sub-zone", func(i *rollcall.Instance) { i.Locality.SubZone = long(513) }, "locality.sub_zone", "513 bytes"},

		{"too far north", position(90.001, 0), "position.lat", "-90 to 90"},
		{"too far south", position(-91, 0), "position.lat", "-90 to 90"},
		{"latitude NaN", position(math.NaN(), 0), "position.lat", "NaN"},
		{"latitude without end", position(math.Inf(-1), 0), "position.lat", "-Inf"},
		{"too far east", position(0, 180.001), "position.lon", "-180 to 180"},
		{"too far west", position(0, -181), "position.lon", "-180 to 180"},
		{"longitude NaN", position(0, math.NaN()), "position.lon", "NaN"},

		{"many capabilities", func(i *rollcall.Instance) { i.Capabilities["one-more"] = rollcall.Bool(true) }, "capabilities", "65 entries"},
		{"capability without a name", capability("", rollcall.Bool(true)), "capabilities", "without a name"},
		{"capability with a long name", capability(long(129), rollcall.Bool(true)), "capabilities", "129 bytes"},
		{"capability's name", capability(utf8, rollcall.Bool(true)), "capabilities", "UTF-8"},
		{"capability of nothing", capability("a", rollcall.Value{}), "capabilities.a", "neither"},
		{"list of nothing", capability("a", rollcall.List(rollcall.Value{})), "capabilities.a", "neither"},
		{"list of lists", capability("a", rollcall.List(rollcall.List())), "capabilities.a", "neither"},
		{"capability NaN", capability("a", rollcall.Number(math.NaN())), "capabilities.a", "finite"},
		{"capability without end", capability("a", rollcall.Number(math.Inf(1))), "capabilities.a", "finite"},
		{"capability with NaN in a list", capability("a", rollcall.List(rollcall.Number(math.NaN()))), "capabilities.a", "finite"},
		{"long capability", capability("a", rollcall.String(long(513))), "capabilities.a", "513 bytes"},
		{"capability", capability("a", rollcall.String(utf8)), "capabilities.a", "UTF-8"},
		{"long list", capability("a", rollcall.Strings(long(256), long(256))), "capabilities.a", "in all"},
		{"list of many", capability("a", rollcall.Strings(make([]string, 513)...)), "capabilities.a", "in all"},

		{"many metadata", func(i *rollcall.Instance) { i.Metadata["one-more"] = "" }, "metadata", "65 entries"},
		{"metadata without a name", metadata("", "a"), "metadata", "without a name"},
		{"metadata with a long name", metadata(long(129), "a"), "metadata", "129 bytes"},
		{"metadata's name", metadata(utf8, "a"), "metadata", "UTF-8"},
		{"long metadata", metadata("a", long(513)), "metadata.a", "513 bytes"},
		{"metadata", metadata("a", utf8), "metadata.a", "UTF-8"},

		{"long warmup", func(i *rollcall.Instance) { i.Warmup = dur(24*time.Hour + 1) }, "warmup", "0s to 24h"},
		{"negative warmup", func(i *rollcall.Instance) { i.Warmup = -1 }, "warmup", "0s to 24h"},

		{"lease mode", leaseOf(func(l *rollcall.Lease) { l.Mode = "forever" }), "lease.mode", "forever"},
		{"short lease", leaseOf(func(l *rollcall.Lease) { l.TTL = dur(2*time.Second - 1) }), "lease.ttl", "2s to 24h"},
		{"negative lease", leaseOf(func(l *rollcall.Lease) { l.TTL = -1 }), "lease.ttl", "2s to 24h"},
		{"long lease", leaseOf(func(l *rollcall.Lease) { l.TTL = dur(24*time.Hour + 1) }), "lease.ttl", "2s to 24h"},
		{"short session", leaseOf(func(l *rollcall.Lease) { l.Mode, l.TTL = rollcall.LeaseSession, 1 }), "lease.ttl", "2s to 24h"},
		{"no remove_after", leaseOf(func(l *rollcall.Lease) { l.RemoveAfter = 0 }), "lease.remove_after", "is 0s"},
		{"long remove_after", leaseOf(func(l *rollcall.Lease) { l.RemoveAfter = dur(30*24*time.Hour + 1) }), "lease.remove_after", "to 720h"},
		{"none with a ttl", lease(rollcall.Lease{Mode: rollcall.LeaseNone, TTL: dur(time.Minute)}), "lease", "mode none"},
		{"none with remove_after", lease(rollcall.Lease{Mode: rollcall.LeaseNone, RemoveAfter: dur(time.Minute)}), "lease", "mode none"},

		{"many checks", func(i *rollcall.Instance) { i.Checks = append(i.Checks, report) }, "checks", "17 entries"},
		{"check without a name", check(report, func(c *rollcall.Check) { c.Name = "" }), "checks[1].name", "is required"},
		{"check's name", check(report, func(c *rollcall.Check) { c.Name = "a/b" }), "checks[1].name", "may hold only"},
		{"two checks of one name", check(report, func(c *rollcall.Check) { c.Name = "first" }), "checks[1].name", "already"},
		{"no check type", check(report, func(c *rollcall.Check) { c.Type = "" }), "checks[1].type", "not a check type"},
		{"check type", check(report, func(c *rollcall.Check) { c.Type = "udp" }), "checks[1].type", "udp"},
		{"check without a ttl", check(report, func(c *rollcall.Check) { c.TTL = 0 }), "checks[1].ttl", "1s to 24h"},
		{"check with a short ttl", check(report, func(c *rollcall.Check) { c.TTL = dur(time.Second - 1) }), "checks[1].ttl", "1s to 24h"},
		{"check with a long ttl", check(report, func(c *rollcall.Check) { c.TTL = dur(24*time.Hour + 1) }), "checks[1].ttl", "1s to 24h"},
		{"report with a target", check(report, func(c *rollcall.Check) { c.Target = "/" }), "checks[1]", "only name"},
		{"report with an interval", check(report, func(c *rollcall.Check) { c.Interval = 1 }), "checks[1]", "only name"},
		{"report with a timeout", check(report, func(c *rollcall.Check) { c.Timeout = 1 }), "checks[1]", "only name"},
		{"report with rise", check(report, func(c *rollcall.Check) { c.Rise = 1 }), "checks[1]", "only name"},
		{"report with fall", check(report, func(c *rollcall.Check) { c.Fall = 1 }), "checks[1]", "only name"},
		{"long deregister_after", check(report, func(c *rollcall.Check) { c.DeregisterAfter = dur(30*24*time.Hour + 1) }), "checks[1].deregister_after", "0s to 720h"},
		{"negative deregister_after", check(probe, func(c *rollcall.Check) { c.DeregisterAfter = -1 }), "checks[1].deregister_after", "0s to 720h"},
		{"probe with a ttl", check(probe, func(c *rollcall.Check) { c.TTL = dur(time.Minute) }), "checks[1].ttl", "type ttl"},
		{"long target", check(probe, func(c *rollcall.Check) { c.Target = "/" + long(512) }), "checks[1].target", "513 bytes"},
		{"target", check(probe, func(c *rollcall.Check) { c.Target = "healthz" }), "checks[1].target", "is not a target"},
		{"no command", check(probe, func(c *rollcall.Check) { c.Type = rollcall.CheckExec }), "checks[1].target", "is required"},
		{"negative interval", check(probe, func(c *rollcall.Check) { c.Interval = -1 }), "checks[1].interval", "1s to 24h"},
		{"long interval", check(probe, func(c *rollcall.Check) { c.Interval = dur(24*time.Hour + 1) }), "checks[1].interval", "1s to 24h"},
		{"short interval", check(probe, func(c *rollcall.Check) { c.Interval = dur(time.Second - 1) }), "checks[1].interval", "1s to 24h"},
		{"negative timeout", check(probe, func(c *rollcall.Check) { c.Timeout = -1 }), "checks[1].timeout", "1ns to 1m"},
		{"long timeout", check(probe, func(c *rollcall.Check) { c.Interval, c.Timeout = dur(time.Hour), dur(time.Minute+1) }), "checks[1].timeout", "1ns to 1m"},
		{"timeout like the interval", check(probe, func(c *rollcall.Check) { c.Timeout = dur(10 * time.Second) }), "checks[1].timeout", "less than the interval"},
		{"negative rise", check(probe, func(c *rollcall.Check) { c.Rise = -1 }), "checks[1].rise", "0 to 100"},
		{"high rise", check(probe, func(c *rollcall.Check) { c.Rise = 101 }), "checks[1].rise", "0 to 100"},
		{"negative fall", check(probe, func(c *rollcall.Check) { c.Fall = -1 }), "checks[1].fall", "0 to 100"},
		{"deep fall", check(probe, func(c *rollcall.Check) { c.Fall = 101 }), "checks[1].fall", "0 to 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := good()
			tt.change(&i)
			wantField(t, i.Validate(rollcall.DefaultLimits()), tt.field, tt.detail)
		})
	}
}

func wantField(t *testing.T, err error, field, detail string) {
	t.Helper()
	e, ok := errors.AsType[*rollcall.Error](err)
	if !ok || !errors.Is(err, rollcall.ErrInvalid) {
		t.Fatalf("%v, want an ErrInvalid", err)
	}
	if e.Field != field || !strings.Contains(e.Detail, detail) {
		t.Errorf("field %q, %q; want field %q and %q", e.Field, e.Detail, field, detail)
	}
	if len(e.Detail) > 1500 {
		t.Errorf("a detail of %d bytes", len(e.Detail))
	}
}

func TestLimitsAreConfigurable(t *testing.T) {
	i := rollcall.Instance{
		Service: "s", ID: "i", Ports: map[string]uint16{"a": 1, "b": 2}, Version: "12",
		Metadata: map[string]string{"a": "", "b": ""}, Capabilities: map[string]rollcall.Value{"a": rollcall.Bool(true), "b": rollcall.Bool(true)},
		Checks: []rollcall.Check{{Name: "a", Type: rollcall.CheckTCP}, {Name: "b", Type: rollcall.CheckTCP}},
	}
	i.Normalize()
	exact := rollcall.Limits{Capabilities: 2, Metadata: 2, ValueBytes: 2, Ports: 2, Checks: 2}
	if err := i.Validate(exact); err != nil {
		t.Fatal(err)
	}
	for field, l := range map[string]*int{
		"capabilities": &exact.Capabilities, "metadata": &exact.Metadata, "version": &exact.ValueBytes,
		"ports": &exact.Ports, "checks": &exact.Checks,
	} {
		*l = 1
		wantField(t, i.Validate(exact), field, "at most 1 are allowed")
		*l = 2
	}
}

func TestNormalize(t *testing.T) {
	i := rollcall.Instance{Service: "S", ID: "i"}
	i.Normalize()
	if i.Namespace != "default" || *i.Weight != 100 || i.Lease != (rollcall.Lease{Mode: "ttl", TTL: dur(15 * time.Second), RemoveAfter: dur(time.Minute)}) {
		t.Errorf("%s", i.AppendJSON(nil))
	}
	none := rollcall.Instance{Namespace: "N", Weight: new(uint16(0)), Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
	none.Normalize()
	if none.Namespace != "N" || *none.Weight != 0 || none.Lease != (rollcall.Lease{Mode: rollcall.LeaseNone}) {
		t.Errorf("%s", none.AppendJSON(nil))
	}
	short := rollcall.Instance{Lease: rollcall.Lease{Mode: rollcall.LeaseSession, TTL: 1, RemoveAfter: 2}}
	short.Normalize()
	if short.Lease != (rollcall.Lease{Mode: rollcall.LeaseSession, TTL: 1, RemoveAfter: 2}) {
		t.Errorf("%+v", short.Lease)
	}
	if (&rollcall.Instance{}).WeightOrDefault() != 100 || none.WeightOrDefault() != 0 {
		t.Error("wrong weights")
	}
}

func TestSettingsValidate(t *testing.T) {
	for _, tt := range []struct {
		s     rollcall.Settings
		field string
	}{
		{s: rollcall.Settings{}},
		{s: rollcall.Settings{DNSTTL: new(dur(0)), GuardShare: new(0.0), Panic: new(0.0), PositionRate: new(0.0)}},
		{s: rollcall.Settings{DNSTTL: new(dur(time.Hour)), GuardShare: new(1.0), Panic: new(1.0), PositionRate: new(1e6)}},
		{rollcall.Settings{DNSTTL: new(dur(time.Hour + 1))}, "dns_ttl"},
		{rollcall.Settings{DNSTTL: new(dur(-1))}, "dns_ttl"},
		{rollcall.Settings{GuardShare: new(1.01)}, "guard_share"},
		{rollcall.Settings{GuardShare: new(-0.01)}, "guard_share"},
		{rollcall.Settings{GuardShare: new(math.NaN())}, "guard_share"},
		{rollcall.Settings{Panic: new(1.01)}, "panic"},
		{rollcall.Settings{Panic: new(math.NaN())}, "panic"},
		{rollcall.Settings{PositionRate: new(1e6 + 1)}, "position_rate"},
		{rollcall.Settings{PositionRate: new(math.Inf(1))}, "position_rate"},
	} {
		err := tt.s.Validate()
		if tt.field == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantField(t, err, tt.field, "allowed")
	}
}

func TestCallerReportValidate(t *testing.T) {
	report := func() rollcall.CallerReport {
		most := rollcall.Outcome{ID: long(256), OK: 1e9, Errors: 1e9, InFlight: 1e9, LatencyP50: math.MaxFloat64, LatencyP99: 0.1}
		r := rollcall.CallerReport{Caller: long(128), Window: dur(time.Minute), Instances: make([]rollcall.Outcome, 1000)}
		for n := range r.Instances {
			r.Instances[n] = most
		}
		return r
	}
	full := report()
	least := rollcall.CallerReport{Caller: "w", Window: 1}
	for _, r := range []*rollcall.CallerReport{&full, &least} {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
	type R = rollcall.CallerReport
	for _, tt := range []struct {
		change        func(r *R)
		field, detail string
	}{
		{func(r *R) { r.Caller = "" }, "caller", "is required"},
		{func(r *R) { r.Caller = long(257) }, "caller", "at most 256"},
		{func(r *R) { r.Caller = "a\n" }, "caller", "printable"},
		{func(r *R) { r.Window = 0 }, "window", "is 0s"},
		{func(r *R) { r.Window = -1 }, "window", "allowed"},
		{func(r *R) { r.Window = dur(time.Minute) + 1 }, "window", "allowed"},
		{func(r *R) { r.Instances = append(r.Instances, r.Instances[0]) }, "instances", "at most 1000"},
		{func(r *R) { r.Instances[0].ID = "" }, "instances[0].id", "is required"},
		{func(r *R) { r.Instances[9].ID = "\n" }, "instances[9].id", "printable"},
		{func(r *R) { r.Instances[999].OK = -1 }, "instances[999].ok", "is -1"},
		{func(r *R) { r.Instances[1].OK = 1e9 + 1 }, "instances[1].ok", "allowed"},
		{func(r *R) { r.Instances[1].Errors = -1 }, "instances[1].errors", "allowed"},
		{func(r *R) { r.Instances[1].Errors = 1e9 + 1 }, "instances[1].errors", "allowed"},
		{func(r *R) { r.Instances[1].InFlight = -1 }, "instances[1].in_flight", "allowed"},
		{func(r *R) { r.Instances[1].InFlight = 1e9 + 1 }, "instances[1].in_flight", "allowed"},
		{func(r *R) { r.Instances[1].LatencyP50 = -0.1 }, "instances[1].latency_p50_ms", "is -0.1"},
		{func(r *R) { r.Instances[1].LatencyP50 = math.Inf(1) }, "instances[1].latency_p50_ms", "Inf"},
		{func(r *R) { r.Instances[1].LatencyP99 = math.NaN() }, "instances[1].latency_p99_ms", "NaN"},
	} {
		r := report()
		tt.change(&r)
		wantField(t, r.Validate(), tt.field, tt.detail)
	}
	if n := testing.AllocsPerRun(10, func() { full.Validate() }); n > 0 {
		t.Errorf("a valid report of 1,000 instances costs %v allocations", n)
	}
}

func TestReportValidate(t *testing.T) {
	type R = rollcall.Report
	report := func() R {
		return R{
			Status: rollcall.Draining, Note: long(512), Checks: map[string]rollcall.CheckReport{"a": {Status: rollcall.Degraded, Note: long(512)}},
			Load: &rollcall.Load{Utilization: 1e12, InFlight: 7}, Position: &rollcall.Position{Lat: -90, Lon: 180},
		}
	}
	for _, r := range []R{report(), {}} {
		if err := r.Validate(rollcall.DefaultLimits()); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		change        func(r *R)
		field, detail string
	}{
		{func(r *R) { r.Note = long(513) }, "note", "at most 512"},
		{func(r *R) { r.Status = rollcall.Suspect }, "status", "registry's"},
		{func(r *R) { r.Checks["a"] = rollcall.CheckReport{Status: rollcall.Draining} }, "checks.a.status", "must be"},
		{func(r *R) { r.Checks["a"] = rollcall.CheckReport{Status: rollcall.Healthy, Note: long(513)} }, "checks.a.note", "at most 512"},
		{func(r *R) { r.Position.Lat = 90.1 }, "position", "latitude"},
		{func(r *R) { r.Position.Lon = math.NaN() }, "position", "longitude"},
		{func(r *R) { r.Load.RPS = -1 }, "load.rps", "is -1"},
		{func(r *R) { r.Load.Errors = math.Inf(1) }, "load.errors", "Inf"},
	} {
		r := report()
		tt.change(&r)
		wantField(t, r.Validate(rollcall.DefaultLimits()), tt.field, tt.detail)
	}
	n := rollcall.Renew{Load: &rollcall.Load{InFlight: -1}}
	wantField(t, n.Validate("renew[3]."), "renew[3].load.in_flight", "is -1")
}

func TestValidateOverride(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		o     rollcall.Override
		field string
	}{
		{rollcall.Override{Status: rollcall.Healthy, Reason: strings.Repeat("x", 512), Expires: new(now)}, ""},
		{rollcall.Override{Status: rollcall.Healthy, Reason: strings.Repeat("x", 513)}, "reason"},
		{rollcall.Override{}, "status"},
		{rollcall.Override{Status: rollcall.Healthy, Expires: new(now.Add(-1))}, "expires"},
	} {
		err := tt.o.Validate(rollcall.DefaultLimits(), now)
		if e, ok := errors.AsType[*rollcall.Error](err); (tt.field == "") != (err == nil) || err != nil && (!ok || e.Field != tt.field) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.field)
		}
	}
}

func TestValidateServiceKey(t *testing.T) {
	for key, field := range map[rollcall.ServiceKey]string{
		rollcall.NewServiceKey("", "a"): "", {Namespace: "a b", Service: "a"}: "namespace", {Namespace: "a", Service: "a b"}: "service", {Namespace: "a"}: "service",
	} {
		err := key.Validate()
		if e, ok := errors.AsType[*rollcall.Error](err); (field == "") != (err == nil) || err != nil && (!ok || e.Field != field) {
			t.Errorf("%v: %v, want %q", key, err, field)
		}
	}
}
