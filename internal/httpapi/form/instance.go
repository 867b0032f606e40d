package form

import (
	"fmt"
	"math"

	"github.com/rollcall-registry/rollcall"
)

// Instance reads one registration. Its maps are the decoder's, until that is
// released.
func (d *Decoder) Instance(i *rollcall.Instance) error {
	d.lend(i)
	return d.whole(func() error { return d.instance(i) })
}

// lend gives i the decoder's own maps, empty.
func (d *Decoder) lend(i *rollcall.Instance) {
	if len(d.ports)+len(d.capabilities)+len(d.metadata) > maxKept {
		d.ports = nil
	}
	if d.ports == nil {
		d.ports, d.capabilities, d.metadata = map[string]uint16{}, map[string]rollcall.Value{}, map[string]string{}
	}
	clear(d.ports)
	clear(d.capabilities)
	clear(d.metadata)
	i.Ports, i.Capabilities, i.Metadata = d.ports, d.capabilities, d.metadata
}

// Instances reads many registrations, an array or one after the other (NDJSON),
// and calls each with every one and what is wrong with it alone. The instance is
// valid until each returns. What is read before an error in the body itself
// should not count.
func (d *Decoder) Instances(most int, each func(i *rollcall.Instance, wrong error)) error {
	n := 0
	var i rollcall.Instance
	one := func() error {
		if n++; n > most {
			return tooMany(most, "instances")
		}
		depth := d.json.StackDepth()
		d.what, d.base = "the item", depth
		i = rollcall.Instance{Checks: i.Checks[:0]}
		d.lend(&i)
		wrong := d.instance(&i)
		if d.broken {
			return wrong
		}
		each(&i, wrong)
		return d.leave(depth)
	}
	return d.whole(func() (err error) {
		switch d.json.PeekKind() {
		case '[':
			return d.array(one)
		case '{':
			for err == nil && d.json.PeekKind() != 0 {
				err = one()
			}
			return err
		}
		kind, _, err := d.next()
		if err != nil {
			return err
		}
		return d.wrong(kind, "an array of instances, or one instance a line,")
	})
}

func tooMany(most int, what string) error {
	return &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: fmt.Sprintf("there are more than %d %s; send them in several requests", most, what)}
}

// instance reads a registration. What the registry adds is accepted and
// ignored, so that what was read can be changed and put back.
func (d *Decoder) instance(i *rollcall.Instance) error {
	var port, ports bool
	err := d.object(func(name string) error {
		switch name {
		case "namespace":
			return d.text(&i.Namespace)
		case "service":
			return d.text(&i.Service)
		case "id":
			return d.text(&i.ID)
		case "address":
			return d.text(&i.Address)
		case "ports":
			ports = true
			return d.object(func(name string) error {
				n, err := d.integer(math.MaxUint16)
				put(&i.Ports, name, uint16(n))
				return err
			})
		case "port":
			port = true
			n, err := d.integer(math.MaxUint16)
			put(&i.Ports, rollcall.DefaultPort, uint16(n))
			return err
		case "version":
			return d.text(&i.Version)
		case "node":
			return d.text(&i.Node)
		case "locality":
			return d.locality(&i.Locality)
		case "position":
			return d.position(&i.Position)
		case "capabilities":
			return d.object(func(name string) error {
				v, err := d.value()
				put(&i.Capabilities, name, v)
				return err
			})
		case "metadata":
			return d.object(func(name string) error {
				var v string
				err := d.text(&v)
				put(&i.Metadata, name, v)
				return err
			})
		case "weight":
			if d.null() {
				return nil
			}
			n, err := d.integer(math.MaxUint16)
			i.Weight = new(uint16(n))
			return err
		case "capacity":
			n, err := d.integer(math.MaxUint32)
			i.Capacity = uint32(n)
			return err
		case "warmup":
			return d.duration(&i.Warmup)
		case "lease":
			return d.lease(&i.Lease)
		case "checks":
			return d.array(func() error {
				i.Checks = append(i.Checks, rollcall.Check{})
				return d.check(&i.Checks[len(i.Checks)-1])
			})
		case "health", "origin", "revision", "incarnation", "registered_at", "effective_weight", "distance_km", "load", "provisional":
			return d.skip()
		}
		return d.unknown()
	})
	if err == nil && port && ports {
		return bothPorts()
	}
	return err
}

func bothPorts() error {
	return rollcall.Invalid("port", `is short for "ports": {"default": …}; leave out one of the two`)
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[key] = v
}

func (d *Decoder) locality(l *rollcall.Locality) error {
	return d.object(func(name string) error {
		switch name {
		case "region":
			return d.text(&l.Region)
		case "zone":
			return d.text(&l.Zone)
		case "sub_zone":
			return d.text(&l.SubZone)
		}
		return d.unknown()
	})
}

func (d *Decoder) position(to **rollcall.Position) error {
	if d.null() {
		return nil
	}
	var p rollcall.Position
	var lat, lon bool
	err := d.object(func(name string) error {
		switch name {
		case "lat":
			lat = true
			return d.number(&p.Lat)
		case "lon":
			lon = true
			return d.number(&p.Lon)
		}
		return d.unknown()
	})
	if err == nil && !(lat && lon) {
		return d.fail("needs both lat and lon")
	}
	*to = &p
	return err
}

// value reads a capability.
func (d *Decoder) value() (rollcall.Value, error) {
	if d.json.PeekKind() != '[' {
		return d.scalar("a boolean, a number, a string or an array of these")
	}
	d.list = d.list[:0]
	err := d.array(func() error {
		v, err := d.scalar("a boolean, a number or a string")
		d.list = append(d.list, v)
		return err
	})
	return rollcall.List(d.list...), err // a copy
}

func (d *Decoder) scalar(want string) (v rollcall.Value, _ error) {
	kind, raw, err := d.next()
	if err != nil {
		return v, err
	}
	switch kind {
	case 't', 'f':
		return rollcall.Bool(kind == 't'), nil
	case '"':
		return rollcall.String(d.unquote(raw)), nil
	case '0':
		var n float64
		err := d.float(raw, &n)
		return rollcall.Number(n), err
	}
	return v, d.wrong(kind, want)
}

func (d *Decoder) lease(l *rollcall.Lease) error {
	return d.object(func(name string) error {
		switch name {
		case "mode":
			return d.text((*string)(&l.Mode))
		case "ttl":
			return d.duration(&l.TTL)
		case "remove_after":
			return d.duration(&l.RemoveAfter)
		}
		return d.unknown()
	})
}

func (d *Decoder) check(c *rollcall.Check) error {
	return d.object(func(name string) error {
		switch name {
		case "name":
			return d.text(&c.Name)
		case "type":
			return d.text((*string)(&c.Type))
		case "ttl":
			return d.duration(&c.TTL)
		case "target":
			return d.text(&c.Target)
		case "interval":
			return d.duration(&c.Interval)
		case "timeout":
			return d.duration(&c.Timeout)
		case "rise":
			return d.count(&c.Rise)
		case "fall":
			return d.count(&c.Fall)
		case "deregister_after":
			return d.duration(&c.DeregisterAfter)
		}
		return d.unknown()
	})
}

func (d *Decoder) count(to *int) error {
	n, err := d.integer(math.MaxInt32)
	*to = int(n)
	return err
}
