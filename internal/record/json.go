package record

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// Added is what the registry adds to a registration when it shows it.
type Added struct {
	Position     *rollcall.Position // where the instance has moved; nil: where it was registered
	Health       rollcall.Health
	Revision     rollcall.Revision
	Incarnation  rollcall.Revision
	RegisteredAt time.Time
	// EffectiveWeight is its share of the traffic; nil is as registered.
	EffectiveWeight *uint16
	// Kilometres is how far it is from where somebody asked; nil is not known or
	// not asked.
	Kilometres *float64
}

// Writer writes instances as JSON to the end of B. What an instance has in common
// with the one before it, as those of a service do, is copied from there.
type Writer struct {
	B []byte

	ports, capabilities, metadata, lease section
}

// section is a part of the instance that was written last: its packed form, and
// where in B it is.
type section struct {
	packed   string
	from, to int
}

// section writes a part of an instance, unless it is the same as in the last
// one.
func (w *Writer) section(s *section, packed string, write func(b []byte, packed string) []byte) {
	if packed == "" {
		return
	}
	from := len(w.B)
	if s.packed == packed {
		w.B = append(w.B, w.B[s.from:s.to]...)
	} else {
		w.B = write(w.B, packed)
	}
	*s = section{packed, from, len(w.B)}
}

func appendPorts(b []byte, s string) []byte { return appendMap(b, `,"ports":{`, 4, s, appendNumber) }

func appendCapabilities(b []byte, s string) []byte {
	return appendMap(b, `,"capabilities":{`, 11, s, appendCapability)
}

func appendMetadata(b []byte, s string) []byte {
	return appendMap(b, `,"metadata":{`, 12, s, appendPair)
}

// Append writes what [rollcall.Instance.AppendJSON] makes of an instance with
// what is added to it, without unpacking it.
func (w *Writer) Append(key rollcall.Key, r rollcall.Record, a *Added) {
	p := partsOf(key, string(r))
	b := w.B
	b = appendQuoted(append(b, `{"namespace":`...), p.namespace)
	b = appendQuoted(append(b, `,"service":`...), p.service)
	b = appendQuoted(append(b, `,"id":`...), key.ID)
	b = appendMember(b, `,"address":`, p.address)
	w.B = b
	w.section(&w.ports, p.ports, appendPorts)
	b = w.B
	b = appendMember(b, `,"version":`, p.version)
	b = appendMember(b, `,"node":`, p.node)
	if p.region != "" || p.zone != "" || p.subZone != "" {
		o := object{append(b, `,"locality":`...), '{'}
		o.text("region", p.region)
		o.text("zone", p.zone)
		o.text("sub_zone", p.subZone)
		b = o.end()
	}
	b = appendPosition(b, p.position, a.Position)
	w.B = b
	w.section(&w.capabilities, p.capabilities, appendCapabilities)
	w.section(&w.metadata, p.metadata, appendMetadata)
	b = w.B
	b = strconv.AppendUint(append(b, `,"weight":`...), p.weight, 10)
	if p.capacity != 0 {
		b = strconv.AppendUint(append(b, `,"capacity":`...), p.capacity, 10)
	}
	if p.warmup != 0 {
		b = appendQuoted(append(b, `,"warmup":`...), rollcall.Duration(p.warmup).String())
	}
	w.B = b
	w.section(&w.lease, p.lease, appendLeaseJSON)
	b = w.B
	b = appendChecksJSON(b, p.checks)
	b = a.Health.AppendJSON(append(b, `,"health":`...))
	b = appendMember(b, `,"origin":`, p.origin)
	b = strconv.AppendUint(append(b, `,"revision":`...), uint64(a.Revision), 10)
	b = strconv.AppendUint(append(b, `,"incarnation":`...), uint64(a.Incarnation), 10)
	b = a.RegisteredAt.AppendFormat(append(b, `,"registered_at":"`...), time.RFC3339Nano)
	weight := p.weight
	if a.EffectiveWeight != nil {
		weight = uint64(*a.EffectiveWeight)
	}
	b = strconv.AppendUint(append(b, `","effective_weight":`...), weight, 10)
	if a.Kilometres != nil {
		b = rollcall.Number(math.Round(*a.Kilometres*1000) / 1000).AppendJSON(append(b, `,"distance_km":`...))
	}
	w.B = append(b, '}')
}

// parts are the fields of a packed instance. Those that repeat are kept as what
// lies from the first to the last of them.
type parts struct {
	namespace, service, address, version, node string
	region, zone, subZone                      string
	position, lease, origin                    string
	ports, capabilities, metadata, checks      string
	weight, capacity, warmup                   uint64
}

