package flags

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/config"
)

// Instance holds the flags that describe an instance; register and run share them.
type Instance struct {
	file     string
	ports    []string
	caps     []string
	metas    []string
	position string
	weight   uint16
	capacity uint32
	warmup   time.Duration
	lease    string
	ttl      time.Duration
	remove   time.Duration
	inst     rollcall.Instance
}

// Add adds the flags to those of a verb.
func (x *Instance) Add(f *pflag.FlagSet) {
	f.StringArrayVarP(&x.ports, "port", "p", nil, "`PORT` it listens on, or NAME=PORT (repeatable)")
	f.StringVar(&x.inst.ID, "id", "", "`ID` of the instance; made up if there is none")
	f.StringVar(&x.inst.Address, "address", "", "`ADDRESS` of the instance; without, the one the registration comes from")
	f.StringVar(&x.inst.Version, "version", "", "`VERSION` of what it runs")
	f.StringVar(&x.inst.Node, "node", "", "`NAME` of the host")
	f.StringVar(&x.inst.Locality.Region, "region", "", "`REGION` it is in")
	f.StringVar(&x.inst.Locality.Zone, "zone", "", "`ZONE` it is in")
	f.StringVar(&x.inst.Locality.SubZone, "sub-zone", "", "`SUBZONE` it is in")
	f.StringVar(&x.position, "position", "", "where it is, as `LAT,LON` in degrees")
	f.StringArrayVar(&x.caps, "cap", nil, "a capability, as `NAME=VALUE`; the value is JSON if it reads as such, else text (repeatable)")
	f.StringArrayVar(&x.metas, "meta", nil, "metadata, as `NAME=VALUE` (repeatable)")
	f.Uint16Var(&x.weight, "weight", rollcall.DefaultWeight, "its `SHARE` of the traffic, 0 to 65535")
	f.Uint32Var(&x.capacity, "capacity", 0, "the `NUMBER` of requests it can serve at once")
	f.DurationVar(&x.warmup, "warmup", 0, "`DURATION` until it takes its full share, from a tenth on, once it is healthy")
	f.StringVar(&x.lease, "lease", "", "what keeps its lease, as `MODE`: session, an open stream; ttl, heartbeats; none, nothing (default session; ttl with --ttl)")
	f.DurationVar(&x.ttl, "ttl", 0, "`DURATION` without a heartbeat, or a line of a session, after which it is unhealthy (default 15s)")
	f.DurationVar(&x.remove, "remove-after", 0, "`DURATION` after which a lapsed instance is removed (default 1m)")
	f.StringVarP(&x.file, "file", "f", "", "read the instance from a JSON `FILE` (- is standard input); flags go before what it says")
}

// Read returns the instance that a command line with flags f describes; in is
// standard input.
func (x *Instance) Read(in io.Reader, f *pflag.FlagSet) (inst rollcall.Instance, err error) {
	if x.file != "" {
		if inst, err = instanceFile(in, x.file); err != nil {
			return inst, err
		}
	}
	given := f.Changed
	for name, pair := range map[string]struct{ to, from *string }{
		"id":       {&inst.ID, &x.inst.ID},
		"address":  {&inst.Address, &x.inst.Address},
		"version":  {&inst.Version, &x.inst.Version},
		"node":     {&inst.Node, &x.inst.Node},
		"region":   {&inst.Locality.Region, &x.inst.Locality.Region},
		"zone":     {&inst.Locality.Zone, &x.inst.Locality.Zone},
		"sub-zone": {&inst.Locality.SubZone, &x.inst.Locality.SubZone},
	} {
		if given(name) {
			*pair.to = *pair.from
		}
	}
	for name, pair := range map[string]struct {
		to   *rollcall.Duration
		from time.Duration
	}{
		"warmup":       {&inst.Warmup, x.warmup},
		"ttl":          {&inst.Lease.TTL, x.ttl},
		"remove-after": {&inst.Lease.RemoveAfter, x.remove},
	} {
		if given(name) {
			*pair.to = rollcall.Duration(pair.from)
		}
	}
	if given("lease") {
		inst.Lease.Mode = rollcall.LeaseMode(x.lease)
	}
	switch inst.Lease.Mode {
	case "", rollcall.LeaseSession, rollcall.LeaseTTL, rollcall.LeaseNone:
	default:
		return inst, Errorf("--lease %q is none of session, ttl and none", inst.Lease.Mode)
	}
	if given("weight") {
		inst.Weight = new(x.weight)
	}
	if given("capacity") {
		inst.Capacity = x.capacity
	}
	if given("position") {
		if inst.Position, err = readPosition(x.position); err != nil {
			return inst, err
		}
	}
	return inst, x.readPairs(&inst)
}

// Keep settles how the lease of an instance is kept for as long as the command
// runs. A session, the default, shows the end of a process at once; heartbeats are
// for those who ask for a TTL.
func Keep(inst *rollcall.Instance) {
	if inst.Lease.Mode == "" && inst.Lease.TTL != 0 {
		inst.Lease.Mode = rollcall.LeaseTTL
	}
}

func (x *Instance) readPairs(inst *rollcall.Instance) error {
	for _, p := range x.ports {
		name, port, ok := strings.Cut(p, "=")
		if !ok {
			name, port = rollcall.DefaultPort, p
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Errorf("--port %q: write a port (1 to 65535), or NAME=PORT", p)
		}
		if inst.Ports == nil {
			inst.Ports = map[string]uint16{}
		}
		inst.Ports[name] = uint16(n)
	}
	for _, p := range x.caps {
		name, text, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return Errorf("--cap %q is not NAME=VALUE", p)
		}
		var v rollcall.Value
		if json.Unmarshal([]byte(text), &v) != nil {
			v = rollcall.String(text)
		}
		if inst.Capabilities == nil {
			inst.Capabilities = map[string]rollcall.Value{}
		}
		inst.Capabilities[name] = v
	}
	for _, p := range x.metas {
		name, text, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return Errorf("--meta %q is not NAME=VALUE", p)
		}
		if inst.Metadata == nil {
			inst.Metadata = map[string]string{}
		}
		inst.Metadata[name] = text
	}
	return nil
}

func readPosition(s string) (*rollcall.Position, error) {
	lat, lon, ok := strings.Cut(s, ",")
	p := new(rollcall.Position)
	var err1, err2 error
	p.Lat, err1 = strconv.ParseFloat(strings.TrimSpace(lat), 64)
	p.Lon, err2 = strconv.ParseFloat(strings.TrimSpace(lon), 64)
	if !ok || err1 != nil || err2 != nil || math.Abs(p.Lat) > 90 || math.Abs(p.Lon) > 180 {
		return nil, Errorf("--position %q: write LAT,LON in degrees, like 52.52,13.40", s)
	}
	return p, nil
}

// instanceFile reads an instance from a JSON file.
func instanceFile(in io.Reader, name string) (rollcall.Instance, error) {
	b, err := readFile(in, name)
	if err != nil {
		return rollcall.Instance{}, err
	}
	inst, err := config.DecodeInstance(b)
	if err != nil {
		return inst, fmt.Errorf("%s: %w", name, err)
	}
	return inst, nil
}
