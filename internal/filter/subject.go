package filter

import (
	"errors"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Subject is an instance that is asked about. It is not changed and not kept.
type Subject struct {
	Key    rollcall.Key
	Record rollcall.Record
	Status rollcall.Status
	// Load is what it last said of its work, nil if that is not known.
	Load *rollcall.Load
	// Position is where it is now, nil if that is where its record says.
	Position *rollcall.Position
}

func (s *Subject) position() *rollcall.Position {
	if s.Position != nil {
		return s.Position
	}
	return record.Position(s.Record)
}

// reader is the subject as an expression sees it: names are resolved, and values
// read, when they are needed.
type reader struct {
	*Subject
	capabilities, metadata, ports mapping
}

var readers = sync.Pool{New: func() any {
	return &reader{
		capabilities: mapping{find: findCapability, keys: keysOf(record.Capabilities)},
		metadata:     mapping{find: findMetadata, keys: keysOf(record.Pairs)},
		ports:        mapping{find: findPort, keys: keysOf(record.Ports)},
	}
}}

// read returns a reader of s, which has to be released.
func read(s *Subject) *reader {
	r := readers.Get().(*reader)
	r.Subject = s
	r.capabilities.record, r.metadata.record, r.ports.record = s.Record, s.Record, s.Record
	return r
}

func (r *reader) release() {
	r.Subject = nil
	r.capabilities.record, r.metadata.record, r.ports.record = "", "", ""
	readers.Put(r)
}

// Parent implements [interpreter.Activation].
func (r *reader) Parent() interpreter.Activation { return nil }

// ResolveName implements [interpreter.Activation].
func (r *reader) ResolveName(name string) (any, bool) {
	switch name {
	case "cap":
		return &r.capabilities, true
	case "meta":
		return &r.metadata, true
	case "ports":
		return &r.ports, true
	case "locality", "load", "position":
		return r, true // their fields are read from it
	case "version":
		return types.String(record.Version(r.Record)), true
	case "health":
		return types.String(r.Status.String()), true
	case "node":
		node, _ := record.Place(r.Record)
		return types.String(node), true
	case "address":
		_, address := record.Place(r.Record)
		return types.String(address), true
	case "id":
		return types.String(r.Key.ID), true
	case "service":
		return types.String(r.Key.Service), true
	case "ns":
		return types.String(r.Key.Namespace), true
	case "weight":
		return types.Double(record.Weight(r.Record)), true
	case "capacity":
		return types.Double(record.Capacity(r.Record)), true
	}
	return nil, false
}

var errUnknown = errors.New("it is not known")

// member is one field of an object. get returns nil if it is not known.
type member struct {
	name string
	kind *types.Type
	get  func(*Subject) ref.Val
}

// objects are the variables that have fields of their own. Their types are
// called like them.
var objects = map[string][]member{
	"locality": {
		text("region", func(l rollcall.Locality) string { return l.Region }),
		text("zone", func(l rollcall.Locality) string { return l.Zone }),
		text("sub_zone", func(l rollcall.Locality) string { return l.SubZone }),
	},
	"position": {
		coordinate("lat", func(p *rollcall.Position) float64 { return p.Lat }),
		coordinate("lon", func(p *rollcall.Position) float64 { return p.Lon }),
	},
	"load": {
		gauge("utilization", func(l *rollcall.Load) float64 { return l.Utilization }),
		gauge("in_flight", func(l *rollcall.Load) float64 { return float64(l.InFlight) }),
		gauge("rps", func(l *rollcall.Load) float64 { return l.RPS }),
		gauge("errors", func(l *rollcall.Load) float64 { return l.Errors }),
		gauge("latency_p50_ms", func(l *rollcall.Load) float64 { return l.LatencyP50 }),
		gauge("latency_p99_ms", func(l *rollcall.Load) float64 { return l.LatencyP99 }),
	},
}

func text(name string, of func(rollcall.Locality) string) member {
	return member{name, types.StringType, func(s *Subject) ref.Val {
		if t := of(record.Locality(s.Record)); t != "" {
			return types.String(t)
		}
		return nil
	}}
}

func coordinate(name string, of func(*rollcall.Position) float64) member {
	return member{name, numberType, func(s *Subject) ref.Val {
		if p := s.position(); p != nil {
			return types.Double(of(p))
		}
		return nil
	}}
}

func gauge(name string, of func(*rollcall.Load) float64) member {
	return member{name, numberType, func(s *Subject) ref.Val {
		if s.Load != nil {
			return types.Double(of(s.Load))
		}
		return nil
	}}
}

// field returns m as CEL reads it, off a reader.
func (m *member) field() *types.FieldType {
	return &types.FieldType{
		Type: m.kind,
		IsSet: func(of any) bool {
			r, ok := of.(*reader)
			return ok && m.get(r.Subject) != nil
		},
		GetFrom: func(of any) (any, error) {
			if r, ok := of.(*reader); ok {
				if v := m.get(r.Subject); v != nil {
					return v, nil
				}
			}
			return nil, errUnknown
		},
	}
}
