package form

import (
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Override reads an operator's verdict, which may expire at a time or after a
// while.
func (d *Decoder) Override(o *rollcall.Override, now time.Time) error {
	return d.whole(func() error { return d.override(o, now) })
}

// Settings reads what an operator decides for a service.
func (d *Decoder) Settings(s *rollcall.Settings) error {
	return d.whole(func() error { return d.settings(s) })
}

func (d *Decoder) override(o *rollcall.Override, now time.Time) error {
	return d.object(func(name string) error {
		switch name {
		case "status":
			return d.status(&o.Status)
		case "reason":
			return d.text(&o.Reason)
		case "expires":
			return d.parsed("a time or a duration", func(s string) error {
				at, err := Moment(s, now, 1)
				o.Expires = &at
				return err
			})
		case "by", "since":
			return d.skip()
		}
		return d.unknown()
	})
}

// EndGuard reads which guard to end: a service's, or with the zero key that on
// everything.
func (d *Decoder) EndGuard(key *rollcall.ServiceKey) error {
	var end bool
	var namespace, service string
	err := d.whole(func() error {
		return d.object(func(name string) error {
			switch name {
			case "namespace":
				return d.text(&namespace)
			case "service":
				return d.text(&service)
			case "end":
				return d.boolean(&end)
			}
			return d.unknown()
		})
	})
	switch {
	case err != nil:
		return err
	case !end:
		return rollcall.Invalid("end", "must be true: a guard begins by itself, and all that can be asked for is its end")
	case service != "":
		*key = rollcall.NewServiceKey(namespace, service)
	case namespace != "":
		return rollcall.Invalid("service", "is required with a namespace; leave out both to end the guard on everything")
	}
	return nil
}

// Moment reads a time (RFC 3339), or a duration as one before (sign -1) or
// after (1) now.
func Moment(s string, now time.Time, sign time.Duration) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%.40q is negative", s)
		}
		return now.Add(sign * d).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return at, fmt.Errorf("%.40q is neither a time such as 2026-01-02T15:04:05Z nor a duration such as 15m", s)
	}
	return at.UTC(), nil
}

func (d *Decoder) settings(s *rollcall.Settings) error {
	number := func(to **float64) error {
		if d.null() {
			return nil
		}
		*to = new(float64)
		return d.number(*to)
	}
	return d.object(func(name string) error {
		switch name {
		case "dns_ttl":
			if d.null() {
				return nil
			}
			s.DNSTTL = new(rollcall.Duration)
			return d.duration(s.DNSTTL)
		case "guard_share":
			return number(&s.GuardShare)
		case "panic":
			return number(&s.Panic)
		case "position_rate":
			return number(&s.PositionRate)
		}
		return d.unknown()
	})
}
