package record

import (
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/nest"
)

// Format is the version of the record format: the first byte of every log,
// checkpoint and backup that holds records.
const Format = 1

// Kinds of change. Their numbers are for ever.
const (
	kindInstance = 1
	kindHealth   = 2
	kindOverride = 3
	kindSettings = 4
	kindQuery    = 5
	kindGuard    = 10
	maxKind      = 1 << 16
)

// AppendEntry appends the packed form of a batch that got revision r.
func AppendEntry(b []byte, r rollcall.Revision, fence rollcall.Fence, changes []rollcall.Change) []byte {
	b = appendInt(b, 1, uint64(r))
	b = appendInt(b, 2, uint64(fence))
	for i := range changes {
		b = AppendToEntry(b, &changes[i])
	}
	return b
}

// AppendToEntry appends one more change to what [AppendEntry] wrote. It keeps
// nothing of it.
func AppendToEntry(b []byte, c *rollcall.Change) []byte { return appendChange(b, 3, c) }

// leastChange is the fewest bytes that a change takes: a tag and a length, a
// kind, and a key.
const leastChange = 6

// ParseEntry reads what [AppendEntry] wrote. The changes share the memory of s.
func ParseEntry(s string) (e rollcall.Entry, fence rollcall.Fence, err error) {
	e.Changes = make([]rollcall.Change, 0, min(count(s, 3), len(s)/leastChange))
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			e.Revision = rollcall.Revision(f.n)
		case 2:
			fence = rollcall.Fence(f.n)
		case 3:
			c, err := ParseChange(f.s)
			e.Changes = append(e.Changes, c)
			return err
		}
		return nil
	})
	for i := range e.Changes {
		if c := &e.Changes[i]; c.Revision == 0 {
			c.Revision = e.Revision
		}
	}
	if err == nil && e.Revision == 0 {
		err = fmt.Errorf("entry without a revision: %w", errMalformed)
	}
	return e, fence, err
}

// appendChange appends c as the submessage num.
func appendChange(b []byte, num protowire.Number, c *rollcall.Change) []byte {
	b, at := nest.Open(b, num)
	return nest.Shut(AppendChange(b, c), at)
}

// AppendChange appends the packed form of c to b.
func AppendChange(b []byte, c *rollcall.Change) []byte {
	var at int
	if !c.At.IsZero() {
		b = appendInt(b, 1, nanos(c.At))
	}
	b = appendText(b, 2, c.By)
	b = appendText(b, 3, c.Via)
	b = appendText(b, 4, c.Why)
	b = appendInt(b, 5, uint64(c.Revision))
	switch v := c.Body.(type) {
	case rollcall.InstancePut:
		b = appendKey(b, kindInstance, v.Key.Namespace, v.Key.Service, v.Key.ID)
		b, at = nest.Open(b, 8)
		b = appendInt(b, 1, uint64(v.Incarnation))
		if !v.RegisteredAt.IsZero() {
			b = appendInt(b, 2, nanos(v.RegisteredAt))
		}
		b = appendTextAlways(b, 3, string(v.Record))
		b = nest.Shut(b, at)
	case rollcall.InstanceRemove:
		b = appendKey(b, kindInstance, v.Key.Namespace, v.Key.Service, v.Key.ID)
	case rollcall.HealthPut:
		b = appendKey(b, kindHealth, v.Service.Namespace, v.Service.Service, string(v.Slot))
		b, at = nest.Open(b, 8)
		b = appendInt(b, 1, uint64(v.Status))
		b = appendText(b, 2, v.Reason)
		for _, id := range v.IDs {
			b = appendTextAlways(b, 3, id)
		}
		if v.Hard {
			b = appendInt(b, 4, 1)
		}
		b = nest.Shut(b, at)
	case rollcall.OverridePut:
		b = appendKey(b, kindOverride, v.Key.Namespace, v.Key.Service, v.Key.ID)
		if o := v.Override; o != nil {
			b, at = nest.Open(b, 8)
			b = nest.Shut(appendOverride(b, o), at)
		}
	case rollcall.SettingsPut:
		if b = appendKey(b, kindSettings, v.Service.Namespace, v.Service.Service); v.Name != "" {
			b = appendTextAlways(b, 7, v.Name)
		}
		if s := v.Settings; s != nil {
			// Without a field set it is an empty body, which is not the same as none.
			b, at = nest.Open(b, 8)
			b = nest.Shut(appendSettings(b, s), at)
		}
	case rollcall.GuardPut:
		b = appendKey(b, kindGuard, v.Service.Namespace, v.Service.Service)
		if g := v.Guard; g != nil {
			b, at = nest.Open(b, 8)
			b = appendIntAlways(b, 1, nanos(g.Since))
			b = nest.Shut(appendText(b, 2, g.Reason), at)
		}
	case rollcall.QueryPut:
		b = appendKey(b, kindQuery, v.Name.Namespace, v.Name.Service)
		if q := v.Query; q != nil {
			b, at = nest.Open(b, 8)
			b = nest.Shut(appendQuery(b, v.Name, q), at)
		}
	case rollcall.Unknown:
		b = appendInt(b, 6, uint64(v.Kind))
		for part, rest, more := "", v.Key, true; more; { // SplitSeq would have each body put on the heap
			part, rest, more = strings.Cut(rest, "\x00")
			b = appendTextAlways(b, 7, part)
		}
		if v.Data != "" {
			b = appendTextAlways(b, 8, v.Data)
		}
	}
	return b
}