// partsOf finds the parts of a record in one pass.
func partsOf(key rollcall.Key, all string) (p parts) {
	p.namespace, p.service, p.weight = key.Namespace, key.Service, rollcall.DefaultWeight
	var begin [4]int // of the fields that repeat; 0: not met, for none of them comes first
	repeated := func(n int, part *string, rest string, from int) {
		if begin[n] == 0 {
			begin[n] = from + 1
		}
		*part = all[begin[n]-1 : len(all)-len(rest)]
	}
	for s := all; s != ""; {
		f, rest, ok := next(s)
		if !ok {
			break // a malformed record was refused when it was read
		}
		from := len(all) - len(s)
		switch f.num {
		case 1:
			p.service = f.s
		case 2:
			p.namespace = f.s
		case 3:
			p.address = f.s
		case 4:
			repeated(0, &p.ports, rest, from)
		case 5:
			p.version = f.s
		case 6:
			p.node = f.s
		case 7:
			p.region = f.s
		case 8:
			p.zone = f.s
		case 9:
			p.subZone = f.s
		case 10:
			p.position = all[from : len(all)-len(rest)] // with its tag: it may be empty
		case 11:
			repeated(1, &p.capabilities, rest, from)
		case 12:
			repeated(2, &p.metadata, rest, from)
		case 13:
			p.weight = uint64(uint16(f.n))
		case 14:
			p.capacity = uint64(uint32(f.n))
		case 15:
			p.warmup = f.n
		case 16:
			p.lease = f.s
		case 17:
			repeated(3, &p.checks, rest, from)
		case 18:
			p.origin = f.s
		}
		s = rest
	}
	return p
}

// appendQuoted writes a JSON string.
func appendQuoted(b []byte, s string) []byte { return rollcall.String(s).AppendJSON(b) }

// appendMember writes a member of an object, if there is anything to it.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendQuoted(append(b, name...), value)
}

// object writes the members of a JSON object that are there.
type object struct {
	b     []byte
	comma byte // what the next member begins with
}

func (o *object) name(name string) {
	o.b = append(append(append(o.b, o.comma, '"'), name...), '"', ':')
	o.comma = ','
}

func (o *object) text(name, value string) {
	if value != "" {
		o.name(name)
		o.b = appendQuoted(o.b, value)
	}
}

func (o *object) end() []byte {
	if o.comma == '{' { // nothing was there
		o.b = append(o.b, '{')
	}
	return append(o.b, '}')
}

func (o *object) duration(name string, n uint64) {
	if n != 0 {
		o.text(name, rollcall.Duration(n).String())
	}
}

// appendMap writes a map whose entries are fields of one number, messages of a
// name and a value.
func appendMap(b []byte, begin string, num protowire.Number, entries string, value func([]byte, field) []byte) []byte {
	b = append(b, begin...)
	for s := entries; s != ""; {
		entry, rest, ok := next(s)
		if !ok {
			break
		}
		if entry.num != num {
			s = rest
			continue
		}
		if len(s) < len(entries) {
			b = append(b, ',')
		}
		name, v := "", field{}
		for m := entry.s; m != ""; {
			f, behind, ok := next(m)
			if !ok {
				break
			}
			switch f.num {
			case 1:
				name = f.s
			case 2:
				v = f
			}
			m = behind
		}
		b = value(append(appendQuoted(b, name), ':'), v)
		s = rest
	}
	return append(b, '}')
}

func appendNumber(b []byte, f field) []byte { return strconv.AppendUint(b, f.n, 10) }
func appendPair(b []byte, f field) []byte   { return appendQuoted(b, f.s) }

// appendCapability writes a capability's value.
func appendCapability(b []byte, f field) []byte {
	list, none := false, len(b)
	for s := f.s; s != ""; {
		f, rest, ok := next(s)
		if !ok {
			break
		}
		switch f.num {
		case 1:
			b = strconv.AppendBool(b, f.n != 0)
		case 2:
			b = rollcall.Number(f.float()).AppendJSON(b)
		case 3:
			b = appendQuoted(b, f.s)
		case 4:
			list = true
			b = append(b, '[')
		case 5:
			if b[len(b)-1] != '[' {
				b = append(b, ',')
			}
			b = appendCapability(b, f)
		}
		s = rest
	}
	if list {
		return append(b, ']')
	}
	if len(b) == none {
		return append(b, "null"...)
	}
	return b
}

// appendPosition writes where an instance has moved, or else the position that
// was registered with it.
func appendPosition(b []byte, registered string, moved *rollcall.Position) []byte {
	var p rollcall.Position
	switch {
	case moved != nil:
		p = *moved
	case registered != "":
		f, _, _ := next(registered)
		_ = parsePosition(f.s, &p)
	default:
		return b
	}
	b = rollcall.Number(p.Lat).AppendJSON(append(b, `,"position":{"lat":`...))
	b = rollcall.Number(p.Lon).AppendJSON(append(b, `,"lon":`...))
	return append(b, '}')
}

func appendLeaseJSON(b []byte, s string) []byte {
	o := object{append(b, `,"lease":`...), '{'}
	for s != "" {
		f, rest, ok := next(s)
		if !ok {
			break
		}
		switch f.num {
		case 1:
			o.text("mode", f.s)
		case 2:
			o.duration("ttl", f.n)
		case 3:
			o.duration("remove_after", f.n)
		}
		s = rest
	}
	return o.end()
}

func appendChecksJSON(b []byte, checks string) []byte {
	if checks == "" {
		return b
	}
	b = append(b, `,"checks":[`...)
	for s := checks; s != ""; {
		f, rest, ok := next(s)
		if !ok {
			break
		}
		if f.num != 17 {
			s = rest
			continue
		}
		if len(s) < len(checks) {
			b = append(b, ',')
		}
		c, _ := parseCheck(f.s)
		b = c.AppendJSON(b)
		s = rest
	}
	return append(b, ']')
}
