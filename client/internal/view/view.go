package view

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/client/internal/outcome"
)

// Entry is an instance as it was told. It is immutable, but for its digest.
type Entry struct {
	Instance rollcall.Instance
	Digest   *outcome.Digest
	key      rollcall.Key
	weight   uint16
	status   rollcall.Status
	up       bool // it is in what a resolver answers
}

// Key returns the instance's key.
func (e *Entry) Key() rollcall.Key { return e.key }

// View is the result of a query at a moment, of which nothing changes.
type View struct {
	entries []*Entry // by key
	all     bool     // those that take no traffic are in the result, too

	count     sync.Once
	up        int
	copy      sync.Once
	instances []rollcall.Instance
}

// Len returns how many instances are in the result.
func (v *View) Len() int {
	if v.all {
		return len(v.entries)
	}
	v.count.Do(func() {
		for _, e := range v.entries {
			if e.up {
				v.up++
			}
		}
	})
	return v.up
}

// Known returns how many instances were told of, in the result or not.
func (v *View) Known() int { return len(v.entries) }

// Instances returns those of the result by service and id. They are copied out the
// first time that they are asked for.
func (v *View) Instances() []rollcall.Instance {
	v.copy.Do(func() {
		v.instances = make([]rollcall.Instance, 0, v.Len())
		for _, e := range v.entries {
			if v.all || e.up {
				v.instances = append(v.instances, e.Instance)
			}
		}
	})
	return v.instances
}

// Stored returns all instances that were told of.
func (v *View) Stored() []rollcall.Instance {
	all := make([]rollcall.Instance, len(v.entries))
	for n, e := range v.entries {
		all[n] = e.Instance
	}
	return all
}

// Instance returns the one of the result called id, nil if there is none; own is the
// service in which it is looked for first.
func (v *View) Instance(own rollcall.ServiceKey, id string) *rollcall.Instance {
	if n, found := find(v.entries, rollcall.Key{ServiceKey: own, ID: id}); found && (v.all || v.entries[n].up) {
		return &v.entries[n].Instance
	}
	for _, e := range v.entries {
		if e.key.ID == id && (v.all || e.up) {
			return &e.Instance
		}
	}
	return nil
}

// Health counts all instances that were told of by status.
func (v *View) Health() map[rollcall.Status]int {
	m := map[rollcall.Status]int{}
	for _, e := range v.entries {
		m[e.status]++
	}
	return m
}

func find(entries []*Entry, key rollcall.Key) (int, bool) {
	return slices.BinarySearchFunc(entries, key, func(e *Entry, key rollcall.Key) int {
		if e.key.ServiceKey == key.ServiceKey {
			return cmp.Compare(e.key.ID, key.ID)
		}
		return e.key.ServiceKey.Compare(key.ServiceKey)
	})
}

// panicBelow is the share of routable instances below which a service is in panic,
// unless an operator has set another.
const panicBelow = 0.5

// open says who takes requests now: all that may be used in a panic, else those
// that are routable, and if none is the suspect.
//
// Of a panic the registry tells through weights alone: one that is unhealthy has a
// weight only then. Where there is none such, all of the unhealthy are known to be
// dead, if it is a panic, so that the suspect and the routable are those that count.
// (Of one that was registered with weight 0 it cannot be told.)
func (v *View) open() func(*Entry) bool {
	routable, suspect, forced, better := 0, 0, 0, false
	for _, e := range v.entries {
		switch {
		case e.status.Routable():
			routable++
			better = better || e.up && e.weight > 0
		case e.status == rollcall.Suspect:
			suspect++
		case e.up && e.weight > 0:
			forced++
		}
	}
	panic := forced > 0 || routable+suspect > 1 && float64(routable) < panicBelow*float64(routable+suspect)
	if panic || !better {
		return func(e *Entry) bool { return e.up }
	}
	return func(e *Entry) bool { return e.up && e.status.Routable() }
}

// Endpoints appends what a picker chooses from; their payloads are the *[Entry]s.
// Without rings, which the registry has then seen to, nobody is anywhere.
func (v *View) Endpoints(es []balancer.Endpoint, own rollcall.ServiceKey, rings bool) []balancer.Endpoint {
	takes := v.open()
	es = slices.Grow(es, len(v.entries))
	for _, e := range v.entries {
		of := balancer.Endpoint{ID: e.key.ID, Weight: e.weight, Registered: e.Instance.WeightOrDefault(), Down: !takes(e), Payload: e}
		if e.key.ServiceKey != own { // whose ids may be those of others
			of.ID = e.key.Namespace + "\x00" + e.key.Service + "\x00" + e.key.ID
		}
		if rings {
			of.Locality = e.Instance.Locality
		}
		es = append(es, of)
	}
	return es
}

// Address returns where the port of a name is; "" is the one called "default", or the
// only one.
func (e *Entry) Address(port string) (string, error) {
	name := port
	if name == "" {
		name = rollcall.DefaultPort
	}
	number, found := e.Instance.Ports[name]
	if port == "" && !found && len(e.Instance.Ports) == 1 {
		for _, number = range e.Instance.Ports {
			found = true
		}
	}
	if !found {
		names := slices.Sorted(maps.Keys(e.Instance.Ports))
		detail := fmt.Sprintf("%s of %s has no port called %q", e.key.ID, e.key.Service, name)
		if len(names) > 0 {
			detail += "; it has " + strings.Join(names, ", ")
		}
		return "", &rollcall.Error{Kind: rollcall.ErrInvalid, Field: "port", Detail: detail}
	}
	return net.JoinHostPort(e.Instance.Address, strconv.Itoa(int(number))), nil
}
