package record

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
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
	maxKind      = 1 << 16
)

// AppendEntry appends the packed form of a batch that got revision r.
func AppendEntry(b []byte, r rollcall.Revision, fence rollcall.Fence, changes []rollcall.Change) []byte {
	b = appendInt(b, 1, uint64(r))
	b = appendInt(b, 2, uint64(fence))
	for i := range changes {
		b = appendMessage(b, 3, func(b []byte) []byte { return AppendChange(b, &changes[i]) })
	}
	return b
}

// ParseEntry reads what [AppendEntry] wrote. The changes share the memory of s.
func ParseEntry(s string) (e rollcall.Entry, fence rollcall.Fence, err error) {
	e.Changes = make([]rollcall.Change, 0, count(s, 3))
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			e.Revision = rollcall.Revision(f.n)
		case 2:
			fence = rollcall.Fence(f.n)
		case 3:
			c, err := ParseChange(f.s)
			if c.Revision == 0 {
				c.Revision = e.Revision
			}
			e.Changes = append(e.Changes, c)
			return err
		}
		return nil
	})
	if err == nil && e.Revision == 0 {
		err = fmt.Errorf("entry without a revision: %w", errMalformed)
	}
	return e, fence, err
}

// AppendChange appends the packed form of c to b.
func AppendChange(b []byte, c *rollcall.Change) []byte {
	if !c.At.IsZero() {
		b = appendInt(b, 1, uint64(c.At.UnixNano()))
	}
	b = appendText(b, 2, c.By)
	b = appendText(b, 3, c.Via)
	b = appendText(b, 4, c.Why)
	b = appendInt(b, 5, uint64(c.Revision))
	switch v := c.Body.(type) {
	case rollcall.InstancePut:
		b = appendKey(b, kindInstance, v.Key.Namespace, v.Key.Service, v.Key.ID)
		return appendMessage(b, 8, func(b []byte) []byte {
			b = appendInt(b, 1, uint64(v.Incarnation))
			if !v.RegisteredAt.IsZero() {
				b = appendInt(b, 2, uint64(v.RegisteredAt.UnixNano()))
			}
			return appendTextAlways(b, 3, string(v.Record))
		})
	case rollcall.InstanceRemove:
		return appendKey(b, kindInstance, v.Key.Namespace, v.Key.Service, v.Key.ID)
	case rollcall.HealthPut:
		b = appendKey(b, kindHealth, v.Service.Namespace, v.Service.Service, string(v.Slot))
		return appendMessage(b, 8, func(b []byte) []byte {
			b = appendInt(b, 1, uint64(v.Status))
			b = appendText(b, 2, v.Reason)
			for _, id := range v.IDs {
				b = appendTextAlways(b, 3, id)
			}
			return b
		})
	case rollcall.OverridePut:
		b = appendKey(b, kindOverride, v.Key.Namespace, v.Key.Service, v.Key.ID)
		if o := v.Override; o != nil {
			b = appendMessage(b, 8, func(b []byte) []byte { return appendOverride(b, o) })
		}
	case rollcall.SettingsPut:
		b = appendKey(b, kindSettings, v.Service.Namespace, v.Service.Service)
		if s := v.Settings; s != nil {
			// A body is never empty unless it clears; the mark is a field of its own.
			b = appendMessage(b, 8, func(b []byte) []byte { return appendSettings(b, s) })
		}
	case rollcall.Unknown:
		b = appendKey(b, v.Kind, strings.Split(v.Key, "\x00")...)
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
		b = appendInt(b, 3, uint64(o.Expires.UnixNano()))
	}
	b = appendText(b, 4, o.By)
	if !o.Since.IsZero() {
		b = appendInt(b, 5, uint64(o.Since.UnixNano()))
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
	var key []string
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
			key = append(key, f.s)
		case 8:
			body, hasBody = f.s, true
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	var parts [3]string
	switch n := copy(parts[:], key); {
	case kind > maxKind || len(key) > n:
		return c, fmt.Errorf("change of kind %d with a key of %d parts: %w", kind, len(key), errMalformed)
	case kind == kindInstance || kind == kindHealth || kind == kindOverride:
		if n != 3 {
			return c, fmt.Errorf("change of kind %d with a key of %d parts: %w", kind, n, errMalformed)
		}
	case kind == kindSettings && n != 2, n == 0:
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
		c.Body, err = parseHealth(service, rollcall.Slot(key[2]), body)
	case kindOverride:
		if !hasBody {
			c.Body = rollcall.OverridePut{Key: instance}
			break
		}
		c.Body, err = parseOverride(instance, body)
	case kindSettings:
		if !hasBody {
			c.Body = rollcall.SettingsPut{Service: service}
			break
		}
		c.Body, err = parseSettings(service, body)
	case 0:
		err = fmt.Errorf("change without a kind: %w", errMalformed)
	default:
		c.Body = rollcall.Unknown{Kind: uint32(kind), Key: strings.Join(key, "\x00"), Data: body}
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
			if f.n == 0 || f.n > uint64(rollcall.Draining) {
				return fmt.Errorf("status %d: %w", f.n, errMalformed)
			}
			v.Status = rollcall.Status(f.n)
		case 2:
			v.Reason = f.s
		case 3:
			v.IDs = append(v.IDs, f.s)
		}
		return nil
	})
	return v, err
}

func parseOverride(key rollcall.Key, s string) (v rollcall.OverridePut, err error) {
	o := new(rollcall.Override)
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			if f.n == 0 || f.n > uint64(rollcall.Draining) {
				return fmt.Errorf("status %d: %w", f.n, errMalformed)
			}
			o.Status = rollcall.Status(f.n)
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
	return rollcall.OverridePut{Key: key, Override: o}, err
}

func parseSettings(service rollcall.ServiceKey, body string) (v rollcall.SettingsPut, err error) {
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
	return rollcall.SettingsPut{Service: service, Settings: s}, err
}

func timeOf(nanos uint64) time.Time { return time.Unix(0, int64(nanos)).UTC() }