func appendKey(b []byte, kind uint32, parts ...string) []byte {
	b = appendInt(b, 6, uint64(kind))
	for _, p := range parts {
		b = appendTextAlways(b, 7, p)
	}
	return b
}

func appendOverride(b []byte, o *rollcall.Override) []byte {
	b = appendInt(b, 1, uint64(o.Status))
	b = appendText(b, 2, o.Reason)
	if o.Expires != nil {
		b = appendIntAlways(b, 3, nanos(*o.Expires))
	}
	b = appendText(b, 4, o.By)
	if !o.Since.IsZero() {
		b = appendInt(b, 5, nanos(o.Since))
	}
	return b
}

func appendSettings(b []byte, s *rollcall.Settings) []byte {
	if s.DNSTTL != nil {
		b = appendIntAlways(b, 1, uint64(*s.DNSTTL))
	}
	for num, f := range []*float64{s.GuardShare, s.Panic, s.PositionRate} {
		if f != nil {
			b = appendDouble(b, 2+protowire.Number(num), *f)
		}
	}
	return b
}

// ParseChange reads what [AppendChange] wrote. The change shares the memory of
// s.
func ParseChange(s string) (c rollcall.Change, err error) {
	var kind uint64
	var parts [3]string // of the key
	var more []string
	n := 0
	body, hasBody := "", false
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			c.At = timeOf(f.n)
		case 2:
			c.By = f.s
		case 3:
			c.Via = f.s
		case 4:
			c.Why = f.s
		case 5:
			c.Revision = rollcall.Revision(f.n)
		case 6:
			kind = f.n
		case 7:
			if n < len(parts) {
				parts[n] = f.s
			} else {
				more = append(more, f.s)
			}
			n++
		case 8:
			body, hasBody = f.s, true
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	wrong := kind == 0 || kind > maxKind || n == 0
	switch kind {
	case kindInstance, kindHealth, kindOverride:
		wrong = n != 3
	case kindSettings:
		wrong = n != 2 && n != 3
	case kindGuard, kindQuery:
		wrong = n != 2
	}
	if wrong {
		return c, fmt.Errorf("change of kind %d with a key of %d parts: %w", kind, n, errMalformed)
	}
	service := rollcall.ServiceKey{Namespace: parts[0], Service: parts[1]}
	instance := rollcall.Key{ServiceKey: service, ID: parts[2]}
	switch kind {
	case kindInstance:
		if !hasBody {
			c.Body = rollcall.InstanceRemove{Key: instance}
			break
		}
		c.Body, err = parseInstanceBody(instance, body)
	case kindHealth:
		c.Body, err = parseHealth(service, rollcall.Slot(parts[2]), body)
	case kindOverride:
		if !hasBody {
			c.Body = rollcall.OverridePut{Key: instance}
			break
		}
		c.Body, err = parseOverride(instance, body)
	case kindSettings:
		if !hasBody {
			c.Body = rollcall.SettingsPut{Service: service, Name: parts[2]}
			break
		}
		c.Body, err = parseSettings(service, parts[2], body)
	case kindGuard:
		if !hasBody {
			c.Body = rollcall.GuardPut{Service: service}
			break
		}
		c.Body, err = parseGuard(service, body)
	case kindQuery:
		if !hasBody {
			c.Body = rollcall.QueryPut{Name: service}
			break
		}
		c.Body, err = parseQuery(service, body)
	default:
		c.Body = rollcall.Unknown{Kind: uint32(kind), Key: strings.Join(append(parts[:min(n, len(parts))], more...), "\x00"), Data: body}
	}
	return c, err
}

