package rollcall

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends the instance's JSON form to b: the same document that
// encoding/json makes of it, with map keys sorted, at a fraction of the cost. It
// escapes only what JSON asks to be escaped.
func (i *Instance) AppendJSON(b []byte) []byte {
	var keys [16]string // kept off the heap
	b = append(b, '{')
	if i.Namespace != "" {
		b = appendString(append(b, `"namespace":`...), i.Namespace)
		b = append(b, ',')
	}
	b = appendString(append(b, `"service":`...), i.Service)
	b = appendString(append(b, `,"id":`...), i.ID)
	b = appendField(b, `,"address":`, i.Address)
	if len(i.Ports) > 0 {
		b = append(b, `,"ports":{`...)
		for n, k := range sortedKeys(keys[:], i.Ports) {
			b = appendMember(b, n, k)
			b = strconv.AppendUint(b, uint64(i.Ports[k]), 10)
		}
		b = append(b, '}')
	}
	b = appendField(b, `,"version":`, i.Version)
	b = appendField(b, `,"node":`, i.Node)
	if l := i.Locality; l != (Locality{}) {
		b = append(b, `,"locality":{`...)
		n := len(b)
		b = appendField(b, `,"region":`, l.Region)
		b = appendField(b, `,"zone":`, l.Zone)
		b = appendField(b, `,"sub_zone":`, l.SubZone)
		b = append(slices.Delete(b, n, n+1), '}')
	}
	if p := i.Position; p != nil {
		b = appendFloat(append(b, `,"position":{"lat":`...), p.Lat)
		b = appendFloat(append(b, `,"lon":`...), p.Lon)
		b = append(b, '}')
	}
	if len(i.Capabilities) > 0 {
		b = append(b, `,"capabilities":{`...)
		for n, k := range sortedKeys(keys[:], i.Capabilities) {
			b = appendMember(b, n, k)
			b = i.Capabilities[k].AppendJSON(b)
		}
		b = append(b, '}')
	}
	if len(i.Metadata) > 0 {
		b = append(b, `,"metadata":{`...)
		for n, k := range sortedKeys(keys[:], i.Metadata) {
			b = appendMember(b, n, k)
			b = appendString(b, i.Metadata[k])
		}
		b = append(b, '}')
	}
	if i.Weight != nil {
		b = strconv.AppendUint(append(b, `,"weight":`...), uint64(*i.Weight), 10)
	}
	b = appendUint(b, `,"capacity":`, uint64(i.Capacity))
	b = appendDuration(b, `,"warmup":`, i.Warmup)
	if l := i.Lease; l != (Lease{}) {
		b = append(b, `,"lease":{`...)
		n := len(b)
		b = appendField(b, `,"mode":`, string(l.Mode))
		b = appendDuration(b, `,"ttl":`, l.TTL)
		b = appendDuration(b, `,"remove_after":`, l.RemoveAfter)
		b = append(slices.Delete(b, n, n+1), '}')
	}
	if len(i.Checks) > 0 {
		b = append(b, `,"checks":[`...)
		for n := range i.Checks {
			if n > 0 {
				b = append(b, ',')
			}
			b = i.Checks[n].AppendJSON(b)
		}
		b = append(b, ']')
	}
	if h := i.Health; h != nil {
		b = h.AppendJSON(append(b, `,"health":`...))
	}
	b = appendField(b, `,"origin":`, i.Origin)
	b = appendUint(b, `,"revision":`, uint64(i.Revision))
	b = appendUint(b, `,"incarnation":`, uint64(i.Incarnation))
	if !i.RegisteredAt.IsZero() {
		b = appendTime(append(b, `,"registered_at":`...), i.RegisteredAt)
	}
	if i.EffectiveWeight != nil {
		b = strconv.AppendUint(append(b, `,"effective_weight":`...), uint64(*i.EffectiveWeight), 10)
	}
	if i.Distance != nil {
		b = Number(*i.Distance).AppendJSON(append(b, `,"distance_km":`...))
	}
	if i.Load != nil {
		b = i.Load.AppendJSON(append(b, `,"load":`...))
	}
	if i.Provisional {
		b = append(b, `,"provisional":true`...)
	}
	return append(b, '}')
}

// AppendJSON appends the JSON form of l to b. Its numbers are finite.
func (l *Load) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	n := len(b)
	number := func(name string, f float64) {
		if f != 0 {
			b = appendFloat(append(b, name...), f)
		}
	}
	number(`,"utilization":`, l.Utilization)
	if l.InFlight != 0 {
		b = strconv.AppendInt(append(b, `,"in_flight":`...), int64(l.InFlight), 10)
	}
	number(`,"rps":`, l.RPS)
	number(`,"errors":`, l.Errors)
	number(`,"latency_p50_ms":`, l.LatencyP50)
	number(`,"latency_p99_ms":`, l.LatencyP99)
	if len(b) > n {
		b = slices.Delete(b, n, n+1)
	}
	return append(b, '}')
}

// AppendJSON appends the JSON form of c to b.
func (c *Check) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), c.Name)
	b = appendString(append(b, `,"type":`...), string(c.Type))
	b = appendDuration(b, `,"ttl":`, c.TTL)
	b = appendField(b, `,"target":`, c.Target)
	b = appendDuration(b, `,"interval":`, c.Interval)
	b = appendDuration(b, `,"timeout":`, c.Timeout)
	b = appendUint(b, `,"rise":`, uint64(c.Rise))
	b = appendUint(b, `,"fall":`, uint64(c.Fall))
	b = appendDuration(b, `,"deregister_after":`, c.DeregisterAfter)
	return append(b, '}')
}

// AppendJSON appends the JSON form of h to b.
func (h *Health) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"status":`...), h.Status.String())
	b = appendField(b, `,"reason":`, h.Reason)
	b = appendTime(append(b, `,"since":`...), h.Since)
	if len(h.Checks) > 0 {
		b = append(b, `,"checks":[`...)
		for n, c := range h.Checks {
			if n > 0 {
				b = append(b, ',')
			}
			b = appendString(append(b, `{"name":`...), c.Name)
			b = appendString(append(b, `,"status":`...), c.Status.String())
			b = appendField(b, `,"output":`, c.Output)
			b = appendTime(append(b, `,"since":`...), c.Since)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// AppendJSON appends the JSON form of v to b.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(b, v.num != 0)
	case KindNumber:
		return appendFloat(b, v.num)
	case KindString:
		return appendString(b, v.str)
	case KindList:
		b = append(b, '[')
		for i, e := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.AppendJSON(b)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// sortedKeys returns the keys of m in order, in buf if they fit.
func sortedKeys[V any](buf []string, m map[string]V) []string {
	buf = buf[:0]
	for k := range m {
		buf = append(buf, k)
	}
	slices.Sort(buf)
	return buf
}

func appendMember(b []byte, n int, name string) []byte {
	if n > 0 {
		b = append(b, ',')
	}
	return append(appendString(b, name), ':')
}

func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value)
}

func appendUint(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, name...), n, 10)
}

func appendDuration(b []byte, name string, d Duration) []byte {
	return appendField(b, name, textOf(d))
}

func textOf(d Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendFloat writes f as encoding/json does (ECMAScript's rule).
func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		b = strconv.AppendFloat(b, f, 'e', -1, 64)
		if n := len(b); b[n-3] == '-' && b[n-2] == '0' { // e-09 is e-9
			b = append(b[:n-2], b[n-1])
		}
		return b
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
