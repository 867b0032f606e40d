package rollcallpb

import (
	"fmt"
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// FromInstance returns the message of an instance, all of it.
func FromInstance(i *rollcall.Instance) *Instance {
	m := &Instance{
		Service: i.Service, Namespace: i.Namespace, Id: i.ID, Address: i.Address, Version: i.Version, Node: i.Node,
		Region: i.Locality.Region, Zone: i.Locality.Zone, SubZone: i.Locality.SubZone, Position: FromPosition(i.Position),
		Capacity: i.Capacity, Warmup: int64(i.Warmup), Origin: i.Origin, Load: FromLoad(i.Load), Provisional: i.Provisional,
		Revision: uint64(i.Revision), Incarnation: uint64(i.Incarnation), RegisteredAt: nanos(i.RegisteredAt),
		DistanceKm: i.Distance, Weight: wide(i.Weight), EffectiveWeight: wide(i.EffectiveWeight),
	}
	for name, port := range i.Ports {
		m.Ports = append(m.Ports, &Port{Name: name, Port: uint32(port)})
	}
	for name, v := range i.Capabilities {
		m.Capabilities = append(m.Capabilities, &Capability{Name: name, Value: fromValue(v)})
	}
	for name, v := range i.Metadata {
		m.Metadata = append(m.Metadata, &Pair{Name: name, Value: v})
	}
	if i.Lease != (rollcall.Lease{}) {
		m.Lease = &Lease{Mode: string(i.Lease.Mode), Ttl: int64(i.Lease.TTL), RemoveAfter: int64(i.Lease.RemoveAfter)}
	}
	for _, c := range i.Checks {
		m.Checks = append(m.Checks, &Check{
			Name: c.Name, Type: string(c.Type), Ttl: int64(c.TTL), Target: c.Target, Interval: int64(c.Interval), Timeout: int64(c.Timeout),
			Rise: uint32(c.Rise), Fall: uint32(c.Fall), DeregisterAfter: int64(c.DeregisterAfter),
		})
	}
	if h := i.Health; h != nil {
		m.Health = fromHealth(h)
	}
	return m
}

// Domain returns the instance that a message tells of. A number that is out of
// range is an error that names its field.
func (m *Instance) Domain() (i rollcall.Instance, err error) {
	if m == nil {
		return i, nil
	}
	i = rollcall.Instance{
		Service: m.GetService(), Namespace: m.GetNamespace(), ID: m.GetId(), Address: m.GetAddress(), Version: m.GetVersion(), Node: m.GetNode(),
		Locality: rollcall.Locality{Region: m.GetRegion(), Zone: m.GetZone(), SubZone: m.GetSubZone()},
		Position: m.GetPosition().Domain(), Capacity: m.GetCapacity(), Warmup: rollcall.Duration(m.GetWarmup()), Origin: m.GetOrigin(),
		Load: m.GetLoad().Domain(), Provisional: m.GetProvisional(), Revision: rollcall.Revision(m.GetRevision()),
		Incarnation: rollcall.Revision(m.GetIncarnation()), RegisteredAt: timeOf(m.GetRegisteredAt()), Distance: m.DistanceKm,
		Lease: rollcall.Lease{
			Mode: rollcall.LeaseMode(m.GetLease().GetMode()), TTL: rollcall.Duration(m.GetLease().GetTtl()),
			RemoveAfter: rollcall.Duration(m.GetLease().GetRemoveAfter()),
		},
		Health: m.GetHealth().Domain(),
	}
	if i.Weight, err = narrow("weight", m.Weight); err != nil {
		return i, err
	}
	if i.EffectiveWeight, err = narrow("effective_weight", m.EffectiveWeight); err != nil {
		return i, err
	}
	if len(m.Ports) > 0 {
		i.Ports = make(map[string]uint16, len(m.Ports))
	}
	for _, p := range m.Ports {
		if p.GetPort() > math.MaxUint16 {
			return i, rollcall.Invalid("ports."+p.GetName(), "is a number from 1 to 65535")
		}
		if err := once(i.Ports, "ports", p.GetName(), uint16(p.GetPort())); err != nil {
			return i, err
		}
	}
	if len(m.Capabilities) > 0 {
		i.Capabilities = make(map[string]rollcall.Value, len(m.Capabilities))
	}
	for _, c := range m.Capabilities {
		v, err := c.GetValue().domain(true)
		if err != nil {
			return i, rollcall.Invalid("capabilities."+c.GetName(), err.Error())
		}
		if err := once(i.Capabilities, "capabilities", c.GetName(), v); err != nil {
			return i, err
		}
	}
	if len(m.Metadata) > 0 {
		i.Metadata = make(map[string]string, len(m.Metadata))
	}
	for _, p := range m.Metadata {
		if err := once(i.Metadata, "metadata", p.GetName(), p.GetValue()); err != nil {
			return i, err
		}
	}
	for _, c := range m.Checks {
		i.Checks = append(i.Checks, rollcall.Check{
			Name: c.GetName(), Type: rollcall.CheckType(c.GetType()), TTL: rollcall.Duration(c.GetTtl()), Target: c.GetTarget(),
			Interval: rollcall.Duration(c.GetInterval()), Timeout: rollcall.Duration(c.GetTimeout()),
			Rise: int(c.GetRise()), Fall: int(c.GetFall()), DeregisterAfter: rollcall.Duration(c.GetDeregisterAfter()),
		})
	}
	return i, nil
}

// once sets what must not be there yet.
func once[V any](m map[string]V, field, name string, v V) error {
	if _, ok := m[name]; ok {
		return rollcall.Invalid(field+"."+name, "is there twice")
	}
	m[name] = v
	return nil
}

func fromValue(v rollcall.Value) *Value {
	switch v.Kind() {
	case rollcall.KindBool:
		return &Value{Bool: new(v.Bool())}
	case rollcall.KindNumber:
		return &Value{Number: new(v.Number())}
	case rollcall.KindString:
		return &Value{String_: new(v.Text())}
	case rollcall.KindList:
		m := &Value{List: true}
		for _, e := range v.List() {
			m.Elements = append(m.Elements, fromValue(e))
		}
		return m
	}
	return &Value{}
}

func (m *Value) domain(lists bool) (rollcall.Value, error) {
	set := 0
	for _, is := range []bool{m != nil && m.Bool != nil, m != nil && m.Number != nil, m != nil && m.String_ != nil, m.GetList()} {
		if is {
			set++
		}
	}
	switch {
	case set != 1 || !m.GetList() && len(m.GetElements()) > 0 || m.GetList() && !lists:
		return rollcall.Value{}, fmt.Errorf("is a boolean, a number, a string, or a list of these")
	case m.Bool != nil:
		return rollcall.Bool(*m.Bool), nil
	case m.Number != nil:
		return rollcall.Number(*m.Number), nil
	case m.String_ != nil:
		return rollcall.String(*m.String_), nil
	}
	vs := make([]rollcall.Value, len(m.Elements))
	for n, e := range m.Elements {
		var err error
		if vs[n], err = e.domain(false); err != nil {
			return rollcall.Value{}, err
		}
	}
	return rollcall.List(vs...), nil
}

// FromPosition returns nil for nil.
func FromPosition(p *rollcall.Position) *Position {
	if p == nil {
		return nil
	}
	return &Position{Lat: p.Lat, Lon: p.Lon}
}

// Domain returns nil for nil.
func (m *Position) Domain() *rollcall.Position {
	if m == nil {
		return nil
	}
	return &rollcall.Position{Lat: m.Lat, Lon: m.Lon}
}

// FromLoad returns nil for nil.
func FromLoad(l *rollcall.Load) *Load {
	if l == nil {
		return nil
	}
	return &Load{Utilization: l.Utilization, InFlight: int64(l.InFlight), Rps: l.RPS, Errors: l.Errors, LatencyP50Ms: l.LatencyP50, LatencyP99Ms: l.LatencyP99}
}

// Domain returns nil for nil.
func (m *Load) Domain() *rollcall.Load {
	if m == nil {
		return nil
	}
	return &rollcall.Load{
		Utilization: m.Utilization, InFlight: int(m.InFlight), RPS: m.Rps, Errors: m.Errors, LatencyP50: m.LatencyP50Ms, LatencyP99: m.LatencyP99Ms,
	}
}

func fromHealth(h *rollcall.Health) *Health {
	m := &Health{Status: Status(h.Status), Reason: h.Reason, Since: nanos(h.Since)}
	for _, c := range h.Checks {
		m.Checks = append(m.Checks, &CheckResult{Name: c.Name, Status: Status(c.Status), Output: c.Output, Since: nanos(c.Since)})
	}
	return m
}

// Domain returns nil for nil.
func (m *Health) Domain() *rollcall.Health {
	if m == nil {
		return nil
	}
	h := &rollcall.Health{Status: m.Status.Domain(), Reason: m.Reason, Since: timeOf(m.Since)}
	for _, c := range m.Checks {
		h.Checks = append(h.Checks, rollcall.CheckResult{Name: c.GetName(), Status: c.GetStatus().Domain(), Output: c.GetOutput(), Since: timeOf(c.GetSince())})
	}
	return h
}

// Domain returns the status, 0 for one that is not known here.
func (s Status) Domain() rollcall.Status {
	if s < 0 || s > Status(rollcall.Draining) {
		return 0
	}
	return rollcall.Status(s)
}

// FromKey names an instance or, without an id, a service.
func FromKey(k rollcall.Key) *Key { return &Key{Service: k.Service, Id: k.ID, Namespace: k.Namespace} }

// Domain returns the key, in canonical form.
func (m *Key) Domain() rollcall.Key {
	return rollcall.NewKey(m.GetNamespace(), m.GetService(), m.GetId())
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

func wide(n *uint16) *uint32 {
	if n == nil {
		return nil
	}
	return new(uint32(*n))
}

func narrow(field string, n *uint32) (*uint16, error) {
	switch {
	case n == nil:
		return nil, nil
	case *n > math.MaxUint16:
		return nil, rollcall.Invalid(field, "is a number from 0 to 65535")
	}
	return new(uint16(*n)), nil
}