func parseInstanceBody(key rollcall.Key, s string) (v rollcall.InstancePut, err error) {
	v.Key = key
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			v.Incarnation = rollcall.Revision(f.n)
		case 2:
			v.RegisteredAt = timeOf(f.n)
		case 3:
			v.Record = rollcall.Record(f.s)
		}
		return nil
	})
	return v, err
}

func parseHealth(service rollcall.ServiceKey, slot rollcall.Slot, s string) (v rollcall.HealthPut, err error) {
	v.Service, v.Slot = service, slot
	v.IDs = make([]string, 0, count(s, 3))
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			v.Status, err = statusOf(f.n)
			return err
		case 2:
			v.Reason = f.s
		case 3:
			v.IDs = append(v.IDs, f.s)
		case 4:
			v.Hard = f.n != 0
		}
		return nil
	})
	if err == nil && v.Status == 0 {
		_, err = statusOf(0)
	}
	return v, err
}

func parseOverride(key rollcall.Key, s string) (v rollcall.OverridePut, err error) {
	o := new(rollcall.Override)
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			o.Status, err = statusOf(f.n)
			return err
		case 2:
			o.Reason = f.s
		case 3:
			o.Expires = new(timeOf(f.n))
		case 4:
			o.By = f.s
		case 5:
			o.Since = timeOf(f.n)
		}
		return nil
	})
	if err == nil && o.Status == 0 {
		_, err = statusOf(0)
	}
	return rollcall.OverridePut{Key: key, Override: o}, err
}

func parseSettings(service rollcall.ServiceKey, name, body string) (v rollcall.SettingsPut, err error) {
	s := new(rollcall.Settings)
	err = each(body, func(f field) error {
		switch f.num {
		case 1:
			s.DNSTTL = new(rollcall.Duration(f.n))
		case 2:
			s.GuardShare = new(f.float())
		case 3:
			s.Panic = new(f.float())
		case 4:
			s.PositionRate = new(f.float())
		}
		return nil
	})
	return rollcall.SettingsPut{Service: service, Name: name, Settings: s}, err
}

func parseGuard(service rollcall.ServiceKey, body string) (v rollcall.GuardPut, err error) {
	g := &rollcall.Guard{Namespace: service.Namespace, Service: service.Service}
	err = each(body, func(f field) error {
		switch f.num {
		case 1:
			g.Since = timeOf(f.n)
		case 2:
			g.Reason = f.s
		}
		return nil
	})
	return rollcall.GuardPut{Service: service, Guard: g}, err
}

func statusOf(n uint64) (rollcall.Status, error) {
	if n == 0 || n > uint64(rollcall.Draining) {
		return 0, fmt.Errorf("status %d: %w", n, errMalformed)
	}
	return rollcall.Status(n), nil
}

// nanos returns t as a number, or the nearest there is (in the year 2262): an
// override may be meant to expire in the year 9999.
func nanos(t time.Time) uint64 {
	const most = math.MaxInt64
	if t.After(time.Unix(0, most)) {
		return most
	}
	return uint64(t.UnixNano())
}

func timeOf(nanos uint64) time.Time { return time.Unix(0, int64(nanos)).UTC() }
